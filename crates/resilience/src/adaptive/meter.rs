//! The shared state: how many calls run, and what is measured of them until the window closes.
//!
//! A call adds what it has to say with one addition. Whoever then finds that the window is over takes it all at once
//! and hands it to the core; if somebody else is just doing so, nothing is left to do.
//!
//! Invariant: every sample is in exactly one window, its latency together with its count: both are in one word.

use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::call::Priority;
use crate::clock::{Moment, nanos};
use crate::outcome::Outcome;
use crate::policy::Mode;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::options::Settings;
use super::state::{Limit, Order, Sample, Slow, Window, room};

/// How many calls run, what they say, and what holds for them.
#[derive(Debug)]
pub(super) struct Meter {
    hot: CachePadded<Hot>,
    force: CachePadded<InForce>,
    /// Held by whoever changes what is in force.
    limit: Mutex<Limit>,
}

/// Written by every call.
#[derive(Debug)]
struct Hot {
    in_flight: AtomicU32,
    /// The most that ran at a time in this window.
    peak: AtomicU32,
    /// 17 bits for how many latencies, and 47 for their sum in units of 64 ns: see [`Samples`].
    samples: AtomicU64,
    drops: AtomicU32,
    admitted: AtomicU64,
}

/// Read by every call, and written when a window closes. All of it is relaxed: a call that sees some of it a little
/// later than the rest does no harm.
#[derive(Debug)]
struct InForce {
    mode: AtomicU8,
    limit: AtomicU32,
    /// How many calls may run, for each priority.
    rooms: [AtomicU32; 4],
    closes_at: AtomicU64,
    needed: AtomicU32,
    counts_from: AtomicU64,
    slow_from: AtomicU64,
    slow_drops: AtomicBool,
}

/// Latencies that were added up.
#[derive(Debug, Clone, Copy)]
struct Samples(u64);

impl Samples {
    const COUNT_AT: u32 = 47;
    const ONE: u64 = 1 << Self::COUNT_AT;
    const SUM: u64 = Self::ONE - 1;
    const UNIT: u64 = 64;
    /// Of more, the rest is not measured: as many say it all. The sum of so many fits with room to spare for threads
    /// that add at the same moment, since each is at most [`Samples::LONGEST`].
    const MOST: u32 = 1 << 16;
    /// A call that takes longer, 68 s, takes this long: 2^30 units.
    const LONGEST: u64 = (1 << 30) * Self::UNIT;

    /// The word of one latency, rounded up: no call takes no time, and no average is zero.
    fn of(latency: Duration) -> Self {
        Self(Self::ONE + nanos(latency).clamp(1, Self::LONGEST).div_ceil(Self::UNIT))
    }

    fn count(self) -> u32 {
        (self.0 >> Self::COUNT_AT) as u32
    }

    fn mean(self) -> f64 {
        ((self.0 & Self::SUM) * Self::UNIT) as f64 / f64::from(self.count().max(1))
    }
}

/// How a call came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is counted.
    Counted,
    /// It is counted, and would have been rejected if anybody were.
    Beyond,
    /// Nobody counts.
    Uncounted,
}

/// Why a call did not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) in_flight: u32,
    pub(super) room: u32,
    /// Whether more important calls might still come in.
    pub(super) shed: bool,
}

impl Meter {
    pub(super) fn new(settings: Settings, now: Moment) -> Self {
        let limit = Limit::new(settings, now);
        let meter = Self {
            hot: CachePadded::new(Hot {
                in_flight: AtomicU32::new(0),
                peak: AtomicU32::new(0),
                samples: AtomicU64::new(0),
                drops: AtomicU32::new(0),
                admitted: AtomicU64::new(0),
            }),
            force: CachePadded::new(InForce {
                mode: AtomicU8::new(0),
                limit: AtomicU32::new(0),
                rooms: std::array::from_fn(|_| AtomicU32::new(0)),
                closes_at: AtomicU64::new(0),
                needed: AtomicU32::new(0),
                counts_from: AtomicU64::new(0),
                slow_from: AtomicU64::new(0),
                slow_drops: AtomicBool::new(false),
            }),
            limit: Mutex::new(limit),
        };
        let guard = meter.limit.lock();
        meter.enforce(&guard, &guard.order(now));
        drop(guard);
        meter
    }

    pub(super) fn limit(&self) -> u32 {
        self.force.limit.load(Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.hot.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn admitted(&self) -> u64 {
        self.hot.admitted.load(Ordering::Relaxed)
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Limit) -> T) -> T {
        read(&self.limit.lock())
    }

    /// Whether a call of this priority would come in.
    ///
    /// # Errors
    ///
    /// Why not.
    #[inline]
    pub(super) fn peek(&self, priority: Priority) -> Result<Entry, Full> {
        self.judge(priority, self.in_flight())
    }

    #[inline]
    fn judge(&self, priority: Priority, in_flight: u32) -> Result<Entry, Full> {
        let mode = self.force.mode.load(Ordering::Relaxed);
        let room = self.force.rooms[priority as usize].load(Ordering::Relaxed);
        match mode {
            DISABLED => Ok(Entry::Uncounted),
            _ if in_flight < room => Ok(Entry::Counted),
            METRICS_ONLY => Ok(Entry::Beyond),
            _ => Err(Full { in_flight, room, shed: in_flight < self.limit() }),
        }
    }

    /// Comes in, if there is room for calls of this priority.
    ///
    /// # Errors
    ///
    /// Why not.
    #[inline]
    pub(super) fn try_enter(&self, priority: Priority) -> Result<Entry, Full> {
        let mut in_flight = self.in_flight();
        loop {
            let entry = self.judge(priority, in_flight)?;
            if entry == Entry::Uncounted {
                return Ok(entry);
            }
            // Relaxed: the count orders nothing but itself.
            let swap = self.hot.in_flight.compare_exchange_weak(
                in_flight,
                in_flight + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swap {
                Ok(_) => {
                    self.hot.admitted.fetch_add(1, Ordering::Relaxed);
                    return Ok(entry);
                }
                Err(newer) => in_flight = newer,
            }
        }
    }

    /// Goes. Returns how many ran, with this one.
    #[inline]
    pub(super) fn leave(&self) -> u32 {
        let in_flight = self.hot.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(in_flight > 0, "a ticket is settled once");
        in_flight
    }

    /// Notes how a call ended, of `in_flight` that ran then. Returns whether the window is over.
    #[inline]
    pub(super) fn note(&self, outcome: Outcome, began: Moment, ended: Moment, in_flight: u32) -> bool {
        let (hot, force) = (&*self.hot, &*self.force);
        if began.as_nanos() < force.counts_from.load(Ordering::Relaxed) {
            return false;
        }
        let latency = ended.since(began);
        match self.slow().sample(outcome, latency) {
            None => return false,
            Some(Sample::Drop) => {
                hot.drops.fetch_add(1, Ordering::Relaxed);
            }
            Some(Sample::Latency) if Samples(hot.samples.load(Ordering::Relaxed)).count() < Samples::MOST => {
                hot.samples.fetch_add(Samples::of(latency).0, Ordering::Relaxed);
            }
            Some(Sample::Latency) => {}
        }
        if in_flight > hot.peak.load(Ordering::Relaxed) {
            hot.peak.fetch_max(in_flight, Ordering::Relaxed);
        }
        self.is_over(ended)
    }

    #[inline]
    fn slow(&self) -> Slow {
        Slow {
            from: Duration::from_nanos(self.force.slow_from.load(Ordering::Relaxed)),
            drops: self.force.slow_drops.load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn is_over(&self, now: Moment) -> bool {
        let (hot, force) = (&*self.hot, &*self.force);
        now.as_nanos() >= force.closes_at.load(Ordering::Relaxed)
            && Samples(hot.samples.load(Ordering::Relaxed)).count().saturating_add(hot.drops.load(Ordering::Relaxed))
                >= force.needed.load(Ordering::Relaxed)
    }

    /// Closes the window, unless somebody else does. Returns the limit before and from now on.
    #[cold]
    pub(super) fn close(&self, now: Moment, chance: f64) -> Option<(u32, u32)> {
        let mut limit = self.limit.try_lock()?;
        // Somebody else may have, since the caller looked.
        if !self.is_over(now) {
            return None;
        }
        let order = limit.close(&self.take(), now, chance);
        Some(self.enforce(&limit, &order))
    }

    /// Takes over other settings. Returns the limit before and from now on.
    pub(super) fn change(&self, settings: Settings, now: Moment) -> (u32, u32) {
        let mut limit = self.limit.lock();
        let order = limit.change(settings, now);
        self.enforce(&limit, &order)
    }

    /// What was measured, and nothing any more.
    fn take(&self) -> Window {
        let samples = Samples(self.hot.samples.swap(0, Ordering::Relaxed));
        Window {
            samples: samples.count(),
            mean: samples.mean(),
            drops: self.hot.drops.swap(0, Ordering::Relaxed),
            peak: self.hot.peak.swap(0, Ordering::Relaxed),
        }
    }

    fn enforce(&self, limit: &Limit, order: &Order) -> (u32, u32) {
        let (settings, force) = (limit.settings(), &*self.force);
        for (priority, place) in PRIORITIES.into_iter().zip(&force.rooms) {
            place.store(room(order.limit, settings.shares.of(priority).get()), Ordering::Relaxed);
        }
        force.mode.store(mode_number(settings.mode), Ordering::Relaxed);
        force.needed.store(order.needed, Ordering::Relaxed);
        force.counts_from.store(order.counts_from.as_nanos(), Ordering::Relaxed);
        force.slow_from.store(nanos(order.slow.from), Ordering::Relaxed);
        force.slow_drops.store(order.slow.drops, Ordering::Relaxed);
        force.closes_at.store(order.closes_at.as_nanos(), Ordering::Relaxed);
        (force.limit.swap(order.limit, Ordering::Relaxed), order.limit)
    }
}

/// All priorities, as they are numbered.
const PRIORITIES: [Priority; 4] = [Priority::Background, Priority::Normal, Priority::High, Priority::Critical];

const DISABLED: u8 = 1;
const METRICS_ONLY: u8 = 2;

const fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Enabled => 0,
        Mode::Disabled => DISABLED,
        Mode::MetricsOnly => METRICS_ONLY,
    }
}
