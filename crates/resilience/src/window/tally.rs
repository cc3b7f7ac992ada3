//! A count that many threads add to at once, without a lock and mostly without meeting.
//!
//! Each thread adds to one of a few words, each of which has a cache line of its own and says which generation it
//! counts for. To add is one compare-and-swap that fails where the word is of another generation, so a thread that
//! comes late, however late, can never add to a newer count. Whoever takes the count sets the generation.

use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicU64, Ordering};

/// The lower half of a word counts, the upper half is the generation.
const COUNT: u64 = 0xffff_ffff;

/// A count with a generation.
#[derive(Debug)]
pub(crate) struct Tally {
    stripes: Box<[CachePadded<AtomicU64>]>,
}

impl Tally {
    /// An empty count of generation 0, with a stripe for each processor, at most 16.
    pub(crate) fn new() -> Self {
        Self::striped(if cfg!(tidegate_models) { 1 } else { *PROCESSORS })
    }

    /// With so many stripes, which must be a power of two.
    pub(crate) fn striped(stripes: usize) -> Self {
        Self { stripes: (0..stripes).map(|_| CachePadded::new(AtomicU64::new(0))).collect() }
    }

    /// Counts one more, if the count is of this generation and has room; it has where somebody takes it before it
    /// reaches 2^32.
    #[inline]
    pub(crate) fn add(&self, generation: u32) -> bool {
        // Relaxed, here and below: the word says all there is to know, and nothing else is read by it.
        let word = &self.stripes[STRIPE.with(|stripe| *stripe) & (self.stripes.len() - 1)];
        let mut seen = word.load(Ordering::Relaxed);
        while seen >> 32 == u64::from(generation) && seen & COUNT < COUNT {
            match word.compare_exchange_weak(seen, seen + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(newer) => seen = newer,
            }
        }
        false
    }

    /// What has been counted since the last time. From here on it counts for this generation. Only one thread may take
    /// at a time.
    pub(crate) fn take(&self, generation: u32) -> u64 {
        let empty = u64::from(generation) << 32;
        let take = |word: &CachePadded<AtomicU64>| match word.load(Ordering::Relaxed) {
            seen if seen == empty => 0,
            _ => word.swap(empty, Ordering::Relaxed) & COUNT,
        };
        self.stripes.iter().map(take).sum()
    }
}

static PROCESSORS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, |number| number.get().next_power_of_two().min(16)));

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Where this thread counts: threads are dealt out in turn.
    static STRIPE: usize = THREADS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

#[cfg(all(test, not(tidegate_models)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_count_takes_no_more_and_leaves_the_generation_alone() {
        let tally = Tally::striped(1);
        tally.stripes[0].store((7 << 32) | (COUNT - 1), Ordering::Relaxed);
        assert!(tally.add(7));
        assert!(!tally.add(7), "it has no room");
        assert_eq!(tally.take(8), COUNT);
        assert!(tally.add(8));
    }
}
