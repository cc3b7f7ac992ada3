//! Timeout: how long a call, and each of its attempts, may take.
//!
//! A timeout has up to two limits. `attempt` ends one attempt, which a retry outside of it may follow with another;
//! `total` ends the call with all its attempts and waits, and becomes the [deadline](crate::Deadline) of what it calls.
//!
//! It never watches the time itself: who runs the call asks for the limits, and says when one has passed.

mod options;
mod policy;

pub use options::TimeoutOptions;
pub use policy::{Timeout, TimeoutKind, TimeoutStats};

#[cfg(all(test, not(tidegate_models)))]
mod tests;
