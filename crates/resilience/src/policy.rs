//! The two kinds of policy, and nothing else.
//!
//! A **guard** (rate limit, bulkhead, circuit breaker, adaptive limit, chaos) admits a call or rejects it, perhaps
//! after a bounded wait. What it hands out, a [`Ticket`], is told the outcome exactly once. A [`Permit`] is a ticket
//! that does so by itself when it is dropped.
//!
//! A **wrap** (timeout, retry, hedge) runs what is further in zero, one or many times. Wraps have no code that runs
//! anything: they decide, and the [pipeline](crate::Pipeline) runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::error::Rejection;
use crate::event::{Emitter, Events};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::random::Random;

/// What a policy does with its decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// It decides and acts.
    #[default]
    Enabled,
    /// It does nothing and counts nothing.
    Disabled,
    /// It decides, counts and tells, and never rejects.
    MetricsOnly,
}

/// What comes into policies from outside: time, randomness, and where their events go. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The clock; [`Clock::system`] by default.
    pub clock: Clock,
    /// Randomness; [`Random::system`] by default.
    pub random: Random,
    /// Where events go. By default every environment has a place of its own.
    pub events: Events,
}

impl Environment {
    /// The voice of a policy of this name.
    pub fn emitter(&self, policy: &Name) -> Emitter {
        Emitter::new(policy.clone(), self.events.clone())
    }
}

/// What a guard noted when it admitted a call, and needs when the call is over. The meaning of the fields is the
/// guard's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The generation of the state that admitted the call: a late result cannot act on a newer state.
    pub generation: u32,
    /// As what the call was admitted.
    pub kind: u32,
    /// When.
    pub at: Moment,
    /// How much was taken.
    pub amount: u64,
}

impl Ticket {
    /// A ticket for a guard that need not note anything.
    pub const BLANK: Self = Self { generation: 0, kind: 0, at: Moment::ORIGIN, amount: 0 };
}

/// What a guard says to a call that may wait.
pub enum Admission {
    /// Go ahead.
    Granted(Ticket),
    /// Go ahead from this moment on. Who gives up before then settles the ticket as cancelled.
    Later(Moment, Ticket),
    /// Wait in a queue. Who gives up drops the future.
    Queued(Queued),
    /// No.
    Rejected(Rejection),
}

/// A place in the queue of a guard. Dropping it leaves the queue; nothing is lost with it.
pub type Queued = Pin<Box<dyn Future<Output = Result<Ticket, Rejection>> + Send>>;

impl fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(ticket) => formatter.debug_tuple("Granted").field(ticket).finish(),
            Self::Later(moment, ticket) => formatter.debug_tuple("Later").field(moment).field(ticket).finish(),
            Self::Queued(_) => formatter.write_str("Queued"),
            Self::Rejected(rejection) => formatter.debug_tuple("Rejected").field(rejection).finish(),
        }
    }
}

/// A policy that admits or rejects.
///
/// The contract, which the [pipeline](crate::Pipeline) and [`Permit`] keep on behalf of callers:
///
/// - every ticket is settled exactly once, by the guard that gave it;
/// - `peek` takes nothing. What it says may be outdated at once: only `try_admit` and `admit` decide;
/// - [`Outcome::Rejected`] means that the call never began: what was taken for it is given back;
/// - no method blocks, and none panics whatever the clock says.
pub trait Guard: Send + Sync {
    /// What it is called.
    fn name(&self) -> &Name;

    /// The clock that it reads.
    fn clock(&self) -> &Clock;

    /// Whether the call would be admitted now, perhaps after a wait.
    ///
    /// # Errors
    ///
    /// What `admit` would say.
    fn peek(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection>;

    /// Admits the call at once or not at all.
    ///
    /// # Errors
    ///
    /// Why not.
    fn try_admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection>;

    /// Admits the call, perhaps after a wait.
    fn admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        match self.try_admit(call, now) {
            Ok(ticket) => Admission::Granted(ticket),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    /// Takes a ticket back with what came of the call.
    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>);

    /// Admits a call that nothing is known of, at once or not at all.
    ///
    /// # Errors
    ///
    /// Why not.
    #[inline]
    fn try_acquire(&self) -> Result<Permit<'_, Self>, Rejection>
    where
        Self: Sized,
    {
        self.try_acquire_for(&Call::new())
    }

    /// Admits this call at once or not at all.
    ///
    /// # Errors
    ///
    /// Why not.
    #[inline]
    fn try_acquire_for(&self, call: &Call<'_>) -> Result<Permit<'_, Self>, Rejection>
    where
        Self: Sized,
    {
        let ticket = self.try_admit(call, &Reading::of(self.clock()))?;
        Ok(Permit { guard: self, ticket })
    }

    /// Admits this call, waiting where the guard lets it. Safe to cancel.
    ///
    /// # Errors
    ///
    /// Why not.
    fn acquire_for(&self, call: &Call<'_>) -> impl Future<Output = Result<Permit<'_, Self>, Rejection>> + Send
    where
        Self: Sized,
    {
        let admission = self.admit(call, &Reading::of(self.clock()));
        // What is taken is in a permit from here on: the future may be dropped before it is polled.
        let taken = |ticket| Permit { guard: self, ticket };
        let entry = match admission {
            Admission::Granted(ticket) => Entry::Taken(taken(ticket), None),
            Admission::Later(moment, ticket) => Entry::Taken(taken(ticket), Some(moment)),
            Admission::Queued(place) => Entry::Queued(place),
            Admission::Rejected(rejection) => Entry::Rejected(rejection),
        };
        async move {
            match entry {
                Entry::Taken(permit, None) => Ok(permit),
                Entry::Taken(permit, Some(moment)) => {
                    self.clock().sleep_until(moment).await;
                    Ok(permit)
                }
                Entry::Queued(place) => Ok(Permit { guard: self, ticket: place.await? }),
                Entry::Rejected(rejection) => Err(rejection),
            }
        }
    }
}

/// How far a call that may wait has come when it was first asked for.
enum Entry<P> {
    /// It has what it needs, and begins now or then.
    Taken(P, Option<Moment>),
    Queued(Queued),
    Rejected(Rejection),
}

/// Leave to make one call. Tell it what came of the call; dropped without, it records a cancelled call, or a failed
/// one where the thread panics.
#[must_use = "a dropped permit records a cancelled call"]
#[derive(Debug)]
pub struct Permit<'g, G: Guard> {
    guard: &'g G,
    ticket: Ticket,
}

impl<G: Guard> Permit<'_, G> {
    /// Records how the call ended.
    #[inline]
    pub fn complete(self, outcome: Outcome) {
        let guard = self.guard;
        guard.settle(self.into_ticket(), outcome, &Reading::of(guard.clock()));
    }

    /// Records a success.
    #[inline]
    pub fn success(self) {
        self.complete(Outcome::Success);
    }

    /// Records a failure.
    #[inline]
    pub fn failure(self) {
        self.complete(Outcome::Failure);
    }

    /// The bare ticket, for who keeps tickets of many guards. It must be settled by hand, once.
    #[inline]
    pub fn into_ticket(self) -> Ticket {
        let ticket = self.ticket;
        std::mem::forget(self);
        ticket
    }
}

impl<G: Guard> Drop for Permit<'_, G> {
    fn drop(&mut self) {
        self.guard.settle(self.ticket, abandoned(), &Reading::of(self.guard.clock()));
    }
}

/// What came of a call that was dropped: nobody waited for it, or it panicked.
pub(crate) fn abandoned() -> Outcome {
    if std::thread::panicking() { Outcome::Failure } else { Outcome::Cancelled }
}
