//! Rate limiter: so many calls in a time, altogether or for each key.
//!
//! | algorithm | admits | state |
//! |---|---|---|
//! | token bucket | a steady rate, and a burst after a pause | one number (`bucket`) |
//! | leaky bucket | a steady rate, with calls that wait for their turn | one number (`bucket`) |
//! | fixed window | so many in each window of the clock; up to twice as many around its edge | one number (`window`) |
//! | sliding window | so many in any window: exactly for small limits, and weighing the last window for large ones | a log (`log`); one number (`window`) |
//!
//! A [`RateLimiter`] counts all calls together (`policy`), in one atomic word that also survives changes of the limit
//! (`cell`). A [`KeyedRateLimiter`] counts those of each key (`keyed`), in the bounded memory of a sharded table
//! (`shard`, `key`). What both do around a decision is in `shell`.
//!
//! Invariant: never is more admitted than the limit says. Not by a reading of the clock that is outdated when it is
//! acted upon, nor by a clock that jumps; not by a refund, nor a change of limits; and not to a key because it was forgotten.

mod bucket;
mod cell;
mod key;
mod keyed;
mod log;
mod options;
mod policy;
mod shard;
mod shell;
mod state;
mod window;

#[cfg(all(test, tidegate_models))]
mod models;
#[cfg(all(test, not(tidegate_models)))]
mod tests;

pub use keyed::{KeyedRateLimitStats, KeyedRateLimiter};
pub use options::{FixedWindow, LeakyBucket, RateLimitOptions, SlidingWindow, TokenBucket};
pub use policy::{RateLimitStats, RateLimiter};
pub use shell::RateLimitStatus;
