//! Limits, modes and what is told of them.

use std::time::Duration;

use super::*;
use crate::clock::{Moment, Reading};
use crate::error::{Code, Context};
use crate::event::{Events, Happening};
use crate::outcome::{Outcome, RetryAdvice};
use crate::policy::{Environment, Mode};

const SECOND: Duration = Duration::from_secs(1);

fn options(total: Option<u64>, attempt: Option<u64>) -> TimeoutOptions {
    let seconds = |limit: Option<u64>| limit.map(Duration::from_secs);
    TimeoutOptions { mode: Mode::Enabled, total: seconds(total), attempt: seconds(attempt) }
}

fn timeout(options: &TimeoutOptions) -> Timeout {
    Timeout::new("search", options).expect("options within their ranges")
}

fn at(seconds: u64) -> Reading<'static> {
    Reading::taken(Moment::ORIGIN.after(SECOND * u32::try_from(seconds).expect("short")))
}

#[test]
fn limits_are_what_was_asked_for() {
    let timeout = timeout(&TimeoutOptions::default());
    assert_eq!((timeout.total(), timeout.attempt()), (Some(30 * SECOND), None));
    timeout.reconfigure(&options(None, Some(2))).expect("in range");
    assert_eq!((timeout.total(), timeout.attempt()), (None, Some(2 * SECOND)));
    assert_eq!(timeout.options(), options(None, Some(2)));
}

#[test]
fn a_limit_of_zero_or_none_at_all_changes_nothing() {
    let timeout = timeout(&options(Some(3), Some(1)));
    for (option, wrong) in
        [("total", options(None, None)), ("total", options(Some(0), Some(1))), ("attempt", options(Some(1), Some(0)))]
    {
        assert_eq!(timeout.reconfigure(&wrong).expect_err("out of range").option, option);
        assert_eq!(Timeout::new("search", &wrong).expect_err("out of range").option, option);
    }
    assert_eq!(timeout.options(), options(Some(3), Some(1)));
    assert_eq!((timeout.total(), timeout.attempt()), (Some(3 * SECOND), Some(SECOND)));
}

#[test]
fn the_longest_limit_never_passes() {
    let endless = TimeoutOptions { total: Some(Duration::MAX), ..TimeoutOptions::default() };
    let end = timeout(&endless).total().map(|limit| Moment::ORIGIN.after(limit));
    assert!(end.is_none_or(|end| end == Moment::NEVER));
    timeout(&endless).ended(TimeoutKind::Total, &Reading::taken(Moment::NEVER), Moment::ORIGIN);
}

#[test]
fn a_rejection_says_what_took_too_long() {
    let events = Events::default();
    let environment = Environment { events: events.clone(), ..Environment::default() };
    let timeout = Timeout::in_environment("search", &options(Some(3), Some(1)), &environment).expect("in range");
    let listener = events.subscribe(4);
    for (kind, code, outcome, retry) in [
        (TimeoutKind::Attempt, Code::AttemptTimeout, Outcome::Failure, RetryAdvice::Backoff),
        (TimeoutKind::Total, Code::TotalTimeout, Outcome::Failure, RetryAdvice::No),
        (TimeoutKind::Deadline, Code::DeadlinePassed, Outcome::Rejected, RetryAdvice::No),
    ] {
        let rejection = timeout.expired(kind, &at(5), SECOND, 2 * SECOND);
        assert_eq!((rejection.code(), rejection.context()), (code, Some(Context::Elapsed(2 * SECOND))));
        assert_eq!((rejection.verdict().outcome, rejection.verdict().retry), (outcome, retry));
        assert!(kind == TimeoutKind::Deadline || !rejection.verdict().unprocessed, "it had begun");
        let told = listener.try_next().map(|event| (event.at, event.happening));
        assert_eq!(told, Some((at(5).moment(), Happening::TimedOut { limit: SECOND })));
    }
    assert_eq!(timeout.stats(), TimeoutStats { attempts: 1, totals: 1, deadlines: 1 });
}

#[test]
fn metrics_only_lets_calls_end_and_tells_of_the_slow_ones() {
    let watching = TimeoutOptions { mode: Mode::MetricsOnly, ..options(Some(3), Some(1)) };
    let timeout = timeout(&watching);
    assert_eq!((timeout.total(), timeout.attempt()), (None, None));
    let ended = |kind, seconds: u64| timeout.ended(kind, &at(10 + seconds), at(10).moment());
    ended(TimeoutKind::Attempt, 0);
    ended(TimeoutKind::Attempt, 1);
    ended(TimeoutKind::Total, 2);
    ended(TimeoutKind::Deadline, 9);
    assert_eq!(timeout.stats(), TimeoutStats { attempts: 1, totals: 0, deadlines: 0 });
    ended(TimeoutKind::Total, 3);
    assert_eq!(timeout.stats(), TimeoutStats { attempts: 1, totals: 1, deadlines: 0 });
}

#[test]
fn other_modes_do_not_even_read_the_clock_at_the_end() {
    let clock = crate::clock::Clock::manual();
    let source = clock.clock();
    for mode in [Mode::Enabled, Mode::Disabled] {
        let timeout = timeout(&TimeoutOptions { mode, ..options(Some(1), Some(1)) });
        assert_eq!(timeout.total().is_some(), mode == Mode::Enabled);
        let now = Reading::of(&source);
        timeout.ended(TimeoutKind::Total, &now, Moment::ORIGIN);
        clock.advance(5 * SECOND);
        assert_eq!(now.moment(), source.now(), "taken only here");
        assert_eq!(timeout.stats(), TimeoutStats::default());
    }
}

#[cfg(feature = "serde")]
#[test]
fn options_are_written_as_documented() {
    let read = |text: &str| serde_json::from_str::<TimeoutOptions>(text).map_err(|error| error.to_string());
    assert_eq!(read(r#"{ "attempt": "2s" }"#), Ok(options(Some(30), Some(2))));
    assert_eq!(read(r#"{ "total": "off", "attempt": "1m" }"#), Ok(options(None, Some(60))));
    assert!(read(r#"{ "totals": "1s" }"#).expect_err("a slip").contains("unknown field `totals`"));
    let text = serde_json::to_string(&options(None, Some(2))).expect("options can be written");
    assert_eq!(text, r#"{"mode":"enabled","total":"off","attempt":"2s"}"#);
}
