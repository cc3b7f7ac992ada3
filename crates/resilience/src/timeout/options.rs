//! The options of a timeout.

use std::time::Duration;

use crate::error::InvalidOption;
use crate::policy::Mode;

/// How long a call may take. At least one of the two limits must be set.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimeoutOptions {
    /// Whether it acts. `metrics_only` counts and tells of calls that took too long, and lets them end. Default
    /// `enabled`.
    pub mode: Mode,
    /// How long the call may take with all its attempts and waits, more than 0, or `off`. Default 30 s, as in Polly.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration_or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<crate::units::DurationText>"))]
    pub total: Option<Duration>,
    /// How long one attempt may take, more than 0, or `off`. One that is not shorter than `total` has no effect.
    /// Default `off`.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration_or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<crate::units::DurationText>"))]
    pub attempt: Option<Duration>,
}

impl Default for TimeoutOptions {
    fn default() -> Self {
        Self { mode: Mode::Enabled, total: Some(Duration::from_secs(30)), attempt: None }
    }
}

impl TimeoutOptions {
    pub(super) fn check(&self) -> Result<(), InvalidOption> {
        let zero = |limit: Option<Duration>| limit.is_some_and(|limit| limit.is_zero());
        match (self.total, self.attempt) {
            (None, None) => Err(InvalidOption::new("total", "and `attempt` are both off: one of them must be set")),
            (total, _) if zero(total) => Err(InvalidOption::new("total", "must be more than 0")),
            (_, attempt) if zero(attempt) => Err(InvalidOption::new("attempt", "must be more than 0")),
            _ => Ok(()),
        }
    }
}
