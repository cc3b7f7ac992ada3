//! What is different between the options of two policies of one kind, and what that means.

use serde_json::{Map, Value};

use super::acting::LIMIT;
use super::weight::{Weight, magnitude};
use crate::policies::shown;

/// Options of a policy, with every default.
pub(super) type Options = Map<String, Value>;

/// Compares options of one kind, and tells what differs as `path before -> after`.
pub(super) fn compare(
    kind: &str,
    path: &str,
    before: &Options,
    after: &Options,
    tell: &mut impl FnMut(Weight, String),
) {
    for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (before.get(key), after.get(key)) {
            (one, other) if one == other => {}
            (Some(Value::Object(one)), Some(Value::Object(other))) if key == "token_bucket" => {
                compare(kind, &path, &with_burst(one, other), &with_burst(other, one), tell);
            }
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

/// A token bucket with its burst, which is its rate where none is written, if that of the other one is.
fn with_burst(bucket: &Options, other: &Options) -> Options {
    let mut bucket = bucket.clone();
    if other.contains_key("burst") && !bucket.contains_key("burst") {
        bucket.extend(bucket.get("rate").cloned().map(|rate| ("burst".to_owned(), rate)));
    }
    bucket
}

/// Whether two maps differ in options, and not in what they are.
fn is_same_thing(one: &Options, other: &Options) -> bool {
    ["strategy", "kind"].iter().all(|tag| one.get(*tag) == other.get(*tag)) && one.keys().eq(other.keys())
}

/// Options that allow more the larger they are.
const MORE: [&str; 25] = [
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
    "ipv6_prefix",
    "retry_after_cap",
    "budget",
    "end",
];

/// Options that allow less the larger they are.
const LESS: [&str; 7] = ["open_for", "open_max", "success_threshold", "per", "percentile", "delay", "cost"];

/// Options of a hedge or a window that have the names of others.
fn allows_more(kind: &str, option: &str) -> Option<bool> {
    match (kind, option) {
        ("chaos", _) => None,
        ("retry", "delay") => None,
        ("rate_limit" | "keyed_rate_limit" | LIMIT, "window") => Some(false),
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
