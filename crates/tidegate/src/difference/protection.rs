//! What becomes of the policies around requests: which come and go, which allow less or more, and what they forget.
//!
//! Policies are compared where they act: at each route, by name, and what is left by kind. So a step in between changes
//! nothing behind it, and a shared policy can take the place of an own one.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_gateway::config::plan::{Action, Route};
use tidegate_resilience::{Change, Environment, Plan, PolicyOptions, Registry};

use super::fate::{Comparison, PolicyChange};
use super::weight::Weight;
use crate::config::Loaded;

/// Every change, what matters most first.
pub(crate) fn changed(before: &Loaded, after: &Loaded) -> Vec<PolicyChange> {
    let mut comparison = Comparison::default();
    for (old, new) in pairs_of_routes(before, after) {
        comparison.route(&new.name, &before.plan.policies_of(old), &after.plan.policies_of(new));
    }
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
        Some(PolicyChange { weight: Weight::Other, policy: Some(name.clone()), routes: Vec::new(), words })
    });
    changed.collect()
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
