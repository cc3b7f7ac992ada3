//! The options of a policy in one line: those that matter most, and those that are not the default.

use serde_json::{Map, Value};
use tidegate_resilience::PolicyOptions;

/// What is always said of each kind, in this order. `rate_limit` says all that it has.
const ALWAYS: [(&str, &[&str]); 7] = [
    ("timeout", &["total", "attempt"]),
    ("retry", &["attempts", "backoff"]),
    ("circuit_breaker", &["consecutive_failures", "failure_rate", "min_calls", "open_for"]),
    ("bulkhead", &["max_concurrent", "queue", "max_wait"]),
    ("adaptive", &["initial", "min", "max"]),
    ("hedge", &["percentile", "delay", "max"]),
    ("chaos", &["mode", "latency", "abort"]),
];

/// The options of a policy as a map, with every default.
pub(crate) fn written(options: &PolicyOptions) -> Map<String, Value> {
    let written = serde_json::to_value(options).unwrap_or_default();
    written.get(options.kind()).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The options of a policy that nobody has said anything about; nothing where there is none.
fn defaults(kind: &str) -> Map<String, Value> {
    let mut nothing_said = Map::new();
    nothing_said.insert(kind.to_owned(), Value::Object(Map::new()));
    let options = serde_json::from_value::<PolicyOptions>(Value::Object(nothing_said));
    options.map(|options| written(&options)).unwrap_or_default()
}

/// Such as `attempts 3, backoff exponential (base 100ms, factor 2, cap 10s), budget (...)`.
pub(crate) fn line(options: &PolicyOptions) -> String {
    let (kind, written) = (options.kind(), written(options));
    let defaults = defaults(kind);
    let always = ALWAYS.iter().find(|(other, _)| *other == kind).map_or(&[][..], |(_, always)| always);
    let first = always.iter().filter_map(|option| Some((*option, written.get(*option)?)));
    let rest = written.iter().map(|(option, value)| (option.as_str(), value));
    let rest = rest.filter(|(option, value)| !always.contains(option) && defaults.get(*option) != Some(value));
    let parts: Vec<_> = first.chain(rest).map(|(option, value)| format!("{option} {}", shown(value))).collect();
    parts.join(", ")
}

/// A value as people read it: no braces, no quotes, and the kind of a thing before what is said of it.
pub(crate) fn shown(value: &Value) -> String {
    const KINDS: [&str; 2] = ["strategy", "kind"];
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "off".to_owned(),
        Value::Number(number) => match number.as_f64() {
            Some(whole) if !number.is_f64() || whole.fract() != 0.0 => number.to_string(),
            Some(whole) => format!("{whole}"),
            None => number.to_string(),
        },
        Value::Object(map) => {
            let kind = KINDS.iter().find_map(|kind| map.get(*kind));
            let parts = map.iter().filter(|(option, _)| !KINDS.contains(&option.as_str()));
            let parts: Vec<_> = parts.map(|(option, value)| format!("{option} {}", shown(value))).collect();
            match kind {
                Some(kind) => format!("{} ({})", shown(kind), parts.join(", ")),
                None => format!("({})", parts.join(", ")),
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line_of(options: Value) -> String {
        line(&serde_json::from_value(options).expect("options of a policy"))
    }

    #[test]
    fn what_matters_is_said_and_what_is_the_default_is_not() {
        for (options, expected) in [
            (json!({ "timeout": {} }), "total 30s, attempt off"),
            (json!({ "bulkhead": { "max_concurrent": 64 } }), "max_concurrent 64, queue 0, max_wait 100ms"),
            (
                json!({ "circuit_breaker": { "open_for": "5s", "probes": 1 } }),
                "consecutive_failures 5, failure_rate 50%, min_calls 20, open_for 5s, probes 1",
            ),
            (json!({ "rate_limit": { "token_bucket": { "rate": 200 } } }), "token_bucket (rate 200, per 1s)"),
            (
                json!({ "retry": { "backoff": { "strategy": "constant", "delay": "1s" }, "budget": "off" } }),
                "attempts 3, backoff constant (delay 1s), budget off",
            ),
            (json!({ "chaos": {} }), "mode disabled, latency off, abort off"),
        ] {
            assert_eq!(line_of(options.clone()), expected, "{options}");
        }
    }

    #[test]
    fn a_policy_that_only_watches_says_so() {
        let text = line_of(json!({ "bulkhead": { "mode": "metrics_only" } }));
        assert_eq!(text, "max_concurrent 25, queue 0, max_wait 100ms, mode metrics_only");
    }
}
