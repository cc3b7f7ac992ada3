//! The calls of the last while: ten slices of it, each of which is counted anew when its time comes again.
//!
//! A call counts from when it is recorded until the end of the slice that lies one length after its own began: for at
//! least nine tenths of the length and at most all of it.

use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::clock::{Moment, nanos};
use crate::sync::atomic::{AtomicU64, Ordering};

use super::{Counts, Mark};

/// Slices of a window.
const SLICES: u32 = 10;

/// The calls of the last while.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    /// Nanoseconds of a slice.
    slice: u64,
    slices: Box<[CachePadded<Slice>]>,
    /// The number of the slice, from 1, in which the last failed or slow call was noted; 0 for none.
    last_mark: AtomicU64,
}

/// Each count stands in the lower half of its word, and the number of the slice that it is of in the upper half, so that
/// whoever comes first to a new slice begins its counts anew with one exchange.
#[derive(Debug, Default)]
struct Slice {
    calls: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
}

impl TimeWindow {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            slice: (nanos(length) / u64::from(SLICES)).max(1),
            slices: (0..SLICES).map(|_| CachePadded::default()).collect(),
            last_mark: AtomicU64::new(0),
        }
    }

    /// The number of the slice that `now` lies in, from 1.
    fn number(&self, now: Moment) -> u64 {
        now.as_nanos() / self.slice + 1
    }

    fn slice(&self, number: u64) -> &Slice {
        &self.slices[usize::try_from(number % u64::from(SLICES)).unwrap_or(0)]
    }

    pub(crate) fn record(&self, mark: Mark, now: Moment) {
        let number = self.number(now);
        let slice = self.slice(number);
        count(&slice.calls, number);
        if mark.failed {
            count(&slice.failed, number);
        }
        if mark.slow {
            count(&slice.slow, number);
        }
        if mark != Mark::default() {
            self.last_mark.fetch_max(number, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_clean(&self, now: Moment) -> bool {
        let last = self.last_mark.load(Ordering::Relaxed);
        last == 0 || last + u64::from(SLICES) <= self.number(now)
    }

    pub(crate) fn counts(&self, now: Moment) -> Counts {
        let newest = self.number(now);
        let oldest = newest.saturating_sub(u64::from(SLICES) - 1).max(1);
        (oldest..=newest).fold(Counts::default(), |sum, number| {
            let slice = self.slice(number);
            Counts {
                calls: sum.calls + counted(&slice.calls, number),
                failed: sum.failed + counted(&slice.failed, number),
                slow: sum.slow + counted(&slice.slow, number),
            }
        })
    }

    pub(crate) fn clear(&self) {
        for slice in &self.slices {
            for word in [&slice.calls, &slice.failed, &slice.slow] {
                word.store(0, Ordering::Relaxed);
            }
        }
        self.last_mark.store(0, Ordering::Relaxed);
    }
}

/// The lower half of a word.
const COUNT: u64 = 0xffff_ffff;

/// The upper half for a slice. It comes round again after 2^32 slices: 136 years of seconds.
const fn stamp(number: u64) -> u64 {
    number << 32
}

/// Adds one to the count of this slice, from zero where the word is of an older one.
fn count(word: &AtomicU64, number: u64) {
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        // A reading that is late counts to the newer slice. Compared as numbers that come round again.
        if stamp(number).wrapping_sub(seen & !COUNT) as i64 <= 0 {
            word.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match word.compare_exchange(seen, stamp(number) | 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(newer) => seen = newer,
        }
    }
}

/// The count of this slice.
fn counted(word: &AtomicU64, number: u64) -> u64 {
    let seen = word.load(Ordering::Relaxed);
    if seen & !COUNT == stamp(number) { seen & COUNT } else { 0 }
}
