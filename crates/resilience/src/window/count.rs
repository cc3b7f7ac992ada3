//! The last calls by number: a ring of two bits each, in words of 32 calls.
//!
//! A call takes the place of the oldest one. In the usual case, a success in the place of a success, that is one
//! locked instruction: the next place.

use crate::sync::atomic::{AtomicU64, Ordering};

use super::{Counts, Mark};

/// Calls in a word.
const PER_WORD: u64 = 32;

/// The last so many calls.
#[derive(Debug)]
pub(crate) struct CountWindow {
    size: u64,
    /// How many calls were recorded.
    next: AtomicU64,
    /// How many of those in the ring are failed (upper half) and slow (lower half).
    totals: AtomicU64,
    words: Box<[AtomicU64]>,
}

const FAILED: u64 = 0b01;
const SLOW: u64 = 0b10;

impl CountWindow {
    pub(crate) fn new(size: u32) -> Self {
        let size = u64::from(size.max(1));
        Self {
            size,
            next: AtomicU64::new(0),
            totals: AtomicU64::new(0),
            words: (0..size.div_ceil(PER_WORD)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn record(&self, mark: Mark) {
        let place = self.next.fetch_add(1, Ordering::Relaxed) % self.size;
        let shift = 2 * (place % PER_WORD);
        let bits = (u64::from(mark.failed) * FAILED) | (u64::from(mark.slow) * SLOW);
        let word = &self.words[usize::try_from(place / PER_WORD).unwrap_or(0)];
        if (word.load(Ordering::Relaxed) >> shift) & 0b11 == bits {
            return;
        }
        // The bits that differ are flipped, so that each change is counted by the thread that made it.
        let before = word.fetch_and(!(0b11 << shift), Ordering::Relaxed) >> shift;
        let set = word.fetch_or(bits << shift, Ordering::Relaxed) >> shift;
        let (gone, added) = (before & 0b11, bits & !set);
        self.totals.fetch_add(in_totals(added), Ordering::Relaxed);
        self.totals.fetch_sub(in_totals(gone), Ordering::Relaxed);
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.totals.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn counts(&self) -> Counts {
        let totals = self.totals.load(Ordering::Relaxed);
        let calls = self.next.load(Ordering::Relaxed).min(self.size);
        Counts { calls, failed: (totals >> 32).min(calls), slow: (totals & 0xffff_ffff).min(calls) }
    }

    pub(crate) fn clear(&self) {
        for word in &self.words {
            let bits = word.swap(0, Ordering::Relaxed);
            let failed = (bits & 0x5555_5555_5555_5555).count_ones();
            let slow = (bits & 0xaaaa_aaaa_aaaa_aaaa).count_ones();
            self.totals.fetch_sub((u64::from(failed) << 32) | u64::from(slow), Ordering::Relaxed);
        }
        self.next.store(0, Ordering::Relaxed);
    }
}

/// Two bits of a call as a change of the totals.
fn in_totals(bits: u64) -> u64 {
    ((bits & FAILED) << 32) | ((bits & SLOW) >> 1)
}
