//! Models of the meter: every order of what two or three threads do to it, within loom's bounds.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::meter::{Entry, Meter};
use super::options::{AdaptiveOptions, Settings};
use crate::call::Priority;
use crate::clock::Moment;
use crate::outcome::Outcome;
use crate::policy::Mode;
use crate::sync::explore;

const START: Moment = Moment::ORIGIN;

fn settings(limit: u32, min_samples: u32, mode: Mode) -> Settings {
    let options = AdaptiveOptions {
        mode,
        initial: limit,
        max: limit,
        min_samples,
        window: Duration::from_millis(1),
        ..AdaptiveOptions::default()
    };
    Settings::try_from(&options).expect("in range")
}

fn meter(limit: u32, min_samples: u32) -> Arc<Meter> {
    Arc::new(Meter::new(settings(limit, min_samples, Mode::Enabled), START))
}

#[test]
fn no_more_run_than_the_limit_says() {
    explore(None, || {
        let meter = meter(1, 10);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let meter = Arc::clone(&meter);
                thread::spawn(move || {
                    if meter.try_enter(Priority::Critical).is_ok() {
                        assert_eq!(meter.leave(), 1);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(meter.in_flight(), 0);
    });
}

#[test]
fn every_sample_is_in_one_window() {
    explore(Some(2), || {
        let meter = meter(4, 1);
        let late = START.after(Duration::from_millis(5));
        let other = {
            let meter = Arc::clone(&meter);
            thread::spawn(move || {
                let over = meter.note(Outcome::Success, START, late, 1);
                u32::from(over && meter.close(late, 0.5).is_some())
            })
        };
        let over = meter.note(Outcome::Success, START, late, 1);
        let mine = u32::from(over && meter.close(late, 0.5).is_some());
        let closed = mine + other.join().expect("no panic");
        // Whoever comes second finds the window of the first closed, or is in it.
        assert_eq!(closed, 1);
        let [no_load, _] = meter.read(|limit| limit.latencies());
        assert_eq!(no_load, Some(Duration::from_millis(5)));
    });
}

#[test]
fn a_change_that_races_calls_conserves_their_number() {
    explore(None, || {
        let meter = meter(2, 1);
        let counted = meter.try_enter(Priority::Critical).expect("there is room");
        let other = {
            let meter = Arc::clone(&meter);
            thread::spawn(move || match meter.try_enter(Priority::Critical) {
                Ok(Entry::Counted) => drop(meter.leave()),
                entry => assert_eq!(entry, Ok(Entry::Uncounted)),
            })
        };
        meter.change(settings(2, 1, Mode::Disabled), START);
        other.join().expect("no panic");
        assert_eq!((counted, meter.in_flight()), (Entry::Counted, 1));
        assert_eq!(meter.try_enter(Priority::Background), Ok(Entry::Uncounted));
        assert_eq!(meter.leave(), 1);
    });
}
