//! Bulkhead: at most so many calls at a time, and a short queue for those that come too many.
//!
//! What one dependency ties up, it cannot take from the others. A call that finds a place runs; one that finds none
//! waits in a queue of bounded length, first come first served, for a bounded time; all others are rejected at once.
//!
//! How it is built: how many are in, how many may be, and whether anybody waits stand in one word (`state.rs`), so that a
//! call enters with one compare-and-swap and leaves with one subtraction while nobody waits. Who must wait takes a
//! seat in a queue behind a short lock (`gate.rs`). Never does a newcomer enter while somebody waits.
//!
//! Invariant: except in mode `metrics_only`, no call enters while as many as `max_concurrent` are in.

mod gate;
mod options;
mod policy;
mod state;

#[cfg(all(test, tidegate_models))]
mod models;
#[cfg(all(test, not(tidegate_models)))]
mod tests;

pub use options::BulkheadOptions;
pub use policy::{Bulkhead, BulkheadStats};
