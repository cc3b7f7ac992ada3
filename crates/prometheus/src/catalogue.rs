//! The one table of what is shown: names, meanings, and where each number comes from.
//!
//! Names follow the naming conventions of Prometheus: base units, and `_total` (added by the encoder) for counters.

use std::time::Duration;

use tidegate_resilience::{CircuitState, PolicyStats, Priority, RetryBudgetStats};

/// The label that every metric has: the name of the policy.
pub(crate) const POLICY: &str = "policy";

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows for as long as the policy lives.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Without the `_total` of counters.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    /// What its cases are cases of, where it has several.
    pub(crate) label: Option<&'static str>,
    values: fn(&PolicyStats) -> Option<Values>,
}

/// Numbers, each with its case.
type Values = Vec<(&'static str, f64)>;

impl Metric {
    /// The name that its samples bear: that of a counter ends in `_total`.
    pub fn exposed_name(&self) -> String {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{suffix}", self.name)
    }

    /// What kind of number it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What it says.
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// The labels of its samples.
    pub fn labels(&self) -> impl Iterator<Item = &'static str> {
        [POLICY].into_iter().chain(self.label)
    }

    /// The samples of one policy: each with its case, where there are several.
    pub(crate) fn samples(&self, stats: &PolicyStats) -> Vec<(Option<&'static str>, f64)> {
        let values = (self.values)(stats).unwrap_or_default();
        values.into_iter().map(|(case, value)| (self.label.map(|_| case), value)).collect()
    }
}

/// Declares a metric of one kind of policy.
macro_rules! metric {
    ($name:literal $kind:ident $help:literal, $label:expr, $policy:ident($stats:ident) => [$($case:literal: $value:expr),* $(,)?]) => {
        Metric {
            name: $name,
            kind: Kind::$kind,
            help: $help,
            label: $label,
            values: |stats| match stats {
                PolicyStats::$policy($stats) => Some(vec![$(($case, $value)),*]),
                _ => None,
            },
        }
    };
}

/// Declares a metric of the budget that retries and hedges have.
macro_rules! budget {
    ($name:literal $kind:ident $help:literal, $stats:ident => $value:expr) => {
        Metric {
            name: $name,
            kind: Kind::$kind,
            help: $help,
            label: None,
            values: |stats| budget(stats).map(|$stats| vec![("", count($value))]),
        }
    };
}

/// All metrics, in the order in which they are shown.
pub static CATALOGUE: &[Metric] = &[
    Metric {
        name: "tidegate_circuit_breaker_state",
        kind: Kind::Gauge,
        help: "1 for the state that the circuit is in, 0 for the others",
        label: Some("state"),
        values: |stats| match stats {
            PolicyStats::CircuitBreaker(stats) => {
                Some(CircuitState::ALL.map(|state| (state.as_str(), flag(state == stats.state))).to_vec())
            }
            _ => None,
        },
    },
    metric!("tidegate_circuit_breaker_calls" Counter "Calls by what came of them", Some("result"), CircuitBreaker(stats) => [
        "succeeded": count(stats.succeeded), "failed": count(stats.failed), "rejected": count(stats.rejected),
    ]),
    metric!("tidegate_circuit_breaker_slow_calls" Counter "Calls that were slow", None, CircuitBreaker(stats) => ["": count(stats.slow)]),
    metric!("tidegate_circuit_breaker_state_changes" Counter "How often the state has changed", None, CircuitBreaker(stats) => ["": stats.generation.into()]),
    metric!("tidegate_circuit_breaker_failure_ratio" Gauge "The share of failures in the window", None, CircuitBreaker(stats) => ["": stats.failure_rate]),
    metric!("tidegate_circuit_breaker_slow_ratio" Gauge "The share of slow calls in the window", None, CircuitBreaker(stats) => ["": stats.slow_call_rate]),
    metric!("tidegate_rate_limiter_calls" Counter "Calls of a limiter without keys by its answer", Some("result"), RateLimit(stats) => [
        "allowed": count(stats.allowed), "denied": count(stats.denied),
    ]),
    metric!("tidegate_keyed_rate_limiter_calls" Counter "Calls of a limiter with keys by its answer", Some("result"), KeyedRateLimit(stats) => [
        "allowed": count(stats.calls.allowed), "denied": count(stats.calls.denied),
    ]),
    metric!("tidegate_keyed_rate_limiter_keys" Gauge "Keys that are followed", None, KeyedRateLimit(stats) => ["": count(stats.keys)]),
    metric!("tidegate_keyed_rate_limiter_max_keys" Gauge "Keys that can be followed", None, KeyedRateLimit(stats) => ["": count(stats.max_keys)]),
    metric!("tidegate_keyed_rate_limiter_evicted" Counter "Keys that gave way to new ones", None, KeyedRateLimit(stats) => ["": count(stats.evicted)]),
    metric!("tidegate_keyed_rate_limiter_crowded" Counter "Calls of keys for which there was no place", None, KeyedRateLimit(stats) => ["": count(stats.crowded)]),
    metric!("tidegate_bulkhead_calls" Counter "Calls by what became of them", Some("result"), Bulkhead(stats) => [
        "admitted": count(stats.admitted), "rejected": count(stats.rejected), "timed_out": count(stats.timed_out),
        "cleared": count(stats.cleared),
    ]),
    metric!("tidegate_bulkhead_active" Gauge "Calls that run", None, Bulkhead(stats) => ["": stats.active.into()]),
    metric!("tidegate_bulkhead_queued" Gauge "Calls that wait", None, Bulkhead(stats) => ["": stats.queued.into()]),
    metric!("tidegate_bulkhead_max_concurrent" Gauge "Calls that may run at a time", None, Bulkhead(stats) => ["": stats.max_concurrent.into()]),
    metric!("tidegate_bulkhead_wait_seconds" Counter "How long all calls together have waited", None, Bulkhead(stats) => ["": stats.total_wait.as_secs_f64()]),
    metric!("tidegate_adaptive_limit" Gauge "Calls that may run at a time now", None, Adaptive(stats) => ["": stats.limit.into()]),
    metric!("tidegate_adaptive_in_flight" Gauge "Calls that run", None, Adaptive(stats) => ["": stats.in_flight.into()]),
    metric!("tidegate_adaptive_admitted" Counter "Calls that were admitted", None, Adaptive(stats) => ["": count(stats.admitted)]),
    metric!("tidegate_adaptive_rejected" Counter "Calls that were rejected, by their priority", Some("priority"), Adaptive(stats) => [
        "background": count(stats.rejected_of(Priority::Background)), "normal": count(stats.rejected_of(Priority::Normal)),
        "high": count(stats.rejected_of(Priority::High)), "critical": count(stats.rejected_of(Priority::Critical)),
    ]),
    metric!("tidegate_adaptive_latency_seconds" Gauge "The latency of calls: of late, and without load", Some("kind"), Adaptive(stats) => [
        "recent": seconds(stats.latency), "no_load": seconds(stats.no_load_latency),
    ]),
    metric!("tidegate_retry_events" Counter "Further attempts, and why there were no more", Some("event"), Retry(stats) => [
        "retried": count(stats.retries), "recovered": count(stats.recovered), "exhausted": count(stats.exhausted),
        "budget_exhausted": count(stats.budget_exhausted),
    ]),
    budget!("tidegate_retry_budget_calls" Gauge "Original calls in the window of the budget of a retry or hedge", stats => stats.calls),
    budget!("tidegate_retry_budget_withdrawn" Gauge "Retries and hedges in the window of the budget", stats => stats.withdrawn),
    budget!("tidegate_retry_budget_available" Gauge "How many more retries and hedges the budget allows now", stats => stats.available),
    budget!("tidegate_retry_budget_refused" Counter "Retries and hedges that the budget did not allow", stats => stats.refused),
    metric!("tidegate_timeout_expired" Counter "What took too long", Some("limit"), Timeout(stats) => [
        "attempt": count(stats.attempts), "total": count(stats.totals), "deadline": count(stats.deadlines),
    ]),
    metric!("tidegate_hedge_copies" Counter "Copies of slow calls", Some("event"), Hedge(stats) => [
        "started": count(stats.started), "won": count(stats.won), "refused": count(stats.refused),
    ]),
    metric!("tidegate_hedge_delay_seconds" Gauge "How long a call takes before it is copied", None, Hedge(stats) => ["": stats.delay.as_secs_f64()]),
    metric!("tidegate_chaos_injected" Counter "What was done on purpose", Some("kind"), Chaos(stats) => [
        "delayed": count(stats.delayed), "aborted": count(stats.aborted), "faulted": count(stats.faulted),
    ]),
];

/// The budget of a policy that has one. Nothing where it has no limit: then nothing is counted in it either.
fn budget(stats: &PolicyStats) -> Option<RetryBudgetStats> {
    let budget = match stats {
        PolicyStats::Retry(stats) => stats.budget,
        PolicyStats::Hedge(stats) => stats.budget,
        _ => return None,
    };
    (budget.available != u64::MAX).then_some(budget)
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and Prometheus has no other numbers")]
fn count(number: u64) -> f64 {
    number as f64
}

/// Zero where there is none yet.
fn seconds(time: Option<Duration>) -> f64 {
    time.unwrap_or_default().as_secs_f64()
}
