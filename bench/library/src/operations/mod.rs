//! The table of operations, one file for each group of them.
//!
//! Ours is the first contender of each. Where a rival has no two-step form, its tower service around a future that is
//! ready stands for it, and says so in its name; rows "around a ready future" compare like with like.

mod adaptive;
mod breaker;
mod bulkhead;
mod events;
mod hedge;
mod keys;
pub mod memory;
mod pipeline;
mod pool;
mod rate_limit;
mod registry;
mod retry;
mod threads;
mod timeout;

use tidegate_resilience::{Call, Guard, Permit};

use crate::contest::Operation;

/// All operations, in the order in which they are reported.
pub fn all() -> Vec<Operation> {
    [
        breaker::operations(),
        rate_limit::operations(),
        bulkhead::operations(),
        adaptive::operations(),
        registry::operations(),
        events::operations(),
        retry::operations(),
        timeout::operations(),
        hedge::operations(),
        pool::operations(),
        pipeline::operations(),
        threads::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether a guard of ours admits a call at once; the call is then a success.
fn succeeds(guard: &impl Guard) -> bool {
    guard.try_acquire().map(Permit::success).is_ok()
}

/// The same for a call with a key.
fn succeeds_for(guard: &impl Guard, key: &str) -> bool {
    guard.try_acquire_for(&Call::new().key(key)).map(Permit::success).is_ok()
}
