//! Which errors a fallback takes the place of.

use std::future::{Future, pending};
use std::pin::pin;
use std::task::{Context, Waker};

use super::*;
use crate::error::{Code, Error, Rejection};
use crate::event::{Events, Happening};
use crate::name::Name;
use crate::policy::{Environment, Mode};

type Outcome = Result<u32, Error<&'static str>>;

fn rejected(code: Code) -> Outcome {
    Err(Rejection::new(code, &Name::from("inner")).into())
}

const FAILED: Outcome = Err(Error::Call("broken"));

#[tokio::test]
async fn a_value_a_function_or_a_call_takes_the_place_of_an_error() {
    let value = Fallback::value("f", 7);
    assert_eq!((value.apply(FAILED).await, value.apply(Ok(1)).await), (Ok(7), Ok(1)));
    let made = Fallback::with("f", |error: &Error<&str>| u32::from(error.rejection().is_some()));
    assert_eq!((made.apply(FAILED).await, made.apply(rejected(Code::BreakerOpen)).await), (Ok(0), Ok(1)));
    let called = Fallback::call("f", |error: Error<&'static str>| async move {
        tokio::task::yield_now().await;
        if error.rejection().is_some() { Ok(9) } else { Err(Error::Call("broken as well")) }
    });
    assert_eq!(called.apply(rejected(Code::BreakerOpen)).await, Ok(9));
    assert_eq!(called.apply(FAILED).await, Err(Error::Call("broken as well")));
    assert_eq!(called.stats(), FallbackStats { used: 2, failed: 1 });
}

#[tokio::test]
async fn errors_that_it_is_not_for_stay() {
    let fallback = Fallback::value("f", 7).on(&[Code::BreakerOpen, Code::BulkheadFull]);
    assert_eq!(fallback.apply(rejected(Code::BulkheadFull)).await, Ok(7));
    assert_eq!(fallback.apply(rejected(Code::RateLimited)).await, rejected(Code::RateLimited));
    assert_eq!(fallback.apply(FAILED).await, FAILED);
    let either = fallback.when(|error| *error == Error::Call("broken"));
    assert_eq!((either.apply(FAILED).await, either.apply(rejected(Code::BreakerOpen)).await), (Ok(7), Ok(7)));
    assert_eq!(either.apply(Err(Error::Call("other"))).await, Err(Error::Call("other")));
    assert_eq!(Fallback::value("f", 7).on(&[]).apply(FAILED).await, FAILED, "for no code at all");
}

#[tokio::test]
async fn modes_and_events() {
    let events = Events::default();
    let environment = Environment { events: events.clone(), ..Environment::default() };
    let listener = events.subscribe(4);
    for (mode, result, used) in [(Mode::Enabled, Ok(7), 1), (Mode::MetricsOnly, FAILED, 1), (Mode::Disabled, FAILED, 0)]
    {
        let fallback = Fallback::value("f", 7).in_environment(&environment).mode(mode);
        assert_eq!(fallback.apply(FAILED).await, result);
        assert_eq!(fallback.stats().used, used);
        let told = listener.try_next().map(|event| (event.policy, event.happening));
        assert_eq!(told, (used > 0).then(|| (Name::from("f"), Happening::FallbackUsed)));
    }
}

#[tokio::test]
async fn metrics_only_does_not_make_the_other_call() {
    let never = Fallback::call("f", |_: Error<&'static str>| async { unreachable!("it must not be called") });
    assert_eq!(never.mode(Mode::MetricsOnly).apply(FAILED).await, FAILED);
}

#[test]
fn it_may_be_dropped_while_the_other_call_waits() {
    let fallback = Fallback::call("f", |_: Error<&'static str>| pending::<Outcome>());
    {
        let mut waiting = pin!(fallback.apply(FAILED));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(fallback.stats(), FallbackStats { used: 1, failed: 0 });
}

#[test]
fn clones_share_their_figures_and_a_panic_leaves_them_right() {
    let fallback = Fallback::<u32, &str>::with("f", |_| panic!("in the fallback"));
    let copy = fallback.clone();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut applied = pin!(copy.apply(FAILED));
        let _ = applied.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }));
    assert!(panicked.is_err());
    assert_eq!(fallback.stats().used, 1);
}
