//! Latency histograms with fixed bounds, from 100 µs (what a proxy adds on a fast network) to 60 s (a usual total
//! timeout), in steps of at least a factor of two.
//!
//! The steps make the bucket cheap to find: no two bounds have the same bit length in nanoseconds, so the bit
//! length of a duration leaves one bound to compare with. Fixed bounds also make the sum of two histograms exact,
//! over workers here and over instances in Prometheus.

use std::time::Duration;

use super::cell::Counter;

/// How many buckets a histogram has: the finite ones and the one above them all.
pub const BUCKETS: usize = 19;

/// Upper bounds, inclusive, in nanoseconds. The last bucket has none.
const BOUNDS: [u64; BUCKETS] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    u64::MAX,
];

/// For a bit length: the first bucket that a number of that length can fall into.
static FIRST_BUCKET: [u8; 65] = first_buckets();

const fn first_buckets() -> [u8; 65] {
    let mut first = [0; 65];
    let mut bits = 1;
    let mut bucket: u8 = 0;
    while bits <= 64 {
        let smallest = 1_u64 << (bits - 1);
        let mut bounds_of_this_length = 0;
        while BOUNDS[bucket as usize] < smallest {
            bucket += 1;
            bounds_of_this_length += 1;
        }
        assert!(bounds_of_this_length <= 1, "two bounds with one bit length");
        first[bits] = bucket;
        bits += 1;
    }
    first
}

#[inline]
fn bucket_of(nanos: u64) -> usize {
    let bits = u64::BITS - nanos.leading_zeros();
    let first = usize::from(FIRST_BUCKET[bits as usize]);
    first + usize::from(nanos > BOUNDS[first])
}

/// The upper bounds of all buckets in seconds, inclusive; the last is infinite.
pub fn bucket_bounds() -> [f64; BUCKETS] {
    BOUNDS.map(|nanos| match nanos {
        u64::MAX => f64::INFINITY,
        nanos => nanos as f64 / 1e9,
    })
}

/// One worker's share of a histogram.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [Counter; BUCKETS],
    /// Microseconds, because nanoseconds of ten thousand long tunnels would wrap within weeks.
    sum_micros: Counter,
}

impl Histogram {
    #[inline]
    pub(super) fn record(&self, elapsed: Duration) {
        let nanos = elapsed.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(elapsed.subsec_nanos()));
        self.buckets[bucket_of(nanos)].add(1);
        self.sum_micros.add(nanos.saturating_add(500) / 1_000);
    }
}

/// A histogram, summed over the workers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HistogramTotals {
    buckets: [u64; BUCKETS],
    sum_micros: u64,
}

impl HistogramTotals {
    pub(super) fn add(&mut self, share: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&share.buckets) {
            *total = total.wrapping_add(bucket.read());
        }
        self.sum_micros = self.sum_micros.wrapping_add(share.sum_micros.read());
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.wrapping_add(*bucket))
    }

    /// The sum of all durations in seconds, each rounded to a microsecond.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }

    /// How many durations fell into each bucket (not cumulative), in the order of [`bucket_bounds`].
    pub fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: the first bucket whose bound is not exceeded.
    fn bucket_by_search(nanos: u64) -> usize {
        BOUNDS.iter().position(|bound| nanos <= *bound).expect("the last bound is the greatest number")
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_the_next_nanosecond_does_not() {
        for (index, bound) in BOUNDS.into_iter().enumerate() {
            assert_eq!(bucket_of(bound), index);
            assert_eq!(bucket_of(bound - 1), index);
            assert_eq!(bucket_of(bound.saturating_add(1)), (index + 1).min(BUCKETS - 1));
        }
    }

    #[test]
    fn powers_of_two_and_zero_find_their_bucket() {
        assert_eq!(bucket_of(0), 0);
        for shift in 0..64 {
            let nanos = 1_u64 << shift;
            assert_eq!(bucket_of(nanos), bucket_by_search(nanos), "{nanos}");
            assert_eq!(bucket_of(nanos - 1), bucket_by_search(nanos - 1), "{}", nanos - 1);
        }
    }

    #[test]
    fn bounds_in_seconds_are_what_people_write() {
        let bounds = bucket_bounds();
        assert_eq!(bounds[..4], [0.0001, 0.00025, 0.0005, 0.001]);
        assert_eq!(bounds[15..], [10.0, 30.0, 60.0, f64::INFINITY]);
    }

    #[test]
    fn absurd_durations_land_in_the_last_bucket() {
        let share = Histogram::default();
        share.record(Duration::MAX);
        let mut totals = HistogramTotals::default();
        totals.add(&share);
        assert_eq!(totals.buckets()[BUCKETS - 1], 1);
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_search(nanos in prop_oneof![any::<u64>(), 0..100_000_000_000_u64]) {
            prop_assert_eq!(bucket_of(nanos), bucket_by_search(nanos));
        }

        #[test]
        fn totals_are_the_sum_of_the_shares(shares in prop::collection::vec(prop::collection::vec(0..90_000_000_u64, 0..20), 0..4)) {
            let mut totals = HistogramTotals::default();
            for micros in &shares {
                let share = Histogram::default();
                for micros in micros {
                    share.record(Duration::from_micros(*micros));
                }
                totals.add(&share);
            }
            let all = shares.concat();
            prop_assert_eq!(totals.count(), all.len() as u64);
            prop_assert_eq!(totals.sum_micros, all.iter().sum::<u64>());
        }
    }
}
