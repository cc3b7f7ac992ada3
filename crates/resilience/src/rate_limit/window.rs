//! Windows that follow one another on a beat: the fixed window, and the sliding window that counts by shares.
//!
//! What is used is the number of a window, counted from an epoch, and how many were admitted in it (and in the one
//! before). The epoch moves on, by whole windows, before the numbers grow too large.

use crate::clock::Moment;

use super::state::{Decision, Demand, Return, Standing, USED_BITS, count, low_half};

/// When windows begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Beat {
    epoch: Moment,
    /// Nanoseconds in a window.
    length: u64,
    /// After how many nanoseconds the epoch must move on.
    horizon: u64,
}

impl Beat {
    /// A beat at multiples of the length, whose windows are numbered with so many bits, the first being that of `epoch`.
    fn new(length: u64, bits: u32, epoch: Moment) -> Self {
        let epoch = Moment::from_nanos(epoch.as_nanos() - epoch.as_nanos() % length);
        Self { epoch, length, horizon: ((1 << bits) - 2_u64).saturating_mul(length) }
    }

    #[inline]
    fn elapsed(&self, now: Moment) -> u64 {
        now.as_nanos().saturating_sub(self.epoch.as_nanos())
    }

    /// The number of the window that `now` lies in.
    #[inline]
    fn index(&self, now: Moment) -> u64 {
        self.elapsed(now) / self.length
    }

    /// When a window begins.
    fn begin(&self, index: u64) -> Moment {
        Moment::from_nanos(self.epoch.as_nanos().saturating_add(index.saturating_mul(self.length)))
    }

    /// When the window before the one of `now` began.
    fn anchor(&self, now: Moment) -> Moment {
        self.begin(self.index(now).saturating_sub(1))
    }

    fn rebased(&self, now: Moment) -> Self {
        Self { epoch: self.anchor(now), ..*self }
    }

    /// By how much the numbers of windows are smaller on a beat with a later epoch.
    fn shift(&self, to: &Self) -> u64 {
        self.index(to.epoch)
    }
}

/// Declares what both kinds of window have in common.
macro_rules! window {
    ($window:ident) => {
        impl $window {
            pub(super) fn new(limit: u32, window: u64, epoch: Moment) -> Self {
                Self { beat: Beat::new(window, Self::INDEX_BITS, epoch), limit }
            }

            pub(super) fn epoch(&self) -> Moment {
                self.beat.epoch
            }

            /// Whether the windows are so long.
            pub(super) fn beat(&self, length: u64) -> bool {
                self.beat.length == length
            }

            pub(super) fn same_beat(&self, other: &Self) -> bool {
                self.beat(other.beat.length)
            }

            /// Where a later epoch may lie so that nothing is forgotten.
            pub(super) fn anchor(&self, now: Moment) -> Moment {
                self.beat.anchor(now)
            }

            #[inline]
            pub(super) fn outgrown(&self, now: Moment) -> bool {
                self.beat.elapsed(now) > self.beat.horizon
            }

            pub(super) fn rebased(&self, now: Moment) -> Self {
                Self { beat: self.beat.rebased(now), ..*self }
            }

            pub(super) fn words(&self) -> [u64; 7] {
                let Beat { epoch, length, horizon } = self.beat;
                [epoch.as_nanos(), length, horizon, 0, u64::from(self.limit), 0, 0]
            }

            #[inline]
            pub(super) fn of([epoch, length, horizon, _, limit, ..]: [u64; 7]) -> Self {
                let beat = Beat { epoch: Moment::from_nanos(epoch), length, horizon };
                Self { beat, limit: low_half(limit) }
            }
        }
    };
}

/// At most so many in each window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fixed {
    beat: Beat,
    limit: u32,
}

window!(Fixed);

/// What a fixed window uses: 24 bits for its number, 32 for how many were admitted in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Filled {
    index: u64,
    count: u64,
}

impl Filled {
    #[inline]
    fn of(used: u64) -> Self {
        Self { index: used >> 32, count: u64::from(low_half(used)) }
    }

    #[inline]
    fn used(self) -> u64 {
        self.index << 32 | self.count
    }
}

impl Fixed {
    const INDEX_BITS: u32 = USED_BITS - 32;

    /// What the window of `now` has; a later one, if the clock was later already.
    #[inline]
    fn present(&self, used: u64, now: Moment) -> Filled {
        let (filled, index) = (Filled::of(used), self.beat.index(now));
        if index > filled.index { Filled { index, count: 0 } } else { filled }
    }

    /// Must not be outgrown.
    #[inline]
    pub(super) fn take(&self, used: u64, demand: &Demand) -> (Decision, u64) {
        if demand.cost > self.limit {
            return (Decision::TooLarge, used);
        }
        let Filled { index, count } = self.present(used, demand.now);
        let count = count + u64::from(demand.cost);
        match count <= u64::from(self.limit) {
            true => (Decision::Now, Filled { index, count }.used()),
            false => (Decision::NotBefore(self.beat.begin(index + 1)), used),
        }
    }

    pub(super) fn untake(&self, used: u64, back: &Return) -> u64 {
        let Filled { index, count } = Filled::of(used);
        // What was taken in another window is forgotten already.
        match back.starts >= self.beat.epoch && self.beat.index(back.starts) == index {
            true => Filled { index, count: count.saturating_sub(u64::from(back.cost)) }.used(),
            false => used,
        }
    }

    pub(super) fn refund(&self, used: u64, cost: u32) -> u64 {
        let Filled { index, count } = Filled::of(used);
        Filled { index, count: count.saturating_sub(u64::from(cost)) }.used()
    }

    #[inline]
    pub(super) fn recovered(&self, used: u64, now: Moment) -> bool {
        self.present(used, now).count == 0
    }

    pub(super) fn standing(&self, used: u64, now: Moment) -> Standing {
        let Filled { index, count: filled } = self.present(used, now);
        let recovers = if filled == 0 { now } else { self.beat.begin(index + 1) };
        Standing { limit: self.limit, used: count(filled), recovers }
    }

    pub(super) fn holding(&self, count: u32, now: Moment) -> u64 {
        Filled { index: self.beat.index(now), count: u64::from(count.min(self.limit)) }.used()
    }

    /// The same on the same beat with a later epoch.
    pub(super) fn carry(&self, used: u64, to: &Self) -> u64 {
        let Filled { index, count } = Filled::of(used);
        index.checked_sub(self.beat.shift(&to.beat)).map_or(0, |index| Filled { index, count }.used())
    }
}

/// At most so many in a window that slides, where those of the last window on the beat count by the share of it that the
/// sliding one still covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weighted {
    beat: Beat,
    limit: u32,
}

window!(Weighted);

/// What a weighted window uses: 12 bits for the number of a window on the beat, 22 each for how many were admitted in the
/// one before and in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    index: u64,
    before: u64,
    count: u64,
}

impl Pair {
    const BITS: u32 = 22;
    const MASK: u64 = (1 << Self::BITS) - 1;

    #[inline]
    fn of(used: u64) -> Self {
        Self { index: used >> (2 * Self::BITS), before: used >> Self::BITS & Self::MASK, count: used & Self::MASK }
    }

    #[inline]
    fn used(self) -> u64 {
        self.index << (2 * Self::BITS) | self.before << Self::BITS | self.count
    }

    /// The same in the window `index`, or unchanged if that is an earlier one.
    #[inline]
    fn at(self, index: u64) -> Self {
        match index.saturating_sub(self.index) {
            0 => self,
            1 => Self { index, before: self.count, count: 0 },
            _ => Self { index, before: 0, count: 0 },
        }
    }
}

impl Weighted {
    const INDEX_BITS: u32 = USED_BITS - 2 * Pair::BITS;

    #[inline]
    fn present(&self, used: u64, now: Moment) -> Pair {
        Pair::of(used).at(self.beat.index(now))
    }

    /// How much counts at `now`, in nanoseconds of a window filled by one.
    #[inline]
    fn weight(&self, pair: Pair, now: Moment) -> u128 {
        let into = self.beat.elapsed(now).saturating_sub(pair.index * self.beat.length);
        let left = self.beat.length.saturating_sub(into);
        u128::from(pair.before) * u128::from(left) + u128::from(pair.count) * u128::from(self.beat.length)
    }

    /// Must not be outgrown.
    #[inline]
    pub(super) fn take(&self, used: u64, demand: &Demand) -> (Decision, u64) {
        if demand.cost > self.limit {
            return (Decision::TooLarge, used);
        }
        let present = self.present(used, demand.now);
        let cost = u64::from(demand.cost);
        let room = u128::from(u64::from(self.limit) - cost) * u128::from(self.beat.length);
        match self.weight(present, demand.now) <= room {
            true => (Decision::Now, Pair { count: present.count + cost, ..present }.used()),
            false => (Decision::NotBefore(self.ready(present, u64::from(self.limit) - cost)), used),
        }
    }

    /// When no more than `room` is used.
    #[cold]
    fn ready(&self, pair: Pair, room: u64) -> Moment {
        // In this window, or else in the next one.
        let (index, fading, room) = match room.checked_sub(pair.count) {
            Some(room) => (pair.index, pair.before, room),
            None => (pair.index + 1, pair.count, room),
        };
        let covered = u128::from(room) * u128::from(self.beat.length) / u128::from(fading.max(1));
        let covered = u64::try_from(covered).unwrap_or(u64::MAX).min(self.beat.length);
        Moment::from_nanos(self.beat.begin(index).as_nanos().saturating_add(self.beat.length - covered))
    }

    pub(super) fn untake(&self, used: u64, back: &Return) -> u64 {
        let (pair, cost) = (Pair::of(used), u64::from(back.cost));
        if back.starts < self.beat.epoch {
            return used;
        }
        let pair = match pair.index.checked_sub(self.beat.index(back.starts)) {
            Some(0) => Pair { count: pair.count.saturating_sub(cost), ..pair },
            Some(1) => Pair { before: pair.before.saturating_sub(cost), ..pair },
            _ => pair,
        };
        pair.used()
    }

    pub(super) fn refund(&self, used: u64, cost: u32) -> u64 {
        let pair = Pair::of(used);
        Pair { count: pair.count.saturating_sub(u64::from(cost)), ..pair }.used()
    }

    #[inline]
    pub(super) fn recovered(&self, used: u64, now: Moment) -> bool {
        let pair = self.present(used, now);
        pair.before == 0 && pair.count == 0
    }

    /// The more used of both, in each window.
    pub(super) fn join(&self, one: u64, other: u64) -> u64 {
        let (one, other) = (Pair::of(one), Pair::of(other));
        let index = one.index.max(other.index);
        let (one, other) = (one.at(index), other.at(index));
        Pair { index, before: one.before.max(other.before), count: one.count.max(other.count) }.used()
    }

    pub(super) fn standing(&self, used: u64, now: Moment) -> Standing {
        let pair = self.present(used, now);
        let whole = self.weight(pair, now).div_ceil(u128::from(self.beat.length));
        let recovers = match (pair.before, pair.count) {
            (0, 0) => now,
            (_, 0) => self.beat.begin(pair.index + 1),
            _ => self.beat.begin(pair.index + 2),
        };
        Standing { limit: self.limit, used: count(u64::try_from(whole).unwrap_or(u64::MAX)), recovers }
    }

    pub(super) fn holding(&self, count: u32, now: Moment) -> u64 {
        Pair { index: self.beat.index(now), before: 0, count: u64::from(count.min(self.limit)) }.used()
    }

    /// The same on the same beat with a later epoch.
    pub(super) fn carry(&self, used: u64, to: &Self) -> u64 {
        let pair = Pair::of(used);
        pair.index.checked_sub(self.beat.shift(&to.beat)).map_or(0, |index| Pair { index, ..pair }.used())
    }
}
