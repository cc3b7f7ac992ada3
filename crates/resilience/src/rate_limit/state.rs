//! The pure core: what a limit says to a call, given what was used and what time it is.
//!
//! What was used is one number of [`USED_BITS`] bits, whose meaning is the algorithm's own; zero means that nothing was.
//! Only the exact sliding window keeps a [`Log`] instead. Every algorithm takes the time as something that may be
//! outdated: a moment before one that has been acted upon never admits more than that one would.

use crate::clock::Moment;

use super::bucket::Bucket;
use super::log::{Exact, Log};
use super::options::Limit;
use super::window::{Fixed, Weighted};

/// How many bits of a number say what was used.
pub(super) const USED_BITS: u32 = 56;

/// What a limit says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Go ahead.
    Now,
    /// Go ahead from this moment on.
    Later(Moment),
    /// No. From this moment on the answer is another, unless others take more.
    NotBefore(Moment),
    /// No, because so many wait already. From this moment on the answer is another, unless others come.
    Full(Moment),
    /// No, and never.
    TooLarge,
}

impl Decision {
    /// When the call begins, if it is admitted.
    #[inline]
    pub(super) fn starts(&self, now: Moment) -> Option<Moment> {
        match self {
            Self::Now => Some(now),
            Self::Later(moment) => Some(*moment),
            Self::NotBefore(_) | Self::Full(_) | Self::TooLarge => None,
        }
    }
}

/// What a call asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    /// When it asks.
    pub(super) now: Moment,
    /// How much it takes.
    pub(super) cost: u32,
    /// Before when it must go ahead; nothing where it does not wait at all.
    pub(super) patience: Option<Moment>,
}

/// What a call took and does not need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Return {
    /// How much it took.
    pub(super) cost: u32,
    /// When it was to go ahead.
    pub(super) starts: Moment,
    /// When it gives that back.
    pub(super) now: Moment,
}

/// How much there is, and when there is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// How much may be used at once.
    pub(super) limit: u32,
    /// How much of it is.
    pub(super) used: u32,
    /// When none of it will be.
    pub(super) recovers: Moment,
}

/// A limit at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// Rises with every change of limits and with every reset: what was taken under another one cannot be given back.
    pub(super) generation: u32,
    pub(super) algorithm: Algorithm,
}

/// How a limit keeps what was used: as a number, or as a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Counted(Counted),
    Exact(Exact),
}

/// The algorithms that keep a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Bucket(Bucket),
    Fixed(Fixed),
    Weighted(Weighted),
}

/// What was used, in the form that the algorithm keeps.
pub(super) enum Used<'u> {
    Number(&'u mut u64),
    Log(&'u mut Log),
}

impl Algorithm {
    /// The algorithm for a limit, counting from `epoch` on.
    pub(super) fn new(limit: Limit, epoch: Moment) -> Self {
        let counted = match limit {
            Limit::Tokens { pace, burst, max_wait } => Counted::Bucket(Bucket::tokens(pace, burst, max_wait, epoch)),
            Limit::Leaky { pace, queue } => Counted::Bucket(Bucket::leaky(pace, queue, epoch)),
            Limit::Fixed { limit, window } => Counted::Fixed(Fixed::new(limit, window, epoch)),
            Limit::Weighted { limit, window } => Counted::Weighted(Weighted::new(limit, window, epoch)),
            Limit::Exact { limit, window } => return Self::Exact(Exact::new(limit, window)),
        };
        Self::Counted(counted)
    }

    /// The algorithm for a limit that takes the place of this one. Windows of the same length keep their beat.
    pub(super) fn successor(&self, limit: Limit, now: Moment) -> Self {
        let epoch = match (self, limit) {
            (Self::Exact(_), _) => now,
            (Self::Counted(Counted::Fixed(from)), Limit::Fixed { window, .. }) if from.beat(window) => from.anchor(now),
            (Self::Counted(Counted::Weighted(from)), Limit::Weighted { window, .. }) if from.beat(window) => {
                from.anchor(now)
            }
            (Self::Counted(from), _) => now.max(from.epoch()),
        };
        Self::new(limit, epoch)
    }

    /// What was used, as an algorithm has it that takes the place of this one `now`.
    pub(super) fn carry(&self, used: (u64, Log), to: &Self, now: Moment) -> (u64, Log) {
        match (self, to) {
            (Self::Exact(from), Self::Exact(_)) => (0, from.carry(used.1, now)),
            (Self::Exact(from), Self::Counted(to)) => {
                (to.holding(from.standing(&used.1, now).used, now), Log::default())
            }
            (Self::Counted(from), Self::Exact(to)) => (0, to.holding(from.standing(used.0, now).used, now)),
            (Self::Counted(from), Self::Counted(to)) => (from.carry(used.0, to, now), Log::default()),
        }
    }

    /// What is used, of a number and a log, of which it keeps one.
    pub(super) fn used<'u>(&self, number: &'u mut u64, log: &'u mut Log) -> Used<'u> {
        match self {
            Self::Counted(_) => Used::Number(number),
            Self::Exact(_) => Used::Log(log),
        }
    }

    /// Whether the numbers have become so large that the epoch must move on: see [`Counted::rebased`].
    #[inline]
    pub(super) fn outgrown(&self, now: Moment) -> bool {
        matches!(self, Self::Counted(counted) if counted.outgrown(now))
    }

    /// Takes what the call asks for, if the limit admits it.
    #[inline]
    pub(super) fn take(&self, used: Used<'_>, demand: &Demand) -> Decision {
        match (self, used) {
            (Self::Counted(counted), Used::Number(number)) => {
                let (decision, after) = counted.take(*number, demand);
                *number = after;
                decision
            }
            (Self::Exact(exact), Used::Log(log)) => exact.take(log, demand),
            _ => Decision::TooLarge,
        }
    }

    /// What [`Algorithm::take`] would say.
    pub(super) fn peek(&self, used: Used<'_>, demand: &Demand) -> Decision {
        match (self, used) {
            (Self::Counted(counted), Used::Number(number)) => counted.take(*number, demand).0,
            (Self::Exact(exact), Used::Log(log)) => exact.peek(log, demand),
            _ => Decision::TooLarge,
        }
    }

    /// Gives back what a call took that never began.
    pub(super) fn untake(&self, used: Used<'_>, back: &Return) {
        match (self, used) {
            (Self::Counted(counted), Used::Number(number)) => *number = counted.untake(*number, back),
            (Self::Exact(exact), Used::Log(log)) => exact.untake(log, back),
            _ => {}
        }
    }

    /// Gives back so much, whoever took it. What was taken in the past, and is not counted any more, may be given back too:
    /// that changes nothing.
    pub(super) fn refund(&self, used: Used<'_>, cost: u32) {
        match (self, used) {
            (Self::Counted(counted), Used::Number(number)) => *number = counted.refund(*number, cost),
            (Self::Exact(exact), Used::Log(log)) => exact.refund(log, cost),
            _ => {}
        }
    }

    /// Whether nothing is used any more.
    pub(super) fn recovered(&self, used: Used<'_>, now: Moment) -> bool {
        match (self, used) {
            (Self::Counted(counted), Used::Number(number)) => counted.recovered(*number, now),
            (Self::Exact(exact), Used::Log(log)) => exact.recovered(log, now),
            _ => true,
        }
    }

    /// Uses at least as much as somebody else has used.
    pub(super) fn join(&self, used: Used<'_>, other: Used<'_>) {
        match (self, used, other) {
            (Self::Counted(counted), Used::Number(one), Used::Number(other)) => *one = counted.join(*one, *other),
            (Self::Exact(_), Used::Log(one), Used::Log(other)) => one.join(other),
            _ => {}
        }
    }

    /// How much there is.
    pub(super) fn standing(&self, used: Used<'_>, now: Moment) -> Standing {
        match (self, used) {
            (Self::Counted(counted), Used::Number(number)) => counted.standing(*number, now),
            (Self::Exact(exact), Used::Log(log)) => exact.standing(log, now),
            _ => Standing { limit: 0, used: 0, recovers: now },
        }
    }
}

/// Calls the same method of whichever algorithm there is.
macro_rules! counted {
    ($counted:expr, $rule:ident => $call:expr) => {
        match $counted {
            Counted::Bucket($rule) => $call,
            Counted::Fixed($rule) => $call,
            Counted::Weighted($rule) => $call,
        }
    };
}

impl Counted {
    pub(super) fn epoch(&self) -> Moment {
        counted!(self, rule => rule.epoch())
    }

    #[inline]
    pub(super) fn outgrown(&self, now: Moment) -> bool {
        counted!(self, rule => rule.outgrown(now))
    }

    /// The same, counting from a moment near `now` on, so that numbers stay small.
    pub(super) fn rebased(&self, now: Moment) -> Self {
        match self {
            Self::Bucket(bucket) => Self::Bucket(bucket.rebased(now)),
            Self::Fixed(window) => Self::Fixed(window.rebased(now)),
            Self::Weighted(window) => Self::Weighted(window.rebased(now)),
        }
    }

    /// What was used, as an algorithm has it that takes the place of this one `now`.
    pub(super) fn carry(&self, used: u64, to: &Self, now: Moment) -> u64 {
        match (self, to) {
            (Self::Bucket(from), Self::Bucket(to)) => from.carry(used, to, now),
            (Self::Fixed(from), Self::Fixed(to)) if from.same_beat(to) => from.carry(used, to),
            (Self::Weighted(from), Self::Weighted(to)) if from.same_beat(to) => from.carry(used, to),
            (from, to) => to.holding(from.standing(used, now).used, now),
        }
    }

    /// What is used where so much was taken `now`.
    fn holding(&self, count: u32, now: Moment) -> u64 {
        counted!(self, rule => rule.holding(count, now))
    }

    /// What the limit says to this call, and what is used then.
    #[inline]
    pub(super) fn take(&self, used: u64, demand: &Demand) -> (Decision, u64) {
        counted!(self, rule => rule.take(used, demand))
    }

    pub(super) fn untake(&self, used: u64, back: &Return) -> u64 {
        counted!(self, rule => rule.untake(used, back))
    }

    pub(super) fn refund(&self, used: u64, cost: u32) -> u64 {
        counted!(self, rule => rule.refund(used, cost))
    }

    #[inline]
    pub(super) fn recovered(&self, used: u64, now: Moment) -> bool {
        counted!(self, rule => rule.recovered(used, now))
    }

    fn join(&self, one: u64, other: u64) -> u64 {
        match self {
            Self::Weighted(window) => window.join(one, other),
            // Of a bucket, what recovers later; of a fixed window, the later one, or else the fuller one.
            Self::Bucket(_) | Self::Fixed(_) => one.max(other),
        }
    }

    pub(super) fn standing(&self, used: u64, now: Moment) -> Standing {
        counted!(self, rule => rule.standing(used, now))
    }
}

/// How many numbers say what a rule is.
pub(super) const WORDS: usize = 8;

impl Rule {
    /// What [`Bucket::at_once`] asks for stands here in [`Rule::words`]; the room in it is zero for all that is no
    /// token bucket.
    pub(super) const AT_ONCE: [usize; 4] = [1, 2, 3, 4];

    /// The rule as numbers.
    pub(super) fn words(&self) -> [u64; WORDS] {
        let (tag, [a, b, c, d, e, f, g]) = match &self.algorithm {
            Algorithm::Counted(Counted::Bucket(bucket)) => (0, bucket.words()),
            Algorithm::Counted(Counted::Fixed(window)) => (1, window.words()),
            Algorithm::Counted(Counted::Weighted(window)) => (2, window.words()),
            Algorithm::Exact(exact) => (3, exact.words()),
        };
        [u64::from(self.generation) << 2 | tag, a, b, c, d, e, f, g]
    }

    /// The rule that [`Rule::words`] has written.
    #[inline]
    pub(super) fn of([head, a, b, c, d, e, f, g]: [u64; WORDS]) -> Self {
        let parts = [a, b, c, d, e, f, g];
        let algorithm = match head & 3 {
            0 => Algorithm::Counted(Counted::Bucket(Bucket::of(parts))),
            1 => Algorithm::Counted(Counted::Fixed(Fixed::of(parts))),
            2 => Algorithm::Counted(Counted::Weighted(Weighted::of(parts))),
            _ => Algorithm::Exact(Exact::of(parts)),
        };
        Self { generation: Self::generation(head), algorithm }
    }

    /// The generation, from the first of [`Rule::words`].
    #[inline]
    pub(super) const fn generation(head: u64) -> u32 {
        low_half(head >> 2)
    }
}

/// The lower 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
#[inline]
pub(super) const fn low_half(bits: u64) -> u32 {
    bits as u32
}

/// A count as one of 32 bits; what is more is the most.
pub(super) fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
