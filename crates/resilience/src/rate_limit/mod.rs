//! Rate limiter: so many calls in a time, altogether or for each key.
//!
//! | algorithm | admits | state |
//! |---|---|---|
//! | token bucket | a steady rate, and a burst after a pause | one word (GCRA, ATM Forum TM 4.0 section 4.4) |
//! | leaky bucket | a steady rate, with calls that wait for their turn | one word |
//! | fixed window | so many in each window of the clock; up to twice as many around its edge | one word |
//! | sliding window | so many in any window: exactly for small limits, and weighing the last window for large ones | a log; one word |
//!
//! A [`RateLimiter`] counts all calls together, a [`KeyedRateLimiter`] those of each key, in bounded memory. No key
//! gains anything by being forgotten: only keys that have all of their quota back are.

mod keyed;
mod meter;
mod options;
mod policy;
mod state;

pub use keyed::{KeyedRateLimitStats, KeyedRateLimiter};
pub use options::{FixedWindow, LeakyBucket, RateLimitOptions, SlidingWindow, TokenBucket};
pub use policy::{RateLimitStats, RateLimitStatus, RateLimiter};
