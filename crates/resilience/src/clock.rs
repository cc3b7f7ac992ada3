//! Time, as the policies see it.
//!
//! A policy never asks the operating system for the time. It is given a [`Reading`], which asks its [`Clock`] at most
//! once, so that a call through many policies costs one reading when it is admitted and one when it completes. Time
//! is a [`Moment`]: nanoseconds since the clock's origin, compared and added without ever overflowing.
//!
//! Invariant: moments of one clock never run backwards within a thread.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::watch;

/// A point in time: nanoseconds since the origin of the [`Clock`] it was read from.
///
/// Arithmetic saturates: later than everything is [`Moment::NEVER`], 584 years after the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The origin of a clock.
    pub const ORIGIN: Self = Self(0);

    /// Later than every other moment.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment so many nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this moment; zero where `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `duration` after this one, at most [`Moment::NEVER`].
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// The moment `duration` before this one, at least [`Moment::ORIGIN`].
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

/// The nanoseconds of `duration`, at most `u64::MAX`.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where policies read the time from, and wait for it to pass. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Runtime,
    Manual(Arc<watch::Sender<Moment>>),
}

/// See [`Clock::identity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockIdentity {
    System,
    Runtime,
    Manual(usize),
}

/// What [`Clock::system`] reads. The processor's counter is calibrated when it is first used.
static SYSTEM: LazyLock<Counter> = LazyLock::new(Counter::new);

/// The processor's counter, or that of the operating system.
struct Counter {
    clock: quanta::Clock,
    origin: u64,
    /// Nanoseconds of a tick, in units of 2⁻³². To scale by a fraction of a fixed size is quicker than what quanta does.
    scale: u64,
}

impl Counter {
    fn new() -> Self {
        let clock = quanta::Clock::new();
        // Rounded to 2⁻³² ns, which is less than one part in 10⁹.
        let scale = clock.delta_as_nanos(0, 1 << 40) >> 8;
        Self { origin: clock.raw(), clock, scale }
    }

    #[inline]
    fn elapsed(&self) -> u64 {
        let ticks = self.clock.raw().saturating_sub(self.origin);
        u64::try_from((u128::from(ticks) * u128::from(self.scale)) >> 32).unwrap_or(u64::MAX)
    }
}

/// The origin of [`Clock::runtime`].
static RUNTIME: LazyLock<tokio::time::Instant> = LazyLock::new(tokio::time::Instant::now);

impl Clock {
    /// The clock of the machine: monotonic, read from the processor's counter where that is reliable (about 10 ns),
    /// from the operating system otherwise.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// The clock of the tokio runtime. It stands still while the runtime's time is paused (`tokio::time::pause`), which
    /// makes tests of policies exact and fast.
    pub const fn runtime() -> Self {
        Self(Source::Runtime)
    }

    /// A clock that stands still until [`ManualClock::advance`] moves it, for tests without a runtime.
    pub fn manual() -> ManualClock {
        ManualClock(Arc::new(watch::Sender::new(Moment::ORIGIN)))
    }

    /// The present moment.
    #[inline]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System => Moment(SYSTEM.elapsed()),
            _ => self.now_elsewhere(),
        }
    }

    /// The same by the clocks that tests have, out of the way of the other one.
    #[cold]
    fn now_elsewhere(&self) -> Moment {
        match &self.0 {
            Source::Manual(moment) => *moment.borrow(),
            Source::Runtime | Source::System => Moment(nanos(RUNTIME.elapsed())),
        }
    }

    /// Which clock this is: the same for clones, and for nothing else while it exists.
    pub(crate) fn identity(&self) -> ClockIdentity {
        match &self.0 {
            Source::System => ClockIdentity::System,
            Source::Runtime => ClockIdentity::Runtime,
            Source::Manual(moment) => ClockIdentity::Manual(Arc::as_ptr(moment).addr()),
        }
    }

    /// A future that is ready at `moment`. It needs a tokio runtime with time enabled, except with a manual clock.
    pub fn sleep_until(&self, moment: Moment) -> Sleep {
        let timer = match &self.0 {
            Source::Manual(clock) => {
                let mut clock = clock.subscribe();
                Timer::Manual {
                    // An error means that the clock is gone; this sleep then has nothing to wait for.
                    wait: Box::pin(async move { drop(clock.wait_for(|now| *now >= moment).await) }),
                }
            }
            _ => Timer::Runtime { sleep: tokio::time::sleep(moment.since(self.now())) },
        };
        Sleep { timer }
    }
}

/// A clock that only its owner moves. See [`Clock::manual`].
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<watch::Sender<Moment>>);

impl ManualClock {
    /// The clock that policies read.
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(Arc::clone(&self.0)))
    }

    /// Moves the time forward. Sleeps that end by then are woken.
    pub fn advance(&self, duration: Duration) {
        self.0.send_modify(|now| *now = now.after(duration));
    }
}

pin_project! {
    /// Waits for a moment. Made by [`Clock::sleep_until`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Sleep {
        #[pin]
        timer: Timer,
    }
}

pin_project! {
    #[project = TimerProjection]
    enum Timer {
        Runtime { #[pin] sleep: tokio::time::Sleep },
        Manual { wait: Pin<Box<dyn Future<Output = ()> + Send>> },
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.project().timer.project() {
            TimerProjection::Runtime { sleep } => sleep.poll(context),
            TimerProjection::Manual { wait } => wait.as_mut().poll(context),
        }
    }
}

impl std::fmt::Debug for Sleep {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sleep")
    }
}

/// One reading of a clock, taken when it is first asked for and the same from then on.
///
/// All policies of a call share one at its admission and one at its completion. A policy that needs no time causes
/// none to be read.
#[derive(Debug)]
pub struct Reading<'c> {
    clock: Option<&'c Clock>,
    moment: Cell<Moment>,
}

impl<'c> Reading<'c> {
    /// A reading of `clock`, not taken yet.
    #[inline]
    pub const fn of(clock: &'c Clock) -> Self {
        Self { clock: Some(clock), moment: Cell::new(Moment::NEVER) }
    }

    /// A reading that somebody has taken already.
    #[inline]
    pub const fn taken(moment: Moment) -> Self {
        Self { clock: None, moment: Cell::new(moment) }
    }

    /// The moment of this reading.
    #[inline]
    pub fn moment(&self) -> Moment {
        if let Some(clock) = self.clock
            && self.moment.get() == Moment::NEVER
        {
            self.moment.set(clock.now());
        }
        self.moment.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_saturate_at_both_ends() {
        assert_eq!(Moment::NEVER.after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::ORIGIN.after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::ORIGIN.before(Duration::MAX), Moment::ORIGIN);
        assert_eq!(Moment::ORIGIN.since(Moment::NEVER), Duration::ZERO);
    }

    #[test]
    fn a_reading_stays_what_it_was() {
        let manual = Clock::manual();
        let clock = manual.clock();
        let reading = Reading::of(&clock);
        manual.advance(Duration::from_secs(1));
        let moment = reading.moment();
        manual.advance(Duration::from_secs(1));
        assert_eq!(reading.moment(), moment);
        assert_eq!(moment, Moment::from_nanos(1_000_000_000));
    }

    #[tokio::test]
    async fn a_manual_sleep_ends_when_its_moment_has_come() {
        let manual = Clock::manual();
        let mut sleep = std::pin::pin!(manual.clock().sleep_until(Moment::from_nanos(10)));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(sleep.as_mut().poll(&mut context).is_pending());
        manual.advance(Duration::from_nanos(9));
        assert!(sleep.as_mut().poll(&mut context).is_pending());
        manual.advance(Duration::from_nanos(1));
        assert!(sleep.as_mut().poll(&mut context).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn the_runtime_clock_follows_paused_time() {
        let clock = Clock::runtime();
        let before = clock.now();
        clock.sleep_until(before.after(Duration::from_secs(3600))).await;
        assert!(clock.now().since(before) >= Duration::from_secs(3600));
    }

    #[test]
    fn the_system_clock_moves_forward() {
        let clock = Clock::system();
        let first = clock.now();
        assert!((0..1000).all(|_| clock.now() >= first));
    }
}
