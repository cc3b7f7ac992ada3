//! What becomes of the policies around requests: which come and go, which allow less or more, and what they forget.
//!
//! Policies are compared where they act: at each route, by name, and what is left by kind. So a step in between changes
//! nothing behind it, and a shared policy can take the place of an own one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use tidegate_gateway::config::plan::{Action, Applied, Route};
use tidegate_resilience::{Change, Plan, PolicyOptions, Registry};

use super::listed;
use super::weight::{Weight, magnitude};
use crate::config::Loaded;
use crate::policies::{shown, written};

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

/// Every change, what matters most first.
pub(crate) fn changed(before: &Loaded, after: &Loaded) -> Vec<PolicyChange> {
    let mut comparison = Comparison::default();
    for (old, new) in pairs_of_routes(before, after) {
        comparison.route(&new.name, &before.plan.policies_of(old), &after.plan.policies_of(new));
    }
    let registry = Registry::new(&before.plan.policies, &tidegate_resilience::Environment::default());
    let plan = registry.and_then(|registry| registry.plan(&after.plan.policies)).unwrap_or_default();
    let mut found = comparison.changes(&plan);
    found.extend(defaults(before, after));
    found.extend(comparison.unused(before, after, &plan));
    found.sort_by_key(|change| change.weight);
    found
}

/// Routes of the same name that forward to some upstream, before and after.
fn pairs_of_routes<'l>(before: &'l Loaded, after: &'l Loaded) -> Vec<(&'l Route, &'l Route)> {
    let forwards = |route: &&Route| matches!(route.action, Action::Forward(_));
    let old: BTreeMap<_, _> = before.plan.routes.iter().filter(forwards).map(|route| (&route.name, route)).collect();
    let new = after.plan.routes.iter().filter(forwards);
    new.filter_map(|route| Some((*old.get(&route.name)?, route))).collect()
}

/// Options of a policy, with every default.
type Options = Map<String, Value>;

#[derive(Default)]
struct Comparison {
    /// The routes at which something becomes of a policy.
    fates: BTreeMap<Fate, Vec<String>>,
    /// By the name before and the one after, either of them empty where there is none: the options then.
    options: BTreeMap<(String, String), (Options, Options)>,
    used: BTreeSet<String>,
}

impl Comparison {
    fn route(&mut self, route: &str, before: &[Applied<'_>], after: &[Applied<'_>]) {
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

    fn changes(&self, plan: &Plan) -> Vec<PolicyChange> {
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

    /// Policies with a name that stand around no requests, neither before nor after.
    fn unused(&self, before: &Loaded, after: &Loaded, plan: &Plan) -> Vec<PolicyChange> {
        let (old, new) = (&before.document.policies, &after.document.policies);
        let names: BTreeSet<_> = old.keys().chain(new.keys()).filter(|name| !self.used.contains(*name)).collect();
        let changed = names.into_iter().filter_map(|name| {
            let what = match plan.policy(name)? {
                Change::Added => "is new, and stands around no requests yet",
                Change::Removed => "is gone, and stood around no requests",
                Change::Changed { .. } | Change::Replaced { .. } => "has other options, and stands around no requests",
                Change::Unchanged => return None,
            };
            let kind = new.get(name).or_else(|| old.get(name)).map_or("", PolicyOptions::kind);
            let words = format!("{kind} `{name}` {what}");
            Some(PolicyChange { weight: Weight::Other, policy: Some(name.clone()), routes: Vec::new(), words })
        });
        changed.collect()
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

/// Upstreams that take the default policies from now on, or no longer.
fn defaults(before: &Loaded, after: &Loaded) -> Vec<PolicyChange> {
    let change = |words| PolicyChange { weight: Weight::Other, policy: None, routes: Vec::new(), words };
    let both = before.document.upstreams.iter();
    let both = both.filter_map(|(name, old)| Some((name, old, after.document.upstreams.get(name)?)));
    let changes = both.filter_map(|(name, old, new)| match (&old.protect, &new.protect) {
        (Some(_), None) => {
            Some(change(format!("upstream `{name}` has no `protect` any more, and so the default policies")))
        }
        (None, Some(steps)) if steps.is_empty() => {
            Some(change(format!("upstream `{name}` has an empty `protect` instead of the default policies")))
        }
        (None, Some(_)) => Some(change(format!("upstream `{name}` has `protect` instead of the default policies"))),
        _ => None,
    });
    changes.collect()
}

/// Compares options of one kind, and tells what differs as `path before -> after`.
fn compare(kind: &str, path: &str, before: &Options, after: &Options, tell: &mut impl FnMut(Weight, String)) {
    for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (before.get(key), after.get(key)) {
            (one, other) if one == other => {}
            (Some(Value::Object(one)), Some(Value::Object(other))) if is_same_thing(one, other) => {
                compare(kind, &path, one, other, tell);
            }
            (one, other) => {
                let text = |value: Option<&Value>| value.map_or_else(|| "none".to_owned(), shown);
                tell(weight(kind, key, one, other), format!("{path} {} -> {}", text(one), text(other)));
            }
        }
    }
}

/// Whether two maps differ in options, and not in what they are.
fn is_same_thing(one: &Options, other: &Options) -> bool {
    ["strategy", "kind"].iter().all(|tag| one.get(*tag) == other.get(*tag)) && one.keys().eq(other.keys())
}

/// Options that allow more the larger they are.
const MORE: [&str; 24] = [
    "total",
    "attempt",
    "attempts",
    "ratio",
    "min_per_second",
    "consecutive_failures",
    "failure_rate",
    "slow_call_rate",
    "slow_call",
    "min_calls",
    "probes",
    "max_concurrent",
    "queue",
    "max_wait",
    "initial",
    "min",
    "max",
    "rate",
    "limit",
    "burst",
    "max_keys",
    "retry_after_cap",
    "budget",
    "end",
];

/// Options that allow less the larger they are.
const LESS: [&str; 6] = ["open_for", "open_max", "success_threshold", "per", "percentile", "delay"];

/// Options of a hedge or a window that have the names of others.
fn allows_more(kind: &str, option: &str) -> Option<bool> {
    match (kind, option) {
        ("chaos", _) => None,
        ("retry", "delay") => None,
        ("rate_limit" | "keyed_rate_limit", "window") => Some(false),
        _ if MORE.contains(&option) => Some(true),
        _ if LESS.contains(&option) => Some(false),
        _ => None,
    }
}

/// What it means that an option of a policy of this kind has another value.
pub(super) fn weight(kind: &str, option: &str, before: Option<&Value>, after: Option<&Value>) -> Weight {
    let enabled = |mode: Option<&Value>| mode.is_some_and(|mode| *mode == "enabled");
    match (option, before, after) {
        ("mode", ..) if kind == "chaos" => return Weight::Other,
        ("mode", ..) if enabled(before) => return Weight::Unprotected,
        ("mode", ..) if enabled(after) => return Weight::Protected,
        _ => {}
    }
    let amount = |value: &Value| match value {
        // A budget that is there, beside one that is not.
        Value::Object(_) => Some(0.0),
        value => magnitude(value),
    };
    allows_more(kind, option)
        .map_or(Weight::Other, |more| Weight::of_amount(more, before.and_then(amount), after.and_then(amount)))
}
