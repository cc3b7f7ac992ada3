//! Circuit breaker: stops calling what fails, and probes whether it has recovered.
//!
//! Closed, it lets calls through and counts what comes of them. It opens on whichever condition is met first: so many
//! failures one after the other, too large a share of failures, or too large a share of slow calls in a window that
//! slides. Open, it rejects until its time is over. Then a few probes go through, never more at once than allowed and
//! never more than are needed; enough successes close it, any failure opens it again, perhaps for longer.
//!
//! Every change of state is a new generation. A result that arrives from an earlier one changes nothing.

mod conditions;
mod gate;
#[cfg(all(test, tidegate_models))]
mod models;
mod options;
mod policy;
mod state;
#[cfg(all(test, not(tidegate_models)))]
mod tests;

pub use options::{BreakerWindow, CircuitBreakerOptions};
pub use policy::{CircuitBreaker, CircuitBreakerStats};
