//! What becomes of policies at the places where they act, told in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tidegate_resilience::{Change, Plan};

use super::acting::{Acting, LIMIT};
use super::listed;
use super::policy_options::{Options, compare};
use super::weight::Weight;

/// A change of what protects requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyChange {
    pub(crate) weight: Weight,
    /// The policies; none where it is about several.
    pub(crate) policy: Option<String>,
    /// Where it acts.
    pub(crate) places: Places,
    /// What changes, in one line.
    pub(crate) words: String,
}

/// Where policies and limits act: the addresses of listeners, and the names of routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) listeners: Vec<String>,
    pub(crate) routes: Vec<String>,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'p> {
    Listener(&'p str),
    Route(&'p str),
}

/// What becomes of a policy at a place.
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
    /// An option that this place has for itself differs.
    Own {
        kind: &'static str,
        name: String,
        weight: Weight,
        words: String,
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
    /// The places at which something becomes of a policy.
    fates: BTreeMap<Fate, Places>,
    /// By the name before and the one after, either of them empty where there is none: the options then.
    options: BTreeMap<(String, String), (Options, Options)>,
    used: BTreeSet<String>,
}

impl Comparison {
    /// Compares policies around the requests of a route, outermost first.
    pub(super) fn policies(&mut self, route: &str, before: &[Acting<'_>], after: &[Acting<'_>]) {
        let pairs = self.acting(Place::Route(route), before, after);
        self.order(route, &pairs, after);
    }

    /// Compares limits in front of requests. All of them are asked, so that their order says nothing.
    pub(super) fn limits(&mut self, place: Place<'_>, before: &[Acting<'_>], after: &[Acting<'_>]) {
        self.acting(place, before, after);
    }

    /// What belongs together, in the order before.
    fn acting<'a, 'p>(
        &mut self,
        place: Place<'_>,
        before: &'a [Acting<'p>],
        after: &'a [Acting<'p>],
    ) -> Vec<(&'a Acting<'p>, &'a Acting<'p>)> {
        self.used.extend(before.iter().chain(after).map(|policy| policy.name.clone()));
        let pairs = matched(before, after);
        for (old, new) in &pairs {
            self.options.entry((old.name.clone(), new.name.clone())).or_insert_with(|| (old.options(), new.options()));
            let (kind, was, is) = (new.kind, old.name.clone(), new.name.clone());
            for (weight, words) in weighed(kind, &old.own_options(), &new.own_options()) {
                self.add(Fate::Own { kind, name: is.clone(), weight, words }, place);
            }
            let fate = if was == is { Fate::Kept { kind, name: is } } else { Fate::Replaced { kind, was, is } };
            self.add(fate, place);
        }
        let is_old = |policy: &Acting<'_>| pairs.iter().any(|(old, _)| **old == *policy);
        let is_new = |policy: &Acting<'_>| pairs.iter().any(|(_, new)| **new == *policy);
        for old in before.iter().filter(|policy| !is_old(policy)) {
            self.add(Fate::Gone { kind: old.kind, name: old.name.clone() }, place);
            self.options.entry((old.name.clone(), String::new())).or_insert((old.options(), Options::new()));
        }
        for new in after.iter().filter(|policy| !is_new(policy)) {
            self.add(Fate::New { kind: new.kind, name: new.name.clone() }, place);
            self.options.entry((String::new(), new.name.clone())).or_insert((Options::new(), new.options()));
        }
        pairs
    }

    /// `pairs` stand in the order before. Told is the part that is turned around, without what stays outside and inside.
    fn order(&mut self, route: &str, pairs: &[(&Acting<'_>, &Acting<'_>)], after: &[Acting<'_>]) {
        let was: Vec<_> = pairs.iter().map(|(_, new)| *new).collect();
        let mut is = was.clone();
        is.sort_by_key(|new| after.iter().position(|policy| policy == *new));
        let differ = |(one, other): (&&Acting<'_>, &&Acting<'_>)| one.name != other.name;
        let Some(first) = was.iter().zip(&is).position(differ) else { return };
        let last = was.iter().zip(&is).rposition(differ).unwrap_or(first);
        let kinds = |order: &[&Acting<'_>]| order[first..=last].iter().map(|policy| policy.kind).collect();
        self.add(Fate::Reordered { was: kinds(&was), is: kinds(&is) }, Place::Route(route));
    }

    fn add(&mut self, fate: Fate, place: Place<'_>) {
        let places = self.fates.entry(fate).or_default();
        let (names, name) = match place {
            Place::Listener(address) => (&mut places.listeners, address),
            Place::Route(name) => (&mut places.routes, name),
        };
        // A limit may stand twice in one place.
        if names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
    }

    /// Everything that becomes of policies. `plan` says what becomes of their state.
    pub(super) fn changes(&self, plan: &Plan) -> Vec<PolicyChange> {
        let mut found = Vec::new();
        for (fate, places) in &self.fates {
            let change = |weight, policy: Option<&String>, words| PolicyChange {
                weight,
                policy: policy.cloned(),
                places: places.clone(),
                words,
            };
            match fate {
                Fate::Gone { kind, name } => {
                    let weight = self.weight_of_one(kind, name, "", Weight::Unprotected);
                    found.push(change(weight, Some(name), format!("{kind} `{name}` is gone{places}")));
                }
                Fate::New { kind, name } => {
                    let weight = self.weight_of_one(kind, "", name, Weight::Protected);
                    found.push(change(weight, Some(name), format!("{kind} `{name}` is new{places}")));
                }
                Fate::Kept { kind, name } => {
                    // Names of policies say where these act; those of limits need not.
                    let at = if *kind == LIMIT { places.to_string() } else { String::new() };
                    found.extend(self.weighed(kind, name, name).into_iter().map(|(weight, options)| {
                        let state = self.state(kind, name, plan);
                        change(weight, Some(name), format!("{kind} `{name}`: {options}{state}{at}"))
                    }));
                }
                Fate::Replaced { kind, was, is } => {
                    let begins = match plan.policy(is) {
                        Some(Change::Added) => ", and begins from nothing",
                        _ => "",
                    };
                    let mut weighed = self.weighed(kind, was, is);
                    let rest = weighed.remove(&Weight::Other).map(|options| format!(": {options}")).unwrap_or_default();
                    let words = format!("{kind} `{is}` takes the place of `{was}`{begins}{rest}{places}");
                    found.push(change(Weight::Other, Some(is), words));
                    found.extend(weighed.into_iter().map(|(weight, options)| {
                        change(weight, Some(is), format!("{kind} `{is}` instead of `{was}`: {options}{places}"))
                    }));
                }
                Fate::Own { kind, name, weight, words } => {
                    let state = self.state(kind, name, plan);
                    found.push(change(*weight, Some(name), format!("{kind} `{name}`: {words}{state}{places}")));
                }
                Fate::Reordered { was, is } => {
                    let words = format!("the order {} becomes {}{places}", was.join(" > "), is.join(" > "));
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
        let options = self.options.get(&(was.to_owned(), is.to_owned()));
        options.map(|(old, new)| weighed(kind, old, new)).unwrap_or_default()
    }

    /// What a policy that stays has counted and learnt.
    fn state(&self, kind: &str, name: &str, plan: &Plan) -> &'static str {
        const KEPT: &str = "; keeps its state";
        const ANEW: &str = "; its count begins anew";
        let options = self.options.get(&(name.to_owned(), name.to_owned()));
        let differs = |option| options.is_some_and(|(old, new)| old.get(option) != new.get(option));
        let by = options.and_then(|(_, new)| new.get("by")?.as_str()).unwrap_or_default();
        match plan.policy(name) {
            _ if kind == "timeout" || kind == "chaos" => "",
            // What was counted stays, but under keys that nobody has any more.
            _ if differs("by") => ANEW,
            _ if differs("ipv6_prefix") && by.split(" and ").any(|part| part == "client_address") => {
                "; keeps its state but for IPv6 clients"
            }
            Some(Change::Unchanged | Change::Changed { keeps_state: true }) => KEPT,
            Some(Change::Changed { keeps_state: false } | Change::Replaced { .. }) => ANEW,
            Some(Change::Added | Change::Removed) | None => "",
        }
    }
}

/// The options that differ, in a line for each thing that they mean.
fn weighed(kind: &str, before: &Options, after: &Options) -> BTreeMap<Weight, String> {
    let mut lines = BTreeMap::<Weight, Vec<String>>::new();
    compare(kind, "", before, after, &mut |weight, words| lines.entry(weight).or_default().push(words));
    lines.into_iter().map(|(weight, words)| (weight, words.join(", "))).collect()
}

/// Policies that belong together, in the order before: those of the same name, and what is left by kind.
fn matched<'a, 'p>(before: &'a [Acting<'p>], after: &'a [Acting<'p>]) -> Vec<(&'a Acting<'p>, &'a Acting<'p>)> {
    let same = |old: &Acting<'_>, new: &Acting<'_>| old.name == new.name && old.kind == new.kind;
    let mut left: Vec<_> = after.iter().filter(|new| !before.iter().any(|old| same(old, new))).collect();
    let pairs = before.iter().filter_map(|old| {
        let by_name = after.iter().find(|new| same(old, new));
        by_name.map(|new| (old, new)).or_else(|| {
            let place = left.iter().position(|new| new.kind == old.kind)?;
            Some((old, left.remove(place)))
        })
    });
    pairs.collect()
}

/// Such as ` (listener `127.0.0.1:80`, routes `a`, `b`)`.
impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("listener", &self.listeners), ("route", &self.routes)].into_iter();
        let kinds = kinds.filter(|(_, names)| !names.is_empty()).map(|(kind, names)| {
            let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("{kind}{} {}", if names.len() == 1 { "" } else { "s" }, listed(&quoted, ", "))
        });
        write!(f, " ({})", kinds.collect::<Vec<_>>().join(", "))
    }
}
