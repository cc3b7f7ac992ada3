//! A resource that is out of its pool, and how it comes back.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::thread;

use super::manage::Manage;
use super::shared::{Place, Shared};
use super::state::{Grant, Made};
use crate::clock::Reading;
use crate::event::Happening;

/// What becomes of a resource when its holder is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// A caller has used it: it goes back if it is not broken.
    Return,
    /// The pool itself has looked at it: it goes back as it was.
    Shelve,
    /// It is closed. Whoever is interrupted in the middle of something leaves it at that.
    Close,
}

/// A resource of a [`Pool`](crate::Pool), for as long as this lives. Derefs to the resource.
///
/// Dropped, wherever that is, the resource goes back to the pool; it is closed instead where it
/// [is broken](Manage::is_broken), where its time is over, or where the thread panics.
#[must_use = "a dropped resource goes back to its pool"]
pub struct Pooled<M: Manage> {
    shared: Arc<Shared<M>>,
    /// Always there while a caller has this. Without it, this is a busy place with nothing in it yet.
    made: Option<Made<M::Resource>>,
    pub(super) fate: Fate,
}

impl<M: Manage> Pooled<M> {
    /// A busy place with nothing in it.
    #[inline]
    pub(super) fn empty(shared: &Arc<Shared<M>>) -> Self {
        Self { shared: Arc::clone(shared), made: None, fate: Fate::Close }
    }

    /// A busy place with this resource, to be closed unless its fate is changed.
    pub(super) fn holding(shared: &Arc<Shared<M>>, made: Made<M::Resource>) -> Self {
        Self { shared: Arc::clone(shared), made: Some(made), fate: Fate::Close }
    }

    /// Puts a resource into an empty place.
    pub(super) fn fill(&mut self, made: Made<M::Resource>) {
        self.made = Some(made);
    }

    /// Closes the resource and keeps the place.
    pub(super) fn clear(&mut self) {
        if let Some(made) = self.made.take() {
            self.shared.with(|state| state.counts.closed += 1);
            drop(made);
        }
    }

    /// Whether the resource is known to be bad.
    pub(super) fn is_broken(&mut self) -> bool {
        self.made.as_mut().is_some_and(|made| self.shared.manage.is_broken(&mut made.resource))
    }

    /// Runs one exchange with the resource. If it does not come to its end, because it is dropped or panics, the resource
    /// is closed: the next caller might be given the rest of an answer to somebody else.
    pub async fn execute<T>(this: &mut Self, work: impl AsyncFnOnce(&mut M::Resource) -> T) -> T {
        let begun = this.shared.emitter.heard().then(|| this.shared.now());
        let fate = mem::replace(&mut this.fate, Fate::Close);
        let result = work(&mut *this).await;
        this.fate = fate;
        if let Some(begun) = begun {
            let now = this.shared.now();
            let executed = || Happening::PoolTransactionExecuted { duration: now.since(begun) };
            this.shared.emitter.emit(&Reading::taken(now), executed);
        }
        result
    }

    /// Closes the resource instead of giving it back: its holder knows it to be bad.
    pub fn discard(mut this: Self) {
        this.fate = Fate::Close;
    }

    /// Takes the resource out of the pool for good. The pool may make another one in its place at once.
    pub fn take(mut this: Self) -> M::Resource {
        let made = this.made.take().expect("a resource until it is dropped");
        this.shared.with(|state| state.counts.closed += 1);
        made.resource
    }
}

impl<M: Manage> Deref for Pooled<M> {
    type Target = M::Resource;

    #[inline]
    fn deref(&self) -> &M::Resource {
        &self.made.as_ref().expect("a resource until it is dropped").resource
    }
}

impl<M: Manage> DerefMut for Pooled<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Resource {
        &mut self.made.as_mut().expect("a resource until it is dropped").resource
    }
}

impl<M: Manage> Drop for Pooled<M> {
    #[inline]
    fn drop(&mut self) {
        // Declared before `made` and so dropped after it: the place is free only when the resource is gone. Where the
        // code of the user panics, both go the same way.
        let mut place = Place { shared: &*self.shared, closes: false };
        let Some(mut made) = self.made.take() else { return };
        place.closes = true;
        if self.fate == Fate::Close || thread::panicking() || self.shared.manage.is_broken(&mut made.resource) {
            return;
        }
        mem::forget(place);
        let now = self.shared.now();
        if self.fate == Fate::Return {
            made.since = now;
            self.shared.emitter.emit(&Reading::taken(now), || Happening::PoolCheckin);
        }
        self.shared.give(Grant::Resource(made), now);
    }
}

impl<M: Manage> fmt::Debug for Pooled<M>
where
    M::Resource: fmt::Debug,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = self.made.as_ref().map(|made| &made.resource);
        formatter.debug_struct("Pooled").field("pool", &self.shared.name).field("resource", &resource).finish()
    }
}
