//! Circuits that open and close, told in the log.
//!
//! Looked at, not listened to: who subscribes to the events of the policies is told of every call, and each call would
//! have to put that together. A circuit counts its changes, so that none is missed between two looks; only where it was
//! meanwhile is not told.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_resilience::{CircuitBreakerStats, CircuitState, Name, Registry, Step};
use tokio::time::{MissedTickBehavior, interval};

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the library calls it.
const EVENT: &str = "circuit_breaker.state_changed";

/// Follows all circuits for as long as the runtime runs.
pub(super) async fn follow(policies: Registry) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut circuits = Circuits::default();
    loop {
        ticks.tick().await;
        circuits.look(&policies).iter().for_each(Change::log);
    }
}

/// Every circuit as it was at the last look: as many as are configured.
#[derive(Debug, Default)]
struct Circuits {
    seen: BTreeMap<Name, Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: CircuitState,
    /// How often it had changed.
    generation: u32,
}

/// As every circuit begins.
const NEW: Seen = Seen { state: CircuitState::Closed, generation: 0 };

/// What has become of one circuit since the last look.
#[derive(Debug)]
struct Change {
    policy: Name,
    before: Seen,
    stats: CircuitBreakerStats,
}

impl Circuits {
    /// Those that have changed since the last look.
    fn look(&mut self, policies: &Registry) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut seen = BTreeMap::new();
        policies.for_each_policy(|name, step| {
            let Step::CircuitBreaker(breaker) = step else { return };
            let stats = breaker.stats();
            let now = Seen { state: stats.state, generation: stats.generation };
            // One that has changed less often than before is another one of that name.
            let before = self.seen.get(name).filter(|seen| seen.generation <= now.generation);
            let before = before.copied().unwrap_or(NEW);
            if now != before {
                changes.push(Change { policy: name.clone(), before, stats });
            }
            seen.insert(name.clone(), now);
        });
        self.seen = seen;
        changes
    }
}

impl Change {
    fn log(&self) {
        let policy = &*self.policy;
        let (from, to) = (self.before.state.as_str(), self.stats.state.as_str());
        let changes = self.stats.generation.wrapping_sub(self.before.generation);
        let failure_rate = self.stats.failure_rate;
        match self.stats.state {
            CircuitState::Closed => tracing::info!(event = EVENT, policy, from, to, changes, "circuit closed"),
            CircuitState::HalfOpen => tracing::info!(event = EVENT, policy, from, to, changes, "circuit half open"),
            CircuitState::Open => {
                tracing::warn!(event = EVENT, policy, from, to, changes, failure_rate, "circuit open");
            }
            CircuitState::ForcedOpen | CircuitState::ForcedClosed => {
                tracing::warn!(event = EVENT, policy, from, to, changes, "circuit forced");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_resilience::{CircuitBreaker, Environment, Guard, Happening};

    use super::*;

    fn registry() -> (Registry, CircuitBreaker) {
        let document = serde_json::from_value(json!({
            "policies": {
                "db": { "circuit_breaker": { "consecutive_failures": 1 } },
                "quiet": { "circuit_breaker": {} },
                "other": { "timeout": { "total": "1s" } },
            },
        }));
        let registry = Registry::new(&document.expect("a document"), &Environment::default()).expect("valid");
        let breaker = registry.circuit_breaker("db").expect("there");
        (registry, breaker)
    }

    fn told(changes: &[Change]) -> Vec<(&str, CircuitState, CircuitState, u32)> {
        let told = changes.iter().map(|change| {
            let count = change.stats.generation.wrapping_sub(change.before.generation);
            (&*change.policy, change.before.state, change.stats.state, count)
        });
        told.collect()
    }

    #[test]
    fn each_change_is_told_once() {
        let (registry, breaker) = registry();
        let mut circuits = Circuits::default();
        assert_eq!(told(&circuits.look(&registry)), []);
        breaker.try_acquire().expect("closed").failure();
        assert_eq!(told(&circuits.look(&registry)), [("db", CircuitState::Closed, CircuitState::Open, 1)]);
        assert_eq!(told(&circuits.look(&registry)), []);
        breaker.reset();
        assert_eq!(told(&circuits.look(&registry)), [("db", CircuitState::Open, CircuitState::Closed, 1)]);
    }

    #[test]
    fn what_came_and_went_between_two_looks_is_told_too() {
        let (registry, breaker) = registry();
        breaker.try_acquire().expect("closed").failure();
        breaker.reset();
        let changes = Circuits::default().look(&registry);
        assert_eq!(told(&changes), [("db", CircuitState::Closed, CircuitState::Closed, 2)]);
    }

    #[test]
    fn a_circuit_that_took_the_place_of_another_begins_anew() {
        let mut circuits = Circuits::default();
        let (before, breaker) = registry();
        breaker.try_acquire().expect("closed").failure();
        breaker.reset();
        assert_eq!(circuits.look(&before).len(), 1);
        let (after, breaker) = registry();
        breaker.try_acquire().expect("closed").failure();
        assert_eq!(told(&circuits.look(&after)), [("db", CircuitState::Closed, CircuitState::Open, 1)]);
    }

    #[test]
    fn the_event_has_the_name_that_the_library_gives_it() {
        assert!(Happening::NAMES.contains(&EVENT));
    }
}
