//! What becomes of policies at the places where they act, told in words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Map;
use tidegate_gateway::config::plan::Applied;
use tidegate_resilience::{Change, Plan};

use super::listed;
use super::policy_options::{Options, compare};
use super::weight::Weight;
use crate::policies::written;

/// A change of what protects requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyChange {
    pub(crate) weight: Weight,
    /// The policies; none where it is about several.
    pub(crate) policy: Option<String>,
    /// The routes around whose requests it is.
    pub(crate) routes: Vec<String>,
    /// What changes, in one line.
    pub(crate) words: String,
}

/// What becomes of a policy at a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Gone {
        kind: &'static str,
        name: String,
    },
    New {
        kind: &'static str,
        name: String,
    },
    /// Options may differ.
    Kept {
        kind: &'static str,
        name: String,
    },
    /// Another policy of the kind stands in its place.
    Replaced {
        kind: &'static str,
        was: String,
        is: String,
    },
    /// What stays stands in another order.
    Reordered {
        was: Vec<&'static str>,
        is: Vec<&'static str>,
    },
}

/// What stands where, before and after.
#[derive(Default)]
pub(super) struct Comparison {
    /// The routes at which something becomes of a policy.
    fates: BTreeMap<Fate, Vec<String>>,
    /// By the name before and the one after, either of them empty where there is none: the options then.
    options: BTreeMap<(String, String), (Options, Options)>,
    used: BTreeSet<String>,
}

impl Comparison {
    /// Compares what stands around the requests of a route, outermost first.
    pub(super) fn route(&mut self, route: &str, before: &[Applied<'_>], after: &[Applied<'_>]) {
        self.used.extend(before.iter().chain(after).map(|policy| policy.name.clone()));
        let pairs = matched(before, after);
        for (old, new) in &pairs {
            self.options
                .entry((old.name.clone(), new.name.clone()))
                .or_insert_with(|| (written(old.options), written(new.options)));
            let (kind, was, is) = (new.options.kind(), old.name.clone(), new.name.clone());
            let fate = if was == is { Fate::Kept { kind, name: is } } else { Fate::Replaced { kind, was, is } };
            self.add(fate, route);
        }
        let is_old = |policy: &Applied<'_>| pairs.iter().any(|(old, _)| **old == *policy);
        let is_new = |policy: &Applied<'_>| pairs.iter().any(|(_, new)| **new == *policy);
        for old in before.iter().filter(|policy| !is_old(policy)) {
            self.add(Fate::Gone { kind: old.options.kind(), name: old.name.clone() }, route);
            self.options.entry((old.name.clone(), String::new())).or_insert((written(old.options), Map::new()));
        }
        for new in after.iter().filter(|policy| !is_new(policy)) {
            self.add(Fate::New { kind: new.options.kind(), name: new.name.clone() }, route);
            self.options.entry((String::new(), new.name.clone())).or_insert((Map::new(), written(new.options)));
        }
        self.order(route, &pairs, after);
    }

    /// `pairs` stand in the order before. Told is the part that is turned around, without what stays outside and inside.
    fn order(&mut self, route: &str, pairs: &[(&Applied<'_>, &Applied<'_>)], after: &[Applied<'_>]) {
        let was: Vec<_> = pairs.iter().map(|(_, new)| *new).collect();
        let mut is = was.clone();
        is.sort_by_key(|new| after.iter().position(|policy| policy == *new));
        let differ = |(one, other): (&&Applied<'_>, &&Applied<'_>)| one.name != other.name;
        let Some(first) = was.iter().zip(&is).position(differ) else { return };
        let last = was.iter().zip(&is).rposition(differ).unwrap_or(first);
        let kinds = |order: &[&Applied<'_>]| order[first..=last].iter().map(|policy| policy.options.kind()).collect();
        self.add(Fate::Reordered { was: kinds(&was), is: kinds(&is) }, route);
    }

    fn add(&mut self, fate: Fate, route: &str) {
        self.fates.entry(fate).or_default().push(route.to_owned());
    }

    /// Everything that becomes of policies. `plan` says what becomes of their state.
    pub(super) fn changes(&self, plan: &Plan) -> Vec<PolicyChange> {
        let mut found = Vec::new();
        for (fate, routes) in &self.fates {
            let change = |weight, policy: Option<&String>, words| PolicyChange {
                weight,
                policy: policy.cloned(),
                routes: routes.clone(),
                words,
            };
            let around = around(routes);
            match fate {
                Fate::Gone { kind, name } => {
                    let weight = self.weight_of_one(kind, name, "", Weight::Unprotected);
                    found.push(change(weight, Some(name), format!("{kind} `{name}` is gone{around}")));
                }
                Fate::New { kind, name } => {
                    let weight = self.weight_of_one(kind, "", name, Weight::Protected);
                    found.push(change(weight, Some(name), format!("{kind} `{name}` is new{around}")));
                }
                Fate::Kept { kind, name } => {
                    let state = state(kind, plan.policy(name));
                    found.extend(self.weighed(kind, name, name).into_iter().map(|(weight, options)| {
                        change(weight, Some(name), format!("{kind} `{name}`: {options}{state}"))
                    }));
                }
                Fate::Replaced { kind, was, is } => {
                    let begins = match plan.policy(is) {
                        Some(Change::Added) => ", and begins from nothing",
                        _ => "",
                    };
                    let mut weighed = self.weighed(kind, was, is);
                    let rest = weighed.remove(&Weight::Other).map(|options| format!(": {options}")).unwrap_or_default();
                    let words = format!("{kind} `{is}` takes the place of `{was}`{begins}{rest}{around}");
                    found.push(change(Weight::Other, Some(is), words));
                    found.extend(weighed.into_iter().map(|(weight, options)| {
                        change(weight, Some(is), format!("{kind} `{is}` instead of `{was}`: {options}{around}"))
                    }));
                }
                Fate::Reordered { was, is } => {
                    let words = format!("the order {} becomes {}{around}", was.join(" > "), is.join(" > "));
                    found.push(change(Weight::Other, None, words));
                }
            }
        }
        found
    }

    /// The policies that stand somewhere, before or after.
    pub(super) fn used(&self) -> &BTreeSet<String> {
        &self.used
    }

    /// What it means that a policy comes or goes: chaos protects nobody, and neither does what is not enabled.
    fn weight_of_one(&self, kind: &str, was: &str, is: &str, weight: Weight) -> Weight {
        let options = self.options.get(&(was.to_owned(), is.to_owned()));
        let enabled =
            options.is_some_and(|(old, new)| old.get("mode").or_else(|| new.get("mode")) == Some(&"enabled".into()));
        if kind != "chaos" && enabled { weight } else { Weight::Other }
    }

    /// The options that differ, in a line for each thing that they mean.
    fn weighed(&self, kind: &str, was: &str, is: &str) -> BTreeMap<Weight, String> {
        let mut lines = BTreeMap::<Weight, Vec<String>>::new();
        if let Some((old, new)) = self.options.get(&(was.to_owned(), is.to_owned())) {
            compare(kind, "", old, new, &mut |weight, words| lines.entry(weight).or_default().push(words));
        }
        lines.into_iter().map(|(weight, words)| (weight, words.join(", "))).collect()
    }
}

/// Policies that belong together, in the order before: those of the same name, and what is left by kind.
fn matched<'a, 'p>(before: &'a [Applied<'p>], after: &'a [Applied<'p>]) -> Vec<(&'a Applied<'p>, &'a Applied<'p>)> {
    let kind = |policy: &Applied<'_>| policy.options.kind();
    let same = |old: &Applied<'_>, new: &Applied<'_>| old.name == new.name && kind(old) == kind(new);
    let mut left: Vec<_> = after.iter().filter(|new| !before.iter().any(|old| same(old, new))).collect();
    let pairs = before.iter().filter_map(|old| {
        let by_name = after.iter().find(|new| same(old, new));
        by_name.map(|new| (old, new)).or_else(|| {
            let place = left.iter().position(|new| kind(new) == kind(old))?;
            Some((old, left.remove(place)))
        })
    });
    pairs.collect()
}

/// What a policy that stays has counted and learnt.
fn state(kind: &str, change: Option<Change>) -> &'static str {
    match change {
        _ if kind == "timeout" || kind == "chaos" => "",
        Some(Change::Changed { keeps_state: true }) => "; keeps its state",
        Some(Change::Changed { keeps_state: false }) => "; its count begins anew",
        _ => "",
    }
}

fn around(routes: &[String]) -> String {
    let names: Vec<_> = routes.iter().map(|name| format!("`{name}`")).collect();
    format!(" ({} {})", if routes.len() == 1 { "route" } else { "routes" }, listed(&names, ", "))
}
