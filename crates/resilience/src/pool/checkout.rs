//! The way of a caller to a resource: a place, perhaps after a wait, and what is in it, or is made for it.
//!
//! Every step is safe to cancel. A caller that waits leaves the queue when it is dropped, and passes on what it was
//! being given at that moment; one that holds a place holds it by a [`Pooled`], which gives it back.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::sync::oneshot::{self, Receiver};

use super::manage::Manage;
use super::options::SPREAD;
use super::pooled::{Fate, Pooled};
use super::shared::Shared;
use super::state::{Answer, Grant, Made};
use crate::clock::{Clock, Moment, Sleep};
use crate::error::{Code, Context, Error, Rejection};
use crate::event::Happening;

/// Checks a resource out, waiting for a place if `may_wait`, and for nothing beyond `deadline`.
pub(super) async fn checkout<M: Manage>(
    shared: &Arc<Shared<M>>,
    deadline: Moment,
    may_wait: bool,
) -> Result<Pooled<M>, Error<M::Error>> {
    let begun = shared.now();
    if deadline <= begun {
        return Err(shared.rejection(Code::DeadlinePassed).into());
    }
    let grant = match enter(shared, begun, may_wait) {
        Entry::Granted(grant) => grant,
        Entry::Queued(waiting, until) => waiting.grant(begun, until.min(deadline)).await?,
        Entry::Rejected(code) => return Err(reject(shared, code).into()),
    };
    let mut place = Pooled::empty(shared);
    furnish(shared, &mut place, grant, deadline).await?;
    place.fate = Fate::Return;
    shared.emit(|| Happening::PoolCheckout { waited: shared.now().since(begun) });
    Ok(place)
}

/// What a caller meets.
enum Entry<'s, M: Manage> {
    Granted(Grant<M::Resource>),
    Queued(Waiting<'s, M>, Moment),
    Rejected(Code),
}

#[inline]
fn enter<M: Manage>(shared: &Shared<M>, now: Moment, may_wait: bool) -> Entry<'_, M> {
    shared.with(|state| match state.checkout(now) {
        Answer::Granted(grant) => Entry::Granted(grant),
        Answer::Closed => Entry::Rejected(Code::PoolClosed),
        Answer::Busy if may_wait && state.has_room() => {
            let (sender, receiver) = oneshot::channel();
            let waiting = Waiting { shared, number: state.wait(sender), receiver };
            Entry::Queued(waiting, now.after(state.settings().max_wait))
        }
        Answer::Busy => Entry::Rejected(Code::PoolFull),
    })
}

#[cold]
fn reject<M: Manage>(shared: &Shared<M>, code: Code) -> Rejection {
    let (used, limit) = shared.with(|state| {
        state.counts.rejected += 1;
        (state.total(), state.settings().limit())
    });
    if code != Code::PoolFull {
        return shared.rejection(code);
    }
    shared.emit(|| Happening::PoolFull);
    shared.rejection(code).with_context(Context::Used { used: used.into(), limit: limit.into() })
}

/// Sees to it that there is a good resource in this place.
async fn furnish<M: Manage>(
    shared: &Arc<Shared<M>>,
    place: &mut Pooled<M>,
    mut grant: Grant<M::Resource>,
    deadline: Moment,
) -> Result<(), Error<M::Error>> {
    // Each round but the last closes a resource that was idle, so there are no more rounds than `size` and one, except
    // that what others put aside meanwhile may be looked at too.
    loop {
        match grant {
            Grant::Place => return connect(shared, place, deadline).await,
            Grant::Stale(made) => place.fill(made),
            Grant::Resource(made) => {
                place.fill(made);
                if !place.is_broken() {
                    if !shared.checks.load(Ordering::Relaxed) || check(shared, place, deadline).await {
                        return Ok(());
                    }
                    // If one is dead, others may well be, and each check takes its time: no second one.
                    place.clear();
                    return connect(shared, place, deadline).await;
                }
            }
        }
        place.clear();
        let now = shared.now();
        grant = shared.with(|state| state.swap(now));
    }
}

/// Whether the other side says, in time, that the resource in this place is good.
pub(super) async fn check<M: Manage>(shared: &Shared<M>, place: &mut Pooled<M>, deadline: Moment) -> bool {
    let timeout = shared.with(|state| state.settings().connect_timeout);
    let clock = &shared.environment.clock;
    let until = clock.now().after(timeout).min(deadline);
    matches!(within(clock, until, shared.manage.check(place)).await, Some(Ok(())))
}

/// Makes a resource for this place.
pub(super) async fn connect<M: Manage>(
    shared: &Shared<M>,
    place: &mut Pooled<M>,
    deadline: Moment,
) -> Result<(), Error<M::Error>> {
    let (closed, timeout) = shared.with(|state| (state.is_closed(), state.settings().connect_timeout));
    if closed {
        return Err(reject(shared, Code::PoolClosed).into());
    }
    let clock = &shared.environment.clock;
    let begun = clock.now();
    let connected = within(clock, begun.after(timeout).min(deadline), shared.manage.connect()).await;
    let now = clock.now();
    let error = match connected {
        Some(Ok(resource)) => return settle_in(shared, place, resource, now).map_err(Error::from),
        Some(Err(error)) => Error::Call(error),
        None => shared.rejection(Code::PoolConnect).with_context(Context::Elapsed(now.since(begun))).into(),
    };
    shared.with(|state| state.counts.failed += 1);
    shared.emit(|| Happening::PoolConnectFailed);
    Err(error)
}

/// Puts a new resource into its place, if there is still a pool for it.
fn settle_in<M: Manage>(
    shared: &Shared<M>,
    place: &mut Pooled<M>,
    resource: M::Resource,
    now: Moment,
) -> Result<(), Rejection> {
    #[expect(clippy::cast_possible_truncation, reason = "a unit is below 1")]
    let spread = (shared.environment.random.unit() * f64::from(SPREAD)) as u32;
    place.fill(Made { resource, born: now, spread, since: now, pass: 0 });
    let closed = shared.with(|state| {
        state.counts.created += 1;
        state.is_closed()
    });
    if closed { Err(reject(shared, Code::PoolClosed)) } else { Ok(()) }
}

/// A caller in the queue.
struct Waiting<'s, M: Manage> {
    shared: &'s Shared<M>,
    number: u64,
    receiver: Receiver<Grant<M::Resource>>,
}

impl<M: Manage> Waiting<'_, M> {
    /// What the caller is given.
    async fn grant(mut self, begun: Moment, until: Moment) -> Result<Grant<M::Resource>, Rejection> {
        let shared = self.shared;
        match within(&shared.environment.clock, until, &mut self.receiver).await {
            Some(Ok(grant)) => {
                shared.with(|state| state.counts.checkouts += 1);
                Ok(grant)
            }
            // Its sender was dropped, which only the end of the pool does.
            Some(Err(_)) => Err(reject(shared, Code::PoolClosed)),
            None => {
                shared.with(|state| state.counts.timeouts += 1);
                shared.emit(|| Happening::PoolTimeout);
                let waited = Context::Elapsed(shared.now().since(begun));
                Err(shared.rejection(Code::PoolTimeout).with_context(waited))
            }
        }
    }
}

impl<M: Manage> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        if self.shared.with(|state| state.leave(self.number)).is_some() {
            return;
        }
        // Somebody has taken us from the queue, to give us something. Either it is here, or the sender, finding this end
        // closed, has it back; then the next one gets it.
        self.receiver.close();
        if let Ok(grant) = self.receiver.try_recv() {
            self.shared.give(grant, self.shared.now());
        }
    }
}

/// The end of a future, if it comes to it by that moment. What is ready at once needs no timer.
async fn within<F: Future>(clock: &Clock, until: Moment, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = pin!(None::<Sleep>);
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        if timer.is_none() {
            timer.set(Some(clock.sleep_until(until)));
        }
        timer.as_mut().as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(context).map(|()| None))
    })
    .await
}
