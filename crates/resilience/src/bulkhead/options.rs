//! The options of a bulkhead.

use std::time::Duration;

use crate::error::InvalidOption;
use crate::policy::Mode;

/// How many calls may run at a time, and how many may wait for how long.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BulkheadOptions {
    /// Whether it acts. Default `enabled`.
    ///
    /// With `metrics_only`, calls beyond `max_concurrent` run at once: the first `queue` of them are told of as queued
    /// where they might have waited, and all others counted and told of as rejected. With `disabled`, calls are not
    /// even counted as active. Whoever waits when the mode changes to one of these runs.
    pub mode: Mode,
    /// How many calls run at a time: 1 to 1,000,000. Default 25, as in resilience4j.
    ///
    /// Where it shrinks, calls that run finish, and no other enters until fewer than this run.
    pub max_concurrent: u32,
    /// How many calls wait at a time: 0 to 1,000,000. Default 0: what cannot run at once is rejected.
    ///
    /// Where it shrinks, who waits already goes on waiting.
    pub queue: u32,
    /// How long a call waits, 0 s to 1 h, and never beyond its own deadline. Default 100 ms. It means nothing without
    /// a `queue`.
    ///
    /// Where it changes, who waits already waits as long as was said at first.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub max_wait: Duration,
}

impl Default for BulkheadOptions {
    fn default() -> Self {
        Self { mode: Mode::Enabled, max_concurrent: 25, queue: 0, max_wait: Duration::from_millis(100) }
    }
}

/// The most calls that may run, and that may wait.
const MOST: u32 = 1_000_000;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Checked options.
#[derive(Debug)]
pub(super) struct Settings(BulkheadOptions);

impl std::ops::Deref for Settings {
    type Target = BulkheadOptions;

    fn deref(&self) -> &BulkheadOptions {
        &self.0
    }
}

impl Settings {
    /// Whether a call may ever wait.
    pub(super) fn queues(&self) -> bool {
        self.queue > 0 && self.max_wait > Duration::ZERO
    }
}

impl TryFrom<&BulkheadOptions> for Settings {
    type Error = InvalidOption;

    fn try_from(options: &BulkheadOptions) -> Result<Self, InvalidOption> {
        if !(1..=MOST).contains(&options.max_concurrent) {
            return Err(InvalidOption::new("max_concurrent", "must be from 1 to 1000000"));
        }
        if options.queue > MOST {
            return Err(InvalidOption::new("queue", "must be at most 1000000"));
        }
        if options.max_wait > LONGEST {
            return Err(InvalidOption::new("max_wait", "must be at most 1h"));
        }
        Ok(Self(options.clone()))
    }
}
