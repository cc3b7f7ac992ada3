//! A fallback.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Clock, Reading};
use crate::error::{Code, Error};
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::policy::{Environment, Mode};

/// Something else in the place of an error. Cheap to clone: clones share their figures.
///
/// ```
/// use tidegate_resilience::{Code, Error, Fallback, Name, Rejection};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let fallback = Fallback::value("stale prices", vec![100]).on(&[Code::BreakerOpen, Code::BulkheadFull]);
/// let open = Error::<String>::from(Rejection::new(Code::BreakerOpen, &Name::from("prices")));
/// assert_eq!(fallback.apply(Err(open)).await, Ok(vec![100]));
///
/// let failed = Error::Call("no such product".to_owned());
/// assert_eq!(fallback.apply(Err(failed.clone())).await, Err(failed));
/// # }
/// ```
pub struct Fallback<T, E> {
    source: Source<T, E>,
    conditions: Vec<Condition<E>>,
    mode: Mode,
    clock: Clock,
    emitter: Emitter,
    figures: Arc<Figures>,
}

enum Source<T, E> {
    Made(Arc<Made<T, E>>),
    Called(Arc<Called<T, E>>),
}

type Made<T, E> = dyn Fn(&Error<E>) -> T + Send + Sync;
type Called<T, E> = dyn Fn(Error<E>) -> Answer<T, E> + Send + Sync;
type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, Error<E>>> + Send>>;

enum Condition<E> {
    Codes(Arc<[Code]>),
    When(Arc<When<E>>),
}

type When<E> = dyn Fn(&Error<E>) -> bool + Send + Sync;

impl<E> Condition<E> {
    fn holds(&self, error: &Error<E>) -> bool {
        match self {
            Self::Codes(codes) => error.rejection().is_some_and(|rejection| codes.contains(&rejection.code())),
            Self::When(condition) => condition(error),
        }
    }
}

#[derive(Default)]
struct Figures {
    used: AtomicU64,
    failed: AtomicU64,
}

/// What a fallback has done since it was made. With [`Mode::MetricsOnly`]: what it would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FallbackStats {
    /// Errors that something else took the place of, or was to.
    pub used: u64,
    /// How often the other call failed too.
    pub failed: u64,
}

impl<T, E> Fallback<T, E> {
    /// A fallback to a value.
    pub fn value(name: impl Into<Name>, value: T) -> Self
    where
        T: Clone + Send + Sync + 'static,
    {
        Self::with(name, move |_| value.clone())
    }

    /// A fallback to what `make` makes of the error.
    pub fn with(name: impl Into<Name>, make: impl Fn(&Error<E>) -> T + Send + Sync + 'static) -> Self {
        Self::from_source(&name.into(), Source::Made(Arc::new(make)))
    }

    /// A fallback to another call, which may fail too; its error is then the result.
    pub fn call<F>(name: impl Into<Name>, call: impl Fn(Error<E>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, Error<E>>> + Send + 'static,
    {
        Self::from_source(&name.into(), Source::Called(Arc::new(move |error| Box::pin(call(error)))))
    }

    fn from_source(name: &Name, source: Source<T, E>) -> Self {
        Self {
            source,
            conditions: Vec::new(),
            mode: Mode::Enabled,
            clock: Clock::default(),
            emitter: Environment::default().emitter(name),
            figures: Arc::default(),
        }
    }

    /// The same for rejections with one of these codes. Without any `on` or `when` it is for every error, with several
    /// of them for errors that any of them names.
    #[must_use]
    pub fn on(mut self, codes: &[Code]) -> Self {
        self.conditions.push(Condition::Codes(codes.into()));
        self
    }

    /// The same for errors of which this is true.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&Error<E>) -> bool + Send + Sync + 'static) -> Self {
        self.conditions.push(Condition::When(Arc::new(condition)));
        self
    }

    /// The same in this mode. `MetricsOnly` counts and tells, and leaves every error as it is.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The same in this environment.
    #[must_use]
    pub fn in_environment(mut self, environment: &Environment) -> Self {
        self.emitter = environment.emitter(self.emitter.policy());
        self.clock = environment.clock.clone();
        self
    }

    /// What it is called.
    pub fn name(&self) -> &Name {
        self.emitter.policy()
    }

    /// What it has done since it was made.
    pub fn stats(&self) -> FallbackStats {
        FallbackStats {
            used: self.figures.used.load(Ordering::Relaxed),
            failed: self.figures.failed.load(Ordering::Relaxed),
        }
    }

    /// Whether it would take the place of this error.
    pub fn covers(&self, error: &Error<E>) -> bool {
        self.mode != Mode::Disabled
            && (self.conditions.is_empty() || self.conditions.iter().any(|condition| condition.holds(error)))
    }

    /// The result, or what takes its place. Safe to cancel.
    ///
    /// # Errors
    ///
    /// The error, where the fallback is not for it; that of the other call, where there is one and it fails.
    pub async fn apply(&self, result: Result<T, Error<E>>) -> Result<T, Error<E>> {
        let error = match result {
            Err(error) if self.covers(&error) => error,
            other => return other,
        };
        self.figures.used.fetch_add(1, Ordering::Relaxed);
        self.emitter.emit(&Reading::of(&self.clock), || Happening::FallbackUsed);
        match &self.source {
            _ if self.mode == Mode::MetricsOnly => Err(error),
            Source::Made(make) => Ok(make(&error)),
            Source::Called(call) => call(error).await.inspect_err(|_| {
                self.figures.failed.fetch_add(1, Ordering::Relaxed);
            }),
        }
    }
}

impl<T, E> Clone for Fallback<T, E> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            conditions: self.conditions.clone(),
            mode: self.mode,
            clock: self.clock.clone(),
            emitter: self.emitter.clone(),
            figures: Arc::clone(&self.figures),
        }
    }
}

impl<T, E> Clone for Source<T, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Made(make) => Self::Made(Arc::clone(make)),
            Self::Called(call) => Self::Called(Arc::clone(call)),
        }
    }
}

impl<E> Clone for Condition<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Codes(codes) => Self::Codes(Arc::clone(codes)),
            Self::When(condition) => Self::When(Arc::clone(condition)),
        }
    }
}

impl<T, E> fmt::Debug for Fallback<T, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Fallback")
            .field("name", self.name())
            .field("mode", &self.mode)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
