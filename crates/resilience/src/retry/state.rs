//! The pure core of a retry: whether a call may be tried again, and after which wait.

use std::time::Duration;

use crate::call::Call;
use crate::outcome::{Outcome, RetryAdvice, Verdict};

use super::options::{Backoff, Jitter, Settings};

/// How far one call is with its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryProgress {
    /// Attempts that were begun; none where the retry is switched off.
    pub(super) attempts: u32,
    /// The last wait as the backoff had it, which decorrelated jitter grows from.
    pub(super) waited: Duration,
}

impl RetryProgress {
    /// The progress of a call whose first attempt is about to begin.
    pub(super) const FIRST: Self = Self { attempts: 1, waited: Duration::ZERO };

    /// The progress of a call that will not be tried again.
    pub(super) const OFF: Self = Self { attempts: 0, waited: Duration::ZERO };

    /// Attempts that were begun so far; 0 where the retry is [disabled](crate::Mode::Disabled).
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// A wait as the backoff has it: what is certain, and what chance adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    certain: Duration,
    random: Duration,
}

impl Wait {
    pub(super) const fn exactly(certain: Duration) -> Self {
        Self { certain, random: Duration::ZERO }
    }

    pub(super) const fn total(self) -> Duration {
        self.certain.saturating_add(self.random)
    }

    /// The same, but not shorter than what was asked for. What is random stays on top of it: those who were told the
    /// same time do not come back together.
    pub(super) fn at_least(self, asked: Duration) -> Self {
        Self { certain: self.certain.max(asked), ..self }
    }
}

impl Settings {
    /// Whether this result may be followed by another attempt, as far as its meaning goes.
    pub(super) fn permits(&self, verdict: &Verdict, call: &Call<'_>) -> bool {
        let no_effect = verdict.unprocessed || verdict.outcome == Outcome::Rejected;
        verdict.retry != RetryAdvice::No && (!self.only_idempotent || call.is_idempotent() || no_effect)
    }

    /// The wait after so many attempts, the last of which waited for `last`. `chance` is from 0 up to 1.
    pub(super) fn wait(&self, attempts: u32, last: Duration, chance: f64) -> Wait {
        let full = self.backoff.delay(attempts);
        let certain = match self.jitter {
            Jitter::Full => Duration::ZERO,
            Jitter::Equal => full / 2,
            Jitter::None => full,
            Jitter::Decorrelated => return self.backoff.decorrelated(last, chance),
        };
        Wait { certain, random: (full - certain).mul_f64(chance) }
    }

    /// The wait with what the other side asked for; nothing where that is too long.
    pub(super) fn heed(&self, wait: Wait, advice: RetryAdvice) -> Option<Duration> {
        match advice {
            RetryAdvice::After(asked) if asked > self.retry_after_cap => None,
            RetryAdvice::After(asked) => Some(wait.at_least(asked).total()),
            RetryAdvice::No | RetryAdvice::Backoff => Some(wait.total()),
        }
    }
}

impl Backoff {
    /// The wait after so many attempts, without jitter.
    pub(super) fn delay(&self, attempts: u32) -> Duration {
        let retries_before = attempts.saturating_sub(1);
        match *self {
            Self::Exponential { base, factor, cap } => {
                let growth = factor.powi(i32::try_from(retries_before).unwrap_or(i32::MAX));
                // An error is a wait beyond all durations, or the infinite multiple of zero.
                Duration::try_from_secs_f64(base.as_secs_f64() * growth)
                    .map_or(if base.is_zero() { base } else { cap }, |delay| delay.min(cap))
            }
            Self::Linear { base, step, cap } => base.saturating_add(step.saturating_mul(retries_before)).min(cap),
            Self::Constant { delay } => delay,
        }
    }

    /// `min(cap, random_between(base, last * 3))`, where the first `last` is `base`.
    fn decorrelated(&self, last: Duration, chance: f64) -> Wait {
        let (base, cap) = match *self {
            Self::Exponential { base, cap, .. } | Self::Linear { base, cap, .. } => (base, cap),
            Self::Constant { delay } => (delay, delay),
        };
        let spread = last.max(base).saturating_mul(3) - base;
        Wait { certain: base, random: spread.mul_f64(chance).min(cap - base) }
    }
}
