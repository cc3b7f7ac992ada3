//! The one table that knows every policy.
//!
//! A new policy gets one line in [`Step`], one in each match below, and its options one in the registry's document.

use std::fmt;
use std::sync::Arc;

use crate::adaptive::Adaptive;
use crate::bulkhead::Bulkhead;
use crate::call::Call;
use crate::chaos::Chaos;
use crate::circuit_breaker::CircuitBreaker;
use crate::clock::Reading;
use crate::error::Rejection;
use crate::hedge::Hedge;
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Admission, Guard, Ticket};
use crate::rate_limit::{KeyedRateLimiter, RateLimiter};
use crate::retry::Retry;
use crate::timeout::Timeout;

/// The most steps that a pipeline may have.
pub const MAX_STEPS: usize = 16;

/// One policy in a [`Pipeline`](crate::Pipeline).
#[derive(Clone)]
#[non_exhaustive]
pub enum Step {
    /// Admits so many calls in a time.
    RateLimit(RateLimiter),
    /// Admits so many calls in a time for each key.
    KeyedRateLimit(KeyedRateLimiter),
    /// Admits calls while what they call is well.
    CircuitBreaker(CircuitBreaker),
    /// Admits so many calls at once.
    Bulkhead(Bulkhead),
    /// Admits as many calls at once as what they call can take.
    Adaptive(Adaptive),
    /// Makes calls fail or wait on purpose.
    Chaos(Chaos),
    /// A guard that is not one of ours.
    Guard(Arc<dyn Guard>),
    /// Ends what takes too long altogether.
    Timeout(Timeout),
    /// Ends an attempt that takes too long.
    AttemptTimeout(Timeout),
    /// Tries again.
    Retry(Retry),
    /// Tries twice at once.
    Hedge(Hedge),
}

/// Calls the same method of whichever guard a step holds; `$other` where it holds a wrap.
macro_rules! guard {
    ($step:expr, $guard:ident => $call:expr, else $other:expr) => {
        match $step {
            Step::RateLimit($guard) => $call,
            Step::KeyedRateLimit($guard) => $call,
            Step::CircuitBreaker($guard) => $call,
            Step::Bulkhead($guard) => $call,
            Step::Adaptive($guard) => $call,
            Step::Chaos($guard) => $call,
            Step::Guard($guard) => $call,
            Step::Timeout(_) | Step::AttemptTimeout(_) | Step::Retry(_) | Step::Hedge(_) => $other,
        }
    };
}

impl Step {
    /// The name of the policy.
    pub fn name(&self) -> &Name {
        match self {
            Self::Timeout(timeout) | Self::AttemptTimeout(timeout) => timeout.name(),
            Self::Retry(retry) => retry.name(),
            Self::Hedge(hedge) => hedge.name(),
            guard => guard!(guard, guard => guard.name(), else unreachable!("wraps are named above")),
        }
    }

    /// What kind of policy it is, as configurations, events and metrics call it.
    pub fn component(&self) -> &'static str {
        match self {
            Self::RateLimit(_) | Self::KeyedRateLimit(_) => "rate_limit",
            Self::CircuitBreaker(_) => "circuit_breaker",
            Self::Bulkhead(_) => "bulkhead",
            Self::Adaptive(_) => "adaptive",
            Self::Chaos(_) => "chaos",
            Self::Guard(_) => "guard",
            Self::Timeout(_) => "timeout",
            Self::AttemptTimeout(_) => "attempt_timeout",
            Self::Retry(_) => "retry",
            Self::Hedge(_) => "hedge",
        }
    }

    /// Whether it admits or rejects, instead of running what is further in.
    pub fn is_guard(&self) -> bool {
        guard!(self, _guard => true, else false)
    }

    /// Whether it counts calls for as long as they use something.
    pub(crate) fn is_concurrency(&self) -> bool {
        matches!(self, Self::Bulkhead(_) | Self::Adaptive(_))
    }

    #[inline]
    pub(crate) fn peek(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        guard!(self, guard => guard.peek(call, now), else Ok(()))
    }

    #[inline]
    pub(crate) fn try_admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        guard!(self, guard => guard.try_admit(call, now), else Ok(Ticket::BLANK))
    }

    /// The short way of the guards that have one, for a call that they admit at once: writes the ticket. Who gets `false`
    /// asks [`Step::admit`].
    #[inline]
    pub(crate) fn admit_at_once(&self, call: &Call<'_>, now: &Reading<'_>, ticket: &mut Ticket) -> bool {
        match self {
            Self::RateLimit(limiter) => limiter.admit_at_once(call, now, ticket),
            Self::CircuitBreaker(breaker) => breaker.admit_at_once(now, ticket),
            Self::Bulkhead(bulkhead) => bulkhead.admit_at_once(now, ticket),
            Self::Adaptive(adaptive) => adaptive.admit_at_once(call, now, ticket),
            _ => false,
        }
    }

    #[inline]
    pub(crate) fn admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        guard!(self, guard => guard.admit(call, now), else Admission::Granted(Ticket::BLANK))
    }

    #[inline]
    pub(crate) fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        guard!(self, guard => guard.settle(ticket, outcome, now), else ());
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({})", self.component(), self.name())
    }
}

/// Every policy is a step.
macro_rules! steps {
    ($($policy:ident: $step:ident,)*) => {
        $(impl From<$policy> for Step {
            fn from(policy: $policy) -> Self {
                Self::$step(policy)
            }
        }

        impl From<&$policy> for Step {
            fn from(policy: &$policy) -> Self {
                Self::$step(policy.clone())
            }
        })*
    };
}

steps! {
    RateLimiter: RateLimit,
    KeyedRateLimiter: KeyedRateLimit,
    CircuitBreaker: CircuitBreaker,
    Bulkhead: Bulkhead,
    Adaptive: Adaptive,
    Chaos: Chaos,
    Timeout: Timeout,
    Retry: Retry,
    Hedge: Hedge,
}
