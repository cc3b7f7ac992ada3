//! What there is in a pool, and who gets it: a pure core that is told the time and hands out decisions.
//!
//! A pool has **places**, at most `size + overflow`. A place is *idle*: a resource lies in it; or *busy*: somebody holds
//! it, with a resource, or while one is made, checked or closed. Callers that find neither an idle resource nor a free
//! place wait in a queue. What comes free goes to the first of them, never past them.
//!
//! Invariants, kept under the lock around this: callers wait only while nothing is idle and every place is busy; idle
//! resources lie in the order in which they were put aside; once closed, nothing is idle and nobody waits.

use std::collections::VecDeque;

use super::options::{PoolOrder, Settings};
use crate::clock::Moment;

/// A resource with what the pool knows of it.
#[derive(Debug)]
pub(super) struct Made<R> {
    pub(super) resource: R,
    /// When it was made.
    pub(super) born: Moment,
    /// By how much its life is cut short: see [`Settings::is_too_old`].
    pub(super) spread: u32,
    /// When it was put aside last.
    pub(super) since: Moment,
    /// The last pass of maintenance that has looked at it.
    pub(super) pass: u32,
}

/// A busy place, with what is in it.
#[derive(Debug)]
pub(super) enum Grant<R> {
    /// A resource to be used.
    Resource(Made<R>),
    /// A resource to be closed; [`State::swap`] then says what else the place is good for.
    Stale(Made<R>),
    /// Nothing: a resource can be made for it.
    Place,
}

/// What a caller is told.
#[derive(Debug)]
pub(super) enum Answer<R> {
    /// It holds a place.
    Granted(Grant<R>),
    /// Everything is busy.
    Busy,
    /// The pool is closed.
    Closed,
}

/// Where a grant that was given back is now.
#[derive(Debug)]
pub(super) enum Given<R, W> {
    /// In the pool.
    Kept,
    /// The resource is to be closed. Its place stays busy until it is given back too.
    Close(Made<R>),
    /// With the first who waited.
    To(W, Grant<R>),
    /// It was the last busy place of a closed pool.
    Drained,
}

/// What is left over after a change. The places of `surplus` are busy until they are given back.
#[derive(Debug)]
pub(super) struct Change<R, W> {
    /// Resources to be closed.
    pub(super) surplus: Vec<Made<R>>,
    /// Who waited: each now has a place for a resource, or, in a closed pool, waited in vain.
    pub(super) waiters: Vec<W>,
}

/// What has happened since the pool was made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) checkouts: u64,
    pub(super) created: u64,
    pub(super) closed: u64,
    pub(super) failed: u64,
    pub(super) timeouts: u64,
    pub(super) rejected: u64,
}

/// The pool. `R` is a resource; `W` is whatever a caller that waits is reached by.
#[derive(Debug)]
pub(super) struct State<R, W> {
    settings: Settings,
    /// Longest idle first.
    idle: VecDeque<Made<R>>,
    busy: u32,
    /// First come first, with rising numbers. Bounded by `queue` of the options.
    waiters: VecDeque<(u64, W)>,
    next_waiter: u64,
    pass: u32,
    closed: bool,
    pub(super) counts: Counts,
}

impl<R, W> State<R, W> {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            idle: VecDeque::new(),
            busy: 0,
            waiters: VecDeque::new(),
            next_waiter: 0,
            pass: 0,
            closed: false,
            counts: Counts::default(),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn idle(&self) -> u32 {
        count(self.idle.len())
    }

    pub(super) fn busy(&self) -> u32 {
        self.busy
    }

    pub(super) fn total(&self) -> u32 {
        self.idle() + self.busy
    }

    pub(super) fn waiting(&self) -> u32 {
        count(self.waiters.len())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether one more caller may wait.
    pub(super) fn has_room(&self) -> bool {
        self.waiting() < self.settings.room()
    }

    /// Whether a checkout would be granted.
    pub(super) fn has_place(&self) -> bool {
        !self.idle.is_empty() || self.total() < self.settings.limit()
    }

    /// Asks for a place.
    #[inline]
    pub(super) fn checkout(&mut self, now: Moment) -> Answer<R> {
        if self.closed {
            return Answer::Closed;
        }
        if !self.has_place() {
            return Answer::Busy;
        }
        self.busy += 1;
        self.counts.checkouts += 1;
        Answer::Granted(self.swap(now))
    }

    /// Turns a busy and empty place into the best that there is: an idle resource, whose own place becomes free, or else
    /// itself.
    #[inline]
    pub(super) fn swap(&mut self, now: Moment) -> Grant<R> {
        let next = match self.settings.order {
            PoolOrder::Lifo => self.idle.pop_back(),
            PoolOrder::Fifo => self.idle.pop_front(),
        };
        match next {
            None => Grant::Place,
            Some(made) if self.is_stale(&made, now) => Grant::Stale(made),
            Some(made) => Grant::Resource(made),
        }
    }

    /// Whether a resource that was just taken from the idle ones has lived, or lain idle, for too long.
    fn is_stale(&self, made: &Made<R>, now: Moment) -> bool {
        let spare = self.idle() >= self.settings.min_idle;
        self.is_too_old(made, now) || (spare && self.settings.is_too_idle(made.since, now))
    }

    fn is_too_old(&self, made: &Made<R>, now: Moment) -> bool {
        self.settings.is_too_old(made.born, made.spread, now)
    }

    /// Waits, as the last of the queue. The number is for [`State::leave`]. Only after [`Answer::Busy`], with nothing in
    /// between.
    pub(super) fn wait(&mut self, waiter: W) -> u64 {
        let number = self.next_waiter;
        self.next_waiter += 1;
        self.waiters.push_back((number, waiter));
        number
    }

    /// Leaves the queue; nothing if this one is not in it any more.
    pub(super) fn leave(&mut self, number: u64) -> Option<W> {
        let index = self.waiters.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.waiters.remove(index).map(|(_, waiter)| waiter)
    }

    /// Takes a busy place back, with what is in it.
    #[inline]
    pub(super) fn give(&mut self, grant: Grant<R>, now: Moment) -> Given<R, W> {
        match grant {
            Grant::Resource(made) if !self.may_stay(&made, now) => Given::Close(made),
            Grant::Resource(made) => match self.waiters.pop_front() {
                Some((_, waiter)) => Given::To(waiter, Grant::Resource(made)),
                // Beyond `size`, what nobody waits for is not kept.
                None if self.total() > self.settings.size => Given::Close(made),
                None => {
                    self.busy -= 1;
                    self.put_aside(made);
                    Given::Kept
                }
            },
            Grant::Stale(made) => Given::Close(made),
            Grant::Place => self.vacate(),
        }
    }

    /// Whether somebody else may use this resource yet.
    fn may_stay(&self, made: &Made<R>, now: Moment) -> bool {
        !self.closed && self.total() <= self.settings.limit() && !self.is_too_old(made, now)
    }

    fn put_aside(&mut self, made: Made<R>) {
        // A resource that maintenance looked at, and one whose time was read just before another's, go further in.
        if self.idle.back().is_some_and(|last| last.since > made.since) {
            self.idle.insert(self.idle.partition_point(|other| other.since <= made.since), made);
        } else {
            self.idle.push_back(made);
        }
    }

    fn vacate(&mut self) -> Given<R, W> {
        self.busy -= 1;
        match self.serve() {
            Some(waiter) => Given::To(waiter, Grant::Place),
            None if self.closed && self.busy == 0 => Given::Drained,
            None => Given::Kept,
        }
    }

    /// Gives a free place to the first who waits.
    fn serve(&mut self) -> Option<W> {
        if self.total() >= self.settings.limit() {
            return None;
        }
        let (_, waiter) = self.waiters.pop_front()?;
        self.busy += 1;
        Some(waiter)
    }

    /// Puts other settings in force.
    pub(super) fn reconfigure(&mut self, settings: Settings) -> Change<R, W> {
        self.settings = settings;
        let surplus = self.total().saturating_sub(self.settings.size).min(self.idle());
        let surplus = self.take(surplus);
        Change { surplus, waiters: std::iter::from_fn(|| self.serve()).collect() }
    }

    /// Grants nothing any more.
    pub(super) fn close(&mut self) -> Change<R, W> {
        self.closed = true;
        let surplus = self.take(self.idle());
        Change { surplus, waiters: self.waiters.drain(..).map(|(_, waiter)| waiter).collect() }
    }

    /// Takes so many of the idle resources, longest idle first, to be closed.
    fn take(&mut self, count: u32) -> Vec<Made<R>> {
        self.busy += count;
        self.idle.drain(..count as usize).collect()
    }

    /// Begins a pass of maintenance: takes what has lived, or lain idle beyond `min_idle`, for too long, to be closed.
    pub(super) fn begin_pass(&mut self, now: Moment) -> Vec<Made<R>> {
        self.pass = self.pass.wrapping_add(1);
        let all = self.take(self.idle());
        let (mut closing, living): (Vec<_>, Vec<_>) = all.into_iter().partition(|made| self.is_too_old(made, now));
        self.busy -= count(living.len());
        self.idle = living.into();
        let surplus = self.idle().saturating_sub(self.settings.min_idle);
        let idled = self.idle.iter().take(surplus as usize);
        let idled = idled.take_while(|made| self.settings.is_too_idle(made.since, now)).count();
        closing.extend(self.take(count(idled)));
        closing
    }

    /// Lends an idle resource that this pass has not looked at. It is to be given back with its `since` unchanged.
    pub(super) fn lend(&mut self) -> Option<Made<R>> {
        let index = self.idle.iter().position(|made| made.pass != self.pass)?;
        let mut made = self.idle.remove(index)?;
        made.pass = self.pass;
        self.busy += 1;
        Some(made)
    }

    /// Takes a place in which to make a resource that is to lie idle, if one is missing.
    pub(super) fn take_spare_place(&mut self) -> bool {
        let missing = !self.closed && self.idle() < self.settings.min_idle && self.total() < self.settings.size;
        self.busy += u32::from(missing);
        missing
    }
}

/// A length as a number of places. Both lists are bounded by options, which are `u32`.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
