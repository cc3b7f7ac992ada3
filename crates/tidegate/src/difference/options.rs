//! What is different between two documents, option by option, and what it means for those who call.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;
use tidegate_gateway::config::document::Filter;

use super::policy_options::weight as weight_of_policy;
use super::weight::{Weight, magnitude};
use crate::config::{CONCEALED, Loaded, conceal, is_secret};

/// An option that has another value, or that only one of the documents has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OptionChange {
    /// Where it stands. Items of lists are called by their name or address, where they have one.
    pub(crate) path: String,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
    pub(crate) weight: Weight,
    /// What that means for requests, where the option does not say it.
    pub(crate) note: Option<String>,
}

/// Options whose absence, or `off`, leaves something without protection.
const PROTECTIONS: [&str; 8] =
    ["health_check", "outlier", "tls", "verify", "trusted_proxies", "fallback", "endpoint_breaker", "idempotency"];

/// Options below which every number, size and time is a limit; and options that are one by themselves.
const LIMITS: [&str; 8] = ["limits", "timeouts", "pool", "http2", "max_body", "max_ejected", "drain_timeout", "replay"];

/// Every option that differs, what matters most first. Defaults count as written.
pub(crate) fn changed(before: &Loaded, after: &Loaded) -> Vec<OptionChange> {
    let mut found = Vec::new();
    compare("", Some(&tree(before)), Some(&tree(after)), &mut found);
    for option in &mut found {
        option.note = note(&option.path, after);
    }
    found.sort_by_key(|option| option.weight);
    found
}

/// What a change of this option means, as the plan has it from now on.
fn note(path: &str, after: &Loaded) -> Option<String> {
    let name = path.strip_prefix("routes[")?.strip_suffix("].idempotent")?;
    let route = after.plan.routes.iter().find(|route| *route.name == *name)?;
    let written: Vec<_> = route.matches.methods.iter().filter(|method| !method.is_idempotent()).collect();
    let methods = match written.as_slice() {
        [] if route.matches.methods.is_empty() => "POST and PATCH".to_owned(),
        [] => return None,
        methods => methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(" and "),
    };
    Some(match route.idempotent {
        true => format!("{methods} requests may be sent twice from now on"),
        false => format!("{methods} requests are sent twice no longer, unless the first surely had no effect"),
    })
}

/// A document with every default, and with the names that routes get where none is written. Policies and limits of
/// filters are left out: they are compared where they act. The guard of idempotency keys acts alone, and stands in its place.
fn tree(loaded: &Loaded) -> Value {
    let mut tree = serde_json::to_value(&loaded.document).unwrap_or_default();
    without(&mut tree, &["policies"]);
    let upstreams = tree.get_mut("upstreams").and_then(Value::as_object_mut);
    upstreams.into_iter().flatten().for_each(|(_, upstream)| without(upstream, &["protect"]));
    items(&mut tree, "listeners").for_each(|listener| without(listener, &["filters"]));
    let routes = loaded.document.routes.iter().zip(&loaded.plan.routes);
    for (written, (route, planned)) in items(&mut tree, "routes").zip(routes) {
        without(written, &["protect", "filters"]);
        written["name"] = Value::from(&*planned.name);
        if let Some(guard) = route.filters.iter().find_map(Filter::idempotency) {
            written["idempotency"] = serde_json::to_value(guard).unwrap_or_default();
        }
    }
    tree
}

fn items<'t>(tree: &'t mut Value, list: &str) -> impl Iterator<Item = &'t mut Value> {
    tree.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

fn without(owner: &mut Value, options: &[&str]) {
    if let Some(written) = owner.as_object_mut() {
        written.retain(|option, _| !options.contains(&option.as_str()));
    }
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<OptionChange>) {
    match (before, after) {
        (Some(one), Some(other)) if one == other => {}
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            for key in one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))) {
                compare(&below(path, key), one.get(key), other.get(key), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other)))
            if let (Some(old), Some(new)) = (by_name(one), by_name(other)) =>
        {
            let added = other.iter().filter_map(name).filter(|item| !old.contains_key(item));
            for item in one.iter().filter_map(name).chain(added) {
                let (before, after) = (old.get(item).copied(), new.get(item).copied());
                compare(&format!("{path}[{item}]"), before, after, found);
            }
        }
        (before, after) => found.push(OptionChange::new(path, before, after)),
    }
}

impl OptionChange {
    fn new(path: &str, before: Option<&Value>, after: Option<&Value>) -> Self {
        let shown = |value: &Value| {
            let mut value = if is_secret(path) { Value::from(CONCEALED) } else { value.clone() };
            conceal(&mut value);
            value
        };
        let weight = weight(path, before, after);
        Self { path: path.to_owned(), before: before.map(shown), after: after.map(shown), weight, note: None }
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// What an item of a list is called.
fn name(item: &Value) -> Option<&str> {
    item.get("name").or_else(|| item.get("address"))?.as_str()
}

/// The items of a list, where every one of them can be told by its name.
fn by_name(list: &[Value]) -> Option<HashMap<&str, &Value>> {
    let items: HashMap<_, _> = list.iter().filter_map(|item| Some((name(item)?, item))).collect();
    (items.len() == list.len()).then_some(items)
}

fn weight(path: &str, before: Option<&Value>, after: Option<&Value>) -> Weight {
    let options = without_names(path);
    let last = options.rsplit('.').next().unwrap_or_default();
    let on = |value: Option<&Value>| value.is_some_and(|value| !is_off(value) && *value != Value::Bool(false));
    if PROTECTIONS.contains(&last) && on(before) && !on(after) {
        return Weight::Unprotected;
    }
    if PROTECTIONS.contains(&last) && !on(before) && on(after) {
        return Weight::Protected;
    }
    if last == "idempotent" {
        return if on(after) { Weight::Looser } else { Weight::Tighter };
    }
    if options.contains("endpoint_breaker.") {
        return weight_of_policy("circuit_breaker", last, before, after);
    }
    if !options.split('.').any(|part| LIMITS.contains(&part)) {
        return Weight::Other;
    }
    Weight::of_amount(true, before.and_then(magnitude), after.and_then(magnitude))
}

/// A path without the names of items of lists, which may look like options.
fn without_names(path: &str) -> String {
    path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}

fn is_off(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text == "off")
}

impl fmt::Display for OptionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{}: {} -> {}", self.path, short(before), short(after)),
            (None, Some(Value::Object(_))) => write!(f, "{}: added", self.path),
            (None, Some(after)) => write!(f, "{}: added {}", self.path, short(after)),
            (Some(_), None) => write!(f, "{}: removed", self.path),
            (None, None) => f.write_str(&self.path),
        }?;
        match &self.note {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

/// A value in one short line.
fn short(value: &Value) -> String {
    const LONGEST: usize = 100;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => "{...}".into(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests;
    use super::*;

    fn loaded(change: impl FnOnce(&mut Value)) -> Loaded {
        let mut document = json!({
            "listeners": [{ "address": "127.0.0.1:80" }],
            "upstreams": { "app": { "endpoints": ["127.0.0.1:1", "127.0.0.1:2"] } },
            "routes": [{ "name": "all", "upstream": "app" }],
        });
        change(&mut document);
        tests::loaded(document)
    }

    fn lines(change: impl FnOnce(&mut Value)) -> Vec<(Weight, String)> {
        let found = changed(&loaded(|_| {}), &loaded(change));
        found.into_iter().map(|option| (option.weight, option.to_string())).collect()
    }

    #[test]
    fn defaults_count_as_written() {
        assert_eq!(lines(|document| document["routes"][0]["priority"] = json!(0)), []);
    }

    #[test]
    fn what_protects_no_more_comes_first() {
        let found = lines(|document| {
            document["upstreams"]["app"]["balance"] = json!("least_requests");
            document["upstreams"]["app"]["outlier"] = json!("off");
        });
        assert_eq!(found[0].0, Weight::Unprotected);
        assert_eq!(found[0].1, "upstreams.app.outlier: {...} -> off");
        assert_eq!(found[1], (Weight::Other, "upstreams.app.balance: round_robin -> least_requests".into()));
    }

    #[test]
    fn a_guard_of_keys_is_found_among_the_filters() {
        let limit = json!({ "rate_limit": { "token_bucket": { "rate": 5 } } });
        let guarded = |options: Value| {
            loaded(|document| document["routes"][0]["filters"] = json!([limit, { "idempotency": options }]))
        };
        let guard = guarded(json!({ "by": ["path"] }));
        let shown = |found: Vec<OptionChange>| -> Vec<_> {
            found.into_iter().map(|option| (option.weight, option.to_string())).collect()
        };
        let gone = shown(changed(&guard, &loaded(|_| {})));
        assert_eq!(gone, [(Weight::Unprotected, "routes[all].idempotency: removed".to_owned())]);
        let found = shown(changed(&guard, &guarded(json!({ "by": ["path"], "keep": "1h", "max_body": "1KiB" }))));
        let expected = [
            (Weight::Tighter, "routes[all].idempotency.max_body: 64KiB -> 1KiB".to_owned()),
            (Weight::Other, "routes[all].idempotency.keep: 24h -> 1h".to_owned()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn limits_are_told_apart_by_what_they_allow() {
        let found = lines(|document| {
            document["listeners"][0]["limits"] = json!({ "body": "10MiB" });
            document["upstreams"]["app"]["timeouts"] = json!({ "response": "off" });
            document["upstreams"]["app"]["pool"] = json!({ "idle_timeout": "2h" });
        });
        let weights: Vec<_> = found.iter().map(|(weight, _)| *weight).collect();
        assert_eq!(weights, [Weight::Tighter, Weight::Looser, Weight::Looser], "{found:?}");
        assert_eq!(found[0].1, "listeners[127.0.0.1:80].limits.body: 1GiB -> 10MiB");
    }

    #[test]
    fn a_secret_that_changes_is_not_shown() {
        let balance = |key| json!({ "sticky_cookie": { "name": "at", "key": key } });
        let one = loaded(|document| document["upstreams"]["app"]["balance"] = balance("hidden-one"));
        let other = loaded(|document| document["upstreams"]["app"]["balance"] = balance("hidden-other"));
        let found = changed(&one, &other);
        assert_eq!(found[0].to_string(), "upstreams.app.balance.sticky_cookie.key: (secret) -> (secret)");
        let found = format!("{:?}", changed(&loaded(|_| {}), &other));
        assert!(found.contains("sticky_cookie") && !found.contains("hidden"), "{found}");
    }

    #[test]
    fn items_that_come_and_go_are_called_by_name() {
        let found = lines(|document| {
            document["routes"]
                .as_array_mut()
                .expect("a list")
                .push(json!({ "match": { "path": "/x" }, "upstream": "app" }));
            document["upstreams"]["app"]["endpoints"] = json!(["127.0.0.1:2", "127.0.0.1:3"]);
        });
        let texts: Vec<_> = found.iter().map(|(_, text)| text.as_str()).collect();
        let expected = [
            "routes[path /x]: added",
            "upstreams.app.endpoints[127.0.0.1:1]: removed",
            "upstreams.app.endpoints[127.0.0.1:3]: added",
        ];
        let mut sorted = texts.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
    }
}
