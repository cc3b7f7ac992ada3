//! A breaker in every order in which the calls of threads may meet.

use std::time::Duration;

use loom::thread::{self, JoinHandle};

use crate::call::Call;
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerOptions};
use crate::clock::{Clock, ManualClock, Reading};
use crate::event::CircuitState;
use crate::outcome::Outcome;
use crate::policy::{Environment, Guard, Ticket};
use crate::sync::explore;

fn breaker(options: &CircuitBreakerOptions) -> (CircuitBreaker, ManualClock) {
    let time = Clock::manual();
    let environment = Environment { clock: time.clock(), ..Environment::default() };
    (CircuitBreaker::in_environment("db", options, &environment).expect("valid options"), time)
}

fn trips_after(failures: u32) -> CircuitBreakerOptions {
    CircuitBreakerOptions { consecutive_failures: Some(failures), ..Default::default() }
}

/// What a call is admitted with, if it is.
fn begin(breaker: &CircuitBreaker) -> Option<Ticket> {
    breaker.try_admit(&Call::new(), &Reading::of(breaker.clock())).ok()
}

fn end(breaker: &CircuitBreaker, ticket: Ticket, outcome: Outcome) {
    breaker.settle(ticket, outcome, &Reading::of(breaker.clock()));
}

/// Ends the call in a thread of its own.
fn end_elsewhere(breaker: &CircuitBreaker, ticket: Ticket, outcome: Outcome) -> JoinHandle<()> {
    let breaker = breaker.clone();
    thread::spawn(move || end(&breaker, ticket, outcome))
}

fn end_all(threads: [JoinHandle<()>; 2]) {
    for thread in threads {
        thread.join().expect("no panic");
    }
}

/// A breaker that lets the next calls probe.
fn about_to_probe(probes: u32, success_threshold: u32) -> CircuitBreaker {
    let options = CircuitBreakerOptions { probes, success_threshold, ..trips_after(1) };
    let (breaker, time) = breaker(&options);
    end(&breaker, begin(&breaker).expect("closed"), Outcome::Failure);
    time.advance(options.open_for + Duration::from_secs(1));
    breaker
}

#[test]
fn racing_callers_get_no_more_probes_than_there_are() {
    explore(Some(3), || {
        let breaker = about_to_probe(2, 2);
        let threads = [(); 2].map(|()| {
            let breaker = breaker.clone();
            thread::spawn(move || begin(&breaker))
        });
        let mine = begin(&breaker);
        let theirs = threads.map(|thread| thread.join().expect("no panic"));
        assert_eq!(mine.into_iter().chain(theirs.into_iter().flatten()).count(), 2);
    });
}

#[test]
fn a_probe_given_back_can_be_taken_again() {
    explore(None, || {
        let breaker = about_to_probe(1, 1);
        let probe = begin(&breaker).expect("the only probe");
        let returning = end_elsewhere(&breaker, probe, Outcome::Cancelled);
        let early = begin(&breaker);
        returning.join().expect("no panic");
        assert_eq!(begin(&breaker).is_some(), early.is_none(), "exactly one place");
    });
}

#[test]
fn a_success_that_closes_the_circuit_does_so_once() {
    explore(None, || {
        let breaker = about_to_probe(2, 2);
        let probes = [(); 2].map(|()| begin(&breaker).expect("a probe"));
        let generation = breaker.stats().generation;
        end_all(probes.map(|probe| end_elsewhere(&breaker, probe, Outcome::Success)));
        let stats = breaker.stats();
        assert_eq!((stats.state, stats.generation), (CircuitState::Closed, generation + 1));
    });
}

#[test]
fn of_racing_failures_exactly_one_opens_the_circuit() {
    explore(None, || {
        let (breaker, _time) = breaker(&trips_after(1));
        let calls = [(); 2].map(|()| begin(&breaker).expect("closed"));
        end_all(calls.map(|call| end_elsewhere(&breaker, call, Outcome::Failure)));
        let stats = breaker.stats();
        assert_eq!((stats.state, stats.generation, stats.failed), (CircuitState::Open, 1, 2));
    });
}

#[test]
fn successes_beside_a_failure_are_all_counted() {
    explore(Some(3), || {
        let (breaker, _time) = breaker(&trips_after(10));
        let [one, other, failing] = [(); 3].map(|()| begin(&breaker).expect("closed"));
        let threads = [one, other].map(|call| end_elsewhere(&breaker, call, Outcome::Success));
        end(&breaker, failing, Outcome::Failure);
        end_all(threads);
        let stats = breaker.stats();
        assert_eq!((stats.window_calls, stats.succeeded, stats.failed), (3, 2, 1));
    });
}

#[test]
fn a_success_of_a_generation_that_is_over_is_not_in_the_window_of_the_next() {
    explore(None, || {
        let (breaker, _time) = breaker(&trips_after(1));
        let late = begin(&breaker).expect("closed");
        let ending = end_elsewhere(&breaker, late, Outcome::Success);
        breaker.force_open();
        breaker.reset();
        let window_calls = breaker.stats().window_calls;
        ending.join().expect("no panic");
        let stats = breaker.stats();
        assert_eq!((window_calls, stats.window_calls, stats.succeeded), (0, 0, 1));
    });
}

#[test]
fn a_failure_that_races_other_options_is_judged_by_the_old_or_by_the_new() {
    explore(None, || {
        let (breaker, _time) = breaker(&trips_after(2));
        let [first, second] = [(); 2].map(|()| begin(&breaker).expect("closed"));
        end(&breaker, first, Outcome::Failure);
        let ending = end_elsewhere(&breaker, second, Outcome::Failure);
        breaker.reconfigure(&trips_after(3)).expect("valid options");
        ending.join().expect("no panic");
        let stats = breaker.stats();
        let judged = (stats.state, stats.generation, stats.consecutive_failures);
        assert!([(CircuitState::Open, 1, 0), (CircuitState::Closed, 0, 2)].contains(&judged), "{judged:?}");
        assert_eq!((stats.window_calls, stats.failed), (2, 2));
    });
}

#[test]
fn a_success_that_races_other_options_is_counted_once() {
    explore(None, || {
        let (breaker, _time) = breaker(&trips_after(2));
        let call = begin(&breaker).expect("closed");
        let ending = end_elsewhere(&breaker, call, Outcome::Success);
        breaker.reconfigure(&trips_after(3)).expect("valid options");
        ending.join().expect("no panic");
        let stats = breaker.stats();
        assert_eq!((stats.state, stats.window_calls, stats.succeeded), (CircuitState::Closed, 1, 1));
    });
}
