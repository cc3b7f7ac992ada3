//! The handle of a pool.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::checkout::checkout;
use super::manage::Manage;
use super::options::{PoolOptions, Settings};
use super::pooled::Pooled;
use super::shared::{Shared, State, Waiter};
use super::state::{Change, Grant};
use crate::call::Call;
use crate::clock::Moment;
use crate::error::{Code, Error, InvalidOption, Rejection};
use crate::event::Happening;
use crate::name::Name;
use crate::policy::Environment;

/// A bounded number of resources that callers take in turns. Cheap to clone: clones are the same pool.
///
///
pub struct Pool<M: Manage> {
    pub(super) shared: Arc<Shared<M>>,
}

/// The figures of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// How many resources are kept: `size` of the options.
    pub size: u32,
    /// Resources that wait to be used.
    pub idle: u32,
    /// Places that are taken: resources with callers, and those being made, checked or closed.
    pub busy: u32,
    /// How many more there are, idle and busy together, than `size`.
    pub overflow: u32,
    /// Callers that wait.
    pub waiting: u32,
    /// Checkouts, since the pool was made, that were given a resource or a place for a new one.
    pub checkouts: u64,
    /// Resources made.
    pub created: u64,
    /// Resources closed, and those taken out for good.
    pub closed: u64,
    /// Failures to make a resource, and those not made in time.
    pub failed: u64,
    /// Callers that waited for as long as they might.
    pub timeouts: u64,
    /// Callers turned away: no room to wait in, or a closed pool.
    pub rejected: u64,
}

impl<M: Manage> Pool<M> {
    /// An empty pool in an environment of its own.
    ///
    /// # Errors
    ///
    /// An option with a value that it cannot have.
    pub fn new(name: impl Into<Name>, manage: M, options: &PoolOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, manage, options, &Environment::default())
    }

    /// An empty pool with the clock, the randomness and the events of this environment.
    ///
    /// # Errors
    ///
    /// An option with a value that it cannot have.
    pub fn in_environment(
        name: impl Into<Name>,
        manage: M,
        options: &PoolOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        let settings = Settings::try_from(options)?;
        Ok(Self { shared: Arc::new(Shared::new(name.into(), manage, settings, environment)) })
    }

    /// Checks a resource out: an idle one, or a new one while there are fewer than `size` and `overflow` allow, or the
    /// next that comes free. Safe to cancel at any time.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] with the resource's own error where none could be made. A rejection with `PoolFull` where all are
    /// busy and no more callers may wait, `PoolTimeout` after `max_wait`, `PoolConnect` where one was not made within
    /// `connect_timeout`, `PoolClosed`.
    pub async fn acquire(&self) -> Result<Pooled<M>, Error<M::Error>> {
        checkout(&self.shared, Moment::NEVER, true).await
    }

    /// Checks a resource out for this call, which waits for nothing beyond its deadline.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire), and `DeadlinePassed`.
    pub async fn acquire_for(&self, call: &Call<'_>) -> Result<Pooled<M>, Error<M::Error>> {
        checkout(&self.shared, call.ends(), true).await
    }

    /// Checks a resource out without waiting for others to come back. It does wait for one that is made or checked.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire), without `PoolTimeout`.
    pub async fn try_acquire(&self) -> Result<Pooled<M>, Error<M::Error>> {
        checkout(&self.shared, Moment::NEVER, false).await
    }

    /// Checks a resource out, runs `work` with it and gives it back. If `work` does not come to its end, because the
    /// future is dropped or panics, the resource is closed.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire), and [`Error::Call`] with that of `work`.
    pub async fn transaction<T, E: From<M::Error>>(
        &self,
        work: impl AsyncFnOnce(&mut M::Resource) -> Result<T, E>,
    ) -> Result<T, Error<E>> {
        let mut pooled = self.acquire().await.map_err(|error| error.map(E::from))?;
        Pooled::execute(&mut pooled, work).await.map_err(Error::Call)
    }

    /// Whether a checkout would be let in now, perhaps to wait.
    ///
    /// # Errors
    ///
    /// `PoolFull` or `PoolClosed`, as [`acquire`](Self::acquire) would say.
    pub fn peek(&self) -> Result<(), Rejection> {
        let refusal = self.shared.with(|state| {
            let closed = state.is_closed().then_some(Code::PoolClosed);
            closed.or_else(|| (!state.has_place() && !state.has_room()).then_some(Code::PoolFull))
        });
        refusal.map_or(Ok(()), |code| Err(self.shared.rejection(code)))
    }

    /// What it is called.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The options in force.
    pub fn options(&self) -> PoolOptions {
        self.shared.with(|state| PoolOptions::clone(state.settings()))
    }

    /// The figures of this moment.
    pub fn stats(&self) -> PoolStats {
        self.shared.with(|state| PoolStats {
            size: state.settings().size,
            idle: state.idle(),
            busy: state.busy(),
            overflow: state.total().saturating_sub(state.settings().size),
            waiting: state.waiting(),
            checkouts: state.counts.checkouts,
            created: state.counts.created,
            closed: state.counts.closed,
            failed: state.counts.failed,
            timeouts: state.counts.timeouts,
            rejected: state.counts.rejected,
        })
    }

    /// Puts other options in force, for the resources that there are too. Surplus ones are closed, idle ones at once and
    /// busy ones when they come back; who waits for a place that now exists has it.
    ///
    /// # Errors
    ///
    /// An option with a value that it cannot have; then nothing changes.
    pub fn reconfigure(&self, options: &PoolOptions) -> Result<(), InvalidOption> {
        let settings = Settings::try_from(options)?;
        let shared = &self.shared;
        let (from, change) = shared.with(|state| {
            shared.checks.store(settings.check_on_checkout, Ordering::Relaxed);
            (state.settings().limit(), state.reconfigure(settings))
        });
        self.pass_on(change);
        let to = options.size + options.overflow;
        if from != to {
            shared.emit(|| Happening::PoolResized { from, to });
        }
        Ok(())
    }

    fn pass_on(&self, change: Change<M::Resource, Waiter<M>>) {
        for waiter in change.waiters {
            if waiter.send(Grant::Place).is_err() {
                self.shared.give(Grant::Place, self.shared.now());
            }
        }
        self.shared.close_all(change.surplus);
    }

    /// Closes the pool for good: idle resources now, busy ones when they come back. Who waits, and who comes later, is
    /// told `PoolClosed`.
    pub fn close(&self) {
        let Change { surplus, waiters } = self.shared.with(State::<M>::close);
        // Their ends of the channels, dropped, tell them.
        drop(waiters);
        self.shared.close_all(surplus);
    }

    /// [Closes](Self::close) the pool and waits until its last resource is closed. Bounded only by how long callers keep
    /// theirs. Dropping this leaves the pool closed.
    pub async fn drain(&self) {
        self.close();
        loop {
            let mut drained = pin!(self.shared.drained.notified());
            // Enabled before the look, so that the end cannot come in between unheard.
            drained.as_mut().enable();
            if self.shared.with(|state| state.total()) == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.shared.with(|state| state.is_closed())
    }
}

impl<M: Manage> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Manage> fmt::Debug for Pool<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").field("name", self.name()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
