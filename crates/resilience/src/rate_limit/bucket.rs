//! Token bucket and leaky bucket: the generic cell rate algorithm (ITU-T I.371, virtual scheduling).
//!
//! What is used is one point in time: when the bucket will have recovered. Every call moves it on by its cost, and is
//! admitted while it is not too far ahead of now.
//!
//! It is counted in a unit of which a whole number fits both into a nanosecond and into the time for one token: with
//! 7 tokens in 3 seconds, a 7th of a nanosecond, of which 3,000,000,000 make a token. So nothing is ever rounded. The
//! point in time is counted from an epoch, which moves on before the numbers grow too large.

use std::time::Duration;

use crate::clock::Moment;

use super::options::Pace;
use super::state::{Decision, Demand, Return, Standing, count, low_half};

/// Numbers of units stay below: 55 bits for the time since the epoch, 54 for what is used beyond that, which makes less
/// than the 56 bits that there are.
const SPAN: u64 = 1 << 55;
const DEEPEST: u64 = 1 << 54;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    epoch: Moment,
    /// Units in a nanosecond.
    scale: u64,
    /// Units for one token.
    token: u64,
    /// How far ahead a call may take it and begin at once. For a leaky bucket zero, which means: as far as it costs.
    room: u64,
    /// How far ahead a call may take it and begin later.
    reach: u64,
    /// How many tokens it holds.
    size: u32,
}

impl Bucket {
    pub(super) fn tokens(pace: Pace, burst: u32, max_wait: u64, epoch: Moment) -> Self {
        let bucket = Self::paced(pace, burst, max_wait, epoch);
        let room = u64::from(burst) * bucket.token;
        Self { room, reach: room + max_wait * bucket.scale, ..bucket }
    }

    pub(super) fn leaky(pace: Pace, queue: u32, epoch: Moment) -> Self {
        let bucket = Self::paced(pace, queue + 1, 0, epoch);
        Self { reach: u64::from(bucket.size) * bucket.token, ..bucket }
    }

    /// A bucket with the finest unit that leaves enough bits for `size` tokens and `wait` nanoseconds.
    fn paced(pace: Pace, size: u32, wait: u64, epoch: Moment) -> Self {
        let (rate, per) = (u64::from(pace.rate), pace.per);
        let common = gcd(rate, per);
        let (mut scale, mut token) = (rate / common, per / common);
        let depth =
            |scale: u64, token: u64| u128::from(size) * u128::from(token) + u128::from(wait) * u128::from(scale);
        while depth(scale, token) > u128::from(DEEPEST) {
            // Rounded up: never more than the rate.
            scale /= 2;
            token = narrow((u128::from(per) * u128::from(scale)).div_ceil(u128::from(rate)));
        }
        Self { epoch, scale, token, room: 0, reach: 0, size }
    }

    pub(super) fn epoch(&self) -> Moment {
        self.epoch
    }

    #[inline]
    pub(super) fn outgrown(&self, now: Moment) -> bool {
        self.present(now) > SPAN
    }

    pub(super) fn rebased(&self, now: Moment) -> Self {
        Self { epoch: self.epoch.max(now), ..*self }
    }

    /// Now, in units since the epoch. What is outgrown has the latest of all points in time.
    #[inline]
    fn present(&self, now: Moment) -> u64 {
        now.as_nanos().saturating_sub(self.epoch.as_nanos()).saturating_mul(self.scale)
    }

    /// The first moment at which so many units have passed.
    fn moment(&self, units: u64) -> Moment {
        Moment::from_nanos(self.epoch.as_nanos().saturating_add(units.div_ceil(self.scale)))
    }

    /// How far before the point that a call takes it to it begins.
    #[inline]
    fn lead(&self, cost: u32) -> u64 {
        if self.room == 0 { u64::from(cost).saturating_mul(self.token) } else { self.room }
    }

    /// Must not be outgrown.
    #[inline]
    pub(super) fn take(&self, used: u64, demand: &Demand) -> (Decision, u64) {
        if demand.cost > self.size {
            return (Decision::TooLarge, used);
        }
        let present = self.present(demand.now);
        let end = used.max(present).saturating_add(u64::from(demand.cost) * self.token);
        let start = end.saturating_sub(self.lead(demand.cost));
        if start <= present {
            return (Decision::Now, end);
        }
        match self.wait(start, end, present, demand) {
            later @ Decision::Later(_) => (later, end),
            no => (no, used),
        }
    }

    /// What is used once a call has taken its tokens, if the bucket holds them. Nothing where it does not, where it is
    /// outgrown, and without room: a leaky bucket holds no tokens, and the numbers of another algorithm mean nothing here.
    /// It ends well whatever the numbers are.
    #[inline]
    pub(super) fn at_once([epoch, scale, token, room]: [u64; 4], used: u64, now: Moment, cost: u32) -> Option<u64> {
        let present = now.as_nanos().saturating_sub(epoch).saturating_mul(scale);
        let end = used.max(present).saturating_add(u64::from(cost).saturating_mul(token));
        (room > 0 && present <= SPAN && end <= present + room).then_some(end)
    }

    #[cold]
    fn wait(&self, start: u64, end: u64, present: u64, demand: &Demand) -> Decision {
        let starts = self.moment(start);
        let Some(patience) = demand.patience else { return Decision::NotBefore(starts) };
        // Who comes so much later, with as much patience, begins in time.
        let in_time = demand.now.after(starts.since(patience)).after(Duration::from_nanos(1)).min(starts);
        if end > present.saturating_add(self.reach) {
            let ready = self.moment(end - self.reach).max(in_time);
            if self.reach > self.room { Decision::Full(ready) } else { Decision::NotBefore(ready) }
        } else if starts >= patience {
            Decision::NotBefore(in_time)
        } else {
            Decision::Later(starts)
        }
    }

    /// Gives back what has not come back by itself since the call was to begin. To give back more would admit, together
    /// with calls that came in the meantime, more than the rate: the time in which the tokens flowed in again has
    /// already served those.
    ///
    /// Nothing is given back where others wait behind it: they have been told when to begin, and whoever took its place
    /// now would begin together with the last of them.
    pub(super) fn untake(&self, used: u64, back: &Return) -> u64 {
        let some_wait = used > self.present(back.now).saturating_add(self.room);
        if some_wait && self.begins(used, back.cost) != Some(back.starts) {
            return used;
        }
        let taken = u64::from(back.cost).saturating_mul(self.token);
        let flown = back.now.since(back.starts).as_nanos().saturating_mul(u128::from(self.scale));
        used.saturating_sub(taken.saturating_sub(narrow(flown)))
    }

    /// When the last call begins, if it costs so much: it may have begun before the epoch has moved on.
    fn begins(&self, used: u64, cost: u32) -> Option<Moment> {
        let lead = self.lead(cost);
        match used.checked_sub(lead) {
            Some(start) => Some(self.moment(start)),
            None => self.epoch.as_nanos().checked_sub((lead - used) / self.scale).map(Moment::from_nanos),
        }
    }

    pub(super) fn refund(&self, used: u64, cost: u32) -> u64 {
        used.saturating_sub(u64::from(cost).saturating_mul(self.token))
    }

    #[inline]
    pub(super) fn recovered(&self, used: u64, now: Moment) -> bool {
        used <= self.present(now)
    }

    pub(super) fn standing(&self, used: u64, now: Moment) -> Standing {
        let debt = used.saturating_sub(self.present(now));
        Standing { limit: self.size, used: count(debt.div_ceil(self.token)), recovers: self.moment(used) }
    }

    pub(super) fn holding(&self, tokens: u32, now: Moment) -> u64 {
        self.present(now) + (u64::from(tokens).saturating_mul(self.token)).min(self.reach)
    }

    /// As many tokens, and parts of one, are used as before, but not more than there may be.
    pub(super) fn carry(&self, used: u64, to: &Self, now: Moment) -> u64 {
        // More than there may be is used only by an outdated reading: it has been at least so late already.
        let now = now.max(self.moment(used.saturating_sub(self.reach)));
        let debt = u128::from(used.saturating_sub(self.present(now)));
        let debt = (debt * u128::from(to.token)).div_ceil(u128::from(self.token));
        to.present(now) + narrow(debt).min(to.reach)
    }

    pub(super) fn words(&self) -> [u64; 7] {
        [self.epoch.as_nanos(), self.scale, self.token, self.room, self.reach, u64::from(self.size), 0]
    }

    pub(super) fn of([epoch, scale, token, room, reach, size, _]: [u64; 7]) -> Self {
        Self { epoch: Moment::from_nanos(epoch), scale, token, room, reach, size: low_half(size) }
    }
}

/// The number, or the most that fits.
fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}
