//! Adaptive concurrency: a limit on calls at a time that finds itself, and that sheds the least important first.
//!
//! A service that has more to do than it can takes longer for everything, until nobody waits for its answers any more.
//! By Little's law, what it can do at a time is its throughput times its latency; both change from day to day, so no
//! fixed number is right. Instead the limit follows the latency: while that is what it is without load, the limit
//! grows, and once calls begin to queue, it shrinks ("Performance Under Load", Netflix, 2018).
//!
//! How it is built: the number of calls and what was measured of them stand in a few atomics (`meter.rs`), and at the end
//! of a window one of the threads takes what was measured to the core (`state.rs`), which decides the next limit. Nobody
//! ever waits for it.
//!
//! It never waits or queues: what is too much is rejected at once, and whoever asked can go elsewhere. And it never
//! judges by quick failures: a service that refuses everything within a millisecond is not a quick service.

mod meter;
mod options;
mod policy;
mod state;

#[cfg(all(test, tidegate_models))]
mod models;
#[cfg(all(test, not(tidegate_models)))]
mod tests;

pub use options::{AdaptiveAlgorithm, AdaptiveOptions, Aimd, Gradient, PriorityShares, Vegas};
pub use policy::{Adaptive, AdaptiveStats};
