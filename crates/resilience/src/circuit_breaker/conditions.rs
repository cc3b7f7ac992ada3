//! The arithmetic of a circuit breaker: whether it opens, for how long, and what share of calls a ramp lets through.

use std::time::Duration;

use crate::event::CircuitReason;
use crate::units::Ratio;
use crate::window::Counts;

use super::options::CircuitBreakerOptions;

/// The share of calls that go through when a ramp begins.
const RAMP_FROM: f64 = 0.1;

/// Why the circuit is to open now, if it is: the conditions in the order of their options.
pub(super) fn trips(options: &CircuitBreakerOptions, consecutive: u64, counts: Counts) -> Option<CircuitReason> {
    if options.consecutive_failures.is_some_and(|most| consecutive >= u64::from(most)) {
        return Some(CircuitReason::ConsecutiveFailures);
    }
    if counts.calls < u64::from(options.min_calls) {
        return None;
    }
    let reaches = |part, share: Option<Ratio>| share.is_some_and(|share| rate(part, counts.calls) >= share.get());
    if reaches(counts.failed, options.failure_rate) {
        Some(CircuitReason::FailureRate)
    } else if reaches(counts.slow, options.slow_call_rate) {
        Some(CircuitReason::SlowCallRate)
    } else {
        None
    }
}

/// The share of `part` in `calls`; nothing of nothing is nothing.
#[expect(clippy::cast_precision_loss, reason = "a share of more than 2^53 calls need not be exact")]
pub(super) fn rate(part: u64, calls: u64) -> f64 {
    if calls == 0 { 0.0 } else { part as f64 / calls as f64 }
}

/// How long the circuit stays open, after it has opened so many times without closing, for this chance from 0 to 1.
pub(super) fn open_time(options: &CircuitBreakerOptions, reopenings: u32, chance: f64) -> Duration {
    let growth = options.open_growth.powi(i32::try_from(reopenings).unwrap_or(i32::MAX));
    let seconds = (options.open_for.as_secs_f64() * growth).min(options.open_max.as_secs_f64());
    let jitter = 1.0 + options.open_jitter.get() * (2.0 * chance - 1.0);
    Duration::from_secs_f64(seconds * jitter).max(Duration::from_millis(1))
}

/// The share of calls that go through so long after closing.
pub(super) fn ramp_share(ramp: Duration, since_closing: Duration) -> f64 {
    let progress = (since_closing.as_secs_f64() / ramp.as_secs_f64()).min(1.0);
    RAMP_FROM + (1.0 - RAMP_FROM) * progress
}
