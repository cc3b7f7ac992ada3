//! The pure core: what it tells those who would rather not take its lock.

use super::*;
use crate::circuit_breaker::conditions::open_time;
use crate::circuit_breaker::gate::Face;
use crate::circuit_breaker::state::{Answer, Circuit, Ended};
use crate::clock::Moment;
use crate::units::Ratio;

fn circuit(window: BreakerWindow, min_calls: u32) -> Circuit {
    Circuit::new(CircuitBreakerOptions { consecutive_failures: Some(100), min_calls, window, ..Default::default() })
}

fn settle(circuit: &mut Circuit, outcome: Outcome) {
    let ended = Ended { generation: circuit.generation(), outcome, slow: false };
    circuit.settle(ended, Moment::ORIGIN, || 0.5);
}

#[test]
fn a_success_that_changes_nothing_needs_no_lock() {
    let mut circuit = circuit(BreakerWindow::Calls(100), 5);
    assert!(!circuit.is_watchful(), "nothing has failed");
    settle(&mut circuit, Outcome::Success);
    assert!(!circuit.is_watchful(), "a rate of no failures opens nothing, however few the calls");
    settle(&mut circuit, Outcome::Failure);
    assert!(circuit.is_watchful(), "the next success begins the count of failures anew");
    settle(&mut circuit, Outcome::Success);
    assert!(circuit.is_watchful(), "one of the next successes completes the calls");
    circuit.note_successes(2);
    assert!(!circuit.is_watchful(), "they are complete");
    settle(&mut circuit, Outcome::Failure);
    assert!(circuit.is_watchful(), "however many calls there are");
    settle(&mut circuit, Outcome::Success);
    assert!(!circuit.is_watchful());
    let options = circuit.options().clone();
    circuit.reconfigure(options);
    assert!(circuit.is_watchful(), "the first by other options");
    settle(&mut circuit, Outcome::Success);
    assert!(!circuit.is_watchful());
}

#[test]
fn only_a_window_by_time_has_to_turn() {
    assert_eq!(circuit(BreakerWindow::Calls(100), 5).turn(), Moment::NEVER);
    assert_eq!(circuit(BreakerWindow::Time(SECOND * 10), 5).turn(), Moment::ORIGIN.after(SECOND));
}

#[test]
fn a_success_needs_no_lock_until_the_window_turns() {
    let timed = Face::of(&circuit(BreakerWindow::Time(SECOND * 10), 5));
    let routine_after = |time| timed.is_routine(timed.gate(), || Moment::ORIGIN.after(time));
    assert!(routine_after(Duration::ZERO) && routine_after(SECOND - Duration::from_nanos(1)));
    assert!(!routine_after(SECOND) && !routine_after(SECOND * 2));
    let by_number = Face::of(&circuit(BreakerWindow::Calls(100), 5));
    assert!(by_number.is_routine(by_number.gate(), || panic!("the time does not matter")));
}

#[test]
fn a_slow_probe_that_says_nothing_is_not_counted() {
    let options = CircuitBreakerOptions {
        slow_call_rate: Some(Ratio::percent(50)),
        slow_call: SECOND,
        open_for: SECOND,
        probes: 1,
        ..Default::default()
    };
    let bench = Bench::open(options);
    bench.time.advance(SECOND);
    for outcome in [Outcome::Cancelled, Outcome::Ignored, Outcome::Rejected] {
        let probe = bench.breaker.try_acquire().expect("a probe");
        bench.time.advance(SECOND * 2);
        probe.complete(outcome);
        let stats = bench.breaker.stats();
        assert_eq!((stats.state, stats.slow, stats.succeeded), (CircuitState::HalfOpen, 0, 0), "{outcome:?}");
    }
}

/// A circuit that has just closed and ramps up for ten seconds; when it closed.
fn ramping() -> (Circuit, Moment) {
    let options = CircuitBreakerOptions {
        consecutive_failures: Some(1),
        open_for: SECOND,
        open_growth: 2.0,
        success_threshold: 1,
        ramp: Some(SECOND * 10),
        ..Default::default()
    };
    let mut circuit = Circuit::new(options);
    settle(&mut circuit, Outcome::Failure);
    let closed = Moment::ORIGIN.after(SECOND);
    assert_eq!(circuit.admit(closed, || 0.5), Answer::Probe);
    let probe = Ended { generation: circuit.generation(), outcome: Outcome::Success, slow: false };
    circuit.settle(probe, closed, || 0.5);
    assert_eq!(circuit.state(), CircuitState::Closed);
    (circuit, closed)
}

#[test]
fn chance_decides_while_traffic_ramps_up() {
    let (mut circuit, closed) = ramping();
    assert_eq!(circuit.admit(closed, || 0.099), Answer::Watch, "a tenth at first");
    assert_eq!(circuit.admit(closed, || 0.1), Answer::Ramping);
    let half_way = closed.after(SECOND * 5);
    assert_eq!(circuit.admit(half_way, || 0.549), Answer::Watch);
    assert_eq!(circuit.admit(half_way, || 0.551), Answer::Ramping);
    let end = closed.after(SECOND * 10);
    assert_eq!(circuit.admit(end, || panic!("chance is not asked any more")), Answer::Watch);
    assert_eq!(circuit.admit(closed, || panic!("nor when a clock lies back")), Answer::Watch);
}

#[test]
fn a_circuit_that_opens_while_it_ramps_up_stays_open_for_longer() {
    let opened = |circuit: &mut Circuit, at: Moment| {
        let failed = Ended { generation: circuit.generation(), outcome: Outcome::Failure, slow: false };
        circuit.settle(failed, at, || 0.5);
        circuit.admit(at, || 0.5)
    };
    let (mut circuit, closed) = ramping();
    let late = closed.after(SECOND * 9);
    assert_eq!(opened(&mut circuit, late), Answer::Open(late.after(SECOND * 2)));

    // The end of the ramp is seen by the call that fails, or by one before it.
    let (mut circuit, closed) = ramping();
    let end = closed.after(SECOND * 10);
    assert_eq!(opened(&mut circuit, end), Answer::Open(end.after(SECOND)));
    let (mut circuit, closed) = ramping();
    assert_eq!(circuit.admit(closed.after(SECOND * 10), || 0.5), Answer::Watch);
    let behind = closed.after(SECOND * 9);
    assert_eq!(opened(&mut circuit, behind), Answer::Open(behind.after(SECOND)));
}

#[test]
fn without_a_ramp_in_its_options_it_ramps_up_no_longer() {
    let (mut circuit, closed) = ramping();
    let options = circuit.options().clone();
    circuit.reconfigure(CircuitBreakerOptions { ramp: Some(SECOND), ..options.clone() });
    assert_eq!(circuit.admit(closed, || 0.5), Answer::Ramping, "the ramp that runs stays as it is");
    circuit.reconfigure(CircuitBreakerOptions { ramp: None, ..options });
    assert_eq!(circuit.admit(closed, || 1.0), Answer::Watch);
}

#[test]
fn chance_makes_the_open_time_shorter_or_longer() {
    let options =
        CircuitBreakerOptions { open_for: SECOND * 10, open_jitter: Ratio::percent(10), ..Default::default() };
    let times = [0.0, 0.5, 1.0].map(|chance| open_time(&options, 0, chance));
    assert_eq!(times, [SECOND * 9, SECOND * 10, SECOND * 11]);
}
