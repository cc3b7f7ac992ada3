//! What came of a call, in the few words that policies decide by.
//!
//! A policy never looks into the result of a call. A [`Classify`] reads it once and says, as a [`Verdict`], what it
//! means and whether another attempt may help.

use std::time::Duration;

/// How a call ended, as far as the policies around it are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did what it should.
    Success,
    /// It failed in a way that speaks against what was called.
    Failure,
    /// What was called said that it has too much to do (HTTP 429, gRPC `RESOURCE_EXHAUSTED`). It counts to the failure
    /// rate of a circuit breaker, not to its consecutive failures; it fails a probe; an adaptive limit shrinks.
    Overload,
    /// It failed in a way that says nothing about what was called: a bad request, something not found.
    Ignored,
    /// Nobody waited for its end: the future was dropped.
    Cancelled,
    /// It never began, because a policy further in rejected it. What was taken for it is given back.
    Rejected,
}

/// Whether another attempt may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryAdvice {
    /// It would end the same way, or do harm.
    No,
    /// After the usual delay.
    Backoff,
    /// Not before so much time has passed; what was called has said so (`Retry-After`).
    After(Duration),
}

/// What a result means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// How the call ended.
    pub outcome: Outcome,
    /// Whether another attempt may help. Never asked for a [`Outcome::Success`].
    pub retry: RetryAdvice,
    /// Whether the attempt surely had no effect, because it ended before what was called began to act on it: the
    /// connection was never made, or the other side refused it unprocessed (RFC 9113 section 8.7). Such an attempt may
    /// be followed by another even where running twice does harm. False where nobody knows.
    pub unprocessed: bool,
}

impl Verdict {
    /// The call did what it should.
    pub const SUCCESS: Self = Self::new(Outcome::Success, RetryAdvice::No);

    /// A failure that another attempt may get around.
    pub const TRANSIENT: Self = Self::new(Outcome::Failure, RetryAdvice::Backoff);

    /// A failure that another attempt would repeat.
    pub const PERMANENT: Self = Self::new(Outcome::Failure, RetryAdvice::No);

    /// The caller's own mistake: no policy acts on it.
    pub const IGNORED: Self = Self::new(Outcome::Ignored, RetryAdvice::No);

    /// An outcome with its advice.
    pub const fn new(outcome: Outcome, retry: RetryAdvice) -> Self {
        Self { outcome, retry, unprocessed: false }
    }

    /// The same for an attempt that surely had no effect.
    #[must_use]
    pub const fn unprocessed(mut self) -> Self {
        self.unprocessed = true;
        self
    }

    /// An overload, with the time after which to come back if it was said.
    pub const fn overload(retry_after: Option<Duration>) -> Self {
        let retry = match retry_after {
            Some(time) => RetryAdvice::After(time),
            None => RetryAdvice::Backoff,
        };
        Self::new(Outcome::Overload, retry)
    }
}

/// Reads the result of a call. Every `Fn(&Result<T, E>) -> Verdict` is one.
///
/// ```
/// use tidegate_resilience::{Classify, Verdict};
///
/// let by_status = |result: &Result<u16, std::io::Error>| match result {
///     Ok(429) => Verdict::overload(None),
///     Ok(500..) => Verdict::TRANSIENT,
///     Ok(400..) => Verdict::IGNORED,
///     Ok(_) => Verdict::SUCCESS,
///     Err(_) => Verdict::TRANSIENT,
/// };
/// assert_eq!(by_status.classify(&Ok(503)), Verdict::TRANSIENT);
/// ```
pub trait Classify<T, E> {
    /// What `result` means. It must be quick: it runs once for every attempt.
    fn classify(&self, result: &Result<T, E>) -> Verdict;
}

impl<T, E, F: Fn(&Result<T, E>) -> Verdict> Classify<T, E> for F {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        self(result)
    }
}

/// The classification where none is given: `Ok` is a success, and every `Err` a failure that may be tried again.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByResult;

impl<T, E> Classify<T, E> for ByResult {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(_) => Verdict::SUCCESS,
            Err(_) => Verdict::TRANSIENT,
        }
    }
}
