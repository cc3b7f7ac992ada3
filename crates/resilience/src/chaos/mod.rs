//! Chaos: delays and failures on purpose, to see what the policies around a call do about them.
//!
//! It is off unless it is switched on, and then hits a share of the calls: all of them, those with certain keys, or
//! those that a function picks; always, or between two times. An *abort* ends a call before it begins. A *latency*
//! makes it wait first. A *fault* is asked for by the call itself, at the place where it could fail.

mod options;
mod policy;
mod state;

pub use options::{ChaosFault, ChaosLatency, ChaosOptions};
pub use policy::{Chaos, ChaosStats};

#[cfg(all(test, not(tidegate_models)))]
mod tests;
