//! Windows against the plainest model there is: all calls, each with its time.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Counts, Mark, Tally, Window};
use crate::clock::Moment;

/// A tenth of the length of the windows by time below.
const STEP: Duration = Duration::from_secs(1);

const OK: Mark = Mark { failed: false, slow: false };
const BAD: Mark = Mark { failed: true, slow: false };

fn at(seconds: u64) -> Moment {
    Moment::ORIGIN.after(Duration::from_secs(seconds))
}

fn count<'m>(marks: impl Iterator<Item = &'m Mark>) -> Counts {
    marks.fold(Counts::default(), |mut counts, mark| {
        counts.add(*mark);
        counts
    })
}

fn marks() -> impl Strategy<Value = Mark> {
    (any::<bool>(), any::<bool>()).prop_map(|(failed, slow)| Mark { failed, slow })
}

/// Successes by number, or one call.
fn records() -> impl Strategy<Value = Result<u64, Mark>> {
    prop_oneof![(0u64..20).prop_map(Ok), marks().prop_map(Err)]
}

fn record(window: &mut Window, calls: Result<u64, Mark>) -> Vec<Mark> {
    match calls {
        Ok(number) => {
            window.record_successes(number);
            (0..number).map(|_| OK).collect()
        }
        Err(mark) => {
            window.record(mark);
            vec![mark]
        }
    }
}

proptest! {
    #[test]
    fn the_last_calls_are_those_and_no_others(size in 1u32..30, calls in vec(records(), 0..100)) {
        let mut window = Window::of_calls(size);
        let mut all = Vec::new();
        for calls in calls {
            all.extend(record(&mut window, calls));
            prop_assert_eq!(window.counts(), count(all.iter().rev().take(size as usize)));
        }
        window.clear();
        prop_assert_eq!(window.counts(), Counts::default());
    }

    #[test]
    fn the_last_while_is_the_step_that_runs_and_the_nine_before_it(
        calls in vec((0u64..15_000, records()), 0..100),
    ) {
        let mut window = Window::of_time(10 * STEP);
        let (mut now, mut all) = (0, Vec::new());
        for (millis, calls) in calls {
            now += millis;
            window.advance(Moment::ORIGIN.after(Duration::from_millis(now)));
            all.extend(record(&mut window, calls).into_iter().map(|mark| (now / 1000, mark)));
            let oldest = (now / 1000).saturating_sub(9);
            prop_assert_eq!(window.counts(), count(all.iter().filter(|(step, _)| *step >= oldest).map(|(_, mark)| mark)));
        }
        window.clear();
        prop_assert_eq!(window.counts(), Counts::default());
    }
}

#[test]
fn a_window_by_time_turns_at_the_end_of_its_step() {
    let mut window = Window::of_time(10 * STEP);
    window.advance(at(41));
    assert_eq!(window.turn(), at(42));
    window.advance(at(42));
    assert_eq!(window.turn(), at(43));
}

#[test]
fn a_window_by_number_never_turns() {
    assert_eq!(Window::of_calls(10).turn(), Moment::NEVER);
}

#[test]
fn a_moment_that_lies_back_counts_in_the_newest_step() {
    let mut window = Window::of_time(10 * STEP);
    window.advance(at(20));
    window.advance(at(3));
    window.record(BAD);
    assert_eq!(window.turn(), at(21));
    window.advance(at(29));
    assert_eq!(window.counts().failed, 1);
    window.advance(at(30));
    assert_eq!(window.counts().failed, 0);
}

#[test]
fn the_shortest_of_windows_does_not_stand_still() {
    let mut window = Window::of_time(Duration::from_nanos(3));
    window.record(BAD);
    window.advance(Moment::from_nanos(100));
    assert_eq!((window.counts(), window.turn()), (Counts::default(), Moment::from_nanos(101)));
}

#[test]
fn a_tally_counts_only_for_its_generation() {
    let tally = Tally::striped(4);
    assert!(tally.add(0));
    assert!(!tally.add(1), "of the future");
    assert_eq!(tally.take(1), 1);
    assert!(!tally.add(0), "of the past");
    assert!(tally.add(1));
    assert_eq!((tally.take(1), tally.take(1)), (1, 0));
}

#[test]
fn threads_that_count_at_once_lose_nothing() {
    let (tally, threads, each) = (Tally::striped(2), 4, 1000);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..each).for_each(|_| assert!(tally.add(0))));
        }
    });
    assert_eq!(tally.take(0), threads * each);
}
