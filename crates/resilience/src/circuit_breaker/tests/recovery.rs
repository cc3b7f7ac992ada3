//! How a circuit closes again, by itself and by hand.

use super::*;
use crate::call::Call;
use crate::clock::Reading;
use crate::units::Ratio;

fn options() -> CircuitBreakerOptions {
    CircuitBreakerOptions { open_for: SECOND * 10, half_open_for: SECOND * 30, ..Default::default() }
}

#[test]
fn the_time_that_a_rejection_names_is_honest() {
    let bench = Bench::open(options());
    bench.time.advance(SECOND * 3);
    let rejection = bench.breaker.try_acquire().expect_err("open");
    assert_eq!(rejection.retry_after(), Some(SECOND * 7));
    assert_eq!(bench.breaker.stats().time_until_probe, Some(SECOND * 7));
    bench.time.advance(SECOND * 7 - Duration::from_nanos(1));
    assert_eq!(bench.rejected_as(), Some(Code::BreakerOpen));
    bench.time.advance(Duration::from_nanos(1));
    assert!(bench.breaker.try_acquire().is_ok());
}

#[test]
fn so_many_probes_at_a_time_and_no_more_than_are_needed() {
    let bench = Bench::open(CircuitBreakerOptions { probes: 2, success_threshold: 3, ..options() });
    bench.time.advance(SECOND * 10);
    let (first, second) =
        (bench.breaker.try_acquire().expect("a probe"), bench.breaker.try_acquire().expect("a probe"));
    assert_eq!(bench.rejected_as(), Some(Code::BreakerProbing));
    first.success();
    second.success();
    let third = bench.breaker.try_acquire().expect("the last that is needed");
    assert_eq!(bench.rejected_as(), Some(Code::BreakerProbing), "a fourth is not needed");
    third.success();
    assert_eq!(
        bench.changes(),
        [(CircuitState::HalfOpen, CircuitReason::TimeToProbe), (CircuitState::Closed, CircuitReason::Recovered)]
    );
    assert_eq!(bench.breaker.stats().window_calls, 0, "a closed circuit begins anew");
}

#[test]
fn a_failed_or_overloaded_probe_opens_it_again() {
    for outcome in [Outcome::Failure, Outcome::Overload] {
        let bench = Bench::open(options());
        bench.time.advance(SECOND * 10);
        assert!(bench.call(Outcome::Success) && bench.call(outcome));
        assert_eq!(bench.changes().last(), Some(&(CircuitState::Open, CircuitReason::ProbeFailed)));
        assert_eq!(bench.breaker.stats().time_until_probe, Some(SECOND * 10));
    }
}

#[test]
fn a_probe_that_is_dropped_ignored_or_refused_leaves_its_place() {
    let bench = Bench::open(CircuitBreakerOptions { probes: 1, success_threshold: 1, ..options() });
    bench.time.advance(SECOND * 10);
    drop(bench.breaker.try_acquire().expect("a probe"));
    bench.calls(1, Outcome::Ignored);
    bench.calls(1, Outcome::Rejected);
    assert_eq!(bench.state(), CircuitState::HalfOpen);
    bench.calls(1, Outcome::Success);
    assert_eq!(bench.state(), CircuitState::Closed);
}

#[test]
fn a_probe_that_panics_has_failed() {
    let bench = Bench::open(options());
    bench.time.advance(SECOND * 10);
    let breaker = bench.breaker.clone();
    let probing = std::thread::spawn(move || {
        let _permit = breaker.try_acquire().expect("a probe");
        panic!("on purpose");
    });
    assert!(probing.join().is_err());
    assert_eq!(bench.changes().last(), Some(&(CircuitState::Open, CircuitReason::ProbeFailed)));
}

#[test]
fn probes_that_never_end_hold_nothing_up_for_ever() {
    let bench = Bench::open(CircuitBreakerOptions { probes: 1, ..options() });
    bench.time.advance(SECOND * 10);
    let lost = bench.breaker.try_acquire().expect("a probe").into_ticket();
    bench.time.advance(SECOND * 30);
    assert_eq!(bench.rejected_as(), Some(Code::BreakerOpen));
    assert_eq!(bench.changes().last(), Some(&(CircuitState::Open, CircuitReason::ProbesTimedOut)));
    bench.time.advance(SECOND * 10);
    let probe = bench.breaker.try_acquire().expect("a new probe");
    bench.breaker.settle(lost, Outcome::Failure, &Reading::of(bench.breaker.clock()));
    assert_eq!(bench.state(), CircuitState::HalfOpen, "the old one is of another generation");
    probe.success();
}

#[test]
fn a_late_result_of_an_older_state_changes_nothing() {
    let bench = Bench::new(&CircuitBreakerOptions { consecutive_failures: Some(2), probes: 1, ..options() });
    let late: Vec<_> = (0..4).map(|_| bench.breaker.try_acquire().expect("closed").into_ticket()).collect();
    let settle = |ticket, outcome| bench.breaker.settle(ticket, outcome, &Reading::of(bench.breaker.clock()));
    bench.calls(2, Outcome::Failure);
    settle(late[0], Outcome::Success);
    assert_eq!(bench.state(), CircuitState::Open);
    bench.time.advance(SECOND * 10);
    let probe = bench.breaker.try_acquire().expect("a probe");
    settle(late[1], Outcome::Success);
    assert_eq!(bench.rejected_as(), Some(Code::BreakerProbing), "a late success admits no extra probe");
    settle(late[2], Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::HalfOpen);
    probe.success();
    bench.breaker.reset();
    settle(late[3], Outcome::Failure);
    assert_eq!(bench.breaker.stats().consecutive_failures, 0);
}

#[test]
fn it_stays_open_longer_each_time_up_to_a_cap() {
    let growing = CircuitBreakerOptions { open_growth: 2.0, open_max: SECOND * 35, probes: 1, ..options() };
    let bench = Bench::open(CircuitBreakerOptions { success_threshold: 1, ..growing });
    for seconds in [10, 20, 35, 35] {
        assert_eq!(bench.breaker.stats().time_until_probe, Some(SECOND * seconds));
        bench.time.advance(SECOND * seconds);
        bench.calls(1, Outcome::Failure);
    }
    bench.time.advance(SECOND * 35);
    bench.calls(1, Outcome::Success);
    bench.calls(1, Outcome::Failure);
    assert_eq!(bench.breaker.stats().time_until_probe, Some(SECOND * 10), "after closing it begins anew");
}

#[test]
fn chance_changes_the_open_time_by_as_much_as_it_may() {
    let bench = Bench::open(CircuitBreakerOptions { open_jitter: Ratio::percent(10), ..options() });
    let mut times = Vec::new();
    for _ in 0..200 {
        times.push(bench.breaker.stats().time_until_probe.expect("open"));
        bench.breaker.reset();
        bench.calls(1, Outcome::Failure);
    }
    assert!(times.iter().all(|time| *time >= SECOND * 9 && *time <= SECOND * 11));
    assert!(times.iter().any(|time| *time < SECOND * 19 / 2) && times.iter().any(|time| *time > SECOND * 21 / 2));
}

#[test]
fn traffic_ramps_up_after_closing() {
    let ramp = CircuitBreakerOptions { ramp: Some(SECOND * 10), probes: 1, success_threshold: 1, ..options() };
    let bench = Bench::open(ramp);
    bench.time.advance(SECOND * 10);
    bench.calls(1, Outcome::Success);
    let share = || (0..2000).filter(|_| bench.call(Outcome::Success)).count() as f64 / 2000.0;
    assert!((0.07..0.13).contains(&share()), "a tenth at first");
    assert!(bench.breaker.peek(&Call::new(), &Reading::of(bench.breaker.clock())).is_ok(), "chance decides once");
    bench.time.advance(SECOND * 5);
    assert!((0.5..0.6).contains(&share()), "half of the rest half way");
    bench.time.advance(SECOND * 5);
    assert_eq!(share(), 1.0);
}

#[test]
fn by_hand_it_stays_as_it_was_put() {
    let bench = Bench::new(&options());
    bench.breaker.force_open();
    bench.time.advance(SECOND * 3600);
    assert_eq!(bench.rejected_as(), Some(Code::BreakerForcedOpen));
    bench.breaker.force_close();
    bench.calls(100, Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::ForcedClosed);
    bench.breaker.reset();
    bench.calls(4, Outcome::Failure);
    assert_eq!(bench.state(), CircuitState::Closed);
    let by_hand = [CircuitState::ForcedOpen, CircuitState::ForcedClosed, CircuitState::Closed];
    assert_eq!(bench.changes(), by_hand.map(|state| (state, CircuitReason::Manual)));
}

#[test]
fn a_peek_takes_nothing() {
    let bench = Bench::open(CircuitBreakerOptions { probes: 1, ..options() });
    let peek = || bench.breaker.peek(&Call::new(), &Reading::of(bench.breaker.clock()));
    assert_eq!(peek().map_err(|rejection| rejection.code()), Err(Code::BreakerOpen));
    bench.time.advance(SECOND * 10);
    assert!((0..10).all(|_| peek().is_ok()));
    assert_eq!(bench.state(), CircuitState::Open, "only a call begins to probe");
    let probe = bench.breaker.try_acquire().expect("a probe");
    assert_eq!(peek().map_err(|rejection| rejection.code()), Err(Code::BreakerProbing));
    probe.success();
    assert!((0..10).all(|_| peek().is_ok()));
    assert!(bench.breaker.try_acquire().is_ok());
}

#[test]
fn a_fallback_is_found_by_the_type_of_the_result() {
    let bench = Bench::open(options());
    let rejection = bench.breaker.try_acquire().expect_err("open");
    assert_eq!(bench.breaker.fallback::<u32>(&rejection), None);
    bench.breaker.register_fallback(|_| 7_u32);
    bench.breaker.register_fallback(|rejection| rejection.code().name());
    assert_eq!(bench.breaker.fallback::<u32>(&rejection), Some(7));
    assert_eq!(bench.breaker.fallback::<&'static str>(&rejection), Some("circuit_breaker.open"));
    bench.breaker.register_fallback(|_| 8_u32);
    assert_eq!(bench.breaker.fallback::<u32>(&rejection), Some(8));
}
