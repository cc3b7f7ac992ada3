//! Resilience for any async call: circuit breaker, retry with budget, rate limit, bulkhead, adaptive concurrency,
//! timeout, hedge, fallback, pool and chaos.
//!
//! This page is a guide in chapters. The reference is the documentation of the options: [`CircuitBreakerOptions`],
//! [`RetryOptions`], [`RateLimitOptions`], [`BulkheadOptions`], [`AdaptiveOptions`], [`TimeoutOptions`],
//! [`HedgeOptions`], [`PoolOptions`], [`ChaosOptions`].
//!
//! # 1. Policies around a call
//!
//! A [`Pipeline`] is a list of policies, outermost first. It runs a call: a function that begins it, once for every
//! attempt.
//!
//! ```
//! use std::time::Duration;
//! use tidegate_resilience::{
//!     CircuitBreaker, CircuitBreakerOptions, Error, Pipeline, Retry, RetryOptions, Timeout, TimeoutOptions,
//! };
//! # async fn pay(amount: u32) -> Result<&'static str, std::io::Error> { Ok("paid") }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pipeline = Pipeline::builder("payments")
//!     .step(Timeout::new("payments", &TimeoutOptions { total: Some(Duration::from_secs(2)), ..Default::default() })?)
//!     .step(Retry::new("payments", &RetryOptions::default())?)
//!     .step(CircuitBreaker::new("payments", &CircuitBreakerOptions::default())?)
//!     .build()?;
//!
//! match pipeline.execute(|| pay(100)).await {
//!     Ok(receipt) => println!("{receipt}"),
//!     Err(Error::Call(error)) => println!("the last attempt failed: {error}"),
//!     Err(Error::Rejected(rejection)) => println!("a policy said no: {rejection}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Policies are handles: clones are the same policy, and one policy may stand in many pipelines. A breaker that guards
//! a database belongs to every call of that database.
//!
//! # 2. The order
//!
//! Policies act in the order in which they are written, and the usual one is: rate limit, timeout, retry, circuit
//! breaker, bulkhead. What stands outside a retry sees one call; what stands inside sees every attempt. The builder
//! knows the mistakes that can be made here: [`PipelineBuilder::build`] refuses what cannot work, and
//! [`PipelineBuilder::findings`] lists what works at a cost, each with a [`Lint`] and a reason.
//!
//! The limit of each attempt ([`TimeoutOptions::attempt`]) is put where it belongs by itself: inside the retry, and
//! inside the breaker, so that the breaker hears of attempts that hang.
//!
//! # 3. What counts as a failure
//!
//! Policies never look into a result. A [`Classify`], which may be a closure, says once what it means: a [`Verdict`]
//! of an [`Outcome`] and an advice about retrying. Without one, every `Err` is a failure that may be tried again.
//!
//! ```
//! use tidegate_resilience::{Pipeline, Verdict};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let pipeline = Pipeline::builder("search").build()?;
//! let pipeline = pipeline.classified_by(|answer: &Result<u16, std::io::Error>| match answer {
//!     Ok(429 | 503) => Verdict::overload(None), // counts to a breaker's rate, not to its consecutive failures
//!     Ok(500..) => Verdict::TRANSIENT,
//!     Ok(400..) => Verdict::IGNORED, // the caller's own mistake
//!     Ok(_) => Verdict::SUCCESS,
//!     Err(_) => Verdict::TRANSIENT,
//! });
//! # Ok(())
//! # }
//! ```
//!
//! What an inner policy does is classified too. A timeout is a failure of what was called; a rejection is not, so that
//! a full bulkhead never trips a breaker; an open breaker is never tried again.
//!
//! # 4. What policies know of a call
//!
//! A [`Call`] describes one: the key that it is counted under, what it costs, how much it matters, when it is of no
//! more use, and whether running it twice does harm. [`Pipeline::execute_call`] takes one, and tells the call which
//! [`Attempt`] it is.
//!
//! Deadlines travel: a call inside a call ends no later than the outer one, through any number of pipelines in the
//! same task, and [`Deadline::remaining`] says what is left, to be sent along.
//!
//! # 5. The policies
//!
//! | policy | what it does | when to take it |
//! |---|---|---|
//! | [`RateLimiter`], [`KeyedRateLimiter`] | so many calls in a time, altogether or for each key | to keep a promise, or a tenant, within limits |
//! | [`CircuitBreaker`] | stops calling what fails, and probes whether it has recovered | whatever is called over a network |
//! | [`Bulkhead`] | so many calls at once, and a bounded queue | to keep one dependency from taking all threads, sockets, memory |
//! | [`Adaptive`] | as many calls at once as latency allows, least important shed first | where nobody knows the right number |
//! | [`Timeout`] | an end to the call, and to each attempt | always |
//! | [`Retry`] | another attempt, within a budget | failures that pass, calls that may be repeated |
//! | [`Hedge`] | a copy of a slow call; the first answer wins | idempotent calls with a long tail |
//! | [`Fallback`] | something else instead of a failure | where a worse answer beats none |
//! | [`Chaos`] | delays and faults on purpose | to see all of the above at work |
//! | [`Pool`] | connections, or whatever is dear to make | databases, sessions |
//!
//! Every policy has a [`Mode`]: with `metrics_only` it decides, counts and tells, and never rejects, which is how to
//! try options out. Options change while calls run (`reconfigure`) and state stays.
//!
//! # 6. Without a future
//!
//! A guard can be asked by hand. Its [`Permit`] is told the outcome, and records a cancelled call when it is dropped:
//!
//! ```
//! use tidegate_resilience::{CircuitBreaker, CircuitBreakerOptions, Guard};
//! # fn read_sensor() -> Result<f32, ()> { Ok(21.5) }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = CircuitBreaker::new("sensor", &CircuitBreakerOptions::default())?;
//! let permit = breaker.try_acquire()?;
//! match read_sensor() {
//!     Ok(_) => permit.success(),
//!     Err(()) => permit.failure(),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # 7. Rejections
//!
//! A [`Rejection`] says which policy refused, why, by which figures and when to come back. Its [`Code`] has a stable
//! number (5xxx circuit breaker, 6xxx rate limit, 7xxx others), a name, a severity, and the HTTP status and gRPC code
//! to answer with.
//!
//! # 8. Around functions and services
//!
//! [`#[protect]`](macro@protect) runs an async function through a pipeline, [`#[instrumented]`](macro@instrumented)
//! records its calls. [`ProtectLayer`] is a [tower](https://docs.rs/tower) layer with a named future, for axum, tonic
//! and all that is built on tower.
//!
//! ```
//! # #[cfg(feature = "macros")] {
//! use tidegate_resilience::{Error, Pipeline, protect};
//!
//! struct Shop { payments: Pipeline }
//!
//! impl Shop {
//!     #[protect(self.payments, key = customer, idempotent)]
//!     async fn balance(&self, customer: &str) -> Result<u64, Error<std::io::Error>> {
//!         Ok(customer.len() as u64)
//!     }
//! }
//! # }
//! ```
//!
//! # 9. From a document, changed while calls run
//!
//! A [`Registry`] builds named policies and pipelines from one document. [`Registry::plan`] says what another document
//! would change, [`Registry::apply`] puts it in force: state stays where the meaning stayed, a bad document changes
//! nothing, and handles that callers hold remain valid.
//!
//! # 10. Seeing what happens
//!
//! Everything has `stats()`. [`Events`] are delivered into bounded queues and never make a call wait; while nobody
//! listens they cost one load of a flag.
//!
//! # 11. Testing
//!
//! Time, randomness and events come in through an [`Environment`]. With [`Clock::runtime`] and tokio's paused time, an
//! hour of backoff takes no time and ends exactly when it should:
//!
//! ```
//! use std::time::Duration;
//! use tidegate_resilience::{Clock, Environment, Pipeline, Random, Timeout, TimeoutOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
//! # runtime.block_on(async { // #[tokio::test(start_paused = true)]
//! let environment = Environment { clock: Clock::runtime(), random: Random::seeded(7), ..Environment::default() };
//! let options = TimeoutOptions { total: Some(Duration::from_secs(3600)), ..Default::default() };
//! let timeout = Timeout::in_environment("slow", &options, &environment)?;
//! let pipeline = Pipeline::builder("slow").environment(&environment).step(timeout).build()?;
//! let hanging = pipeline.execute(std::future::pending::<Result<(), std::io::Error>>).await;
//! assert!(hanging.is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })
//! # }
//! ```
//!
//! # Features
//!
//! | feature | what it adds | default |
//! |---|---|---|
//! | `macros` | `#[protect]`, `#[instrumented]` | on |
//! | `tower` | `ProtectLayer` | on |
//! | `serde` | options and documents can be read and written | off |
//! | `schema` | JSON Schema of the options and documents | off |

mod adaptive;
mod budget;
mod bulkhead;
mod call;
mod chaos;
mod circuit_breaker;
mod clock;
mod counter;
mod deadline;
mod error;
mod event;
mod facade;
mod fallback;
mod hedge;
mod lint;
mod name;
mod outcome;
mod pipeline;
mod policies;
mod policy;
mod pool;
mod random;
mod rate_limit;
mod recorder;
mod registry;
mod retry;
mod sync;
mod timeout;
#[cfg(feature = "tower")]
mod tower;
mod units;
mod window;

pub use adaptive::{
    Adaptive, AdaptiveAlgorithm, AdaptiveOptions, AdaptiveStats, Aimd, Gradient, PriorityShares, Vegas,
};
pub use budget::{RetryBudget, RetryBudgetOptions, RetryBudgetStats};
pub use bulkhead::{Bulkhead, BulkheadOptions, BulkheadStats};
pub use call::{Call, Priority};
pub use chaos::{Chaos, ChaosFault, ChaosLatency, ChaosOptions, ChaosStats};
pub use circuit_breaker::{BreakerWindow, CircuitBreaker, CircuitBreakerOptions, CircuitBreakerStats};
pub use clock::{Clock, ManualClock, Moment, Reading, Sleep};
pub use deadline::{Deadline, EnteredDeadline};
pub use error::{Code, Context, Error, InvalidOption, Rejection, Severity};
pub use event::{CircuitReason, CircuitState, Emitter, Event, Events, Happening, Listener};
pub use facade::Protection;
pub use fallback::{Fallback, FallbackStats};
pub use hedge::{Hedge, HedgeOptions, HedgeProgress, HedgeStats};
pub use lint::{Finding, Level, Lint};
pub use name::Name;
pub use outcome::{ByResult, Classify, Outcome, RetryAdvice, Verdict};
pub use pipeline::{
    Attempt, Composition, Execution, Held, Holding, Operation, Pipeline, PipelineBuilder, PipelineError,
};
pub use policies::{MAX_STEPS, Step};
pub use policy::{Admission, Environment, Guard, Mode, Permit, Queued, Ticket};
pub use pool::{Manage, Pool, PoolOptions, PoolOrder, PoolStats, Pooled};
pub use random::Random;
pub use rate_limit::{
    FixedWindow, KeyedRateLimitStats, KeyedRateLimiter, LeakyBucket, RateLimitOptions, RateLimitStats, RateLimitStatus,
    RateLimiter, SlidingWindow, TokenBucket,
};
pub use recorder::{Recorder, RecorderStats, Recording};
pub use registry::{
    Change, Document, KeyStats, OrderChange, PerKeyOptions, PipelineChange, PipelineOptions, Plan, PolicyChange,
    PolicyOptions, PolicyStats, Problem, Problems, Registry, RegistryStats, StepOptions, View,
};
pub use retry::{Backoff, Jitter, Retry, RetryOptions, RetryProgress, RetryStats};
#[cfg(feature = "macros")]
pub use tidegate_macros::{instrumented, protect};
pub use timeout::{Timeout, TimeoutKind, TimeoutOptions, TimeoutStats};
#[cfg(feature = "tower")]
pub use tower::{Cloning, Describe, Plain, Protect, ProtectLayer, Sender, Sending};
pub use units::{Ratio, duration_text, parse_duration};

/// What the attributes expand to.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod macro_support {
    /// Says what a future returns, so that `?` in its body knows what to convert to.
    pub fn returning<T, F: Future<Output = T>>(future: F) -> F {
        future
    }
}
