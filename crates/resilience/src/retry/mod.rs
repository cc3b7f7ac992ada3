//! Retry: another attempt after a failure that may pass.
//!
//! A retry is right when the failure is transient, when running the call twice does no harm, when there is time left,
//! and when not everybody retries at once. So, in this order: the [classification](crate::Classify) must advise it;
//! attempts must be left; the wait (growing, jittered, or what the other side asked for) must end before the deadline;
//! and the [budget](crate::RetryBudget), which is on by default, must pay for it. A retry that is not made leaves the
//! original error as the result.
//!
//! It never runs anything: who runs the call asks [`Retry::next`] after each attempt.

mod options;
mod policy;
mod state;

pub use options::{Backoff, Jitter, RetryOptions};
pub use policy::{Retry, RetryStats};
pub use state::RetryProgress;

#[cfg(all(test, not(tidegate_models)))]
mod tests;
