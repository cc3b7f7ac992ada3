//! What another configuration changes: in a line for the log, option by option (`options`), for requests (`owners`), and
//! for the policies around them and the limits in front of them (`protection`: what is compared where, `acting`: what acts
//! there, `fate`: what becomes of it, `policy_options`). What a change means is one of five things (`weight`).

mod acting;
mod fate;
mod options;
mod owners;
mod policy_options;
mod protection;
mod weight;

use std::fmt;

use tidegate_gateway::config::Plan;

pub(crate) use fate::PolicyChange;
pub(crate) use options::{OptionChange, changed};
pub(crate) use owners::{Owner, changed as changed_owners};
pub(crate) use protection::changed as changed_policies;
pub(crate) use weight::Weight;

/// Names that are written out for each kind of change; further ones are counted.
const SHOWN: usize = 8;

/// What is different between two plans.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    listeners: Changes,
    upstreams: Changes,
    routes: Changes,
    /// Other parts of the configuration.
    rest: Vec<&'static str>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

impl Difference {
    pub(crate) fn between(before: &Plan, after: &Plan) -> Self {
        let rest = [
            ("policies", policies_differ(before, after)),
            ("admin", before.admin != after.admin),
            ("access_log", before.access_log != after.access_log),
            ("recent", before.recent != after.recent),
            ("headers", before.headers != after.headers),
            ("shutdown", before.shutdown != after.shutdown),
            ("reload", before.reload != after.reload),
            ("log", before.log != after.log),
        ];
        Self {
            listeners: Changes::between(&before.listeners, &after.listeners, |it| it.address.to_string()),
            upstreams: Changes::between(&before.upstreams, &after.upstreams, |it| it.name.to_string()),
            routes: routes(before, after),
            rest: rest.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect(),
        }
    }
}

/// Whether policies differ. Those of upstreams and routes that come or go are said with them.
fn policies_differ(before: &Plan, after: &Plan) -> bool {
    let (old, new) = (&before.policies, &after.policies);
    let differs = |(name, pipeline)| new.pipelines.get(name).is_some_and(|other| other != pipeline);
    old.policies != new.policies || old.pipelines.iter().any(differs)
}

/// Routes name their upstream by its place in the plan, which another upstream can shift: that is no change.
fn routes(before: &Plan, after: &Plan) -> Changes {
    use tidegate_gateway::config::plan::{Action, Route};
    let with_upstream = |plan: &Plan| -> Vec<(Route, Option<std::sync::Arc<str>>)> {
        let named = |route: &Route| {
            let mut route = route.clone();
            let upstream = match &mut route.action {
                Action::Forward(index) => plan.upstreams.get(std::mem::take(index)).map(|it| it.name.clone()),
                Action::Respond(_) | Action::Redirect(_) => None,
            };
            (route, upstream)
        };
        plan.routes.iter().map(named).collect()
    };
    Changes::between(&with_upstream(before), &with_upstream(after), |(route, _)| route.name.to_string())
}

impl Changes {
    fn between<T: PartialEq>(before: &[T], after: &[T], name: impl Fn(&T) -> String) -> Self {
        use std::collections::HashMap;
        let mut old: HashMap<String, &T> = before.iter().map(|item| (name(item), item)).collect();
        let mut changes = Self::default();
        for item in after {
            let name = name(item);
            match old.remove(&name) {
                None => changes.added.push(name),
                Some(other) if other != item => changes.changed.push(name),
                Some(_) => {}
            }
        }
        changes.removed = before.iter().map(name).filter(|name| old.contains_key(name)).collect();
        changes
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl fmt::Display for Difference {
    /// Such as `listeners: added 127.0.0.1:81; routes: changed a, b; log`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("listeners", &self.listeners), ("upstreams", &self.upstreams), ("routes", &self.routes)];
        let kinds = kinds.into_iter().filter(|(_, changes)| !changes.is_empty());
        let mut parts: Vec<_> = kinds.map(|(kind, changes)| format!("{kind}: {changes}")).collect();
        parts.extend(self.rest.iter().map(ToString::to_string));
        match parts.is_empty() {
            true => f.write_str("nothing"),
            false => f.write_str(&parts.join("; ")),
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("added", &self.added), ("removed", &self.removed), ("changed", &self.changed)];
        let kinds = kinds.into_iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<_> = kinds.map(|(kind, names)| format!("{kind} {}", listed(names, " "))).collect();
        f.write_str(&parts.join(", "))
    }
}

fn listed(names: &[String], between: &str) -> String {
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(between);
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};
    use tidegate_gateway::config::check;

    use super::*;
    use crate::config::{Diagnostics, Loaded};

    pub(super) fn loaded(document: Value) -> Loaded {
        let document = serde_json::from_value(document).expect("a document");
        let plan = check(&document, Path::new("")).expect("a plan").plan;
        Loaded { plan, document, warnings: Diagnostics::default() }
    }

    fn plan(document: Value) -> Plan {
        loaded(document).plan
    }

    fn document() -> Value {
        json!({
            "workers": 1,
            "listeners": [{ "address": "127.0.0.1:80" }],
            "upstreams": { "b": { "endpoints": ["127.0.0.1:1"] }, "c": { "endpoints": ["127.0.0.1:2"] } },
            "routes": [
                { "name": "one", "match": { "prefix": "/one" }, "upstream": "b" },
                { "name": "two", "match": { "prefix": "/two" }, "upstream": "c" },
            ],
        })
    }

    /// What a change of the document is called.
    fn change(change: impl FnOnce(&mut Value)) -> String {
        let mut after = document();
        change(&mut after);
        Difference::between(&plan(document()), &plan(after)).to_string()
    }

    #[test]
    fn no_change_is_nothing() {
        assert_eq!(change(|_| {}), "nothing");
    }

    #[test]
    fn an_upstream_before_the_others_changes_no_route() {
        let line = change(|document| document["upstreams"]["a"] = json!({ "endpoints": ["127.0.0.1:3"] }));
        assert_eq!(line, "upstreams: added a");
    }

    #[test]
    fn a_route_to_another_upstream_is_changed() {
        assert_eq!(change(|document| document["routes"][0]["upstream"] = json!("c")), "routes: changed one");
    }

    #[test]
    fn policies_that_change_are_told_apart_from_those_that_come_with_a_route() {
        let line = change(|document| document["upstreams"]["b"]["protect"] = json!([{ "timeout": {} }]));
        assert_eq!(line, "policies");
        let route = json!({ "name": "new", "upstream": "c", "protect": [{ "timeout": {} }] });
        let line = change(|document| document["routes"].as_array_mut().expect("a list").push(route));
        assert_eq!(line, "routes: added new");
    }

    #[test]
    fn every_part_is_named() {
        let line = change(|document| {
            document["listeners"] = json!([{ "address": "127.0.0.1:81" }]);
            document["upstreams"]["b"]["balance"] = json!("least_requests");
            document["routes"][1]["name"] = json!("three");
            document["admin"] = json!("off");
            document["log"] = json!({ "level": "debug" });
        });
        let expected = "listeners: added 127.0.0.1:81, removed 127.0.0.1:80; upstreams: changed b; \
                        routes: added three, removed two; admin; log";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_thousand_names_stay_one_short_line() {
        let line = change(|document| {
            let route = |number| json!({ "match": { "path": format!("/{number}") }, "upstream": "b" });
            document["routes"] = (0..1000).map(route).collect();
        });
        assert!(line.contains("and 992 more") && line.len() < 1000, "{line}");
    }
}
