//! What policies do to each other: mistakes that no policy makes alone, in virtual time.

use std::cell::Cell;
use std::future::{Future, pending, ready};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidegate_resilience::{
    Adaptive, AdaptiveOptions, Attempt, Backoff, Bulkhead, BulkheadOptions, Call, CircuitBreaker,
    CircuitBreakerOptions, CircuitState, Clock, Code, Environment, Error, Fallback, FixedWindow, Guard, Hedge,
    HedgeOptions, Jitter, LeakyBucket, Pipeline, PipelineBuilder, RateLimitOptions, RateLimiter, Rejection, Retry,
    RetryOptions, Step, Timeout, TimeoutOptions, Verdict,
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn environment() -> Environment {
    Environment { clock: Clock::runtime(), ..Environment::default() }
}

fn total(limit: Duration) -> Timeout {
    let options = TimeoutOptions { total: Some(limit), ..Default::default() };
    Timeout::in_environment("timeout", &options, &environment()).expect("valid")
}

fn retry(attempts: u32, delay: Duration) -> Retry {
    let backoff = Backoff::Constant { delay };
    let options = RetryOptions { attempts, backoff, jitter: Jitter::None, budget: None, ..Default::default() };
    Retry::in_environment("retry", &options, &environment()).expect("valid")
}

fn hedge(delay: Duration) -> Hedge {
    let options = HedgeOptions { delay, percentile: None, budget: None, ..Default::default() };
    Hedge::in_environment("hedge", &options, &environment()).expect("valid")
}

fn breaker(options: &CircuitBreakerOptions) -> CircuitBreaker {
    CircuitBreaker::in_environment("breaker", options, &environment()).expect("valid")
}

/// Opens at the first failure, for a second; the first probe closes it.
fn touchy() -> CircuitBreaker {
    breaker(&CircuitBreakerOptions {
        consecutive_failures: Some(1),
        open_for: SECOND,
        probes: 1,
        success_threshold: 1,
        ..Default::default()
    })
}

fn bulkhead(max_concurrent: u32, queue: u32) -> Bulkhead {
    let options = BulkheadOptions { max_concurrent, queue, max_wait: SECOND * 60, ..Default::default() };
    Bulkhead::in_environment("bulkhead", &options, &environment()).expect("valid")
}

fn adaptive() -> Adaptive {
    Adaptive::in_environment("adaptive", &AdaptiveOptions::default(), &environment()).expect("valid")
}

fn limit(options: &RateLimitOptions) -> RateLimiter {
    RateLimiter::in_environment("limit", options, &environment()).expect("valid")
}

fn pipeline<const N: usize>(steps: [Step; N]) -> Pipeline {
    let builder = Pipeline::builder("test").environment(&environment());
    steps.into_iter().fold(builder, PipelineBuilder::step).build().expect("a sound order")
}

/// A call under way.
type Running<'c> = Pin<Box<dyn Future<Output = Result<(), Error<()>>> + 'c>>;

/// Polls once.
fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn code<T, E>(result: Result<T, Error<E>>) -> Option<Code> {
    result.err().and_then(|error| error.rejection().map(Rejection::code))
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_does_not_open_the_circuit_around_it() {
    let (breaker, bulkhead) = (touchy(), bulkhead(1, 0));
    let both = pipeline([(&breaker).into(), retry(1, SECOND).into(), (&bulkhead).into()]);
    let _held = bulkhead.try_acquire().expect("there is room");
    for _ in 0..100 {
        assert_eq!(code(both.execute(|| ready(Ok::<_, ()>(()))).await), Some(Code::BulkheadFull));
    }
    let stats = breaker.stats();
    assert_eq!((stats.state, stats.window_calls), (CircuitState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_rejection_names_is_waited_for_and_told_on_the_way_up() {
    let window = FixedWindow { limit: 1, window: SECOND * 10 };
    let began = Instant::now();
    let patient = pipeline([
        total(SECOND * 60).into(),
        retry(2, SECOND).into(),
        limit(&RateLimitOptions::fixed_window(window)).into(),
    ]);
    assert_eq!(patient.execute(|| ready(Ok::<_, ()>(()))).await, Ok(()));
    assert_eq!(patient.execute(|| ready(Ok::<_, ()>(()))).await, Ok(()), "in the next window");
    let waited = began.elapsed();
    assert!(waited > SECOND && waited <= SECOND * 10, "{waited:?} is what the limiter said, not the backoff");

    let hasty = pipeline([bulkhead(5, 0).into(), limit(&RateLimitOptions::fixed_window(window)).into()]);
    assert_eq!(hasty.execute(|| ready(Ok::<_, ()>(()))).await, Ok(()));
    let rejected = hasty.execute(|| ready(Ok::<_, ()>(()))).await;
    let told = |error: &Error<()>| error.rejection().and_then(Rejection::retry_after);
    let retry_after = rejected.as_ref().err().and_then(told).expect("a limiter knows");
    let fallback = Fallback::call("fallback", move |error: Error<()>| {
        assert_eq!(told(&error), Some(retry_after), "the fallback hears of it too");
        ready(Err::<(), _>(error))
    });
    assert_eq!(fallback.apply(rejected.clone()).await, rejected);
    tokio::time::advance(retry_after).await;
    assert_eq!(hasty.execute(|| ready(Ok::<_, ()>(()))).await, Ok(()), "and it is true");
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_not_begun_wherever_the_deadline_is_from() {
    let failing = || ready(Err::<(), _>("failed"));
    let patient = pipeline([retry(3, SECOND).into()]);
    let limited = pipeline([total(SECOND).into(), retry(3, SECOND).into()]);
    let outer = pipeline([total(SECOND).into()]);
    let began = Instant::now();

    assert_eq!(limited.execute(failing).await, Err(Error::Call("failed")), "from the total limit");
    let call = Call::new().deadline(Clock::runtime().now().after(SECOND));
    assert_eq!(patient.execute_call(call, |_| failing()).await, Err(Error::Call("failed")), "from the call");
    let nested = outer.execute(|| async { patient.execute(failing).await }).await;
    assert_eq!(nested, Err(Error::Call(Error::Call("failed"))), "from the call around it");
    assert_eq!(began.elapsed(), Duration::ZERO, "all failed at once");

    let count = Cell::new(0);
    let later = pipeline([total(SECOND + Duration::from_millis(1)).into(), retry(3, SECOND).into()]);
    let result = later.execute(|| {
        count.set(count.get() + 1);
        failing()
    });
    assert_eq!((result.await, count.get()), (Err(Error::Call("failed")), 2), "one attempt can still begin");
}

#[tokio::test(start_paused = true)]
async fn nobody_stands_in_a_queue_beyond_the_deadline_of_the_call_around() {
    let bulkhead = bulkhead(1, 10);
    let narrow = pipeline([(&bulkhead).into()]);
    let _held = bulkhead.try_acquire().expect("there is room");
    let began = Instant::now();
    let around = pipeline([total(SECOND).into()]);
    let waiting = around.execute(|| async { narrow.execute(|| ready(Ok::<_, ()>(()))).await }).await;
    assert!(waiting.is_err());
    assert_eq!((began.elapsed(), bulkhead.stats().queued), (SECOND, 0));

    let over = Call::new().deadline(Clock::runtime().now());
    assert_eq!(code(narrow.execute_call(over, |_| ready(Ok::<_, ()>(()))).await), Some(Code::DeadlinePassed));
    assert_eq!(began.elapsed(), SECOND, "at once");
}

#[tokio::test(start_paused = true)]
async fn a_place_in_a_leaky_bucket_beyond_the_deadline_is_not_taken() {
    let bucket = limit(&RateLimitOptions::leaky_bucket(LeakyBucket { rate: 1, per: SECOND * 3, queue: 5 }));
    let slow = pipeline([(&bucket).into()]);
    let began = Instant::now();
    assert_eq!(slow.execute(|| ready(Ok::<_, ()>(()))).await, Ok(()));
    let impatient = Call::new().deadline(Clock::runtime().now().after(SECOND));
    assert!(slow.execute_call(impatient, |_| ready(Ok::<_, ()>(()))).await.is_err());
    let around = pipeline([total(SECOND).into()]);
    let nested = around.execute(|| async { slow.execute(|| ready(Ok::<_, ()>(()))).await }).await;
    assert!(nested.is_err());
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    assert_eq!(slow.execute(|| ready(Ok::<_, ()>(()))).await, Ok(()));
    assert_eq!(began.elapsed(), SECOND * 3, "the place was still free");
}

#[tokio::test(start_paused = true)]
async fn no_copy_starts_at_the_deadline_or_later_and_none_outlives_it() {
    let hang = |_: Attempt| pending::<Result<(), ()>>();
    let late = hedge(SECOND);
    let hedged = pipeline([total(SECOND).into(), (&late).into()]);
    assert_eq!(code(hedged.execute_call(Call::new().idempotent(), hang).await), Some(Code::TotalTimeout));
    assert_eq!(late.stats().started, 0);
    let call = Call::new().idempotent().deadline(Clock::runtime().now().after(SECOND));
    assert!(pipeline([(&late).into()]).execute_call(call, hang).await.is_err());
    assert_eq!(late.stats().started, 0);

    let (early, bulkhead) = (hedge(SECOND), bulkhead(2, 0));
    let began = Instant::now();
    let hedged = pipeline([total(SECOND * 2).into(), (&early).into(), (&bulkhead).into()]);
    let deadline = Cell::new(Vec::new());
    let result = hedged.execute_call(Call::new().idempotent(), |attempt: Attempt| {
        deadline.set([deadline.take(), vec![attempt.deadline]].concat());
        pending::<Result<(), ()>>()
    });
    assert_eq!(code(result.await), Some(Code::TotalTimeout));
    let deadlines = deadline.take();
    assert_eq!((deadlines.len(), deadlines[0]), (2, deadlines[1]), "the copy has no time of its own");
    assert_eq!((began.elapsed(), early.stats().started, bulkhead.stats().active), (SECOND * 2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_call_is_dropped_or_panics_leaves_no_circuit_half_open() {
    let breaker = touchy();
    let protected = pipeline([bulkhead(5, 0).into(), (&breaker).into(), adaptive().into()]);
    assert!(protected.execute(|| ready(Err::<(), _>(()))).await.is_err());
    tokio::time::advance(SECOND).await;
    {
        let mut probe = pin!(protected.execute(pending::<Result<(), ()>>));
        assert!(poll(probe.as_mut()).is_pending());
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
        assert_eq!(code(protected.execute(|| ready(Ok::<_, ()>(()))).await), Some(Code::BreakerProbing));
    }
    // Dropped, the probe has left its place; the next one panics, which is a failure.
    let panicking = protected.clone();
    let probe = async move { panicking.execute(|| async { panic!("on purpose") as Result<(), ()> }).await };
    assert!(tokio::spawn(probe).await.is_err());
    assert_eq!(breaker.state(), CircuitState::Open);
    tokio::time::advance(SECOND).await;
    assert_eq!(protected.execute(|| ready(Ok::<_, ()>(()))).await, Ok(()));
    assert_eq!(breaker.state(), CircuitState::Closed);
}

/// A call that is pending so many times and fails then.
async fn steps_of(pending: u32) -> Result<(), &'static str> {
    for _ in 0..pending {
        tokio::task::yield_now().await;
    }
    Err("failed")
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_await_copies_and_retries_give_everything_back() {
    let (mut polls, mut last) = (0, false);
    while !last {
        let breaker = breaker(&CircuitBreakerOptions::default());
        let (bulkhead, adaptive) = (bulkhead(2, 2), adaptive());
        let bucket = limit(&RateLimitOptions::leaky_bucket(LeakyBucket { rate: 1, per: SECOND, queue: 50 }));
        let all = pipeline([
            total(SECOND * 100).into(),
            retry(2, SECOND).into(),
            hedge(SECOND).into(),
            (&bucket).into(),
            (&breaker).into(),
            (&bulkhead).into(),
            (&adaptive).into(),
        ]);
        let held = bulkhead.try_acquire().expect("there is room");
        let call = Call::new().idempotent();
        let mut call = Box::pin(all.execute_call(call, |attempt: Attempt| steps_of(3 + 2 * attempt.copy)));
        for _ in 0..polls {
            last = last || poll(call.as_mut()).is_ready();
            tokio::time::advance(SECOND / 2).await;
        }
        drop(call);
        assert_eq!((bulkhead.stats().active, bulkhead.stats().queued), (1, 0), "after {polls} polls");
        assert_eq!(adaptive.stats().in_flight, 0, "after {polls} polls");
        held.success();
        polls += 1;
    }
    assert!(polls > 8, "two attempts, their copies, and the wait between them: {polls}");
}

/// Whatever the user hands over may panic; the call fails, and nothing is kept.
#[tokio::test(start_paused = true)]
async fn code_of_the_user_that_panics_keeps_nothing_and_harms_no_later_call() {
    let bulkhead = bulkhead(1, 0);
    let (base, adaptive) = (retry(3, SECOND), adaptive());
    let around = |retry: Retry| pipeline([(&bulkhead).into(), (&adaptive).into(), retry.into(), touchy().into()]);
    let condition = around(base.clone().should_retry(|_, _| panic!("on purpose")));
    let delays = around(base.clone().with_delays(|_| panic!("on purpose")));
    let plain = around(base);
    let classified = plain.classified_by(|_: &Result<(), ()>| -> Verdict { panic!("on purpose") });
    let failing = || ready(Err::<(), ()>(()));
    let calls: [(&str, Running<'_>); 4] = [
        ("a condition", Box::pin(condition.execute(failing))),
        ("delays", Box::pin(delays.execute(failing))),
        ("a classifier", Box::pin(classified.execute(failing))),
        (
            "what begins the call",
            Box::pin(plain.execute(|| -> std::future::Ready<Result<(), ()>> { panic!("on purpose") })),
        ),
    ];
    for (what, mut call) in calls {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| poll(call.as_mut())));
        assert!(polled.is_err(), "{what} panics");
        drop(call);
        assert_eq!((bulkhead.stats().active, adaptive.stats().in_flight), (0, 0), "after a panic of {what}");
    }
    assert_eq!(plain.execute(|| ready(Ok::<_, ()>(()))).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn nested_pipelines_that_share_a_bulkhead_never_wait_for_ever() {
    let shared = bulkhead(1, 5);
    let (outer, inner) = (pipeline([(&shared).into()]), pipeline([total(SECOND).into(), (&shared).into()]));
    let result = outer.execute(|| inner.execute(|| ready(Ok::<_, ()>(())))).await;
    assert_eq!(
        result.err().and_then(|error| match error {
            Error::Call(inner) => inner.rejection().map(Rejection::code),
            Error::Rejected(rejection) => Some(rejection.code()),
        }),
        Some(Code::TotalTimeout),
        "it waits for the place that it holds, but not for long"
    );
    assert_eq!((shared.stats().active, shared.stats().queued), (0, 0));
}
