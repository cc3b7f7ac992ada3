//! A rate limiter that counts all calls together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::error::{Code, Context, InvalidOption, Rejection};
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Admission, Environment, Guard, Mode, Ticket};
use crate::sync::atomic::{AtomicU64, Ordering};

use super::meter::Meter;
use super::options::RateLimitOptions;
use super::state::{Rule, Taken};

/// Admits so many calls in a time. Cheap to clone: clones are the same limiter.
///
/// ```
/// use tidegate_resilience::{Guard, RateLimitOptions, RateLimiter};
///
/// let limiter = RateLimiter::new("search", &RateLimitOptions::per_second(2))?;
/// limiter.try_acquire()?.success();
/// limiter.try_acquire()?.success();
/// let rejection = limiter.try_acquire().expect_err("two in a second");
/// assert!(rejection.retry_after().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RateLimiter {
    inner: Arc<Inner>,
}

struct Inner {
    counted: ArcSwap<Counted>,
    figures: Figures,
    clock: Clock,
    emitter: Emitter,
}

/// A rule, and what has been used by it.
struct Counted {
    options: RateLimitOptions,
    rule: Rule,
    meter: Meter,
}

/// How many calls a limiter has answered how.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) allowed: CachePadded<AtomicU64>,
    pub(super) denied: CachePadded<AtomicU64>,
}

/// What a rate limiter has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimitStats {
    /// Calls that were admitted.
    pub allowed: u64,
    /// Calls that were rejected; with [`Mode::MetricsOnly`], that would have been.
    pub denied: u64,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// The most that can be admitted at once.
    pub limit: u32,
    /// How much of it would be admitted now.
    pub remaining: u32,
    /// How long it takes until all of it would be, if nothing is taken.
    pub reset_after: Duration,
    /// How long it takes until a call of cost 1 would be admitted; zero where it would be now.
    pub retry_after: Duration,
}

impl RateLimitStatus {
    pub(super) fn of(rule: &Rule, meter: &Meter, now: u64) -> Self {
        let retry_after = match meter.peek(rule, now, 1, false) {
            Taken::Denied { retry_after } => retry_after,
            _ => 0,
        };
        Self {
            limit: rule.limit(),
            remaining: rule.limit().saturating_sub(meter.used(rule, now)),
            reset_after: Duration::from_nanos(meter.rest(rule, now)),
            retry_after: Duration::from_nanos(retry_after),
        }
    }
}

impl RateLimiter {
    /// A limiter by the clock of the machine.
    ///
    /// # Errors
    ///
    /// An option is out of its range, or there is not exactly one algorithm.
    pub fn new(name: impl Into<Name>, options: &RateLimitOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, options, &Environment::default())
    }

    /// A limiter in this environment.
    ///
    /// # Errors
    ///
    /// An option is out of its range, or there is not exactly one algorithm.
    pub fn in_environment(
        name: impl Into<Name>,
        options: &RateLimitOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        let rule = options.rule()?;
        let counted = Counted { options: options.clone(), rule, meter: Meter::new(&rule, 0, 0) };
        Ok(Self {
            inner: Arc::new(Inner {
                counted: ArcSwap::from_pointee(counted),
                figures: Figures::default(),
                clock: environment.clock.clone(),
                emitter: environment.emitter(&name.into()),
            }),
        })
    }

    /// Puts other options in force. What has been used stays used, up to the new limit; a call that is being decided
    /// at that very moment may count by the old options.
    ///
    /// # Errors
    ///
    /// An option is out of its range, or there is not exactly one algorithm; the options before stay in force.
    pub fn reconfigure(&self, options: &RateLimitOptions) -> Result<(), InvalidOption> {
        let rule = options.rule()?;
        let now = self.inner.clock.now().as_nanos();
        self.inner.counted.rcu(|counted| {
            let used = counted.meter.used(&counted.rule, now);
            Counted { options: options.clone(), rule, meter: Meter::new(&rule, used, now) }
        });
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> RateLimitOptions {
        self.inner.counted.load().options.clone()
    }

    /// What is left of the limit.
    pub fn status(&self) -> RateLimitStatus {
        let counted = self.inner.counted.load();
        RateLimitStatus::of(&counted.rule, &counted.meter, self.inner.clock.now().as_nanos())
    }

    /// Gives `cost` back, as if it had not been taken.
    pub fn refund(&self, cost: u32) {
        let counted = self.inner.counted.load();
        counted.meter.give(&counted.rule, self.inner.clock.now().as_nanos(), cost);
    }

    /// Forgets what has been used.
    pub fn reset(&self) {
        self.inner.counted.load().meter.reset();
        self.inner.emitter.emit(&Reading::of(&self.inner.clock), || Happening::RateReset);
    }

    /// What it has done since it was made.
    pub fn stats(&self) -> RateLimitStats {
        self.inner.figures.stats()
    }

    #[inline]
    fn take(&self, call: &Call<'_>, now: &Reading<'_>, patient: bool) -> Result<(Ticket, u64), Rejection> {
        let inner = &*self.inner;
        let counted = inner.counted.load();
        if counted.options.mode == Mode::Disabled {
            return Ok((Ticket::BLANK, 0));
        }
        let taken = counted.meter.take(&counted.rule, now.moment().as_nanos(), call.weight(), patient);
        inner.figures.answer(taken, counted.rule.limit(), call, counted.options.mode, now, &inner.emitter)
    }
}

impl Figures {
    pub(super) fn stats(&self) -> RateLimitStats {
        RateLimitStats { allowed: self.allowed.load(Ordering::Relaxed), denied: self.denied.load(Ordering::Relaxed) }
    }

    /// Counts and tells what was decided: a ticket with the nanoseconds to wait, or the rejection.
    #[inline]
    pub(super) fn answer(
        &self,
        taken: Taken,
        limit: u32,
        call: &Call<'_>,
        mode: Mode,
        now: &Reading<'_>,
        emitter: &Emitter,
    ) -> Result<(Ticket, u64), Rejection> {
        if let Taken::Admitted { after, .. } = taken {
            self.allowed.fetch_add(1, Ordering::Relaxed);
            emitter.emit(now, || Happening::RateAllowed { cost: call.weight() });
            return Ok((Ticket { amount: u64::from(call.weight()), ..Ticket::BLANK }, after));
        }
        self.denied.fetch_add(1, Ordering::Relaxed);
        let rejection = rejection(taken, limit, call, emitter.policy());
        emitter.emit(now, || Happening::RateDenied { retry_after: rejection.retry_after() });
        if mode == Mode::MetricsOnly { Ok((Ticket::BLANK, 0)) } else { Err(rejection) }
    }
}

/// The rejection of a call that was not admitted.
pub(super) fn rejection(taken: Taken, limit: u32, call: &Call<'_>, policy: &Name) -> Rejection {
    let context = Context::Used { used: u64::from(call.weight()), limit: u64::from(limit) };
    match taken {
        Taken::Denied { retry_after } => {
            Rejection::new(Code::RateLimited, policy).with_retry_after(Duration::from_nanos(retry_after))
        }
        _ => Rejection::new(Code::RateCostTooLarge, policy).with_context(context),
    }
}

/// Admission at once, or after so many nanoseconds.
pub(super) fn admission(taken: Result<(Ticket, u64), Rejection>, now: &Reading<'_>) -> Admission {
    match taken {
        Ok((ticket, 0)) => Admission::Granted(ticket),
        Ok((ticket, after)) => {
            Admission::Later(Moment::from_nanos(now.moment().as_nanos().saturating_add(after)), ticket)
        }
        Err(rejection) => Admission::Rejected(rejection),
    }
}

impl Guard for RateLimiter {
    fn name(&self) -> &Name {
        self.inner.emitter.policy()
    }

    fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    fn peek(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        let counted = self.inner.counted.load();
        if counted.options.mode != Mode::Enabled {
            return Ok(());
        }
        match counted.meter.peek(&counted.rule, now.moment().as_nanos(), call.weight(), true) {
            Taken::Admitted { .. } => Ok(()),
            taken => Err(rejection(taken, counted.rule.limit(), call, self.name())),
        }
    }

    #[inline]
    fn try_admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        self.take(call, now, false).map(|(ticket, _)| ticket)
    }

    #[inline]
    fn admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        admission(self.take(call, now, true), now)
    }

    #[inline]
    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        if outcome == Outcome::Rejected && ticket.amount > 0 {
            let counted = self.inner.counted.load();
            let cost = u32::try_from(ticket.amount).unwrap_or(u32::MAX);
            counted.meter.give(&counted.rule, now.moment().as_nanos(), cost);
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RateLimiter").field("name", self.name()).field("status", &self.status()).finish()
    }
}
