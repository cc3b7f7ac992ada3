//! Whether a policy can be forgotten, because a new one would act no differently.
//!
//! Asked of the policies of one key, of which nobody makes a call at that moment. Time must heal everything but a
//! decision that was made by hand: what never came to rest would hold its place for ever, and a flood of keys that each
//! fail once would fill the table for good.

use crate::circuit_breaker::CircuitBreaker;
use crate::clock::Moment;
use crate::event::CircuitState;
use crate::policies::Step;

/// Whether nothing is lost with this policy, except what it has learnt in order to be quicker.
pub(super) fn is_at_rest(step: &Step, now: Moment) -> bool {
    match step {
        Step::RateLimit(limiter) => limiter.status().reset_after.is_zero(),
        Step::CircuitBreaker(breaker) => has_healed(breaker, now),
        Step::Bulkhead(bulkhead) => bulkhead.stats().active + bulkhead.stats().queued == 0,
        Step::Adaptive(limit) => limit.stats().in_flight == 0,
        // A new budget allows the floor, and one that has allowed nothing in its window does so too.
        Step::Retry(retry) => retry.stats().budget.withdrawn == 0,
        Step::Hedge(hedge) => hedge.stats().budget.withdrawn == 0,
        _ => true,
    }
}

/// Whether the last failure is so long ago that the circuit would have opened, probed and closed since.
fn has_healed(breaker: &CircuitBreaker, now: Moment) -> bool {
    let (stats, options) = (breaker.stats(), breaker.options());
    let by_hand = matches!(stats.state, CircuitState::ForcedOpen | CircuitState::ForcedClosed);
    let opens = stats.time_until_probe.is_none_or(|time| time.is_zero());
    let rest = options.open_for.saturating_add(options.half_open_for);
    !by_hand && opens && stats.last_failure.is_none_or(|failure| now.since(failure) >= rest)
}
