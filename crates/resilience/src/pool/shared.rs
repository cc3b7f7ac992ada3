//! What the handles, the resources that are out and the callers that wait have in common: the [state](super::state)
//! behind a short lock, and the way of what comes back.
//!
//! The lock is never held over an await, nor while code of the user runs: not while a resource is made, checked, asked
//! or dropped, and not while a waker is called.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::oneshot::Sender;

use super::manage::Manage;
use super::options::Settings;
use super::pooled::Pooled;
use super::state::{Given, Grant, Made};
use crate::clock::{Moment, Reading};
use crate::error::{Code, Rejection};
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::policy::Environment;

/// How a caller that waits is reached.
pub(super) type Waiter<M> = Sender<Grant<<M as Manage>::Resource>>;

pub(super) type State<M> = super::state::State<<M as Manage>::Resource, Waiter<M>>;

pub(super) struct Shared<M: Manage> {
    pub(super) manage: M,
    pub(super) name: Name,
    pub(super) environment: Environment,
    pub(super) emitter: Emitter,
    state: Mutex<State<M>>,
    /// `check_on_checkout` of the options in force. Relaxed: it guards nothing.
    pub(super) checks: AtomicBool,
    /// Told when the last resource of a closed pool is gone.
    pub(super) drained: Notify,
    /// Held by the pass of maintenance that runs.
    pub(super) pass: tokio::sync::Mutex<()>,
}

impl<M: Manage> Shared<M> {
    pub(super) fn new(name: Name, manage: M, settings: Settings, environment: &Environment) -> Self {
        Self {
            manage,
            emitter: environment.emitter(&name),
            name,
            environment: environment.clone(),
            checks: AtomicBool::new(settings.check_on_checkout),
            state: Mutex::new(State::<M>::new(settings)),
            drained: Notify::new(),
            pass: tokio::sync::Mutex::new(()),
        }
    }

    #[inline]
    pub(super) fn now(&self) -> Moment {
        self.environment.clock.now()
    }

    /// Runs `work` on the state. A function, so that the lock cannot live on in an expression around it.
    #[inline]
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State<M>) -> T) -> T {
        work(&mut self.state.lock())
    }

    pub(super) fn emit(&self, happening: impl FnOnce() -> Happening) {
        self.emitter.emit(&Reading::of(&self.environment.clock), happening);
    }

    pub(super) fn rejection(&self, code: Code) -> Rejection {
        Rejection::new(code, &self.name)
    }

    /// Gives a busy place back, with what is in it, to whoever is next.
    #[inline]
    pub(super) fn give(&self, mut grant: Grant<M::Resource>, now: Moment) {
        loop {
            match self.with(|state| state.give(grant, now)) {
                Given::Kept => return,
                Given::To(waiter, granted) => match waiter.send(granted) {
                    Ok(()) => return,
                    // This one gave up just now, and has left it to us to find somebody else.
                    Err(granted) => grant = granted,
                },
                Given::Close(made) => return self.close(made),
                Given::Drained => return self.drained.notify_waiters(),
            }
        }
    }

    /// Closes a resource, and only then gives its place back.
    #[cold]
    pub(super) fn close(&self, made: Made<M::Resource>) {
        let _place = Place { shared: self, closes: true };
        drop(made);
    }

    /// Closes these resources, and only then gives their places back.
    pub(super) fn close_all(self: &Arc<Self>, surplus: Vec<Made<M::Resource>>) {
        // As leases, so that none is forgotten where closing another one panics.
        drop(surplus.into_iter().map(|made| Pooled::holding(self, made)).collect::<Vec<_>>());
    }
}

/// A busy place that is given back, empty, when this is dropped, even where a panic is the reason.
pub(super) struct Place<'s, M: Manage> {
    pub(super) shared: &'s Shared<M>,
    /// Whether a resource was in it.
    pub(super) closes: bool,
}

impl<M: Manage> Drop for Place<'_, M> {
    fn drop(&mut self) {
        if self.closes {
            self.shared.with(|state| state.counts.closed += 1);
        }
        self.shared.give(Grant::Place, self.shared.now());
    }
}
