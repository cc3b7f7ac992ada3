//! The hot paths allocate nothing: a call that is admitted at once and succeeds, while nobody listens.
//!
//! The counter is that of the thread, so that tests may run side by side.

#![cfg(not(tidegate_models))]

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use tidegate_resilience::{
    Adaptive, AdaptiveOptions, BreakerWindow, Bulkhead, BulkheadOptions, Call, CircuitBreaker, CircuitBreakerOptions,
    Clock, Document, Environment, FixedWindow, Guard, Hedge, HedgeOptions, KeyedRateLimiter, LeakyBucket, Manage,
    ManualClock, Pipeline, PolicyOptions, Pool, PoolOptions, Protection, RateLimitOptions, RateLimiter, Registry,
    Retry, RetryBudget, RetryBudgetOptions, RetryOptions, SlidingWindow, Timeout, TimeoutOptions,
};

/// More calls than a window of 100 holds, so that its end is reached.
const CALLS: u32 = 250;

/// A rate that so many calls do not reach.
const RATE: u32 = 1_000_000;

/// How often `call` allocates, apart from its first time.
#[track_caller]
fn allocates_nothing(mut call: impl FnMut()) {
    call();
    let allocations = measure(|| (0..CALLS).for_each(|_| call())).count_total;
    assert_eq!(allocations, 0, "allocations of {CALLS} calls");
}

#[track_caller]
fn guard_allocates_nothing(guard: &impl Guard, call: &Call<'_>) {
    allocates_nothing(|| guard.try_acquire_for(call).expect("there is room").success());
}

/// The result of a future that has nothing to wait for.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn circuit_breaker() {
    for window in [BreakerWindow::Calls(100), BreakerWindow::Time(Duration::from_secs(10))] {
        let options = CircuitBreakerOptions { window, ..Default::default() };
        let breaker = CircuitBreaker::new("db", &options).expect("valid options");
        guard_allocates_nothing(&breaker, &Call::new());
    }
}

/// Every kind of rate limit.
fn rate_limits() -> [RateLimitOptions; 4] {
    let (limit, window) = (RATE, Duration::from_secs(1));
    [
        RateLimitOptions::per_second(RATE),
        RateLimitOptions::leaky_bucket(LeakyBucket { rate: RATE, per: window, queue: 1 }),
        RateLimitOptions::fixed_window(FixedWindow { limit, window }),
        RateLimitOptions::sliding_window(SlidingWindow { limit, window }),
    ]
}

#[test]
fn rate_limit() {
    let (clock, environment) = stopped();
    for options in rate_limits() {
        let limiter = RateLimiter::in_environment("search", &options, &environment).expect("valid options");
        allocates_nothing(|| {
            clock.advance(Duration::from_millis(1));
            limiter.try_acquire().expect("there is room").success();
        });
    }
}

#[test]
fn rate_limit_of_a_known_key() {
    let (clock, environment) = stopped();
    for options in rate_limits() {
        let limiter = KeyedRateLimiter::in_environment("search", &options, &environment).expect("valid options");
        allocates_nothing(|| {
            clock.advance(Duration::from_millis(1));
            limiter.try_acquire_for(&Call::new().key("tenant-7")).expect("there is room").success();
        });
    }
}

/// A clock that only the test moves: a leaky bucket has no room for calls at the same moment.
fn stopped() -> (ManualClock, Environment) {
    let manual = Clock::manual();
    let environment = Environment { clock: manual.clock(), ..Default::default() };
    (manual, environment)
}

#[test]
fn bulkhead() {
    let bulkhead = Bulkhead::new("db", &BulkheadOptions::default()).expect("the defaults are valid");
    guard_allocates_nothing(&bulkhead, &Call::new());
}

#[test]
fn adaptive_limit() {
    let limit = Adaptive::new("db", &AdaptiveOptions::default()).expect("the defaults are valid");
    guard_allocates_nothing(&limit, &Call::new());
}

#[test]
fn budget() {
    let budget = RetryBudget::new(&RetryBudgetOptions::default()).expect("the defaults are valid");
    let clock = Clock::system();
    allocates_nothing(|| {
        budget.deposit(clock.now());
        budget.try_withdraw(clock.now());
    });
}

/// A pool of numbers.
struct Numbers;

impl Manage for Numbers {
    type Resource = u32;
    type Error = Infallible;

    fn connect(&self) -> impl Future<Output = Result<u32, Infallible>> + Send {
        ready(Ok(7))
    }
}

#[test]
fn pool() {
    let pool = Pool::new("numbers", Numbers, &PoolOptions::default()).expect("the defaults are valid");
    allocates_nothing(|| drop(at_once(pool.acquire()).expect("a resource is idle")));
}

#[test]
fn look_up() {
    let breaker = PolicyOptions::CircuitBreaker(CircuitBreakerOptions::default());
    let document = Document { policies: [("db".to_owned(), breaker)].into(), ..Default::default() };
    let registry = Registry::new(&document, &Environment::default()).expect("the defaults are valid");
    allocates_nothing(|| assert!(registry.circuit_breaker("db").is_some()));
    let view = registry.view();
    allocates_nothing(|| assert!(view.circuit_breaker("db").is_some()));
}

#[test]
fn protected_by_name() {
    let breaker = PolicyOptions::CircuitBreaker(CircuitBreakerOptions::default());
    let limit = PolicyOptions::KeyedRateLimit(RateLimitOptions::per_second(RATE));
    let policies = [("db".to_owned(), breaker), ("api".to_owned(), limit)].into();
    let registry = Registry::new(&Document { policies, ..Default::default() }, &Environment::default());
    let registry = registry.expect("valid options");
    let protection = Protection::new().rate_limit("api").circuit_breaker("db").call(Call::new().key("ann"));
    allocates_nothing(|| {
        let call = registry.execute_protected(protection.clone(), async || Ok::<_, Infallible>(()));
        at_once(call).expect("there is room");
    });
    let pool = Pool::new("numbers", Numbers, &PoolOptions::default()).expect("the defaults are valid");
    allocates_nothing(|| {
        let call = registry.execute_with_pool(protection.clone(), &pool, async |_: &mut u32| Ok::<_, Infallible>(()));
        at_once(call).expect("a resource is idle");
    });
}

#[test]
fn hedge_that_is_not_needed() {
    let pipeline = Pipeline::of(Hedge::new("search", &HedgeOptions::default()).expect("the defaults are valid"));
    allocates_nothing(|| {
        let call = pipeline.execute_call(Call::new().idempotent(), |_| ready(Ok::<_, Infallible>(7)));
        assert_eq!(at_once(call), Ok(7));
    });
}

#[test]
fn pipeline_of_five_policies() {
    let pipeline = Pipeline::builder("payments")
        .step(RateLimiter::new("payments", &RateLimitOptions::per_second(RATE)).expect("valid"))
        .step(Timeout::new("payments", &TimeoutOptions::default()).expect("the defaults are valid"))
        .step(Retry::new("payments", &RetryOptions::default()).expect("the defaults are valid"))
        .step(CircuitBreaker::new("payments", &CircuitBreakerOptions::default()).expect("the defaults are valid"))
        .step(Bulkhead::new("payments", &BulkheadOptions::default()).expect("the defaults are valid"))
        .build()
        .expect("the usual order");
    allocates_nothing(|| assert_eq!(at_once(pipeline.execute(|| ready(Ok::<_, Infallible>(7)))), Ok(7)));
}
