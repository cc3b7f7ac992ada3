//! Resilience for any async call.

mod budget;
mod adaptive;
mod bulkhead;
mod call;
mod chaos;
mod clock;
mod deadline;
mod error;
mod event;
mod fallback;
mod hedge;
mod name;
mod outcome;
mod policy;
mod pool;
mod random;
mod retry;
mod sync;
mod timeout;
mod units;

pub use budget::{RetryBudget, RetryBudgetOptions, RetryBudgetStats};
pub use adaptive::{
    Adaptive, AdaptiveAlgorithm, AdaptiveOptions, AdaptiveStats, Aimd, Gradient, PriorityShares, Vegas,
};
pub use bulkhead::{Bulkhead, BulkheadOptions, BulkheadStats};
pub use call::{Call, Priority};
pub use chaos::{Chaos, ChaosFault, ChaosLatency, ChaosOptions, ChaosStats};
pub use clock::{Clock, ManualClock, Moment, Reading, Sleep};
pub use deadline::{Deadline, EnteredDeadline};
pub use error::{Code, Context, Error, InvalidOption, Rejection, Severity};
pub use event::{CircuitReason, CircuitState, Emitter, Event, Events, Happening, Listener};
pub use fallback::{Fallback, FallbackStats};
pub use hedge::{Hedge, HedgeOptions, HedgeProgress, HedgeStats};
pub use name::Name;
pub use outcome::{ByResult, Classify, Outcome, RetryAdvice, Verdict};
pub use policy::{Admission, Environment, Guard, Mode, Permit, Queued, Ticket};
pub use pool::{Manage, Pool, PoolOptions, PoolOrder, PoolStats, Pooled};
pub use random::Random;
pub use retry::{Backoff, Jitter, Retry, RetryOptions, RetryProgress, RetryStats};
pub use timeout::{Timeout, TimeoutKind, TimeoutOptions, TimeoutStats};
pub use units::{Ratio, duration_text, parse_duration};
mod circuit_breaker;
mod window;
pub use circuit_breaker::{BreakerWindow, CircuitBreaker, CircuitBreakerOptions, CircuitBreakerStats};
mod rate_limit;
pub use rate_limit::{
    FixedWindow, KeyedRateLimitStats, KeyedRateLimiter, LeakyBucket, RateLimitOptions, RateLimitStats, RateLimitStatus,
    RateLimiter, SlidingWindow, TokenBucket,
};
