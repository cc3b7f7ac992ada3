//! What `/healthz?verbose` says of policies.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_resilience::{PolicyOptions, PolicyStats, Registry, RetryBudgetStats};

/// Every policy of the configuration in force, in the order of their names.
pub(super) fn all(registry: &Registry) -> Vec<Value> {
    let mut all = Vec::new();
    registry.for_each_policy(|name, step| {
        let (Some(options), Some(stats)) = (PolicyOptions::of(step), PolicyStats::of(step)) else { return };
        let mut policy = json!({ "name": &**name, "kind": options.kind() });
        if let (Value::Object(policy), Value::Object(figures)) = (&mut policy, figures(&stats)) {
            policy.extend(figures);
        }
        all.push(policy);
    });
    all
}

fn figures(stats: &PolicyStats) -> Value {
    match stats {
        PolicyStats::RateLimit(stats) => json!({ "allowed": stats.allowed, "denied": stats.denied }),
        PolicyStats::KeyedRateLimit(stats) => json!({
            "allowed": stats.calls.allowed,
            "denied": stats.calls.denied,
            "keys": stats.keys,
            "max_keys": stats.max_keys,
        }),
        PolicyStats::CircuitBreaker(stats) => json!({
            "state": stats.state.as_str(),
            "probes_in_ms": stats.time_until_probe.map(millis),
            "calls_in_window": stats.window_calls,
            "failure_rate": stats.failure_rate,
            "slow_call_rate": stats.slow_call_rate,
            "failures_in_a_row": stats.consecutive_failures,
            "rejected": stats.rejected,
        }),
        PolicyStats::Bulkhead(stats) => json!({
            "active": stats.active,
            "max_concurrent": stats.max_concurrent,
            "queued": stats.queued,
            "admitted": stats.admitted,
            "rejected": stats.rejected,
            "timed_out": stats.timed_out,
        }),
        PolicyStats::Adaptive(stats) => json!({
            "in_flight": stats.in_flight,
            "limit": stats.limit,
            "admitted": stats.admitted,
            "rejected": stats.rejected.iter().sum::<u64>(),
            "latency_ms": stats.latency.map(millis),
        }),
        PolicyStats::Timeout(stats) => json!({
            "expired": { "attempt": stats.attempts, "total": stats.totals, "deadline": stats.deadlines },
        }),
        PolicyStats::Retry(stats) => json!({
            "retried": stats.retries,
            "recovered": stats.recovered,
            "exhausted": stats.exhausted,
            "budget": budget(&stats.budget),
        }),
        PolicyStats::Hedge(stats) => json!({
            "started": stats.started,
            "won": stats.won,
            "delay_ms": millis(stats.delay),
            "budget": budget(&stats.budget),
        }),
        PolicyStats::Chaos(stats) => json!({
            "delayed": stats.delayed,
            "aborted": stats.aborted,
            "faulted": stats.faulted,
        }),
        _ => json!({}),
    }
}

/// Null where it has no limit.
fn budget(stats: &RetryBudgetStats) -> Value {
    if stats.available == u64::MAX {
        return Value::Null;
    }
    json!({
        "calls_in_window": stats.calls,
        "withdrawn": stats.withdrawn,
        "available": stats.available,
        "refused": stats.refused,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tidegate_resilience::{Document, Environment, Guard};

    use super::*;

    #[test]
    fn every_kind_says_how_it_is() {
        let document: Document = serde_json::from_value(json!({
            "policies": {
                "a": { "rate_limit": { "fixed_window": { "limit": 10, "window": "60s" } } },
                "b": { "keyed_rate_limit": { "fixed_window": { "limit": 10, "window": "60s" } } },
                "c": { "circuit_breaker": { "consecutive_failures": 1, "open_for": "60s" } },
                "d": { "bulkhead": { "max_concurrent": 2 } },
                "e": { "adaptive": {} },
                "f": { "timeout": { "total": "1s" } },
                "g": { "retry": { "attempts": 2 } },
                "h": { "hedge": {} },
                "i": { "chaos": {} },
                "j": { "retry": { "attempts": 2, "budget": "off" } },
            },
        }))
        .expect("a document");
        let registry = Registry::new(&document, &Environment::default()).expect("valid");
        registry.circuit_breaker("c").expect("there").try_acquire().expect("closed").failure();
        let bulkhead = registry.bulkhead("d").expect("there");
        let held = bulkhead.try_acquire().expect("room");
        let all = all(&registry);
        let kinds: Vec<_> = all.iter().filter_map(|policy| policy["kind"].as_str()).collect();
        let expected = "rate_limit keyed_rate_limit circuit_breaker bulkhead adaptive timeout retry hedge chaos retry";
        assert_eq!(kinds.join(" "), expected);
        assert!(all.iter().all(|policy| policy.as_object().is_some_and(|fields| fields.len() > 2)), "{all:?}");
        let (breaker, bulkhead) = (&all[2], &all[3]);
        assert_eq!(
            (&breaker["name"], &breaker["state"], &breaker["rejected"]),
            (&json!("c"), &json!("open"), &json!(0))
        );
        assert!(breaker["probes_in_ms"].as_u64().is_some_and(|millis| millis <= 60_000), "{breaker}");
        assert_eq!((&bulkhead["active"], &bulkhead["queued"]), (&json!(1), &json!(0)));
        assert_eq!((&all[6]["budget"]["available"], &all[9]["budget"]), (&json!(30), &Value::Null));
        held.success();
    }
}
