//! The deadline of the call that this task is in, so that calls within it end no later.
//!
//! A service that answers within a second and makes three calls for it must not give each of them a second. Whoever
//! runs a call sets its deadline while the call is polled, and takes it back afterwards; calls within find it here.
//! It belongs to the future, not to the thread: a task that moves to another thread takes it along.
//!
//! It never ends anything by itself.

use std::cell::Cell;
use std::time::Duration;

use crate::clock::{Clock, Moment};

thread_local!(static CURRENT: Cell<Option<Deadline>> = const { Cell::new(None) });

/// When the current call is of no more use to its caller.
///
/// ```
/// use tidegate_resilience::Deadline;
///
/// // To be sent along to another service, as gRPC does with `grpc-timeout`.
/// let remaining = Deadline::current().map(|deadline| deadline.remaining());
/// assert_eq!(remaining, None, "outside of any call");
/// ```
#[derive(Debug, Clone)]
pub struct Deadline {
    clock: Clock,
    at: Moment,
}

impl Deadline {
    /// The deadline of the call that is being polled, if it has one.
    pub fn current() -> Option<Self> {
        CURRENT.with(|current| {
            let deadline = current.take();
            current.set(deadline.clone());
            deadline
        })
    }

    /// When it is, by the clock of the policies that set it.
    pub fn at(&self) -> Moment {
        self.at
    }

    /// How long it is until then; zero afterwards.
    pub fn remaining(&self) -> Duration {
        self.at.since(self.clock.now())
    }

    /// When it is, by another clock.
    pub fn by(&self, clock: &Clock) -> Moment {
        if clock.is(&self.clock) { self.at } else { clock.now().after(self.remaining()) }
    }

    /// Makes `at` the deadline of what is polled until the answer is dropped; an earlier one stays. To be held across
    /// one `poll`, never across an `await`.
    pub fn enter(clock: &Clock, at: Moment) -> EnteredDeadline {
        let outer = CURRENT.take();
        let at = outer.as_ref().map_or(at, |outer| at.min(outer.by(clock)));
        CURRENT.set((at < Moment::NEVER).then(|| Self { clock: clock.clone(), at }));
        EnteredDeadline { outer, of_this_thread: std::marker::PhantomData }
    }
}

/// Puts the deadline back that was current before.
#[must_use = "the deadline is current until this is dropped"]
#[derive(Debug)]
pub struct EnteredDeadline {
    outer: Option<Deadline>,
    of_this_thread: std::marker::PhantomData<*const ()>,
}

impl Drop for EnteredDeadline {
    fn drop(&mut self) {
        CURRENT.set(self.outer.take());
    }
}

#[cfg(all(test, not(tidegate_models)))]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_call_has_the_earliest_deadline() {
        let clock = Clock::manual().clock();
        let at = |deadline: Option<Deadline>| deadline.map(|deadline| deadline.at().as_nanos());
        let _outer = Deadline::enter(&clock, Moment::from_nanos(50));
        {
            let _later = Deadline::enter(&clock, Moment::from_nanos(90));
            assert_eq!(at(Deadline::current()), Some(50));
            let _sooner = Deadline::enter(&clock, Moment::from_nanos(20));
            assert_eq!(at(Deadline::current()), Some(20));
        }
        assert_eq!(at(Deadline::current()), Some(50));
    }

    #[test]
    fn a_panic_leaves_no_deadline_behind() {
        let clock = Clock::manual().clock();
        let panicked = std::panic::catch_unwind(|| {
            let _entered = Deadline::enter(&clock, Moment::from_nanos(1));
            panic!("in the call");
        });
        assert!(panicked.is_err() && Deadline::current().is_none());
    }

    #[test]
    fn no_deadline_is_none() {
        let _entered = Deadline::enter(&Clock::system(), Moment::NEVER);
        assert!(Deadline::current().is_none());
    }

    #[test]
    fn a_deadline_means_the_same_by_another_clock() {
        let (here, there) = (Clock::manual(), Clock::manual());
        here.advance(Duration::from_secs(100));
        let _entered = Deadline::enter(&here.clock(), here.clock().now().after(Duration::from_secs(3)));
        let deadline = Deadline::current().expect("was entered");
        assert_eq!(deadline.by(&there.clock()), Moment::ORIGIN.after(Duration::from_secs(3)));
        here.advance(Duration::from_secs(10));
        assert_eq!(deadline.remaining(), Duration::ZERO);
    }
}
