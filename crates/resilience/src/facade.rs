//! Calls by name: through a pipeline of the registry, or through policies that are named for one call.
//!
//! [`Registry::execute_protected`] and [`Registry::execute_with_pool`] take what a [`Protection`] names in a fixed
//! order: rate limit, pool, circuit breaker. An open breaker is noticed before a resource is checked out, and it is
//! asked in earnest only once there is one, so that a probe is not spent on waiting for the pool.
//!
//! Invariant: what was taken for a call that never began is given back, and what began is told its outcome, wherever
//! the future is dropped.

#[cfg(all(test, not(tidegate_models)))]
mod tests;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading, Sleep};
use crate::deadline::Deadline;
use crate::error::{Code, Context, Error, Rejection};
use crate::event::Happening;
use crate::name::Name;
use crate::outcome::{ByResult, Classify, Outcome};
use crate::pipeline::Operation;
use crate::policies::Step;
use crate::policy::{Admission, Environment, Ticket, abandoned};
use crate::pool::{Manage, Pool, Pooled};
use crate::registry::{Registry, View, unknown};

/// The policies of one call, by their names in a [`Registry`], and what they may know of it.
///
/// ```
/// use tidegate_resilience::{Call, Protection};
///
/// let protection = Protection::new().rate_limit("api").circuit_breaker("db").call(Call::new().key("tenant-7"));
/// ```
#[derive(Debug, Clone)]
pub struct Protection<'a, C = ByResult> {
    rate_limit: Option<&'a str>,
    circuit_breaker: Option<&'a str>,
    call: Call<'a>,
    classifier: C,
}

impl Default for Protection<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Protection<'a> {
    /// No policy yet.
    pub const fn new() -> Self {
        Self { rate_limit: None, circuit_breaker: None, call: Call::new(), classifier: ByResult }
    }
}

impl<'a, C> Protection<'a, C> {
    /// The same, limited by this `rate_limit` or `keyed_rate_limit`.
    #[must_use]
    pub fn rate_limit(mut self, name: &'a str) -> Self {
        self.rate_limit = Some(name);
        self
    }

    /// The same, behind this `circuit_breaker`. Where it rejects, a fallback that is
    /// [registered](crate::CircuitBreaker::register_fallback) with it takes the place of the result.
    #[must_use]
    pub fn circuit_breaker(mut self, name: &'a str) -> Self {
        self.circuit_breaker = Some(name);
        self
    }

    /// The same for this call.
    #[must_use]
    pub fn call(mut self, call: Call<'a>) -> Self {
        self.call = call;
        self
    }

    /// The same for results that are read by this.
    pub fn classified_by<D>(self, classifier: D) -> Protection<'a, D> {
        let Self { rate_limit, circuit_breaker, call, .. } = self;
        Protection { rate_limit, circuit_breaker, call, classifier }
    }
}

impl Registry {
    /// Runs a call through the pipeline of this name. `operation` begins it, once for every attempt.
    ///
    /// # Errors
    ///
    /// The error of the last attempt, or the rejection of a policy; `UnknownPolicy` where there is no such pipeline.
    pub async fn execute<T, E, F, Fut>(&self, pipeline: &str, mut operation: F) -> Result<T, Error<E>>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.execute_call(pipeline, Call::new(), move |_| operation()).await
    }

    /// Runs this call through the pipeline of this name; where each key has its own, through that of the key of the
    /// call.
    ///
    /// # Errors
    ///
    /// The error of the last attempt, or the rejection of a policy; `UnknownPolicy` where there is no such pipeline,
    /// `KeyMissing` where it is one for each key and the call has none, and `TooManyKeys`.
    pub async fn execute_call<T, E, O>(&self, pipeline: &str, call: Call<'_>, operation: O) -> Result<T, Error<E>>
    where
        O: Operation<Future: Future<Output = Result<T, E>>>,
    {
        let pipeline = self.load().pipeline_of(pipeline, call.key_name())?;
        pipeline.execute_call(call, operation).await
    }

    /// Runs a call behind the policies that are named for it.
    ///
    /// # Errors
    ///
    /// The error of the call, or the rejection of a policy; `UnknownPolicy` where there is none of a name and kind.
    pub async fn execute_protected<T, E, C>(
        &self,
        protection: Protection<'_, C>,
        operation: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        T: 'static,
        C: Classify<T, E>,
    {
        let guards = self.guards(&protection)?;
        let call = guards.limited_in_time(protection.call);
        let result = guards.run(&call, &protection.classifier, async |_| Ok(()), async |()| operation().await).await;
        guards.or_fallback(result)
    }

    /// Runs a call with a resource of this pool, behind the policies that are named for it. If it does not come to its
    /// end, the resource is closed.
    ///
    /// That no resource could be made counts as a failure of the call.
    ///
    /// # Errors
    ///
    /// The error of the call or of making a resource, or the rejection of a policy or the pool; `UnknownPolicy` where
    /// there is no policy of a name and kind.
    pub async fn execute_with_pool<M, T, E, C>(
        &self,
        protection: Protection<'_, C>,
        pool: &Pool<M>,
        operation: impl AsyncFnOnce(&mut M::Resource) -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        M: Manage,
        T: 'static,
        E: From<M::Error>,
        C: Classify<T, E>,
    {
        let guards = self.guards(&protection)?;
        let call = guards.limited_in_time(protection.call);
        let checkout = async |call: &Call<'_>| pool.acquire_for(call).await.map_err(|error| error.map(E::from));
        let work = async |mut pooled: Pooled<M>| Pooled::execute(&mut pooled, operation).await;
        let result = guards.run(&call, &protection.classifier, checkout, work).await;
        guards.or_fallback(result)
    }

    fn guards<C>(&self, protection: &Protection<'_, C>) -> Result<Guards<'_>, Rejection> {
        let view = self.load();
        let limit = protection
            .rate_limit
            .map(|name| find(&view, name, |step| matches!(step, Step::RateLimit(_) | Step::KeyedRateLimit(_))));
        let breaker =
            protection.circuit_breaker.map(|name| find(&view, name, |step| matches!(step, Step::CircuitBreaker(_))));
        Ok(Guards { limit: limit.transpose()?, breaker: breaker.transpose()?, environment: self.environment() })
    }
}

fn find(view: &View, name: &str, is_right: impl Fn(&Step) -> bool) -> Result<Step, Rejection> {
    view.policy(name).filter(|step| is_right(step)).cloned().ok_or_else(|| unknown(name))
}

/// The guards of one call.
struct Guards<'e> {
    limit: Option<Step>,
    breaker: Option<Step>,
    environment: &'e Environment,
}

impl<'e> Guards<'e> {
    fn clock(&self) -> &'e Clock {
        &self.environment.clock
    }

    /// The call, ending no later than the one that it is a part of.
    fn limited_in_time<'c>(&self, call: Call<'c>) -> Call<'c> {
        call.deadline(Deadline::current(self.clock()))
    }

    /// Takes everything in its order, runs the call and tells the guards what came of it.
    async fn run<R, T, E, C: Classify<T, E>>(
        &self,
        call: &Call<'_>,
        classifier: &C,
        checkout: impl AsyncFnOnce(&Call<'_>) -> Result<R, Error<E>>,
        work: impl AsyncFnOnce(R) -> Result<T, E>,
    ) -> Result<T, Error<E>> {
        let clock = self.clock();
        let begun = self.environment.events.heard().then(|| clock.now());
        let (result, outcome, end) = match self.admit(call, checkout).await {
            Ok((resource, taken)) => {
                let result = in_time(clock, call.ends(), work(resource)).await;
                let (result, outcome) = conclude(result, classifier);
                let end = Reading::of(clock);
                // The innermost first.
                taken.into_iter().rev().flatten().for_each(|taken| taken.settle(outcome, &end));
                (result, outcome, end)
            }
            Err(error) => {
                let outcome = error.rejection().map_or(Outcome::Failure, |rejection| rejection.verdict().outcome);
                (Err(error), outcome, Reading::of(clock))
            }
        };
        if let Some(begun) = begun {
            let executed = || Happening::ProtectionExecuted { outcome, duration: end.moment().since(begun) };
            self.environment.emitter(&name()).emit(&end, executed);
        }
        result
    }

    /// Takes from the rate limit, a resource and from the breaker.
    async fn admit<R, E>(
        &self,
        call: &Call<'_>,
        checkout: impl AsyncFnOnce(&Call<'_>) -> Result<R, Error<E>>,
    ) -> Result<(R, [Option<Taken<'_>>; 2]), Error<E>> {
        let mut now = Reading::of(self.clock());
        if call.ends() != Moment::NEVER && call.ends() <= now.moment() {
            return Err(Rejection::new(Code::DeadlinePassed, &name()).into());
        }
        let limit = self.limit(call, &mut now).await?;
        self.look_at_breaker(call, &now)?;
        let (resource, waited) = noting_waits(checkout(call)).await;
        if waited {
            now = Reading::of(self.clock());
        }
        let resource = match resource {
            Ok(resource) => resource,
            Err(error) => {
                self.no_resource(&error, limit, call, &now);
                return Err(error);
            }
        };
        let breaker = self.breaker.as_ref().map(|step| Taken::of(step, call, self.clock(), &now)).transpose()?;
        let mut taken = [limit, breaker];
        taken.iter_mut().flatten().for_each(|taken| taken.begun = true);
        Ok((resource, taken))
    }

    /// Takes from the rate limit, and waits for its turn where it says so.
    async fn limit(&self, call: &Call<'_>, now: &mut Reading<'e>) -> Result<Option<Taken<'_>>, Rejection> {
        let Some(step) = &self.limit else { return Ok(None) };
        let taken = |ticket| Some(Taken { step, clock: self.clock(), ticket: Some(ticket), begun: false });
        match step.admit(call, now) {
            Admission::Granted(ticket) => Ok(taken(ticket)),
            Admission::Rejected(rejection) => Err(rejection),
            Admission::Queued(place) => {
                let ticket = place.await?;
                *now = Reading::of(self.clock());
                Ok(taken(ticket))
            }
            Admission::Later(moment, ticket) => {
                let taken = taken(ticket);
                if moment >= call.ends() {
                    let wait = Context::Elapsed(moment.since(now.moment()));
                    return Err(Rejection::new(Code::DeadlinePassed, step.name()).with_context(wait));
                }
                self.clock().sleep_until(moment).await;
                *now = Reading::of(self.clock());
                Ok(taken)
            }
        }
    }

    fn look_at_breaker(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        let Some(step) = &self.breaker else { return Ok(()) };
        if step.peek(call, now).is_err() {
            // Asked in earnest, so that it counts the rejection. Should it admit the call after all, it will again when
            // its turn comes, or reject then.
            drop(Taken::of(step, call, self.clock(), now)?);
        }
        Ok(())
    }

    /// Tells the guards that there was no resource. Not to come by a connection is a failure of the other side; a full
    /// pool is none, and what was taken is given back.
    fn no_resource<E>(&self, error: &Error<E>, limit: Option<Taken<'_>>, call: &Call<'_>, now: &Reading<'_>) {
        let failed = error.rejection().is_none_or(|rejection| rejection.code() == Code::PoolConnect);
        if !failed {
            return;
        }
        let breaker = self.breaker.as_ref().and_then(|step| Taken::of(step, call, self.clock(), now).ok());
        for taken in [breaker, limit].into_iter().flatten() {
            taken.settle(Outcome::Failure, now);
        }
    }

    /// The result, or what is registered in its place where the breaker has rejected the call.
    fn or_fallback<T: 'static, E>(&self, result: Result<T, Error<E>>) -> Result<T, Error<E>> {
        let (Err(Error::Rejected(rejection)), Some(Step::CircuitBreaker(breaker))) = (&result, &self.breaker) else {
            return result;
        };
        if !(5000..6000).contains(&rejection.code().number()) {
            return result;
        }
        let Some(value) = breaker.fallback(rejection) else { return result };
        let now = Reading::of(self.clock());
        self.environment.emitter(rejection.policy()).emit(&now, || Happening::FallbackUsed);
        Ok(value)
    }
}

/// What a call came to; nothing where it ran out of time.
fn conclude<T, E>(result: Option<Result<T, E>>, classifier: &impl Classify<T, E>) -> (Result<T, Error<E>>, Outcome) {
    match result {
        Some(result) => {
            let outcome = classifier.classify(&result).outcome;
            (result.map_err(Error::Call), outcome)
        }
        None => (Err(Rejection::new(Code::TotalTimeout, &name()).into()), Outcome::Failure),
    }
}

/// What speaks where no policy does.
fn name() -> Name {
    Name::from("protection")
}

/// A guard that has admitted the call. Dropped, it is told that the call never began, or that nobody waited for its
/// end.
struct Taken<'s> {
    step: &'s Step,
    clock: &'s Clock,
    ticket: Option<Ticket>,
    begun: bool,
}

impl<'s> Taken<'s> {
    fn of(step: &'s Step, call: &Call<'_>, clock: &'s Clock, now: &Reading<'_>) -> Result<Self, Rejection> {
        Ok(Self { step, clock, ticket: Some(step.try_admit(call, now)?), begun: false })
    }

    fn settle(mut self, outcome: Outcome, now: &Reading<'_>) {
        if let Some(ticket) = self.ticket.take() {
            self.step.settle(ticket, outcome, now);
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let outcome = if self.begun { abandoned() } else { Outcome::Rejected };
            self.step.settle(ticket, outcome, &Reading::of(self.clock));
        }
    }
}

/// What a future ends with, and whether that took more than one look.
async fn noting_waits<F: Future>(future: F) -> (F::Output, bool) {
    let mut future = pin!(future);
    let mut waited = false;
    let output = poll_fn(|context| {
        let poll = future.as_mut().poll(context);
        waited |= poll.is_pending();
        poll
    })
    .await;
    (output, waited)
}

/// What a future ends with, if it does so by that moment, which is the deadline of all calls within it.
async fn in_time<F: Future>(clock: &Clock, ends: Moment, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = pin!(None::<Sleep>);
    poll_fn(|context| {
        let entered = (ends < Moment::NEVER).then(|| Deadline::enter(clock, ends));
        let poll = future.as_mut().poll(context);
        drop(entered);
        if poll.is_ready() || ends == Moment::NEVER {
            return poll.map(Some);
        }
        if timer.is_none() {
            timer.set(Some(clock.sleep_until(ends)));
        }
        timer.as_mut().as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(context).map(|()| None))
    })
    .await
}
