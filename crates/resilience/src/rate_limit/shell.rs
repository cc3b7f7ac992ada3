//! What both kinds of rate limiter do around a decision: modes, tickets, rejections, events.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::error::{Code, Context, Rejection};
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Admission, Environment, Mode, Ticket};

use super::state::{Decision, Return, Standing};

/// A limiter but for its limit.
#[derive(Debug)]
pub(super) struct Shell {
    mode: AtomicU8,
    pub(super) clock: Clock,
    pub(super) emitter: Emitter,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// The most that can be admitted at once; of a leaky bucket, that can be admitted to begin or to wait.
    pub limit: u32,
    /// How much of it would be admitted now.
    pub remaining: u32,
    /// How long it takes until all of it would be, if nothing is taken.
    pub reset_after: Duration,
    /// How long it takes until a call of cost 1 would be admitted at once; zero where it would be now.
    pub retry_after: Duration,
}

/// Why a call was not admitted, before anybody has put it into words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) code: Code,
    /// From when on it would be admitted.
    pub(super) ready: Option<Moment>,
    pub(super) context: Option<Context>,
}

impl RateLimitStatus {
    pub(super) fn new(standing: &Standing, one: Decision, now: Moment) -> Self {
        let retry_after = match one {
            Decision::NotBefore(ready) => ready.since(now),
            _ => Duration::ZERO,
        };
        Self {
            limit: standing.limit,
            remaining: standing.limit.saturating_sub(standing.used),
            reset_after: standing.recovers.since(now),
            retry_after,
        }
    }
}

impl Refusal {
    pub(super) const KEY_MISSING: Self = Self { code: Code::RateKeyMissing, ready: None, context: None };

    /// The refusal of a call of this cost.
    pub(super) fn new(decision: Decision, cost: u32, standing: &Standing) -> Self {
        let context = |used| Some(Context::Used { used: u64::from(used), limit: u64::from(standing.limit) });
        match decision {
            Decision::NotBefore(ready) => {
                Self { code: Code::RateLimited, ready: Some(ready), context: context(standing.used) }
            }
            Decision::Full(ready) => {
                Self { code: Code::RateQueueFull, ready: Some(ready), context: context(standing.used) }
            }
            _ => Self { code: Code::RateCostTooLarge, ready: None, context: context(cost) },
        }
    }
}

impl Shell {
    pub(super) fn new(name: &Name, mode: Mode, environment: &Environment) -> Self {
        Self { mode: AtomicU8::new(mode as u8), clock: environment.clock.clone(), emitter: environment.emitter(name) }
    }

    #[inline]
    pub(super) fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::Relaxed) == mode as u8
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// Tells that a call was admitted.
    #[inline]
    pub(super) fn tell_admitted(&self, call: &Call<'_>, now: &Reading<'_>) {
        self.emitter.emit(now, || Happening::RateAllowed { cost: call.weight() });
    }

    /// The ticket of a call that was admitted, perhaps to begin later. Where nobody is rejected, nobody waits either; what
    /// was taken stays taken then.
    #[inline]
    pub(super) fn ticket(&self, ticket: Ticket, now: &Reading<'_>) -> Ticket {
        let waits = self.is(Mode::MetricsOnly) && ticket.at > now.moment();
        if waits { Ticket::BLANK } else { ticket }
    }

    /// Tells that a call was not admitted.
    #[cold]
    pub(super) fn refused(&self, refusal: &Refusal, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        let retry_after = refusal.ready.map(|ready| ready.since(now.moment()));
        self.emitter.emit(now, || Happening::RateDenied { retry_after });
        if self.is(Mode::MetricsOnly) { Ok(Ticket::BLANK) } else { Err(self.rejection(refusal, now)) }
    }

    pub(super) fn rejection(&self, refusal: &Refusal, now: &Reading<'_>) -> Rejection {
        let mut rejection = Rejection::new(refusal.code, self.emitter.policy());
        if let Some(ready) = refusal.ready {
            rejection = rejection.with_retry_after(ready.since(now.moment()));
        }
        match refusal.context {
            Some(context) => rejection.with_context(context),
            None => rejection,
        }
    }

    /// At once, or from the moment on that the ticket says.
    #[inline]
    pub(super) fn admission(ticket: Result<Ticket, Rejection>, now: &Reading<'_>) -> Admission {
        match ticket {
            Ok(ticket) if ticket.kind > 0 && ticket.at > now.moment() => Admission::Later(ticket.at, ticket),
            Ok(ticket) => Admission::Granted(ticket),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    /// What a call gives back that ended so, if anything. What never began gives back what it took, and so does what was
    /// given up before its time had come.
    #[inline]
    pub(super) fn returned(ticket: &Ticket, outcome: Outcome, now: &Reading<'_>) -> Option<Return> {
        let unused = match outcome {
            Outcome::Rejected => ticket.kind > 0,
            Outcome::Cancelled => ticket.kind > 0 && now.moment() < ticket.at,
            _ => false,
        };
        unused.then(|| Return { cost: ticket.kind, starts: ticket.at, now: now.moment() })
    }

    pub(super) fn emit_reset(&self) {
        self.emitter.emit(&Reading::of(&self.clock), || Happening::RateReset);
    }
}
