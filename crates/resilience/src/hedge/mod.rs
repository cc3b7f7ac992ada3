//! Hedge: a second copy of a call that is slow, and the first answer wins.
//!
//! Most calls of a service are quick and a few take very long, for reasons that a second try would not meet (Dean and
//! Barroso, "The Tail at Scale", 2013). A copy that starts once a call is slower than 95% of the recent ones cuts that
//! tail and costs 5% more calls. It must do no harm: only [idempotent](crate::Call::idempotent) calls are copied, and
//! every copy is charged to a [budget](crate::RetryBudget), so that a service that is slow for all calls is not asked
//! twice for each.
//!
//! It never runs anything: who runs the call asks when to start a copy, and drops the slower ones.

mod latency;
mod options;
mod policy;

pub use options::HedgeOptions;
pub use policy::{Hedge, HedgeProgress, HedgeStats};

#[cfg(all(test, not(tidegate_models)))]
mod tests;
