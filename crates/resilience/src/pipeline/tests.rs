//! Pipelines in virtual time, with exact counts of attempts.

use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::budget::RetryBudgetOptions;
use crate::bulkhead::{Bulkhead, BulkheadOptions};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerOptions};
use crate::error::Code;
use crate::event::CircuitState;
use crate::hedge::{Hedge, HedgeOptions};
use crate::outcome::Verdict;
use crate::policy::{Guard, Ticket};
use crate::retry::{Backoff, Jitter, Retry, RetryOptions};
use crate::timeout::{Timeout, TimeoutOptions};
use crate::units::Ratio;

const SECOND: Duration = Duration::from_secs(1);

fn environment() -> Environment {
    Environment { clock: Clock::runtime(), ..Environment::default() }
}

fn timeout(total: Option<Duration>, attempt: Option<Duration>) -> Timeout {
    Timeout::in_environment("timeout", &TimeoutOptions { total, attempt, ..Default::default() }, &environment())
        .expect("valid")
}

fn retry(attempts: u32, delay: Duration) -> Retry {
    let options = RetryOptions {
        attempts,
        backoff: Backoff::Constant { delay },
        jitter: Jitter::None,
        budget: None,
        ..Default::default()
    };
    Retry::in_environment("retry", &options, &environment()).expect("valid")
}

fn breaker(consecutive: u32) -> CircuitBreaker {
    let options = CircuitBreakerOptions { consecutive_failures: Some(consecutive), ..Default::default() };
    CircuitBreaker::in_environment("breaker", &options, &environment()).expect("valid")
}

fn bulkhead(max_concurrent: u32, queue: u32) -> Bulkhead {
    let options = BulkheadOptions { max_concurrent, queue, max_wait: SECOND, ..Default::default() };
    Bulkhead::in_environment("bulkhead", &options, &environment()).expect("valid")
}

fn hedge(delay: Duration) -> Hedge {
    let options = HedgeOptions { delay, percentile: None, budget: None, ..Default::default() };
    Hedge::in_environment("hedge", &options, &environment()).expect("valid")
}

fn pipeline(steps: impl IntoIterator<Item = Step>) -> Pipeline {
    Pipeline::new("test".into(), steps.into_iter().collect(), &environment())
}

/// A guard that writes down what it is asked and told.
struct Witness {
    name: Name,
    clock: Clock,
    admits: bool,
    told: Arc<parking_lot::Mutex<Vec<&'static str>>>,
}

impl Witness {
    fn step(admits: bool) -> (Step, Arc<parking_lot::Mutex<Vec<&'static str>>>) {
        let told = Arc::default();
        let witness = Self { name: "witness".into(), clock: Clock::runtime(), admits, told: Arc::clone(&told) };
        (Step::Guard(Arc::new(witness)), told)
    }
}

impl Guard for Witness {
    fn name(&self) -> &Name {
        &self.name
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn peek(&self, _: &Call<'_>, _: &Reading<'_>) -> Result<(), Rejection> {
        self.admits.then_some(()).ok_or_else(|| Rejection::new(Code::PoolFull, &self.name))
    }

    fn try_admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        self.peek(call, now)?;
        self.told.lock().push("admitted");
        Ok(Ticket::BLANK)
    }

    fn settle(&self, _: Ticket, outcome: Outcome, _: &Reading<'_>) {
        self.told.lock().push(match outcome {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
            Outcome::Rejected => "rejected",
            Outcome::Cancelled => "cancelled",
            Outcome::Overload => "overload",
            Outcome::Ignored => "ignored",
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_policies_is_the_call() {
    let empty = pipeline([]);
    assert_eq!(empty.execute(|| ready(Ok::<_, ()>(1))).await, Ok(1));
    assert_eq!(empty.execute(|| ready(Err::<(), _>(2))).await, Err(Error::Call(2)));
}

#[tokio::test(start_paused = true)]
async fn a_retry_makes_as_many_attempts_as_it_says_and_waits_between_them() {
    let began = tokio::time::Instant::now();
    let attempts = RefCell::new(Vec::new());
    let failing = pipeline([retry(3, SECOND).into()]);
    let result = failing
        .execute_call(Call::new(), |attempt: Attempt| {
            attempts.borrow_mut().push((attempt.number, began.elapsed().as_secs()));
            ready(Err::<(), _>("no"))
        })
        .await;
    assert_eq!(result, Err(Error::Call("no")));
    assert_eq!(*attempts.borrow(), [(1, 0), (2, 1), (3, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_the_attempts() {
    let count = Cell::new(0);
    let result = pipeline([retry(5, SECOND).into()])
        .execute(|| {
            count.set(count.get() + 1);
            ready(if count.get() < 3 { Err("not yet") } else { Ok(count.get()) })
        })
        .await;
    assert_eq!(result, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_inside_a_retry_is_not_tried_again() {
    let breaker = breaker(2);
    let count = Cell::new(0);
    let result = pipeline([retry(10, SECOND).into(), (&breaker).into()])
        .execute(|| {
            count.set(count.get() + 1);
            ready(Err::<(), _>("down"))
        })
        .await;
    assert_eq!(count.get(), 2, "the third attempt meets an open circuit");
    assert_eq!(result.map_err(|error| error.rejection().map(Rejection::code)), Err(Some(Code::BreakerOpen)));
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn the_total_limit_ends_the_call_with_all_its_attempts() {
    let began = tokio::time::Instant::now();
    let result = pipeline([timeout(Some(SECOND * 5), None).into(), retry(100, SECOND * 2).into()])
        .execute(|| async {
            tokio::time::sleep(SECOND).await;
            Err::<(), _>("slow")
        })
        .await;
    // Attempts end at 1, 4 and 7; the third begins at 5, which is too late to begin.
    assert_eq!(began.elapsed(), SECOND * 4, "an attempt that cannot end in time is not waited for");
    assert_eq!(result, Err(Error::Call("slow")));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_ended_by_the_total_limit_and_the_breaker_hears_of_it() {
    let breaker = breaker(1);
    let hanging = pipeline([timeout(Some(SECOND), None).into(), (&breaker).into()]);
    let result = hanging.execute(pending::<Result<(), ()>>).await;
    assert_eq!(result.map_err(|error| error.rejection().map(Rejection::code)), Err(Some(Code::TotalTimeout)));
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn every_attempt_has_its_own_limit() {
    let count = Cell::new(0);
    let began = tokio::time::Instant::now();
    let hanging = Pipeline::builder("test")
        .environment(&environment())
        .step(timeout(Some(SECOND * 60), Some(SECOND)))
        .step(retry(3, SECOND))
        .build()
        .expect("a sound order");
    let result = hanging
        .execute(|| {
            count.set(count.get() + 1);
            pending::<Result<(), ()>>()
        })
        .await;
    assert_eq!(count.get(), 3);
    assert_eq!(result.map_err(|error| error.rejection().map(Rejection::code)), Err(Some(Code::AttemptTimeout)));
    assert_eq!(began.elapsed(), SECOND * 5);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_begins_nothing_and_travels_to_calls_within() {
    let outer = pipeline([timeout(Some(SECOND), None).into()]);
    let inner = pipeline([]);
    let seen = Cell::new(Moment::NEVER);
    let now = Clock::runtime().now();
    let result = outer
        .execute(|| async {
            inner
                .execute_call(Call::new(), |attempt: Attempt| {
                    seen.set(attempt.deadline);
                    ready(Ok::<_, ()>(()))
                })
                .await
        })
        .await;
    assert_eq!(result, Ok(()));
    assert_eq!(seen.get(), now.after(SECOND));

    let late = inner.execute_call(Call::new().deadline(now), |_| ready(Ok::<_, ()>(()))).await;
    assert_eq!(late.map_err(|error| error.rejection().map(Rejection::code)), Err(Some(Code::DeadlinePassed)));
}

#[tokio::test(start_paused = true)]
async fn what_an_outer_guard_took_is_given_back_when_an_inner_one_rejects() {
    let (outer, told) = Witness::step(true);
    let (inner, _) = Witness::step(false);
    let far = pipeline([outer.clone(), retry(1, SECOND).into(), inner.clone()]);
    assert!(far.execute(|| ready(Ok::<_, ()>(()))).await.is_err());
    assert_eq!(*told.lock(), ["admitted", "rejected"]);

    told.lock().clear();
    let near = pipeline([outer, inner]);
    assert!(near.execute(|| ready(Ok::<_, ()>(()))).await.is_err());
    assert!(told.lock().is_empty(), "all guards are asked before one admits");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_after_an_attempt_that_ran_is_a_failure_to_those_outside() {
    let (outer, told) = Witness::step(true);
    let breaker = breaker(1);
    let twice = pipeline([outer, retry(3, SECOND).into(), breaker.into()]);
    assert!(twice.execute(|| ready(Err::<(), _>(()))).await.is_err());
    assert_eq!(*told.lock(), ["admitted", "failure"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_place_gets_it_in_its_turn() {
    let bulkhead = bulkhead(1, 1);
    let narrow = pipeline([(&bulkhead).into()]);
    let first = bulkhead.try_acquire().expect("there is room");
    let mut second = std::pin::pin!(narrow.execute(|| ready(Ok::<_, ()>(()))));
    assert!(poll(second.as_mut()).is_pending());
    let third = narrow.execute(|| ready(Ok::<_, ()>(()))).await;
    assert_eq!(third.map_err(|error| error.rejection().map(Rejection::code)), Err(Some(Code::BulkheadFull)));
    first.success();
    assert_eq!(second.await, Ok(()));
    assert_eq!(bulkhead.stats().active, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_hedged_and_the_loser_is_cancelled() {
    let (witness, told) = Witness::step(true);
    let hedged = pipeline([hedge(SECOND).into(), witness]);
    let began = tokio::time::Instant::now();
    let result = hedged
        .execute_call(Call::new().idempotent(), |attempt: Attempt| async move {
            tokio::time::sleep(if attempt.copy == 0 { SECOND * 10 } else { SECOND }).await;
            Ok::<_, ()>(attempt.copy)
        })
        .await;
    assert_eq!(result, Ok(1));
    assert_eq!(began.elapsed(), SECOND * 2);
    let mut told = told.lock().clone();
    told.sort_unstable();
    assert_eq!(told, ["admitted", "admitted", "cancelled", "success"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_idempotent_is_not_hedged() {
    let count = Cell::new(0);
    let result = pipeline([hedge(SECOND).into()])
        .execute(|| {
            count.set(count.get() + 1);
            async {
                tokio::time::sleep(SECOND * 10).await;
                Ok::<_, ()>(())
            }
        })
        .await;
    assert_eq!((result, count.get()), (Ok(()), 1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_original_waits_for_its_copy() {
    let result = pipeline([hedge(SECOND).into()])
        .execute_call(Call::new().idempotent(), |attempt: Attempt| async move {
            tokio::time::sleep(SECOND * 2).await;
            if attempt.copy == 0 { Err("original") } else { Ok("copy") }
        })
        .await;
    assert_eq!(result, Ok("copy"));
}

#[tokio::test(start_paused = true)]
async fn the_classifier_decides_what_is_a_failure() {
    let (witness, told) = Witness::step(true);
    let by_number = pipeline([witness]).classified_by(|result: &Result<u16, ()>| match result {
        Ok(500..) => Verdict::TRANSIENT,
        Ok(400..) => Verdict::IGNORED,
        _ => Verdict::SUCCESS,
    });
    for status in [200, 404, 503] {
        assert_eq!(by_number.execute(|| ready(Ok(status))).await, Ok(status));
    }
    assert_eq!(*told.lock(), ["admitted", "success", "admitted", "ignored", "admitted", "failure"]);
}

/// Polls once.
fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A call that is pending so many times.
async fn steps_of(pending: u32) -> Result<(), &'static str> {
    for _ in 0..pending {
        tokio::task::yield_now().await;
    }
    Err("failed")
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_await_nothing_is_kept() {
    let (breaker, bulkhead) = (breaker(1000), bulkhead(2, 2));
    let (witness, told) = Witness::step(true);
    let all = pipeline([
        timeout(Some(SECOND * 100), None).into(),
        retry(3, SECOND).into(),
        (&breaker).into(),
        witness,
        (&bulkhead).into(),
    ]);
    for polls in 0..40 {
        let mut call = Box::pin(all.execute(|| steps_of(3)));
        for _ in 0..polls {
            if poll(call.as_mut()).is_ready() {
                break;
            }
            tokio::time::advance(SECOND / 2).await;
        }
        drop(call);
        assert_eq!(bulkhead.stats().active, 0, "after {polls} polls");
        let told = told.lock();
        let admitted = told.iter().filter(|word| **word == "admitted").count();
        assert_eq!(told.len(), 2 * admitted, "after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_call_is_a_failure_and_keeps_nothing() {
    let (witness, told) = Witness::step(true);
    let bulkhead = bulkhead(1, 0);
    let panicking = pipeline([witness, (&bulkhead).into()]);
    let task = tokio::spawn(async move {
        panicking.execute(|| async { if true { panic!("on purpose") } else { Ok::<(), ()>(()) } }).await
    });
    assert!(task.await.is_err());
    assert_eq!(*told.lock(), ["admitted", "failure"]);
    assert_eq!(bulkhead.stats().active, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_repeated_is_not() {
    struct Once(Rc<AtomicU32>);
    impl Operation for Once {
        type Future = std::future::Ready<Result<(), ()>>;
        fn start(&mut self, _: Attempt) -> Self::Future {
            self.0.fetch_add(1, Ordering::Relaxed);
            ready(Err(()))
        }
        fn repeatable(&self) -> bool {
            false
        }
    }
    let count = Rc::default();
    let result = pipeline([retry(3, SECOND).into()]).execute_call(Call::new(), Once(Rc::clone(&count))).await;
    assert_eq!((result, count.load(Ordering::Relaxed)), (Err(Error::Call(())), 1));
}

#[tokio::test(start_paused = true)]
async fn copies_take_from_the_budget_of_the_retry_around_them() {
    let options = RetryOptions {
        budget: Some(RetryBudgetOptions { ratio: Ratio::ZERO, min_per_second: 1, ..Default::default() }),
        ..Default::default()
    };
    let retry = Retry::in_environment("retry", &options, &environment()).expect("valid");
    let hedged = Pipeline::builder("test")
        .environment(&environment())
        .step(&retry)
        .step(hedge(SECOND))
        .idempotent()
        .build()
        .expect("a sound order");
    let allowed = retry.budget().stats();
    let slow = |_: Attempt| async {
        tokio::time::sleep(SECOND * 5).await;
        Ok::<_, ()>(())
    };
    assert_eq!(hedged.execute_call(Call::new().idempotent(), slow).await, Ok(()));
    assert_ne!(retry.budget().stats(), allowed, "the copy was charged");
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_still_uses_is_given_back_with_it() {
    let (limit, breaker) = (bulkhead(1, 0), breaker(1));
    let pipeline = pipeline([limit.clone().into(), breaker.clone().into()]);
    let begin = || pipeline.execute_call(Call::new(), |_| ready(Ok::<_, ()>(7))).holding();
    let (answer, held) = begin().await.expect("there is a place");
    assert_eq!((answer, limit.stats().active), (7, 1));
    assert_eq!(breaker.stats().succeeded, 1, "the breaker was told when the call returned");
    let refused = begin().await.err().and_then(|error| error.rejection().map(Rejection::code));
    assert_eq!(refused, Some(Code::BulkheadFull));
    drop(held);
    assert_eq!(limit.stats().active, 0);
}

#[tokio::test(start_paused = true)]
async fn only_the_last_attempt_and_the_best_copy_hold_a_place() {
    let limit = bulkhead(9, 0);
    let steps = [retry(3, SECOND).into(), hedge(SECOND).into(), limit.clone().into()];
    let attempts = Cell::new(0);
    let failing_first = |attempt: Attempt| {
        attempts.set(attempts.get() + 1);
        let (first, copy) = (attempt.number == 1 && attempts.get() < 3, attempt.copy);
        async move {
            tokio::time::sleep(if copy == 0 { 3 * SECOND } else { SECOND }).await;
            if first { Err(copy) } else { Ok::<_, u32>(copy) }
        }
    };
    let call = Call::new().idempotent();
    let pipeline = pipeline(steps);
    let result = pipeline.execute_call(call.clone(), failing_first).holding().await;
    assert_eq!(limit.stats().active, 1);
    drop(result);
    assert_eq!(limit.stats().active, 0);
    let failed = pipeline.execute_call(call.clone(), |_| ready(Err::<(), _>(()))).holding().await;
    assert_eq!((failed.is_err(), limit.stats().active), (true, 0));
    let mut abandoned = Box::pin(pipeline.execute_call(call, |_| pending::<Result<(), ()>>()).holding());
    assert!(abandoned.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(limit.stats().active, 1);
    drop(abandoned);
    assert_eq!(limit.stats().active, 0);
}

/// Fails in part as long as it is told to.
struct Partly<'a, F> {
    partial: &'a Cell<bool>,
    begin: F,
}

impl<F: FnMut() -> Fut, Fut: Future> Operation for Partly<'_, F> {
    type Future = Fut;

    fn start(&mut self, _: Attempt) -> Fut {
        (self.begin)()
    }

    fn failed_in_part(&self) -> bool {
        self.partial.get()
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_part_does_not_open_a_breaker() {
    let partial = Cell::new(true);
    let (witness, told) = Witness::step(true);
    let breaker = breaker(2);
    let steps = pipeline([breaker.clone().into(), witness]);
    let fail = || Partly { partial: &partial, begin: || ready(Err::<(), _>("sick")) };
    for _ in 0..3 {
        assert_eq!(steps.execute_call(Call::new(), fail()).await, Err(Error::Call("sick")));
    }
    assert_eq!(*told.lock(), ["admitted", "failure", "admitted", "failure", "admitted", "failure"], "others are told");
    assert_eq!((breaker.state(), breaker.stats().failed), (CircuitState::Closed, 0));
    partial.set(false);
    for _ in 0..2 {
        assert_eq!(steps.execute_call(Call::new(), fail()).await, Err(Error::Call("sick")));
    }
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_in_part_does_not_open_a_breaker() {
    for (total, attempt) in [(None, Some(SECOND)), (Some(SECOND), None)] {
        let partial = Cell::new(true);
        let breaker = breaker(1);
        let timeout = timeout(total, attempt);
        let steps: [Step; 2] = match attempt {
            Some(_) => [breaker.clone().into(), Step::AttemptTimeout(timeout)],
            None => [timeout.into(), breaker.clone().into()],
        };
        let steps = pipeline(steps);
        for expected in [CircuitState::Closed, CircuitState::Open] {
            let hang = Partly { partial: &partial, begin: pending::<Result<(), ()>> };
            assert!(matches!(steps.execute_call(Call::new(), hang).await, Err(Error::Rejected(_))));
            assert_eq!(breaker.state(), expected);
            partial.set(false);
        }
    }
}
