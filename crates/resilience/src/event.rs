//! What policies tell whoever listens.
//!
//! Events are delivered into bounded queues and never make a call wait: a listener that is too slow loses the newest
//! events and is told how many. While nobody listens, an event costs one load of a flag and is not even put together.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_queue::ArrayQueue;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::{Moment, Reading};
use crate::name::Name;
use crate::outcome::Outcome;

/// Something that happened in a policy.
#[derive(Debug, Clone)]
pub struct Event {
    /// The policy.
    pub policy: Name,
    /// When, by the policy's clock.
    pub at: Moment,
    /// What.
    pub happening: Happening,
}

/// The states of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CircuitState {
    /// Calls go through and are counted.
    Closed,
    /// Calls are rejected until it is time to probe.
    Open,
    /// A few calls probe whether the other side has recovered.
    HalfOpen,
    /// Calls are rejected until somebody changes that.
    ForcedOpen,
    /// Calls go through whatever comes of them, until somebody changes that.
    ForcedClosed,
}

impl CircuitState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::ForcedClosed];

    /// As metrics and logs call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

/// Why a circuit breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitReason {
    /// So many failures came one after the other.
    ConsecutiveFailures,
    /// The share of failures in the window is too large.
    FailureRate,
    /// The share of slow calls in the window is too large.
    SlowCallRate,
    /// The open time is over.
    TimeToProbe,
    /// A probe failed.
    ProbeFailed,
    /// The probes did not come to an end in time.
    ProbesTimedOut,
    /// Enough probes succeeded.
    Recovered,
    /// Somebody asked for it.
    Manual,
}

/// Declares [`Happening`] with the name of each event.
macro_rules! happenings {
    ($($(#[$doc:meta])* $variant:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })? = $name:literal;)*) => {
        /// What happened, with its figures.
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[non_exhaustive]
        pub enum Happening {
            $($(#[$doc])* $variant $({ $($(#[$field_doc])* $field: $type,)* })?,)*
        }

        impl Happening {
            /// The names of all events.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The stable name: `component.past_verb`.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant $({ $($field: _,)* })? => $name,)* }
            }
        }
    };
}

happenings! {
    /// A circuit breaker was made.
    CircuitInstalled = "circuit_breaker.installed";
    /// A circuit breaker changed its state.
    CircuitStateChanged {
        /// The state before.
        from: CircuitState,
        /// The state from now on.
        to: CircuitState,
        /// Why.
        reason: CircuitReason,
    } = "circuit_breaker.state_changed";
    /// A call through a circuit breaker ended.
    CircuitCallExecuted {
        /// How it ended.
        outcome: Outcome,
        /// How long it took.
        duration: Duration,
    } = "circuit_breaker.call_executed";
    /// A circuit breaker rejected a call.
    CircuitCallRejected {
        /// The state that rejects.
        state: CircuitState,
    } = "circuit_breaker.call_rejected";

    /// A rate limiter admitted a call.
    RateAllowed {
        /// What the call cost.
        cost: u32,
    } = "rate_limiter.request_allowed";
    /// A rate limiter rejected a call.
    RateDenied {
        /// When the same call would be admitted; nothing where it never would be.
        retry_after: Option<Duration>,
    } = "rate_limiter.request_denied";
    /// A rate limiter forgot what had been used.
    RateReset = "rate_limiter.bucket_reset";

    /// Another attempt is about to wait and begin.
    RetryAttempt {
        /// Which: 2 is the first retry.
        attempt: u32,
        /// How long it waits.
        delay: Duration,
    } = "retry.attempt";
    /// The last attempt has failed, or no further one can end in time.
    RetryExhausted {
        /// How many there were.
        attempts: u32,
    } = "retry.exhausted";
    /// The budget does not allow another attempt.
    RetryBudgetExhausted = "retry.budget_exhausted";

    /// A call has its place in a bulkhead.
    BulkheadAcquired {
        /// How long it waited for it.
        waited: Duration,
    } = "bulkhead.acquired";
    /// A call waits in the queue of a bulkhead.
    BulkheadQueued {
        /// How many wait, with this one.
        waiting: u32,
    } = "bulkhead.queued";
    /// A bulkhead rejected a call.
    BulkheadRejected = "bulkhead.rejected";
    /// A bulkhead has another size.
    BulkheadResized {
        /// The size before.
        from: u32,
        /// The size from now on.
        to: u32,
    } = "bulkhead.resized";

    /// An adaptive limit has changed.
    ConcurrencyLimitChanged {
        /// The limit before.
        from: u32,
        /// The limit from now on.
        to: u32,
    } = "adaptive.limit_changed";
    /// An adaptive limit rejected a call.
    ConcurrencyRejected = "adaptive.rejected";

    /// A call, or an attempt, took too long and was ended.
    TimedOut {
        /// How long it was allowed to take.
        limit: Duration,
    } = "timeout.exceeded";

    /// A second copy of a slow call was started.
    HedgeStarted {
        /// Which: 1 is the first copy beside the original.
        copy: u32,
    } = "hedge.started";
    /// A copy ended before the original.
    HedgeWon {
        /// Which copy.
        copy: u32,
    } = "hedge.won";

    /// A fallback took the place of a result.
    FallbackUsed = "fallback.used";

    /// A resource left a pool.
    PoolCheckout {
        /// How long the caller waited for it.
        waited: Duration,
    } = "connection_pool.checkout";
    /// A resource came back to a pool.
    PoolCheckin = "connection_pool.checkin";
    /// A call with a resource of a pool ended.
    PoolTransactionExecuted {
        /// How long it had the resource.
        duration: Duration,
    } = "connection_pool.transaction_executed";
    /// No resource of a pool became free in time.
    PoolTimeout = "connection_pool.timeout";
    /// A pool had neither a resource nor a place to wait.
    PoolFull = "connection_pool.pool_full";
    /// A pool could not make a resource, or not in time.
    PoolConnectFailed = "connection_pool.connect_failed";
    /// A pool has another limit: its size and overflow together.
    PoolResized {
        /// The limit before.
        from: u32,
        /// The limit from now on.
        to: u32,
    } = "connection_pool.resized";

    /// A fault or a delay was put in on purpose.
    ChaosInjected {
        /// The delay; nothing where the call was aborted.
        delay: Option<Duration>,
    } = "chaos.injected";

    /// A call through several policies ended.
    ProtectionExecuted {
        /// How it ended.
        outcome: Outcome,
        /// How long it took, with all waits and attempts.
        duration: Duration,
    } = "protection.executed";

    /// A call of a recorded operation ended.
    OperationExecuted {
        /// How it ended.
        outcome: Outcome,
        /// How long it took.
        duration: Duration,
    } = "operation.executed";

    /// A registry has taken over another document.
    RegistryApplied {
        /// How many policies are new, changed or gone.
        changes: u32,
    } = "registry.applied";
}

/// Where policies put their events, and listeners find them. Cheap to clone: clones are the same.
#[derive(Clone, Default)]
pub struct Events(Arc<Hub>);

#[derive(Default)]
struct Hub {
    /// Whether there is any listener. Relaxed: a listener sees events from some moment after it subscribed.
    heard: AtomicBool,
    listeners: ArcSwap<Vec<Arc<Queue>>>,
    /// Held by whoever changes `listeners`, so that `heard` agrees with them.
    change: Mutex<()>,
}

struct Queue {
    events: ArrayQueue<Event>,
    lost: AtomicU64,
    arrived: Notify,
}

impl Events {
    /// Listens from now on. At most `capacity` events wait to be received (at least 1); newer ones are lost and counted.
    pub fn subscribe(&self, capacity: usize) -> Listener {
        let queue = Arc::new(Queue {
            events: ArrayQueue::new(capacity.max(1)),
            lost: AtomicU64::new(0),
            arrived: Notify::new(),
        });
        self.change(|listeners| listeners.push(Arc::clone(&queue)));
        Listener { events: self.clone(), queue }
    }

    /// Whether anybody listens.
    #[inline]
    pub fn heard(&self) -> bool {
        self.0.heard.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Queue>>)) {
        let _only_one = self.0.change.lock();
        let mut listeners = Vec::clone(&self.0.listeners.load());
        change(&mut listeners);
        self.0.heard.store(!listeners.is_empty(), Ordering::Relaxed);
        self.0.listeners.store(Arc::new(listeners));
    }

    fn deliver(&self, event: &Event) {
        for queue in self.0.listeners.load().iter() {
            if queue.events.push(event.clone()).is_err() {
                queue.lost.fetch_add(1, Ordering::Relaxed);
            }
            queue.arrived.notify_one();
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Events").field("heard", &self.heard()).finish()
    }
}

/// Receives the events of an [`Events`] from when it was made until it is dropped.
pub struct Listener {
    events: Events,
    queue: Arc<Queue>,
}

impl Listener {
    /// The oldest event that waits, if one does.
    pub fn try_next(&self) -> Option<Event> {
        self.queue.events.pop()
    }

    /// The next event, waited for. Safe to cancel: no event is lost with the future.
    pub async fn next(&self) -> Event {
        loop {
            let mut arrived = pin!(self.queue.arrived.notified());
            // Before the look at the queue: of two events that come after it, the second wakes another one who waits.
            arrived.as_mut().enable();
            if let Some(event) = self.try_next() {
                return event;
            }
            arrived.await;
        }
    }

    /// How many events this listener was too slow for, since it was made.
    pub fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.events.change(|listeners| listeners.retain(|queue| !Arc::ptr_eq(queue, &self.queue)));
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Listener")
            .field("waiting", &self.queue.events.len())
            .field("lost", &self.lost())
            .finish()
    }
}

/// The voice of one policy: its name, and the [`Events`] it speaks into.
#[derive(Debug, Clone)]
pub struct Emitter {
    policy: Name,
    events: Events,
}

impl Emitter {
    /// A voice for the policy of this name.
    pub fn new(policy: Name, events: Events) -> Self {
        Self { policy, events }
    }

    /// The name of the policy.
    pub fn policy(&self) -> &Name {
        &self.policy
    }

    /// Whether anybody listens; a policy need not note what only an event would tell.
    #[inline]
    pub fn heard(&self) -> bool {
        self.events.heard()
    }

    /// Tells what happened, if anybody listens. The time is read, and `happening` called, only then.
    #[inline]
    pub fn emit(&self, now: &Reading<'_>, happening: impl FnOnce() -> Happening) {
        if self.heard() {
            self.tell(now, happening);
        }
    }

    /// Out of the way of those whom nobody hears.
    #[cold]
    fn tell(&self, now: &Reading<'_>, happening: impl FnOnce() -> Happening) {
        self.events.deliver(&Event { policy: self.policy.clone(), at: now.moment(), happening: happening() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(events: &Events) -> Emitter {
        Emitter::new(Name::from("cache"), events.clone())
    }

    #[test]
    fn nothing_is_put_together_while_nobody_listens() {
        let events = Events::default();
        voice(&events).emit(&Reading::taken(Moment::ORIGIN), || unreachable!("nobody listens"));
        drop(events.subscribe(1));
        voice(&events).emit(&Reading::taken(Moment::ORIGIN), || unreachable!("nobody listens any more"));
    }

    #[test]
    fn every_listener_hears_and_a_slow_one_knows_what_it_lost() {
        let events = Events::default();
        let (quick, slow) = (events.subscribe(8), events.subscribe(1));
        for cost in 1..=3 {
            voice(&events).emit(&Reading::taken(Moment::ORIGIN), || Happening::RateAllowed { cost });
        }
        let heard: Vec<_> = std::iter::from_fn(|| quick.try_next()).map(|event| event.happening).collect();
        assert_eq!(heard, [1, 2, 3].map(|cost| Happening::RateAllowed { cost }));
        assert_eq!((quick.lost(), slow.lost()), (0, 2));
        assert_eq!(slow.try_next().map(|event| event.happening), Some(Happening::RateAllowed { cost: 1 }));
    }

    #[tokio::test]
    async fn a_waiting_listener_is_woken() {
        let events = Events::default();
        let listener = events.subscribe(1);
        let waiting = tokio::spawn(async move { listener.next().await.happening.name() });
        tokio::task::yield_now().await;
        voice(&events).emit(&Reading::taken(Moment::ORIGIN), || Happening::RateReset);
        assert_eq!(waiting.await.expect("the task ends"), "rate_limiter.bucket_reset");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 8)]
    async fn as_many_wake_up_as_there_are_events() {
        // Two wait at one listener, and both events may come between their look at the queue and their wait.
        for _ in 0..40000 {
            let events = Events::default();
            let listener = Arc::new(events.subscribe(8));
            let waiting = [(); 6].map(|()| {
                let listener = Arc::clone(&listener);
                tokio::spawn(async move { listener.next().await })
            });
            for _ in 0..6 {
                voice(&events).emit(&Reading::taken(Moment::ORIGIN), || Happening::RateReset);
            }
            for waiting in waiting {
                waiting.await.expect("the task ends");
            }
        }
    }
}
