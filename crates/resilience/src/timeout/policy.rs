//! The handle of a timeout.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::{Moment, Reading, nanos};
use crate::error::{Code, Context, InvalidOption, Rejection};
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::policy::{Environment, Mode};

use super::options::TimeoutOptions;

/// How long a call, and each of its attempts, may take. Cheap to clone: clones are the same timeout.
///
/// ```
/// use std::time::Duration;
/// use tidegate_resilience::{Timeout, TimeoutOptions};
///
/// let options = TimeoutOptions { attempt: Some(Duration::from_secs(2)), ..Default::default() };
/// let timeout = Timeout::new("search", &options)?;
/// assert_eq!(timeout.total(), Some(Duration::from_secs(30)));
/// assert_eq!(timeout.attempt(), Some(Duration::from_secs(2)));
/// # Ok::<(), tidegate_resilience::InvalidOption>(())
/// ```
#[derive(Clone)]
pub struct Timeout {
    inner: Arc<Inner>,
}

struct Inner {
    /// The limits that end calls.
    enforced: Limits,
    /// The limits that are only watched.
    watched: Limits,
    options: ArcSwap<TimeoutOptions>,
    expired: [AtomicU64; 3],
    emitter: Emitter,
}

/// Limits in nanoseconds, [`OFF`] where there is none. Relaxed: a call that reads them late goes by the old options.
struct Limits {
    total: AtomicU64,
    attempt: AtomicU64,
}

const OFF: u64 = u64::MAX;

impl Limits {
    const fn off() -> Self {
        Self { total: AtomicU64::new(OFF), attempt: AtomicU64::new(OFF) }
    }

    fn set(&self, total: Option<Duration>, attempt: Option<Duration>) {
        self.total.store(total.map_or(OFF, nanos), Ordering::Relaxed);
        self.attempt.store(attempt.map_or(OFF, nanos), Ordering::Relaxed);
    }
}

#[inline]
fn limit(nanos: &AtomicU64) -> Option<Duration> {
    let nanos = nanos.load(Ordering::Relaxed);
    (nanos != OFF).then(|| Duration::from_nanos(nanos))
}

/// What it is that took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutKind {
    /// One attempt.
    Attempt,
    /// The call with all its attempts and waits.
    Total,
    /// The call as a whole, by a deadline that came from outside: from its caller, or the call that it is a part of.
    Deadline,
}

impl TimeoutKind {
    const fn code(self) -> Code {
        match self {
            Self::Attempt => Code::AttemptTimeout,
            Self::Total => Code::TotalTimeout,
            Self::Deadline => Code::DeadlinePassed,
        }
    }
}

/// What a timeout has done since it was made. With [`Mode::MetricsOnly`]: what it would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeoutStats {
    /// Attempts that took too long.
    pub attempts: u64,
    /// Calls that took too long.
    pub totals: u64,
    /// Calls that ended because of a deadline from outside.
    pub deadlines: u64,
}

impl Timeout {
    /// A timeout without a listener.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn new(name: impl Into<Name>, options: &TimeoutOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, options, &Environment::default())
    }

    /// A timeout in this environment.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn in_environment(
        name: impl Into<Name>,
        options: &TimeoutOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        let inner = Inner {
            enforced: Limits::off(),
            watched: Limits::off(),
            options: ArcSwap::from_pointee(options.clone()),
            expired: Default::default(),
            emitter: environment.emitter(&name.into()),
        };
        let timeout = Self { inner: Arc::new(inner) };
        timeout.reconfigure(options)?;
        Ok(timeout)
    }

    /// Puts other limits in force, for calls and attempts that begin from now on.
    ///
    /// # Errors
    ///
    /// An option is out of its range; the options before stay in force.
    pub fn reconfigure(&self, options: &TimeoutOptions) -> Result<(), InvalidOption> {
        options.check()?;
        let set = |limits: &Limits, mode| {
            let on = options.mode == mode;
            limits.set(options.total.filter(|_| on), options.attempt.filter(|_| on));
        };
        set(&self.inner.enforced, Mode::Enabled);
        set(&self.inner.watched, Mode::MetricsOnly);
        self.inner.options.store(Arc::new(options.clone()));
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> TimeoutOptions {
        TimeoutOptions::clone(&self.inner.options.load())
    }

    /// What it is called.
    pub fn name(&self) -> &Name {
        self.inner.emitter.policy()
    }

    /// What it has done since it was made.
    pub fn stats(&self) -> TimeoutStats {
        let read = |kind: TimeoutKind| self.inner.expired[kind as usize].load(Ordering::Relaxed);
        TimeoutStats {
            attempts: read(TimeoutKind::Attempt),
            totals: read(TimeoutKind::Total),
            deadlines: read(TimeoutKind::Deadline),
        }
    }

    /// How long a call may take with all its attempts and waits, where that is to be enforced.
    #[inline]
    pub fn total(&self) -> Option<Duration> {
        limit(&self.inner.enforced.total)
    }

    /// How long one attempt may take, where that is to be enforced.
    #[inline]
    pub fn attempt(&self) -> Option<Duration> {
        limit(&self.inner.enforced.attempt)
    }

    /// When an attempt, or a call, that begins now is out of time, where that is to be enforced, and else never.
    #[inline]
    pub(crate) fn ends(&self, kind: TimeoutKind, began: Moment) -> Moment {
        let limit = match kind {
            TimeoutKind::Attempt => &self.inner.enforced.attempt,
            TimeoutKind::Total | TimeoutKind::Deadline => &self.inner.enforced.total,
        };
        Moment::from_nanos(began.as_nanos().saturating_add(limit.load(Ordering::Relaxed)))
    }

    /// Counts and tells that a limit has passed. The answer is the result of the attempt, or of the call.
    pub fn expired(&self, kind: TimeoutKind, now: &Reading<'_>, limit: Duration, elapsed: Duration) -> Rejection {
        self.note(kind, now, limit);
        Rejection::new(kind.code(), self.name()).with_context(Context::Elapsed(elapsed))
    }

    /// To be called when an attempt, or a call, that began at `began` has ended: with [`Mode::MetricsOnly`] it counts
    /// and tells if that took too long. In other modes it does nothing and reads no clock.
    #[inline]
    pub fn ended(&self, kind: TimeoutKind, now: &Reading<'_>, began: Moment) {
        let watched = match kind {
            TimeoutKind::Attempt => &self.inner.watched.attempt,
            TimeoutKind::Total => &self.inner.watched.total,
            TimeoutKind::Deadline => return,
        };
        if let Some(limit) = limit(watched)
            && now.moment().since(began) >= limit
        {
            self.note(kind, now, limit);
        }
    }

    fn note(&self, kind: TimeoutKind, now: &Reading<'_>, limit: Duration) {
        self.inner.expired[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.inner.emitter.emit(now, || Happening::TimedOut { limit });
    }
}

impl fmt::Debug for Timeout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Timeout")
            .field("name", self.name())
            .field("options", &self.options())
            .field("stats", &self.stats())
            .finish()
    }
}
