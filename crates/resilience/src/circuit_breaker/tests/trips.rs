//! What opens a circuit, and what does not.

use super::*;
use crate::units::Ratio;

fn by_rate(window: BreakerWindow) -> CircuitBreakerOptions {
    CircuitBreakerOptions { consecutive_failures: None, window, min_calls: 4, ..Default::default() }
}

#[test]
fn failures_one_after_the_other_open_it_long_before_a_window_is_full() {
    let bench = Bench::new(&CircuitBreakerOptions::default());
    bench.calls(4, Outcome::Failure);
    bench.calls(1, Outcome::Success);
    bench.calls(4, Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::Closed);
    bench.calls(1, Outcome::Failure);
    assert_eq!(bench.changes(), [(CircuitState::Open, CircuitReason::ConsecutiveFailures)]);
    assert_eq!(bench.rejected_as(), Some(Code::BreakerOpen));
}

#[test]
fn overload_counts_to_the_rate_and_not_to_the_failures_in_a_row() {
    let options = CircuitBreakerOptions { consecutive_failures: Some(3), min_calls: 100, ..Default::default() };
    let bench = Bench::new(&options);
    bench.calls(2, Outcome::Failure);
    bench.calls(10, Outcome::Overload);
    assert_eq!(bench.breaker.stats().consecutive_failures, 2, "neither counted nor begun anew");
    assert!(bench.breaker.stats().failure_rate > 0.99);
    bench.calls(1, Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::Open);

    let bench = Bench::new(&by_rate(BreakerWindow::Calls(10)));
    bench.calls(4, Outcome::Overload);
    assert_eq!(bench.changes(), [(CircuitState::Open, CircuitReason::FailureRate)]);
}

#[test]
fn what_says_nothing_about_the_other_side_counts_for_nothing() {
    let options = CircuitBreakerOptions { consecutive_failures: Some(2), failure_rate: None, ..Default::default() };
    let bench = Bench::new(&options);
    for outcome in [Outcome::Ignored, Outcome::Cancelled] {
        bench.calls(1, Outcome::Failure);
        bench.calls(1, outcome);
        assert_eq!(bench.breaker.stats().consecutive_failures, 1, "{outcome:?} is not a success either");
        bench.calls(1, Outcome::Success);
    }
    bench.calls(1, Outcome::Rejected);
    assert_eq!((bench.state(), bench.breaker.stats().window_calls), (CircuitState::Closed, 4));
}

#[test]
fn a_count_window_slides_and_does_not_accumulate() {
    let bench = Bench::new(&CircuitBreakerOptions { min_calls: 10, ..by_rate(BreakerWindow::Calls(10)) });
    for _ in 0..1000 {
        // Never more than 4 of any 10 in a row.
        bench.calls(4, Outcome::Failure);
        bench.calls(6, Outcome::Success);
    }
    assert_eq!(bench.state(), CircuitState::Closed);
    assert_eq!((bench.breaker.stats().window_calls, bench.breaker.stats().failure_rate), (10, 0.4));
    // Each takes the place of one of the four: the fifth takes that of a success.
    bench.calls(4, Outcome::Failure);
    assert_eq!((bench.state(), bench.breaker.stats().failure_rate), (CircuitState::Closed, 0.4));
    bench.calls(1, Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::Open);
}

#[test]
fn a_time_window_forgets_what_is_over() {
    let bench = Bench::new(&by_rate(BreakerWindow::Time(SECOND * 10)));
    bench.calls(3, Outcome::Failure);
    bench.time.advance(SECOND * 9);
    assert_eq!(bench.breaker.stats().window_calls, 3);
    bench.time.advance(SECOND);
    assert_eq!(bench.breaker.stats().window_calls, 0);
    bench.calls(3, Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::Closed, "the three before are over");
    bench.calls(1, Outcome::Success);
    assert_eq!(bench.changes(), [(CircuitState::Open, CircuitReason::FailureRate)], "a success can be the fourth call");
}

#[test]
fn a_rate_means_nothing_before_there_are_enough_calls() {
    let bench = Bench::new(&CircuitBreakerOptions { min_calls: 20, ..by_rate(BreakerWindow::Calls(100)) });
    bench.calls(19, Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::Closed);
    bench.calls(1, Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::Open);
}

#[test]
fn slow_calls_open_it_though_they_succeed() {
    let options = CircuitBreakerOptions {
        slow_call_rate: Some(Ratio::percent(50)),
        slow_call: SECOND,
        ..by_rate(BreakerWindow::Calls(10))
    };
    let bench = Bench::new(&options);
    for (millis, state) in [(999, CircuitState::Closed), (0, CircuitState::Closed), (1000, CircuitState::Closed)] {
        let permit = bench.breaker.try_acquire().expect("closed");
        bench.time.advance(Duration::from_millis(millis));
        permit.success();
        assert_eq!(bench.state(), state);
    }
    let permit = bench.breaker.try_acquire().expect("closed");
    bench.time.advance(SECOND * 2);
    permit.success();
    assert_eq!(bench.changes(), [(CircuitState::Open, CircuitReason::SlowCallRate)]);
    assert_eq!(bench.breaker.stats().slow, 2);
}

#[test]
fn metrics_only_decides_and_rejects_nothing() {
    let options = CircuitBreakerOptions { mode: crate::policy::Mode::MetricsOnly, ..Default::default() };
    let bench = Bench::new(&options);
    bench.calls(5, Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::Open);
    bench.calls(7, Outcome::Failure);
    let stats = bench.breaker.stats();
    assert_eq!((stats.failed, stats.rejected), (5, 7));
}

#[test]
fn disabled_it_does_nothing_and_counts_nothing() {
    let options = CircuitBreakerOptions { mode: crate::policy::Mode::Disabled, ..Default::default() };
    let bench = Bench::new(&options);
    bench.calls(100, Outcome::Failure);
    assert_eq!((bench.state(), bench.breaker.stats().failed), (CircuitState::Closed, 0));
}
