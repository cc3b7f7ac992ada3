//! The latency that a given share of the recent calls stays below: the pure core of a hedge.
//!
//! Latencies are counted in buckets that are each an eighth of a power of two wide, so that the answer is at most an
//! eighth too large from 8 µs to 73 minutes, in 2 kB however many calls there are. The counts of the last full
//! thousand stay until the next thousand is full: the answer rests on the last 1000 to 2000 calls. It is worked out
//! once every 50 calls; in between, asking costs one load.
//!
//! All orderings are relaxed: a count that is seen late moves the answer by next to nothing.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::nanos;
use crate::units::Ratio;

/// Calls until the older counts are forgotten.
const FULL: u64 = 1000;

/// Calls until there is an answer.
const ENOUGH: u64 = 100;

/// Calls from one working out to the next.
const EVERY: u64 = 50;

/// The numbers below 2^3, and eighths of the powers of two from 2^3 to 2^31.
const BUCKETS: usize = 8 + 8 * 29;

/// Counts of latencies.
pub(super) struct Latencies {
    recent: [AtomicU32; BUCKETS],
    before: [AtomicU32; BUCKETS],
    recorded: AtomicU64,
    /// Nanoseconds; [`UNKNOWN`] until enough is known.
    answer: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

impl Default for Latencies {
    fn default() -> Self {
        Self {
            recent: std::array::from_fn(|_| AtomicU32::new(0)),
            before: std::array::from_fn(|_| AtomicU32::new(0)),
            recorded: AtomicU64::new(0),
            answer: AtomicU64::new(UNKNOWN),
        }
    }
}

impl Latencies {
    /// Counts a call. `share` is what the answer will be for.
    pub(super) fn record(&self, latency: Duration, share: Ratio) {
        self.recent[bucket(latency)].fetch_add(1, Ordering::Relaxed);
        let recorded = self.recorded.fetch_add(1, Ordering::Relaxed) + 1;
        if recorded.is_multiple_of(EVERY) {
            self.work_out(share);
        }
        if recorded.is_multiple_of(FULL) {
            for (before, recent) in self.before.iter().zip(&self.recent) {
                before.store(recent.swap(0, Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }

    /// The latency that the share of calls stays below; nothing until enough is known.
    pub(super) fn answer(&self) -> Option<Duration> {
        let nanos = self.answer.load(Ordering::Relaxed);
        (nanos != UNKNOWN).then(|| Duration::from_nanos(nanos))
    }

    /// Brings the answer up to date, for this share.
    pub(super) fn work_out(&self, share: Ratio) {
        if self.recorded.load(Ordering::Relaxed) < ENOUGH {
            return;
        }
        let counts: [u32; BUCKETS] = std::array::from_fn(|bucket| {
            self.recent[bucket].load(Ordering::Relaxed).saturating_add(self.before[bucket].load(Ordering::Relaxed))
        });
        let all = counts.iter().copied().map(f64::from).sum::<f64>();
        let mut below = 0.0;
        let reached = counts.iter().position(|count| {
            below += f64::from(*count);
            below >= all * share.get()
        });
        if let Some(bucket) = reached {
            self.answer.store(nanos(upper_end(bucket)), Ordering::Relaxed);
        }
    }
}

/// The bucket of a latency: of the unit of 1024 ns, the place of its highest bit and the three bits after it.
fn bucket(latency: Duration) -> usize {
    let units = u32::try_from(nanos(latency) >> 10).unwrap_or(u32::MAX);
    let bucket = match units.checked_ilog2() {
        Some(highest @ 3..) => (highest - 2) * 8 + (units >> (highest - 3)) % 8,
        _ => units,
    };
    usize::try_from(bucket).expect("less than 240")
}

/// The latency that all in the bucket stay below.
fn upper_end(bucket: usize) -> Duration {
    let next = bucket as u64 + 1;
    let units = (next / 8).checked_sub(1).map_or(next, |power| (8 + next % 8) << power);
    Duration::from_nanos(units << 10)
}

#[cfg(all(test, not(tidegate_models)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHARE: Ratio = Ratio::percent(95);

    proptest! {
        #[test]
        fn a_bucket_holds_what_is_at_most_an_eighth_below_its_end(nanos in 0_u64..(1 << 42)) {
            let end = upper_end(bucket(Duration::from_nanos(nanos)));
            prop_assert!(end > Duration::from_nanos(nanos));
            prop_assert!(end <= Duration::from_nanos(nanos.saturating_add(nanos / 8) + 1024));
        }

        #[test]
        fn the_answer_is_that_of_sorting(
            latencies in prop::collection::vec(0_u64..(1 << 36), 100..4500),
            percent in 1_u8..=99,
        ) {
            let share = Ratio::percent(percent);
            let counted = Latencies::default();
            latencies.iter().for_each(|nanos| counted.record(Duration::from_nanos(*nanos), share));

            let known = latencies.len() / 50 * 50;
            let oldest = (known - 1) / 1000 * 1000;
            let mut last = latencies[oldest.saturating_sub(1000)..known].to_vec();
            last.sort_unstable();
            let rank = (1..=last.len()).find(|rank| *rank as f64 >= last.len() as f64 * share.get()).expect("share < 1");
            let exact = Duration::from_nanos(last[rank - 1]);
            prop_assert_eq!(counted.answer(), Some(upper_end(bucket(exact))));
        }
    }

    #[test]
    fn short_latencies_have_buckets_of_one_unit() {
        for unit in 0..16 {
            assert_eq!(upper_end(bucket(Duration::from_nanos(1024 * unit))), Duration::from_nanos(1024 * (unit + 1)));
        }
    }

    #[test]
    fn the_ends_of_time_have_buckets() {
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert!(upper_end(BUCKETS - 1) > Duration::from_secs(4000));
    }

    #[test]
    fn nothing_is_said_before_enough_is_known() {
        let latencies = Latencies::default();
        (0..99).for_each(|_| latencies.record(Duration::from_millis(5), SHARE));
        latencies.work_out(SHARE);
        assert_eq!(latencies.answer(), None);
        latencies.record(Duration::from_millis(5), SHARE);
        assert!(latencies.answer().is_some());
    }

    #[test]
    fn a_service_that_becomes_slow_is_known_to_be_slow_after_a_while() {
        let latencies = Latencies::default();
        (0..2000).for_each(|_| latencies.record(Duration::from_millis(5), SHARE));
        (0..2000).for_each(|_| latencies.record(Duration::from_millis(500), SHARE));
        assert!(latencies.answer().expect("enough") >= Duration::from_millis(500));
        (0..2000).for_each(|_| latencies.record(Duration::from_millis(5), SHARE));
        assert!(latencies.answer().expect("enough") < Duration::from_millis(6));
    }
}
