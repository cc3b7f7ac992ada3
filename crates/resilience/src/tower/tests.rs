//! Layers around a service that minds its readiness, in virtual time.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::*;
use crate::bulkhead::{Bulkhead, BulkheadOptions};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerOptions};
use crate::clock::Clock;
use crate::error::{Code, Rejection};
use crate::event::CircuitState;
use crate::hedge::{Hedge, HedgeOptions};
use crate::outcome::Verdict;
use crate::policies::Step;
use crate::policy::{Environment, Guard};
use crate::rate_limit::{FixedWindow, KeyedRateLimiter, RateLimitOptions};
use crate::retry::{Backoff, Jitter, Retry, RetryOptions};
use crate::timeout::{Timeout, TimeoutOptions};

const SECOND: Duration = Duration::from_secs(1);

/// What the service behind a layer sees, and what it does.
#[derive(Debug, Default)]
struct Backend {
    /// Requests, in the order of their arrival.
    seen: Mutex<Vec<u32>>,
    /// How many of the next requests fail.
    failures: AtomicU32,
    /// How many of the next questions whether it is ready it leaves open.
    unready: AtomicU32,
    /// Whether it is broken: it fails when asked whether it is ready.
    broken: AtomicU32,
    /// How long it takes for an answer, in seconds.
    takes: AtomicU32,
}

/// A handle of the backend. Its clones have to be asked whether they are ready, as tower says.
#[derive(Debug, Default)]
struct Handle {
    backend: Arc<Backend>,
    ready: bool,
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self { backend: Arc::clone(&self.backend), ready: false }
    }
}

/// Takes one of so many.
fn take(count: &AtomicU32) -> bool {
    count.try_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
}

impl Service<u32> for Handle {
    type Response = u32;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<u32, &'static str>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if take(&self.backend.broken) {
            return Poll::Ready(Err("broken"));
        }
        if take(&self.backend.unready) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "it was not asked whether it is ready");
        self.backend.seen.lock().expect("nobody panics with it").push(request);
        let result = if take(&self.backend.failures) { Err("failed") } else { Ok(request * 2) };
        let takes = SECOND * self.backend.takes.load(Ordering::Relaxed);
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            result
        })
    }
}

impl Backend {
    fn seen(&self) -> Vec<u32> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

fn environment() -> Environment {
    Environment { clock: Clock::runtime(), ..Environment::default() }
}

fn breaker() -> CircuitBreaker {
    let options = CircuitBreakerOptions { consecutive_failures: Some(2), ..Default::default() };
    CircuitBreaker::in_environment("breaker", &options, &environment()).expect("valid")
}

fn bulkhead(max_concurrent: u32, queue: u32) -> Bulkhead {
    let options = BulkheadOptions { max_concurrent, queue, max_wait: SECOND * 60, ..Default::default() };
    Bulkhead::in_environment("bulkhead", &options, &environment()).expect("valid")
}

fn retry(attempts: u32) -> Retry {
    let backoff = Backoff::Constant { delay: SECOND };
    let options = RetryOptions { attempts, backoff, jitter: Jitter::None, budget: None, ..Default::default() };
    Retry::in_environment("retry", &options, &environment()).expect("valid")
}

fn total(limit: Duration) -> Timeout {
    let options = TimeoutOptions { total: Some(limit), ..Default::default() };
    Timeout::in_environment("timeout", &options, &environment()).expect("valid")
}

fn hedge() -> Hedge {
    let options = HedgeOptions { delay: SECOND, percentile: None, budget: None, ..Default::default() };
    Hedge::in_environment("hedge", &options, &environment()).expect("valid")
}

fn layer(steps: impl IntoIterator<Item = Step>) -> ProtectLayer {
    ProtectLayer::new(Pipeline::new("test".into(), steps.into_iter().collect(), &environment()))
}

fn service() -> (Handle, Arc<Backend>) {
    let handle = Handle::default();
    let backend = Arc::clone(&handle.backend);
    (handle, backend)
}

/// Polls once.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn is_ready<S: Service<u32>>(service: &mut S) -> bool {
    matches!(service.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}

fn code<T, E>(result: Result<T, Error<E>>) -> Option<Code> {
    result.err().and_then(|error| error.rejection().map(Rejection::code))
}

#[tokio::test(start_paused = true)]
async fn a_service_is_not_called_once_its_circuit_is_open() {
    let (inner, backend) = service();
    let breaker = breaker();
    let mut protected = layer([(&breaker).into()]).layer(inner);
    assert_eq!(protected.ready().await.expect("ready").call(1).await, Ok(2));
    backend.failures.store(2, Ordering::Relaxed);
    for request in [2, 3] {
        assert_eq!(protected.ready().await.expect("ready").call(request).await, Err(Error::Call("failed")));
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    let rejected = protected.ready().await.expect("an open circuit is told to calls").call(4).await;
    assert_eq!(code(rejected), Some(Code::BreakerOpen));
    assert_eq!(backend.seen(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn every_clone_and_every_service_of_a_layer_has_the_same_policies() {
    let (inner, backend) = service();
    let layer = layer([breaker().into()]);
    let (first, second) = (layer.layer(inner.clone()), layer.clone().layer(inner));
    backend.failures.store(2, Ordering::Relaxed);
    assert!(first.clone().oneshot(1).await.is_err());
    assert!(second.oneshot(2).await.is_err());
    assert_eq!(code(first.oneshot(3).await), Some(Code::BreakerOpen));
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_when_the_service_is() {
    let (inner, backend) = service();
    let mut protected = layer([bulkhead(1, 0).into()]).layer(inner);
    backend.unready.store(2, Ordering::Relaxed);
    assert!(!is_ready(&mut protected) && !is_ready(&mut protected));
    assert!(is_ready(&mut protected));
    backend.broken.store(1, Ordering::Relaxed);
    let broken = protected.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert_eq!(broken, Poll::Ready(Err(Error::Call("broken"))), "the service's own error, as that of a call");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_reserved_before_the_call_so_that_layers_cannot_wait_for_each_other() {
    // Two layers with the same single place would deadlock if either held it while it is ready.
    let (inner, _) = service();
    let (outer, shared) = (bulkhead(1, 0), bulkhead(2, 0));
    let stack =
        ServiceBuilder::new().layer(layer([(&shared).into(), (&outer).into()])).layer(layer([(&shared).into()]));
    let stack = stack.service(inner);
    let mut services: Vec<_> = (0..10).map(|_| stack.clone()).collect();
    for service in &mut services {
        assert!(is_ready(service) && is_ready(service));
    }
    assert_eq!((outer.stats().active, shared.stats().active), (0, 0));
    for mut service in services {
        assert_eq!(service.call(1).await, Ok(2), "one after the other finds its places");
    }
    assert_eq!((outer.stats().active, shared.stats().active), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_future_has_a_name_and_takes_nothing_before_it_is_polled() {
    /// A service of a user that keeps the future of the inner one, without a box.
    struct Kept {
        call: Option<<Protect<Handle> as Service<u32>>::Future>,
    }
    fn assert_send<T: Send + 'static>(_: &T) {}

    let (inner, backend) = service();
    let bulkhead = bulkhead(1, 0);
    let mut protected = layer([(&bulkhead).into()]).layer(inner);
    let mut kept = Kept { call: Some(protected.ready().await.expect("ready").call(1)) };
    drop(protected);
    assert_send(&kept.call);
    assert_eq!((bulkhead.stats().active, backend.seen()), (0, vec![]));
    assert_eq!(kept.call.take().expect("it is there").await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_dropped_at_any_await_gives_everything_back() {
    let mut awaits = 0;
    for polls in 0.. {
        let (inner, backend) = service();
        backend.takes.store(1, Ordering::Relaxed);
        backend.failures.store(1, Ordering::Relaxed);
        let bulkhead = bulkhead(1, 1);
        let mut protected = layer([retry(2).into(), (&bulkhead).into()]).cloning().layer(inner);
        let held = bulkhead.try_acquire().expect("there is room");
        let mut call = Box::pin(protected.ready().await.expect("ready").call(1));
        assert!(poll(&mut call).is_pending());
        assert_eq!(bulkhead.stats().queued, 1);
        held.success();
        // The clone that makes the second attempt is not ready at once.
        backend.unready.store(2, Ordering::Relaxed);
        let mut ended = false;
        for _ in 0..polls {
            ended = ended || poll(&mut call).is_ready();
            tokio::time::advance(SECOND / 2).await;
        }
        drop(call);
        let stats = bulkhead.stats();
        assert_eq!((stats.active, stats.queued), (0, 0), "after {polls} polls");
        assert_eq!(protected.oneshot(2).await, Ok(4), "after {polls} polls");
        if ended {
            break;
        }
        awaits += 1;
    }
    assert!(awaits > 5, "an answer, a wait, a service that is not ready, another answer: {awaits}");
}

#[tokio::test(start_paused = true)]
async fn another_attempt_waits_until_a_clone_is_ready() {
    let (inner, backend) = service();
    let mut protected = layer([retry(3).into()]).cloning().layer(inner);
    backend.failures.store(2, Ordering::Relaxed);
    let call = protected.ready().await.expect("ready").call(1);
    backend.unready.store(3, Ordering::Relaxed);
    assert_eq!(call.await, Ok(2));
    assert_eq!(backend.seen(), [1, 1, 1]);
    assert_eq!(backend.unready.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_breaks_between_two_attempts_is_a_failed_attempt() {
    let (inner, backend) = service();
    let mut protected = layer([retry(3).into()]).cloning().layer(inner);
    backend.failures.store(1, Ordering::Relaxed);
    let call = protected.ready().await.expect("ready").call(1);
    backend.broken.store(1, Ordering::Relaxed);
    assert_eq!(call.await, Ok(2), "the third attempt finds it whole");
    assert_eq!(backend.seen(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_never_ready_again_is_not_waited_for_beyond_the_limit() {
    let (inner, backend) = service();
    let mut protected = layer([total(SECOND * 5).into(), retry(3).into()]).cloning().layer(inner);
    backend.failures.store(1, Ordering::Relaxed);
    let call = protected.ready().await.expect("ready").call(1);
    backend.unready.store(u32::MAX, Ordering::Relaxed);
    let mut call = Box::pin(call);
    assert!(poll(&mut call).is_pending(), "it waits before the second attempt");
    tokio::time::advance(SECOND).await;
    assert!(poll(&mut call).is_pending(), "the service is not ready");
    tokio::time::advance(SECOND * 4).await;
    let Poll::Ready(result) = poll(&mut call) else { panic!("the limit has passed") };
    assert_eq!(code(result), Some(Code::TotalTimeout));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_copied_is_sent_once() {
    let (inner, backend) = service();
    backend.failures.store(1, Ordering::Relaxed);
    assert_eq!(layer([retry(3).into()]).layer(inner).oneshot(1).await, Err(Error::Call("failed")));
    assert_eq!(backend.seen(), [1]);
}

/// A request that counts its clones.
#[derive(Debug, Default)]
struct Counted(Rc<Cell<u32>>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.set(self.0.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cloned_only_where_it_may_be_sent_again() {
    let echo = tower::service_fn(|_: Counted| std::future::ready(Ok::<_, BoxError>(())));
    let clones = |steps: Vec<Step>| async move {
        let request = Counted::default();
        let count = Rc::clone(&request.0);
        layer(steps).cloning().layer(echo).oneshot(request).await.expect("it answers");
        count.get()
    };
    assert_eq!(clones(vec![breaker().into()]).await, 0);
    assert_eq!(clones(vec![retry(3).into(), breaker().into()]).await, 1);
    assert_eq!(clones(vec![hedge().into()]).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_request_reaches_the_policies() {
    let (inner, backend) = service();
    let window = RateLimitOptions::fixed_window(FixedWindow { limit: 1, window: SECOND * 60 });
    let limit = KeyedRateLimiter::in_environment("limit", &window, &environment()).expect("valid");
    let by_parity = |request: &u32| Call::new().key((request % 2).to_string()).idempotent();
    let protected = layer([limit.into(), hedge().into()]).describing(by_parity).cloning().layer(inner);
    backend.takes.store(2, Ordering::Relaxed);
    assert_eq!(protected.clone().oneshot(1).await, Ok(2));
    assert_eq!(backend.seen(), [1, 1], "an idempotent request is hedged");
    assert_eq!(protected.clone().oneshot(2).await, Ok(4), "another key");
    assert_eq!(code(protected.oneshot(3).await), Some(Code::RateLimited));
}

#[tokio::test(start_paused = true)]
async fn responses_are_read_by_the_classifier_of_the_pipeline() {
    let (inner, _) = service();
    let breaker = breaker();
    let pipeline = Pipeline::new("test".into(), vec![(&breaker).into()], &environment());
    let by_number = pipeline.classified_by(|result: &Result<u32, &'static str>| match result {
        Ok(..100) => Verdict::SUCCESS,
        _ => Verdict::TRANSIENT,
    });
    let protected = ProtectLayer::new(by_number).layer(inner);
    for request in [1, 100, 1, 100] {
        assert_eq!(protected.clone().oneshot(request).await, Ok(request * 2));
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(protected.clone().oneshot(100).await, Ok(200), "the response comes through as it is");
    assert_eq!(breaker.state(), CircuitState::Open, "the second in a row");
    assert_eq!(code(protected.oneshot(1).await), Some(Code::BreakerOpen));
}
