//! The handle: a [`Guard`] around the meter, with time, chance, events and statistics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::call::{Call, Priority};
use crate::clock::{Clock, Reading};
use crate::error::{Code, Context, InvalidOption, Rejection};
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Environment, Guard, Ticket};
use crate::random::Random;

use super::meter::{Entry, Full, Meter};
use super::options::{AdaptiveOptions, Settings};

/// Lets as many calls run at a time as the other side can take, judged by how long they take. Cheap to clone: clones
/// are the same limit.
///
/// The least important calls are shed first: see [`PriorityShares`](crate::PriorityShares). Put it where one call is
/// one piece of work for the other side: inside of retries, and around the timeout of an attempt, so that what timed
/// out is a failure here and not a call that nobody waited for.
///
/// ```
/// use tidegate_resilience::{Adaptive, AdaptiveOptions, Call, Guard, Priority};
///
/// let search = Adaptive::new("search", &AdaptiveOptions { max: 500, ..AdaptiveOptions::default() })?;
///
/// let permit = search.try_acquire_for(&Call::new().priority(Priority::High))?;
/// // The call runs.
/// permit.success();
/// assert_eq!((search.stats().limit, search.stats().in_flight), (20, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Adaptive {
    inner: Arc<Inner>,
}

/// An adaptive limit at one moment. The figures are read one after the other: while calls come and go, they may
/// disagree by those few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdaptiveStats {
    /// How many calls may run at a time now. Half of what was found while the latency without load is measured.
    pub limit: u32,
    /// How many run.
    pub in_flight: u32,
    /// How many were let in since the limit was made.
    pub admitted: u64,
    /// How many were rejected, by priority: background, normal, high, critical.
    pub rejected: [u64; 4],
    /// How long a call takes without load, where that is known.
    pub no_load_latency: Option<Duration>,
    /// How long a call took on average in the last window, where there was one.
    pub latency: Option<Duration>,
}

impl AdaptiveStats {
    /// How many calls of this priority were rejected.
    pub const fn rejected_of(&self, priority: Priority) -> u64 {
        self.rejected[priority as usize]
    }
}

struct Inner {
    meter: Meter,
    rejected: [AtomicU64; 4],
    clock: Clock,
    random: Random,
    emitter: Emitter,
}

/// [`Ticket::kind`] of a call that is counted. Any other ticket was given while the limit was disabled.
const COUNTED: u32 = 1;

impl Adaptive {
    /// A limit of this name.
    ///
    /// # Errors
    ///
    /// An option outside of its range.
    pub fn new(name: impl Into<Name>, options: &AdaptiveOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, options, &Environment::default())
    }

    /// The same with a clock, randomness and listeners of your own.
    ///
    /// # Errors
    ///
    /// An option outside of its range.
    pub fn in_environment(
        name: impl Into<Name>,
        options: &AdaptiveOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        let inner = Inner {
            meter: Meter::new(Settings::try_from(options)?, environment.clock.now()),
            rejected: Default::default(),
            clock: environment.clock.clone(),
            random: environment.random.clone(),
            emitter: environment.emitter(&name.into()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Changes the options. The limit stays what it is, where it is still from `min` to `max`, and so does what was
    /// learnt of the latency.
    ///
    /// # Errors
    ///
    /// An option outside of its range. Nothing has changed then.
    pub fn reconfigure(&self, options: &AdaptiveOptions) -> Result<(), InvalidOption> {
        let settings = Settings::try_from(options)?;
        let now = Reading::of(&self.inner.clock);
        let change = self.inner.meter.change(settings, now.moment());
        self.inner.tell_change(change, &now);
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> AdaptiveOptions {
        self.inner.meter.read(|limit| AdaptiveOptions::clone(limit.settings()))
    }

    /// What it does now, and has done.
    pub fn stats(&self) -> AdaptiveStats {
        let meter = &self.inner.meter;
        let [no_load_latency, latency] = meter.read(super::state::Limit::latencies);
        AdaptiveStats {
            limit: meter.limit(),
            in_flight: meter.in_flight(),
            admitted: meter.admitted(),
            rejected: self.inner.rejected.each_ref().map(|count| count.load(Ordering::Relaxed)),
            no_load_latency,
            latency,
        }
    }
}

impl Guard for Adaptive {
    fn name(&self) -> &Name {
        self.inner.emitter.policy()
    }

    fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    fn peek(&self, call: &Call<'_>, _: &Reading<'_>) -> Result<(), Rejection> {
        match self.inner.meter.peek(call.importance()) {
            Ok(_) => Ok(()),
            Err(full) => Err(self.inner.rejection(full)),
        }
    }

    #[inline]
    fn try_admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        self.enter(call, now).map_err(|full| {
            self.inner.count_rejection(call, now);
            self.inner.rejection(full)
        })
    }

    #[inline]
    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        if ticket.kind != COUNTED {
            return;
        }
        let in_flight = self.inner.meter.leave();
        let says_something = matches!(outcome, Outcome::Success | Outcome::Failure | Outcome::Overload);
        if says_something && self.inner.meter.note(outcome, ticket.at, now.moment(), in_flight) {
            self.inner.close(now);
        }
    }
}

impl Adaptive {
    /// The short way of a call for which there is a place.
    #[inline]
    pub(crate) fn admit_at_once(&self, call: &Call<'_>, now: &Reading<'_>, ticket: &mut Ticket) -> bool {
        self.enter(call, now).is_ok_and(|entered| {
            *ticket = entered;
            true
        })
    }

    #[inline]
    fn enter(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Full> {
        match self.inner.meter.try_enter(call.importance())? {
            Entry::Uncounted => return Ok(Ticket::BLANK),
            Entry::Counted => {}
            Entry::Beyond => self.inner.count_rejection(call, now),
        }
        Ok(Ticket { kind: COUNTED, at: now.moment(), ..Ticket::BLANK })
    }
}

impl Inner {
    #[cold]
    fn close(&self, now: &Reading<'_>) {
        if let Some(change) = self.meter.close(now.moment(), self.random.unit()) {
            self.tell_change(change, now);
        }
    }

    fn tell_change(&self, (from, to): (u32, u32), now: &Reading<'_>) {
        if from != to {
            self.emitter.emit(now, || Happening::ConcurrencyLimitChanged { from, to });
        }
    }

    #[cold]
    fn count_rejection(&self, call: &Call<'_>, now: &Reading<'_>) {
        self.rejected[call.importance() as usize].fetch_add(1, Ordering::Relaxed);
        self.emitter.emit(now, || Happening::ConcurrencyRejected);
    }

    #[cold]
    fn rejection(&self, full: Full) -> Rejection {
        let code = if full.shed { Code::ConcurrencyShed } else { Code::ConcurrencyLimited };
        let context = Context::Used { used: u64::from(full.in_flight), limit: u64::from(full.room) };
        Rejection::new(code, self.emitter.policy()).with_context(context)
    }
}

impl fmt::Debug for Adaptive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Adaptive").field("name", self.name()).field("stats", &self.stats()).finish()
    }
}
