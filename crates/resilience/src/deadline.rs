//! The deadline of the call that this task is in, so that calls within it end no later.
//!
//! A service that answers within a second and makes three calls for it must not give each of them a second. Whoever
//! runs a call sets its deadline while the call is polled, and takes it back afterwards; calls within find it here.
//! It belongs to the future, not to the thread: a task that moves to another thread takes it along.
//!
//! It never ends anything by itself.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::Duration;

use crate::clock::{Clock, ClockIdentity, Moment};

/// Without a destructor, so that it costs next to nothing to set and take back.
#[derive(Debug, Clone, Copy)]
struct Current {
    at: Moment,
    clock: ClockIdentity,
}

impl Current {
    const NONE: Self = Self { at: Moment::NEVER, clock: ClockIdentity::System };

    /// The moment by another clock.
    #[inline]
    fn by(self, clock: &Clock) -> Moment {
        if self.at == Moment::NEVER || self.clock == clock.identity() { self.at } else { self.by_other(clock) }
    }

    #[cold]
    fn by_other(self, clock: &Clock) -> Moment {
        let other = match self.clock {
            ClockIdentity::System => Clock::system(),
            ClockIdentity::Runtime => Clock::runtime(),
            ClockIdentity::Manual(_) => return Moment::NEVER,
        };
        clock.now().after(self.at.since(other.now()))
    }
}

thread_local!(static CURRENT: Cell<Current> = const { Cell::new(Current::NONE) });

/// When the call that is being polled is of no more use to its caller.
///
/// ```
/// use tidegate_resilience::{Clock, Deadline};
///
/// // To be sent along to another service, as gRPC does with `grpc-timeout`.
/// let remaining = Deadline::remaining(&Clock::system());
/// assert_eq!(remaining, None, "outside of any call");
/// ```
#[derive(Debug)]
pub struct Deadline;

impl Deadline {
    /// The deadline by this clock; [`Moment::NEVER`] where there is none. One that was set by a
    /// [manual](Clock::manual) clock is seen only by that clock.
    #[inline]
    pub fn current(clock: &Clock) -> Moment {
        CURRENT.get().by(clock)
    }

    /// How long it is until the deadline, zero once it has passed; nothing where there is none.
    pub fn remaining(clock: &Clock) -> Option<Duration> {
        let at = Self::current(clock);
        (at < Moment::NEVER).then(|| at.since(clock.now()))
    }

    /// Makes `at` the deadline of what is polled until the answer is dropped; an earlier one stays. To be held across
    /// one `poll`, never across an `await`.
    #[inline]
    pub fn enter(clock: &Clock, at: Moment) -> EnteredDeadline<'_> {
        let outer = CURRENT.get();
        if at < outer.by(clock) {
            CURRENT.set(Current { at, clock: clock.identity() });
        }
        EnteredDeadline { outer, of_this_thread: PhantomData }
    }
}

/// Puts the deadline back that was current before.
#[must_use = "the deadline is current until this is dropped"]
#[derive(Debug)]
pub struct EnteredDeadline<'c> {
    outer: Current,
    /// The clock exists for as long as its identity is current.
    of_this_thread: PhantomData<(*const (), &'c Clock)>,
}

impl Drop for EnteredDeadline<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}

#[cfg(all(test, not(tidegate_models)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_innermost_call_has_the_earliest_deadline() {
        let clock = Clock::manual().clock();
        let current = || Deadline::current(&clock).as_nanos();
        let outer = Deadline::enter(&clock, Moment::from_nanos(50));
        {
            let _later = Deadline::enter(&clock, Moment::from_nanos(90));
            assert_eq!(current(), 50);
            let _sooner = Deadline::enter(&clock, Moment::from_nanos(20));
            assert_eq!(current(), 20);
            let _none = Deadline::enter(&clock, Moment::NEVER);
            assert_eq!(current(), 20);
        }
        assert_eq!(current(), 50);
        drop(outer);
        assert_eq!(current(), Moment::NEVER.as_nanos());
    }

    #[test]
    fn a_panic_leaves_no_deadline_behind() {
        let clock = Clock::system();
        let panicked = std::panic::catch_unwind(|| {
            let _entered = Deadline::enter(&clock, Moment::from_nanos(1));
            panic!("in the call");
        });
        assert!(panicked.is_err());
        assert_eq!(Deadline::current(&clock), Moment::NEVER);
    }

    #[test]
    fn the_remaining_time_ends_at_zero() {
        let manual = Clock::manual();
        let clock = manual.clock();
        assert_eq!(Deadline::remaining(&clock), None);
        let _entered = Deadline::enter(&clock, Moment::ORIGIN.after(3 * SECOND));
        manual.advance(SECOND);
        assert_eq!(Deadline::remaining(&clock), Some(2 * SECOND));
        manual.advance(9 * SECOND);
        assert_eq!(Deadline::remaining(&clock), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_means_the_same_by_another_clock() {
        let (runtime, manual) = (Clock::runtime(), Clock::manual());
        manual.advance(100 * SECOND);
        let there = manual.clock();
        let _entered = Deadline::enter(&runtime, runtime.now().after(3 * SECOND));
        assert_eq!(Deadline::current(&there), there.now().after(3 * SECOND));
        let _sooner = Deadline::enter(&there, there.now().after(2 * SECOND));
        assert_eq!(Deadline::remaining(&there), Some(2 * SECOND));
        assert_eq!(Deadline::remaining(&runtime), None, "nobody else can read a manual clock");
    }
}
