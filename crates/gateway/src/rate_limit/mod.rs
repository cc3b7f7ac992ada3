//! The limits that requests of a listener or route have to pass, with handles to the library's limiters.
//!
//! How a limit counts is the library's. Here several of them are asked together (`admission`), under `keys` that tell
//! requests apart, and answers tell of them (`telling`).

mod admission;
mod keys;
mod telling;

pub(crate) use admission::{Ask, Held, Turn, admit};
pub(crate) use keys::{Keys, Subject, cookie};
pub(crate) use telling::{Telling, push_number, whole_seconds};

use crate::config::plan::{self, KeyPart};
use tidegate_resilience::{
    Admission, Call, Clock, Guard, KeyedRateLimiter, Outcome, RateLimitStatus, RateLimiter, Reading, Rejection, Ticket,
    View,
};

/// The limits of one listener or route.
#[derive(Debug, Default)]
pub(crate) struct RateLimits(Box<[RateLimit]>);

/// One limit, as one listener or route has it.
#[derive(Debug)]
pub(crate) struct RateLimit {
    limiter: Limiter,
    pub(crate) by: Box<[KeyPart]>,
    cost: u32,
    /// How answers tell of it: its name as a structured field has it, and what follows that in `RateLimit-Policy`.
    told: Option<(Box<str>, Box<str>)>,
}

#[derive(Debug)]
enum Limiter {
    All(RateLimiter),
    ByKey(KeyedRateLimiter),
}

impl Limiter {
    fn find(view: &View, plan: &plan::RateLimit) -> Option<Self> {
        match plan.by.is_empty() {
            true => view.rate_limiter(&plan.policy).cloned().map(Self::All),
            false => view.keyed_rate_limiter(&plan.policy).cloned().map(Self::ByKey),
        }
    }
}

impl RateLimits {
    pub(crate) fn build(view: &View, plans: &[plan::RateLimit]) -> Self {
        // Every limit of a plan is a policy of the same plan, so that none is missing.
        let limits = plans.iter().filter_map(|plan| Some(RateLimit::new(Limiter::find(view, plan)?, plan)));
        Self(limits.collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RateLimit> + Clone {
        self.0.iter()
    }
}

impl RateLimit {
    fn new(limiter: Limiter, plan: &plan::RateLimit) -> Self {
        let told = plan.told.then(|| {
            let seconds = whole_seconds(plan.quota.window).max(1);
            (format!("{:?}", &*plan.policy).into(), format!(";q={};w={seconds}", plan.quota.limit).into())
        });
        Self { limiter, by: plan.by.clone().into(), cost: plan.cost, told }
    }

    #[inline]
    fn admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        match &self.limiter {
            Limiter::All(limiter) => limiter.admit(call, now),
            Limiter::ByKey(limiter) => limiter.admit(call, now),
        }
    }

    fn peek(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        match &self.limiter {
            Limiter::All(limiter) => limiter.peek(call, now),
            Limiter::ByKey(limiter) => limiter.peek(call, now),
        }
    }

    #[inline]
    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        match &self.limiter {
            Limiter::All(limiter) => limiter.settle(ticket, outcome, now),
            Limiter::ByKey(limiter) => limiter.settle(ticket, outcome, now),
        }
    }

    fn clock(&self) -> &Clock {
        match &self.limiter {
            Limiter::All(limiter) => limiter.clock(),
            Limiter::ByKey(limiter) => limiter.clock(),
        }
    }

    fn status(&self, key: &str) -> RateLimitStatus {
        match &self.limiter {
            Limiter::All(limiter) => limiter.status(),
            Limiter::ByKey(limiter) => limiter.status(key),
        }
    }
}

/// What the limits of one request leave to the next.
#[derive(Debug, Default)]
pub(crate) struct LimitScratch {
    pub(crate) keys: Keys,
    pub(crate) telling: Telling,
}

impl LimitScratch {
    /// How many bytes of memory are held.
    pub(crate) fn capacity(&self) -> usize {
        self.keys.capacity() + self.telling.standing.capacity() + self.telling.policy.capacity()
    }
}

#[cfg(test)]
mod tests;
