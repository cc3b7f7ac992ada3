//! The exact sliding window: the time of every call is kept for as long as it counts.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;

use super::state::{Decision, Demand, Return, Standing, count, low_half};

/// When calls were admitted, oldest first; one entry for each unit of cost. It holds no more than the limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Log(VecDeque<Moment>);

/// At most so many in any stretch of time of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exact {
    limit: u32,
    window: Duration,
}

impl Exact {
    pub(super) fn new(limit: u32, window: u64) -> Self {
        Self { limit, window: Duration::from_nanos(window) }
    }

    /// How many entries, from the oldest on, no longer count.
    fn past(&self, log: &Log, now: Moment) -> usize {
        log.0.partition_point(|at| now.since(*at) >= self.window)
    }

    /// What the limit says to this call, and how many entries, from the oldest on, no longer count.
    fn decide(&self, log: &Log, demand: &Demand) -> (Decision, usize) {
        let (limit, cost) = (self.limit as usize, demand.cost as usize);
        if cost > limit {
            return (Decision::TooLarge, 0);
        }
        let past = self.past(log, demand.now);
        // As many entries as must go before there is room, oldest first.
        let decision = match (log.0.len() + cost).saturating_sub(limit) {
            excess if excess <= past => Decision::Now,
            excess => Decision::NotBefore(log.0.get(excess - 1).map_or(demand.now, |at| at.after(self.window))),
        };
        (decision, past)
    }

    pub(super) fn peek(&self, log: &Log, demand: &Demand) -> Decision {
        self.decide(log, demand).0
    }

    pub(super) fn take(&self, log: &mut Log, demand: &Demand) -> Decision {
        let (decision, past) = self.decide(log, demand);
        // Who is not admitted changes nothing: an entry is past only once somebody else has its place.
        if decision == Decision::Now {
            log.0.drain(..past);
            // An outdated reading counts as the latest one that was acted upon.
            let at = log.newest().map_or(demand.now, |newest| newest.max(demand.now));
            // All at once, so that a key that is known costs no allocation.
            log.0.reserve_exact(self.limit as usize - log.0.len());
            log.0.extend(std::iter::repeat_n(at, demand.cost as usize));
        }
        decision
    }

    pub(super) fn untake(&self, log: &mut Log, back: &Return) {
        let from = log.0.partition_point(|at| *at < back.starts);
        let to = log.0.partition_point(|at| *at <= back.starts);
        log.0.drain(to - (to - from).min(back.cost as usize)..to);
    }

    pub(super) fn refund(&self, log: &mut Log, cost: u32) {
        let keep = log.0.len().saturating_sub(cost as usize);
        log.0.truncate(keep);
    }

    pub(super) fn recovered(&self, log: &Log, now: Moment) -> bool {
        log.newest().is_none_or(|newest| now.since(newest) >= self.window)
    }

    pub(super) fn standing(&self, log: &Log, now: Moment) -> Standing {
        let used = log.0.len() - self.past(log, now);
        let recovers = log.newest().map_or(now, |newest| newest.after(self.window));
        Standing { limit: self.limit, used: count(used as u64), recovers }
    }

    pub(super) fn holding(&self, count: u32, now: Moment) -> Log {
        Log(std::iter::repeat_n(now, count.min(self.limit) as usize).collect())
    }

    /// What still counts: a longer window must not count again what had come back.
    pub(super) fn carry(&self, mut log: Log, now: Moment) -> Log {
        log.0.drain(..self.past(&log, now));
        log
    }

    pub(super) fn words(&self) -> [u64; 7] {
        [u64::from(self.limit), crate::clock::nanos(self.window), 0, 0, 0, 0, 0]
    }

    pub(super) fn of([limit, window, ..]: [u64; 7]) -> Self {
        Self::new(low_half(limit), window)
    }
}

impl Log {
    fn newest(&self) -> Option<Moment> {
        self.0.back().copied()
    }

    /// The later of both entries, counted from the newest on.
    pub(super) fn join(&mut self, other: &Self) {
        for missing in other.0.iter().rev().skip(self.0.len()) {
            self.0.push_front(*missing);
        }
        for (one, other) in self.0.iter_mut().rev().zip(other.0.iter().rev()) {
            *one = (*one).max(*other);
        }
    }
}
