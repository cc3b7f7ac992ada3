//! Counts that many threads add to on their hot paths.
//!
//! To add is a load and a store, not a locked read-modify-write: each of the first [`LANES`] threads at a time has a lane
//! of its own, which nobody else writes. All further threads share the other half of the lanes, and add there with
//! `fetch_add`. To read is to sum up: it is for statistics, and may miss what is being added at that moment.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// How many threads have a lane of their own.
const LANES: usize = 16;

/// A count.
#[derive(Debug, Default)]
pub(crate) struct Counter([CachePadded<Lane>; LANES]);

#[derive(Debug, Default)]
struct Lane {
    /// Written by the thread that has this lane.
    owned: AtomicU64,
    /// Written by all threads that have none.
    shared: AtomicU64,
}

impl Counter {
    /// Adds one.
    #[inline]
    pub(crate) fn add(&self) {
        let number = number();
        let lane = &self.0[number % LANES];
        if number < LANES {
            lane.owned.store(lane.owned.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        } else {
            lane.shared.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was added until now.
    pub(crate) fn sum(&self) -> u64 {
        let both = |lane: &CachePadded<Lane>| {
            lane.owned.load(Ordering::Relaxed).wrapping_add(lane.shared.load(Ordering::Relaxed))
        };
        self.0.iter().map(both).fold(0, u64::wrapping_add)
    }
}

/// Which lanes have a thread, one bit for each.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// How many threads have asked for a lane, so that those who get none spread over all.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// Not known yet.
const UNKNOWN: usize = usize::MAX;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    static LEASE: Cell<Option<Lease>> = const { Cell::new(None) };
}

/// Gives the lane of a thread back when the thread ends.
struct Lease(usize);

impl Drop for Lease {
    fn drop(&mut self) {
        // Whatever the thread still adds, it adds where all may.
        NUMBER.set(LANES + self.0);
        // Release: pairs with the acquire in `lease`, so that the next thread adds to what this one has stored.
        TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
    }
}

/// The number of this thread: below [`LANES`] that of its own lane, and else that of one it shares.
#[inline]
fn number() -> usize {
    match NUMBER.get() {
        UNKNOWN => lease(),
        number => number,
    }
}

#[cold]
fn lease() -> usize {
    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
    let shared = LANES + usize::try_from(asked).unwrap_or(0) % LANES;
    // Acquire: pairs with the release in `Lease::drop`.
    let free = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
        let lane = taken.trailing_ones() as usize;
        (lane < LANES).then_some(taken | 1 << lane)
    });
    let number = match free.map(|taken| taken.trailing_ones() as usize) {
        Ok(lane) => match LEASE.try_with(|lease| lease.set(Some(Lease(lane)))) {
            Ok(()) => lane,
            // The thread is ending: the lease is dropped already, and the lane free again.
            Err(_) => shared,
        },
        Err(_) => shared,
    };
    NUMBER.set(number);
    number
}

#[cfg(all(test, not(tidegate_models)))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_among_more_threads_than_lanes() {
        let (counter, threads, each) = (Counter::default(), 3 * LANES as u64, 1000);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..each).for_each(|_| counter.add()));
            }
        });
        assert_eq!(counter.sum(), threads * each);
    }

    #[test]
    fn threads_that_follow_one_another_go_on_where_the_last_one_stopped() {
        let counter = Counter::default();
        for _ in 0..100 {
            std::thread::scope(|scope| scope.spawn(|| counter.add()).join().expect("it adds"));
        }
        assert_eq!(counter.sum(), 100);
    }
}
