//! What becomes of the policies around requests and of the limits in front of them: which come and go, which allow less
//! or more, and what they forget.
//!
//! Both are compared where they act: policies at each route, limits at each listener and route, by name, and what is left
//! by kind. So a step in between changes nothing behind it, and a shared policy can take the place of an own one.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_gateway::config::plan::{Action, Route};
use tidegate_resilience::{Change, Environment, Plan, PolicyOptions, Registry};

use super::acting::{Acting, limits};
use super::fate::{Comparison, Place, Places, PolicyChange};
use super::weight::Weight;
use crate::config::Loaded;

/// Every change, what matters most first.
pub(crate) fn changed(before: &Loaded, after: &Loaded) -> Vec<PolicyChange> {
    let mut comparison = Comparison::default();
    for (old, new) in pairs_of_routes(before, after) {
        comparison.policies(&new.name, &policies(before, old), &policies(after, new));
    }
    compare_limits(&mut comparison, before, after);
    let registry = Registry::new(&before.plan.policies, &Environment::default());
    let plan = registry.and_then(|registry| registry.plan(&after.plan.policies)).unwrap_or_default();
    let mut found = comparison.changes(&plan);
    found.extend(defaults(before, after));
    found.extend(unused(comparison.used(), before, after, &plan));
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

fn policies<'l>(loaded: &'l Loaded, route: &Route) -> Vec<Acting<'l>> {
    loaded.plan.policies_of(route).into_iter().map(Acting::from).collect()
}

/// Compares the limits of listeners of the same address and of routes of the same name.
fn compare_limits(comparison: &mut Comparison, before: &Loaded, after: &Loaded) {
    let mut old: BTreeMap<_, _> = limits_of_listeners(before).collect();
    for (address, new) in limits_of_listeners(after) {
        if let Some(old) = old.remove(&address) {
            comparison.limits(Place::Listener(&address), &old, &new);
        }
    }
    let mut old: BTreeMap<_, _> = limits_of_routes(before).collect();
    for (name, new) in limits_of_routes(after) {
        if let Some(old) = old.remove(name) {
            comparison.limits(Place::Route(name), &old, &new);
        }
    }
}

fn limits_of_listeners(loaded: &Loaded) -> impl Iterator<Item = (String, Vec<Acting<'_>>)> {
    let listeners = loaded.document.listeners.iter().zip(&loaded.plan.listeners);
    listeners.map(|(written, plan)| (plan.address.to_string(), limits(&written.filters, &plan.rate_limits)))
}

fn limits_of_routes(loaded: &Loaded) -> impl Iterator<Item = (&str, Vec<Acting<'_>>)> {
    let routes = loaded.document.routes.iter().zip(&loaded.plan.routes);
    routes.map(|(written, plan)| (&*plan.name, limits(&written.filters, &plan.rate_limits)))
}

/// Policies with a name that stand around no requests, neither before nor after.
fn unused(used: &BTreeSet<String>, before: &Loaded, after: &Loaded, plan: &Plan) -> Vec<PolicyChange> {
    let (old, new) = (&before.document.policies, &after.document.policies);
    let names: BTreeSet<_> = old.keys().chain(new.keys()).filter(|name| !used.contains(*name)).collect();
    let changed = names.into_iter().filter_map(|name| {
        let what = match plan.policy(name)? {
            Change::Added => "is new, and stands around no requests yet",
            Change::Removed => "is gone, and stood around no requests",
            Change::Changed { .. } | Change::Replaced { .. } => "has other options, and stands around no requests",
            Change::Unchanged => return None,
        };
        let kind = new.get(name).or_else(|| old.get(name)).map_or("", PolicyOptions::kind);
        let words = format!("{kind} `{name}` {what}");
        Some(PolicyChange { weight: Weight::Other, policy: Some(name.clone()), places: Places::default(), words })
    });
    changed.collect()
}

/// Upstreams that take the default policies from now on, or no longer.
fn defaults(before: &Loaded, after: &Loaded) -> Vec<PolicyChange> {
    let change = |words| PolicyChange { weight: Weight::Other, policy: None, places: Places::default(), words };
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::loaded;
    use super::*;

    /// A configuration with these limits on its listener, the route `a` and the route `b`.
    fn limited([listener, a, b]: &[Value; 3]) -> Loaded {
        loaded(json!({
            "listeners": [{ "address": "127.0.0.1:80", "filters": listener }],
            "routes": [
                { "name": "a", "match": { "path": "/a" }, "filters": a, "respond": { "status": 204 } },
                { "name": "b", "match": { "path": "/b" }, "filters": b, "respond": { "status": 204 } },
            ],
        }))
    }

    fn told(before: &Loaded, after: &Loaded) -> Vec<(Weight, String)> {
        changed(before, after).into_iter().map(|change| (change.weight, change.words)).collect()
    }

    fn fixed(limit: u32) -> Value {
        json!({ "rate_limit": { "fixed_window": { "limit": limit, "window": "1h" } } })
    }

    #[test]
    fn limits_come_and_go_at_listeners_and_routes() {
        let named = json!({ "rate_limit": { "name": "all", "token_bucket": { "rate": 5 } } });
        let watching = json!({ "rate_limit": { "mode": "metrics_only", "token_bucket": { "rate": 5 } } });
        let one = limited(&[json!([named]), json!([named]), json!([])]);
        let other = limited(&[json!([]), json!([]), json!([fixed(9), watching])]);
        let expected = [
            (Weight::Unprotected, "limit `all` is gone (listener `127.0.0.1:80`, route `a`)"),
            (Weight::Protected, "limit `b` is new (route `b`)"),
            (Weight::Other, "limit `b #2` is new (route `b`)"),
        ];
        assert_eq!(told(&one, &other), expected.map(|(weight, words)| (weight, words.to_owned())));
        assert_eq!(told(&one, &one), []);
    }

    #[test]
    fn limits_that_stay_are_told_apart_by_what_they_allow_and_what_they_keep() {
        let limit = json!({
            "name": "b", "token_bucket": { "rate": 5 }, "by": ["client_address", "host"], "cost": 2,
        });
        let bucket = |rate: u32, per: &str| json!({ "rate": rate, "per": per });
        for (option, value, weight, words) in [
            ("token_bucket", bucket(4, "1s"), Weight::Tighter, "token_bucket.rate 5 -> 4; keeps its state"),
            ("token_bucket", bucket(5, "2s"), Weight::Tighter, "token_bucket.per 1s -> 2s; keeps its state"),
            (
                "token_bucket",
                json!({ "rate": 5, "burst": 9 }),
                Weight::Looser,
                "token_bucket.burst 5 -> 9; keeps its state",
            ),
            ("cost", json!(1), Weight::Looser, "cost 2 -> 1; keeps its state"),
            ("headers", json!(false), Weight::Other, "headers true -> false; keeps its state"),
            ("max_wait", json!("1s"), Weight::Looser, "max_wait 0s -> 1s; keeps its state"),
            ("mode", json!("metrics_only"), Weight::Unprotected, "mode enabled -> metrics_only; keeps its state"),
            ("by", json!(["host"]), Weight::Other, "by client_address and host -> host; its count begins anew"),
            ("by", json!([]), Weight::Other, "by client_address and host -> none; its count begins anew"),
            ("ipv6_prefix", json!(56), Weight::Tighter, "ipv6_prefix 64 -> 56; keeps its state but for IPv6 clients"),
        ] {
            let mut after = limit.clone();
            after[option] = value;
            let at_a =
                |limit: &Value| limited(&[json!([fixed(9)]), json!([fixed(8), { "rate_limit": limit }]), json!([])]);
            let expected = (weight, format!("limit `b`: {words} (route `a`)"));
            assert_eq!(told(&at_a(&limit), &at_a(&after)), [expected]);
        }
    }

    #[test]
    fn another_algorithm_counts_on_and_another_name_does_not() {
        let bucket = json!({ "rate_limit": { "token_bucket": { "rate": 5 } } });
        let words = "token_bucket (rate 5, per 1s) -> none, fixed_window none -> (limit 9, window 1h)";
        let found = told(
            &limited(&[json!([]), json!([bucket]), json!([])]),
            &limited(&[json!([]), json!([fixed(9)]), json!([])]),
        );
        assert_eq!(found, [(Weight::Other, format!("limit `a`: {words}; keeps its state (route `a`)"))]);
        let mut named = fixed(7);
        named["rate_limit"]["name"] = json!("named");
        let found = told(
            &limited(&[json!([]), json!([fixed(9)]), json!([])]),
            &limited(&[json!([]), json!([named]), json!([])]),
        );
        let expected = [
            (Weight::Tighter, "limit `named` instead of `a`: fixed_window.limit 9 -> 7 (route `a`)"),
            (Weight::Other, "limit `named` takes the place of `a`, and begins from nothing (route `a`)"),
        ];
        assert_eq!(found, expected.map(|(weight, words)| (weight, words.to_owned())));
    }

    #[test]
    fn a_cost_is_told_where_it_differs() {
        let limit = |cost: u32| json!([{ "rate_limit": { "name": "x", "token_bucket": { "rate": 5 }, "cost": cost } }]);
        let found = told(&limited(&[limit(1), limit(1), limit(1)]), &limited(&[limit(1), limit(3), limit(3)]));
        let words = "limit `x`: cost 1 -> 3; keeps its state (routes `a`, `b`)";
        assert_eq!(found, [(Weight::Tighter, words.to_owned())]);
    }
}
