//! The pure core of chaos: whom it hits, and when.

use std::time::Duration;

use crate::call::Call;
use crate::clock::Moment;
use crate::units::Ratio;

use super::options::{ChaosLatency, ChaosOptions};

/// Checked options, and when they were switched on.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) options: ChaosOptions,
    pub(super) since: Moment,
}

impl Settings {
    /// The settings that follow on these with other options.
    pub(super) fn followed_by(&self, options: &ChaosOptions, now: Moment) -> Self {
        let when = |options: &ChaosOptions| (options.mode, options.start, options.end);
        let since = if when(options) == when(&self.options) { self.since } else { now };
        Self { options: options.clone(), since }
    }

    /// Whether it is time.
    pub(super) fn is_time(&self, now: Moment) -> bool {
        let passed = now.since(self.since);
        passed >= self.options.start && self.options.end.is_none_or(|end| passed < end)
    }

    /// Whether the call has a key that it is for.
    pub(super) fn is_for(&self, call: &Call<'_>) -> bool {
        self.options.key.as_ref().is_none_or(|prefix| call.key_name().is_some_and(|key| key.starts_with(prefix)))
    }
}

/// Whether `chance`, from 0 up to 1, hits this share.
pub(super) fn hits(share: Option<Ratio>, chance: impl FnOnce() -> f64) -> bool {
    share.is_some_and(|share| chance() < share.get())
}

impl ChaosLatency {
    /// How long the wait is for this chance, from 0 up to 1.
    pub(super) fn wait(&self, chance: f64) -> Duration {
        self.delay + self.jitter.mul_f64(chance)
    }
}
