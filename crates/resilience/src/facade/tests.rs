#![allow(clippy::unwrap_used)]

use std::future::{pending, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use super::*;
use crate::circuit_breaker::CircuitBreakerOptions;
use crate::clock::ManualClock;
use crate::event::CircuitState;
use crate::outcome::Verdict;
use crate::pool::PoolOptions;
use crate::rate_limit::{FixedWindow, LeakyBucket, RateLimitOptions};
use crate::registry::{Document, PerKeyOptions, PipelineOptions, PolicyOptions};
use crate::timeout::TimeoutOptions;
use crate::units::Ratio;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    registry: Registry,
    clock: ManualClock,
    environment: Environment,
}

/// A limit of ten in a minute (`api`, and `tenant` for each key), a queue (`slow`), a breaker that opens at the second
/// failure (`db`), and two pipelines.
fn bench() -> Bench {
    let clock = Clock::manual();
    let environment = Environment { clock: clock.clock(), ..Environment::default() };
    let ten = RateLimitOptions::fixed_window(FixedWindow { limit: 10, window: 60 * SECOND });
    let queue = RateLimitOptions::leaky_bucket(LeakyBucket { rate: 1, per: SECOND, queue: 3 });
    let breaker = CircuitBreakerOptions { consecutive_failures: Some(2), probes: 1, ..Default::default() };
    let timeout = TimeoutOptions { total: Some(SECOND), ..Default::default() };
    let mut document = Document::default();
    for (name, options) in [
        ("api", PolicyOptions::RateLimit(ten.clone())),
        ("tenant", PolicyOptions::KeyedRateLimit(ten)),
        ("slow", PolicyOptions::RateLimit(queue)),
        ("db", PolicyOptions::CircuitBreaker(breaker.clone())),
    ] {
        document.policies.insert(name.to_owned(), options);
    }
    let shared = PipelineOptions::from_iter([PolicyOptions::Timeout(timeout)]);
    let keyed = PipelineOptions {
        per_key: Some(PerKeyOptions::default()),
        ..PipelineOptions::from_iter([PolicyOptions::CircuitBreaker(breaker)])
    };
    document.pipelines = [("shared".to_owned(), shared), ("keyed".to_owned(), keyed)].into();
    let registry = Registry::new(&document, &environment).unwrap();
    Bench { registry, clock, environment }
}

impl Bench {
    fn used(&self) -> u32 {
        10 - self.registry.rate_limiter("api").unwrap().status().remaining
    }

    async fn fail(&self) {
        let protection = Protection::new().circuit_breaker("db");
        let result = self.registry.execute_protected(protection, async || Err::<(), _>("down")).await;
        assert_eq!(result, Err(Error::Call("down")));
    }

    fn pool(&self, size: u32) -> Pool<Database> {
        let options = PoolOptions { size, queue: 1, ..Default::default() };
        Pool::in_environment("database", Database::default(), &options, &self.environment).unwrap()
    }
}

#[derive(Debug, Default, Clone)]
struct Database {
    connections: Arc<AtomicU32>,
    down: Arc<AtomicBool>,
}

impl Manage for Database {
    type Resource = u32;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<u32> {
        match self.down.load(Ordering::Relaxed) {
            true => Err(io::Error::other("no connection")),
            false => Ok(self.connections.fetch_add(1, Ordering::Relaxed) + 1),
        }
    }

    async fn check(&self, _: &mut u32) -> io::Result<()> {
        Ok(())
    }
}

fn all() -> Protection<'static> {
    Protection::new().rate_limit("api").circuit_breaker("db")
}

fn code<T, E>(result: &Result<T, Error<E>>) -> Option<Code> {
    result.as_ref().err()?.rejection().map(Rejection::code)
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn pipelines_run_by_name() {
    let bench = bench();
    let registry = &bench.registry;
    assert_eq!(registry.execute("shared", || ready(Ok::<_, ()>(1))).await, Ok(1));
    assert_eq!(code(&registry.execute("none", || ready(Ok::<_, ()>(1))).await), Some(Code::UnknownPolicy));
    assert_eq!(code(&registry.execute("keyed", || ready(Ok::<_, ()>(1))).await), Some(Code::KeyMissing));
    let call = |key: &'static str| Call::new().key(key);
    for _ in 0..2 {
        let result = registry.execute_call("keyed", call("ann"), |_| ready(Err::<(), _>("down"))).await;
        assert_eq!(result, Err(Error::Call("down")));
    }
    let result = registry.execute_call("keyed", call("ann"), |_| ready(Ok::<_, ()>(1))).await;
    assert_eq!(code(&result), Some(Code::BreakerOpen));
    assert_eq!(registry.execute_call("keyed", call("bob"), |_| ready(Ok::<_, ()>(1))).await, Ok(1));
}

#[tokio::test]
async fn every_guard_hears_of_the_outcome() {
    let bench = bench();
    let result = bench.registry.execute_protected(all(), async || Ok::<_, ()>(5)).await;
    assert_eq!(result, Ok(5));
    bench.fail().await;
    let stats = bench.registry.circuit_breaker("db").unwrap().stats();
    assert_eq!((stats.succeeded, stats.failed), (1, 1));
    assert_eq!(bench.used(), 1);
}

#[tokio::test]
async fn a_classifier_says_what_a_result_means() {
    let bench = bench();
    let by_status =
        |result: &Result<u16, ()>| if result.is_ok_and(|s| s < 500) { Verdict::SUCCESS } else { Verdict::TRANSIENT };
    for status in [200, 503] {
        let protection = all().classified_by(by_status);
        assert_eq!(bench.registry.execute_protected(protection, async || Ok(status)).await, Ok(status));
    }
    let stats = bench.registry.circuit_breaker("db").unwrap().stats();
    assert_eq!((stats.succeeded, stats.failed), (1, 1));
}

#[tokio::test]
async fn unknown_names_and_kinds_take_nothing() {
    let bench = bench();
    for protection in [all().circuit_breaker("none"), all().circuit_breaker("api"), all().rate_limit("db")] {
        let result = bench.registry.execute_protected(protection, async || Ok::<_, ()>(())).await;
        assert_eq!(code(&result), Some(Code::UnknownPolicy));
    }
    assert_eq!(bench.used(), 0);
}

#[tokio::test]
async fn an_open_breaker_gives_the_limit_back_and_asks_no_pool() {
    let bench = bench();
    let pool = bench.pool(1);
    bench.fail().await;
    bench.fail().await;
    let result = bench.registry.execute_with_pool(all(), &pool, async |_| Ok::<_, io::Error>(())).await;
    assert_eq!(code(&result), Some(Code::BreakerOpen));
    assert_eq!((bench.used(), pool.stats().checkouts), (0, 0));
    assert_eq!(bench.registry.circuit_breaker("db").unwrap().stats().rejected, 1);
}

#[tokio::test]
async fn a_full_pool_gives_the_limit_back_and_spends_no_probe() {
    let bench = bench();
    let pool = bench.pool(1);
    bench.fail().await;
    bench.fail().await;
    bench.clock.advance(60 * SECOND);
    let busy = pool.acquire().await.unwrap();
    let mut waiting = pin!(pool.acquire());
    assert!(poll_once(waiting.as_mut()).is_pending(), "the queue has one seat");
    let result = bench.registry.execute_with_pool(all(), &pool, async |_| Ok::<_, io::Error>(())).await;
    assert_eq!(code(&result), Some(Code::PoolFull));
    assert_eq!(bench.used(), 0);
    assert_eq!(bench.registry.circuit_breaker("db").unwrap().state(), CircuitState::Open, "nobody has probed");
    drop(busy);
}

#[tokio::test]
async fn a_breaker_that_opens_during_the_wait_for_the_pool_rejects_with_everything_given_back() {
    let bench = bench();
    let pool = bench.pool(1);
    let busy = pool.acquire().await.unwrap();
    let mut call = pin!(bench.registry.execute_with_pool(all(), &pool, async |_| Ok::<_, io::Error>(())));
    assert!(poll_once(call.as_mut()).is_pending());
    assert_eq!(bench.used(), 1);
    bench.fail().await;
    bench.fail().await;
    drop(busy);
    assert_eq!(code(&call.await), Some(Code::BreakerOpen));
    assert_eq!((bench.used(), pool.stats().idle), (0, 1));
}

#[tokio::test]
async fn a_database_that_is_down_trips_the_breaker() {
    let bench = bench();
    let database = Database::default();
    database.down.store(true, Ordering::Relaxed);
    let pool = Pool::in_environment("database", database, &PoolOptions::default(), &bench.environment).unwrap();
    for _ in 0..2 {
        let result = bench.registry.execute_with_pool(all(), &pool, async |_| Ok::<_, io::Error>(())).await;
        assert!(matches!(result, Err(Error::Call(_))));
    }
    assert_eq!(bench.registry.circuit_breaker("db").unwrap().state(), CircuitState::Open);
    assert_eq!(bench.used(), 2, "these calls were made");
}

#[tokio::test]
async fn the_wait_for_a_resource_does_not_make_a_call_slow() {
    let bench = bench();
    let pool = bench.pool(1);
    let mut document = bench.registry.document();
    let slow = CircuitBreakerOptions { slow_call_rate: Some(Ratio::ONE), slow_call: SECOND, ..Default::default() };
    document.policies.insert("db".to_owned(), PolicyOptions::CircuitBreaker(slow));
    bench.registry.apply(&document).unwrap();
    let busy = pool.acquire().await.unwrap();
    let mut call = pin!(bench.registry.execute_with_pool(all(), &pool, async |_| Ok::<_, io::Error>(())));
    assert!(poll_once(call.as_mut()).is_pending());
    bench.clock.advance(2 * SECOND);
    drop(busy);
    call.await.unwrap();
    let slowly = async || {
        bench.clock.advance(SECOND);
        Ok::<_, ()>(())
    };
    assert_eq!(bench.registry.execute_protected(all(), slowly).await, Ok(()));
    let stats = bench.registry.circuit_breaker("db").unwrap().stats();
    assert_eq!((stats.succeeded, stats.slow), (2, 1), "only the one that took its time itself");
}

#[tokio::test]
async fn the_operation_has_the_resource_and_gives_it_back() {
    let bench = bench();
    let pool = bench.pool(2);
    for _ in 0..3 {
        let work = async |connection: &mut u32| Ok::<_, io::Error>(*connection);
        assert_eq!(bench.registry.execute_with_pool(all(), &pool, work).await.unwrap(), 1);
    }
    assert_eq!((pool.stats().idle, pool.stats().created), (1, 1));
}

#[tokio::test]
async fn a_registered_fallback_takes_the_place_of_a_rejection_by_the_breaker_alone() {
    let bench = bench();
    let breaker = bench.registry.circuit_breaker("db").unwrap();
    breaker.register_fallback(|rejection| format!("cached, {}", rejection.code()));
    let answer = async || Ok::<_, ()>("fresh".to_owned());
    breaker.force_open();
    let listener = bench.environment.events.subscribe(16);
    let result = bench.registry.execute_protected(all(), answer).await;
    assert_eq!(result.unwrap(), "cached, circuit_breaker.forced_open");
    let events: Vec<_> = std::iter::from_fn(|| listener.try_next()).map(|event| event.happening.name()).collect();
    assert!(events.contains(&"fallback.used") && events.contains(&"protection.executed"), "{events:?}");
    assert_eq!(bench.registry.execute_protected(all(), async || Ok::<_, ()>(1)).await.ok(), None, "of another type");
    breaker.reset();
    let expensive = all().call(Call::new().cost(11));
    let result = bench.registry.execute_protected(expensive, answer).await;
    assert_eq!(code(&result), Some(Code::RateCostTooLarge));
}

#[tokio::test]
async fn a_keyed_limit_goes_by_the_key_of_the_call() {
    let bench = bench();
    let limited = |key: &'static str| Protection::new().rate_limit("tenant").call(Call::new().key(key).cost(10));
    let run = |protection| bench.registry.execute_protected(protection, async || Ok::<_, ()>(()));
    assert_eq!(run(limited("ann")).await, Ok(()));
    assert_eq!(code(&run(limited("ann")).await), Some(Code::RateLimited));
    assert_eq!(run(limited("bob")).await, Ok(()));
    assert_eq!(code(&run(Protection::new().rate_limit("tenant")).await), Some(Code::RateKeyMissing));
}

#[tokio::test]
async fn a_call_waits_for_its_turn_but_not_beyond_its_deadline() {
    let bench = bench();
    let protection = || Protection::new().rate_limit("slow");
    let run = |protection| bench.registry.execute_protected(protection, async || Ok::<_, ()>(()));
    assert_eq!(run(protection()).await, Ok(()));
    let mut second = pin!(run(protection()));
    assert!(poll_once(second.as_mut()).is_pending());
    let hasty = protection().call(Call::new().deadline(bench.environment.clock.now().after(SECOND)));
    assert_eq!(code(&run(hasty).await), Some(Code::RateLimited), "its turn is in two seconds");
    bench.clock.advance(SECOND);
    assert_eq!(second.await, Ok(()));
}

#[tokio::test]
async fn a_call_beyond_its_deadline_is_ended_as_a_failure_and_its_resource_closed() {
    let bench = bench();
    let pool = bench.pool(1);
    let clock = &bench.environment.clock;
    let within = all().call(Call::new().deadline(clock.now().after(SECOND)));
    let seen = async |_: &mut u32| {
        assert_eq!(Deadline::remaining(clock), Some(SECOND));
        pending::<io::Result<()>>().await
    };
    let mut call = pin!(bench.registry.execute_with_pool(within.clone(), &pool, seen));
    assert!(poll_once(call.as_mut()).is_pending());
    bench.clock.advance(SECOND);
    assert_eq!(code(&call.await), Some(Code::TotalTimeout));
    assert_eq!(bench.registry.circuit_breaker("db").unwrap().stats().failed, 1);
    assert_eq!(pool.stats().closed, 1);
    let result = bench.registry.execute_protected(within, async || Ok::<_, ()>(())).await;
    assert_eq!(code(&result), Some(Code::DeadlinePassed));
}

#[tokio::test]
async fn dropped_anywhere_everything_is_given_back() {
    /// Ready after so many polls.
    async fn steps(count: u32) {
        for _ in 0..count {
            let mut yielded = false;
            poll_fn(|_| if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }).await;
        }
    }
    for polls in 0..6 {
        let bench = bench();
        let breaker = bench.registry.circuit_breaker("db").unwrap();
        bench.fail().await;
        bench.fail().await;
        bench.clock.advance(60 * SECOND);
        let pool = bench.pool(1);
        let mut busy = Some(pool.acquire().await.unwrap());
        {
            let mut call = pin!(bench.registry.execute_with_pool(all(), &pool, async |_| {
                steps(3).await;
                Ok::<_, io::Error>(())
            }));
            for poll in 0..polls {
                if poll == 1 {
                    busy = None;
                }
                if poll_once(call.as_mut()).is_ready() {
                    break;
                }
            }
        }
        drop(busy);
        let stats = pool.stats();
        assert_eq!((stats.busy, stats.waiting), (0, 0), "after {polls} polls");
        assert_eq!(bench.used(), u32::from(polls > 1), "after {polls} polls: only a call that began is counted");
        // The one probe is free again, whatever happened to the last.
        let result = bench.registry.execute_protected(all(), async || Ok::<_, ()>(())).await;
        assert_eq!(result, Ok(()), "after {polls} polls");
        assert_ne!(breaker.state(), CircuitState::Open);
    }
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let bench = bench();
    let registry = bench.registry.clone();
    let task = tokio::spawn(async move {
        let panics = async || if true { panic!("of the test") } else { Ok::<(), ()>(()) };
        registry.execute_protected(all(), panics).await
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(bench.registry.circuit_breaker("db").unwrap().stats().failed, 1);
}

#[tokio::test]
async fn protected_calls_can_be_spawned() {
    let bench = bench();
    let (registry, pool) = (bench.registry.clone(), bench.pool(1));
    let task = tokio::spawn(async move {
        let name = "api".to_owned();
        let protection = Protection::new().rate_limit(&name).circuit_breaker("db");
        registry.execute_with_pool(protection, &pool, async |connection| Ok::<u32, io::Error>(*connection)).await
    });
    assert_eq!(task.await.unwrap().unwrap(), 1);
}
