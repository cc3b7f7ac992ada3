//! The state machine in every order in which threads may meet.

use std::sync::atomic::{AtomicU32 as Count, Ordering::Relaxed};

use loom::sync::Arc;
use loom::thread;

use crate::clock::Moment;
use crate::event::CircuitState;

use super::core::{Machine, Probed};

fn never(_: u32) -> Moment {
    Moment::NEVER
}

/// A machine that has just become half open.
fn half_open() -> Arc<Machine> {
    let machine = Arc::new(Machine::new());
    machine.change(machine.standing(), CircuitState::HalfOpen, never, || {}).expect("nobody else changes it");
    machine
}

#[test]
fn racing_callers_get_no_more_probes_than_there_are() {
    loom::model(|| {
        let machine = half_open();
        let generation = machine.standing().generation;
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let machine = Arc::clone(&machine);
                thread::spawn(move || machine.take_probe(generation, 2, 2))
            })
            .collect();
        let taken = threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|taken| *taken).count();
        assert_eq!(taken, 2);
    });
}

#[test]
fn a_probe_given_back_can_be_taken_again() {
    loom::model(|| {
        let machine = half_open();
        let generation = machine.standing().generation;
        assert!(machine.take_probe(generation, 1, 2));
        let returning = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.return_probe(generation, false, 2))
        };
        let early = machine.take_probe(generation, 1, 2);
        returning.join().expect("no panic");
        assert_eq!(machine.take_probe(generation, 1, 2), !early, "exactly one place");
    });
}

#[test]
fn of_racing_changes_exactly_one_happens() {
    loom::model(|| {
        let machine = Arc::new(Machine::new());
        let begun = std::sync::Arc::new(Count::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (machine, begun) = (Arc::clone(&machine), std::sync::Arc::clone(&begun));
                thread::spawn(move || {
                    let seen = machine.standing();
                    if seen.state == CircuitState::Closed {
                        machine.change(seen, CircuitState::Open, never, || _ = begun.fetch_add(1, Relaxed));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!((begun.load(Relaxed), machine.standing().generation), (1, 1));
    });
}

#[test]
fn the_last_success_that_is_needed_is_seen_once_and_only_by_its_own_generation() {
    loom::model(|| {
        let machine = half_open();
        let generation = machine.standing().generation;
        assert!(machine.take_probe(generation, 2, 2) && machine.take_probe(generation, 2, 2));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let machine = Arc::clone(&machine);
                thread::spawn(move || machine.return_probe(generation, true, 2) == Probed::Enough)
            })
            .collect();
        let late = machine.return_probe(generation.wrapping_sub(1), true, 1);
        assert_eq!(late, Probed::NotYet);
        let enough = threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|enough| *enough).count();
        assert_eq!(enough, 1);
    });
}

#[test]
fn a_probe_is_never_of_a_state_that_has_ended() {
    loom::model(|| {
        let machine = half_open();
        let seen = machine.standing();
        let ending = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.change(seen, CircuitState::Open, never, || {}).is_some())
        };
        let before = machine.take_probe(seen.generation, 1, 1);
        assert!(ending.join().expect("no panic"));
        assert!(!machine.take_probe(seen.generation, 1, 1));
        if before {
            // Its result belongs to the state that has ended, and counts for nothing.
            assert_eq!(machine.return_probe(seen.generation, true, 1), Probed::NotYet);
        }
    });
}
