//! Models of the gate: every order of what two or three threads do to it, within loom's bounds.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};

use loom::thread;

use super::gate::{Arrival, Fate, Gate, Seat};
use super::options::{BulkheadOptions, Settings};
use super::state::Entry;
use crate::policy::Mode;
use crate::sync::explore;

fn settings(max_concurrent: u32, queue: u32) -> Settings {
    let options = BulkheadOptions { max_concurrent, queue, ..BulkheadOptions::default() };
    Settings::try_from(&options).expect("in range")
}

fn gate(max_concurrent: u32, queue: u32) -> Arc<Gate> {
    Arc::new(Gate::new(settings(max_concurrent, queue)))
}

fn arrive(gate: &Gate) -> Arrival<()> {
    gate.arrive(|_| Ok::<_, Infallible>(())).expect("terms are always given")
}

fn seat(gate: &Gate) -> Seat {
    match arrive(gate) {
        Arrival::Seated(seat, ..) => seat,
        other => panic!("{other:?}"),
    }
}

/// Counts how often it was woken. Not a loom type: what matters is the count at the end.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Nobody who could be let in is left waiting, and the flag says whether anybody waits.
fn assert_settled(gate: &Gate) {
    let (word, queued) = (gate.word(), gate.read(|_, queued| queued));
    assert_eq!(word.waiting(), queued > 0, "{word:?}, {queued} wait");
    assert!(queued == 0 || word.active() >= word.size(), "{word:?}, {queued} wait");
}

/// What dropping a place in the queue does.
fn drop_seat(gate: &Gate, seat: &Seat) {
    if gate.give_up(seat) == Fate::Counted {
        gate.leave();
    }
}

#[test]
fn as_many_enter_as_there_are_places() {
    explore(None, || {
        let gate = gate(1, 0);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let gate = Arc::clone(&gate);
                thread::spawn(move || {
                    if gate.try_enter() == Ok(Entry::Counted) {
                        assert_eq!(gate.word().active(), 1);
                        gate.leave();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(gate.word().active(), 0);
    });
}

#[test]
fn a_release_that_races_an_arrival_loses_no_wake_up() {
    explore(None, || {
        let gate = gate(1, 1);
        gate.try_enter().expect("a place");
        let leaving = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.leave())
        };
        let woken = Arc::new(Count::default());
        match arrive(&gate) {
            Arrival::Entered(_) => {}
            Arrival::Seated(seat, ..) => {
                let pending = gate.poll(&seat, &Waker::from(Arc::clone(&woken))).is_pending();
                leaving.join().expect("no panic");
                assert_eq!(seat.fate(), Fate::Counted);
                assert_eq!(woken.0.load(Ordering::SeqCst), usize::from(pending));
                assert_eq!(gate.word().active(), 1);
                return;
            }
            Arrival::Full(word) => panic!("{word:?}"),
        }
        leaving.join().expect("no panic");
        assert_eq!(gate.word().active(), 1);
        assert_settled(&gate);
    });
}

#[test]
fn a_place_handed_to_a_waiter_that_goes_in_the_same_moment_goes_to_the_next() {
    explore(None, || {
        let gate = gate(1, 2);
        gate.try_enter().expect("a place");
        let (first, second) = (seat(&gate), seat(&gate));
        let leaving = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.leave())
        };
        drop_seat(&gate, &first);
        leaving.join().expect("no panic");
        assert_eq!(second.fate(), Fate::Counted);
        assert_eq!(gate.word().active(), 1);
        assert_settled(&gate);
    });
}

#[test]
fn a_newcomer_never_takes_the_place_of_a_waiter() {
    explore(None, || {
        let gate = gate(1, 1);
        gate.try_enter().expect("a place");
        let waiter = seat(&gate);
        let leaving = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.leave())
        };
        assert!(gate.try_enter().is_err());
        leaving.join().expect("no panic");
        assert_eq!(gate.poll(&waiter, Waker::noop()), Poll::Ready(Fate::Counted));
        assert_settled(&gate);
    });
}

#[test]
fn a_resize_that_races_releases_conserves_the_places() {
    explore(None, || {
        let gate = gate(2, 2);
        gate.try_enter().expect("a place");
        gate.try_enter().expect("a place");
        let (first, second) = (seat(&gate), seat(&gate));
        let leaving = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.leave())
        };
        gate.change(|_| Ok::<_, Infallible>(settings(1, 2))).expect("in range");
        leaving.join().expect("no panic");
        // The one who left before the resize let the first in; after it, only as many as there are places are in.
        let inside = 1 + u32::from(first.fate() == Fate::Counted);
        assert_eq!(gate.word().active(), inside);
        assert_eq!(second.fate(), Fate::Waiting);
        assert_settled(&gate);
        gate.change(|_| Ok::<_, Infallible>(settings(3, 2))).expect("in range");
        assert_eq!((first.fate(), second.fate()), (Fate::Counted, Fate::Counted));
        assert_eq!(gate.word().active(), 3);
    });
}

#[test]
fn growing_races_an_arrival() {
    explore(None, || {
        let gate = gate(1, 1);
        gate.try_enter().expect("a place");
        let growing = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.change(|_| Ok::<_, Infallible>(settings(2, 1))).expect("in range"))
        };
        let arrival = arrive(&gate);
        growing.join().expect("no panic");
        if let Arrival::Seated(seat, ..) = arrival {
            assert_eq!(seat.fate(), Fate::Counted);
        }
        assert_eq!(gate.word().active(), 2);
        assert_settled(&gate);
    });
}

#[test]
fn a_clear_that_races_a_release_gives_every_seat_one_fate() {
    explore(None, || {
        let gate = gate(1, 2);
        gate.try_enter().expect("a place");
        let (first, second) = (seat(&gate), seat(&gate));
        let leaving = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.leave())
        };
        let cleared = gate.clear();
        leaving.join().expect("no panic");
        let granted = first.fate() == Fate::Counted;
        assert_eq!(cleared, if granted { 1 } else { 2 });
        assert_eq!(second.fate(), Fate::Cleared);
        assert_eq!(gate.word().active(), u32::from(granted));
        assert_settled(&gate);
    });
}

#[test]
fn disabling_races_a_release_and_a_waiter_that_goes() {
    explore(None, || {
        let gate = gate(1, 1);
        gate.try_enter().expect("a place");
        let waiter = seat(&gate);
        let leaving = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.leave())
        };
        let going = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || drop_seat(&gate, &waiter))
        };
        let off = BulkheadOptions { mode: Mode::Disabled, ..BulkheadOptions::default() };
        gate.change(|_| Settings::try_from(&off)).expect("in range");
        leaving.join().expect("no panic");
        going.join().expect("no panic");
        assert_eq!(gate.word().active(), 0);
        assert_settled(&gate);
    });
}

#[test]
fn arrivals_releases_a_resize_and_a_waiter_that_goes_conserve_the_places() {
    explore(Some(3), || {
        let gate = gate(1, 2);
        gate.try_enter().expect("a place");
        let waiter = seat(&gate);
        let leaving = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.leave())
        };
        let arriving = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || match arrive(&gate) {
                Arrival::Entered(_) => true,
                Arrival::Seated(seat, ..) => {
                    drop_seat(&gate, &seat);
                    false
                }
                Arrival::Full(word) => panic!("{word:?}"),
            })
        };
        gate.change(|_| Ok::<_, Infallible>(settings(2, 2))).expect("in range");
        leaving.join().expect("no panic");
        let entered = arriving.join().expect("no panic");
        assert_eq!(waiter.fate(), Fate::Counted);
        assert_eq!(gate.word().active(), 1 + u32::from(entered));
        assert_settled(&gate);
    });
}
