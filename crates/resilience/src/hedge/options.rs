//! The options of a hedge.

use std::time::Duration;

use crate::budget::RetryBudgetOptions;
use crate::error::InvalidOption;
use crate::policy::Mode;
use crate::units::Ratio;

/// When copies of a slow call are started, and how many.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HedgeOptions {
    /// Whether it acts. `metrics_only` learns latencies, takes from its budget and tells of the copies that would be
    /// started, and starts none. Default `enabled`.
    pub mode: Mode,
    /// How long a call, and then each copy, has time to answer before the next copy starts: 0 s to 1 h. Where
    /// `percentile` is set, it is used until enough latencies are known. Default 1 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub delay: Duration,
    /// The share of recent calls that are quicker than the delay, 1% to 99.9%, or `off` for always `delay`. It is
    /// learnt from the last 1000 to 2000 calls, from the 100th on, and at most an eighth too long. Default 95%.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<Ratio>"))]
    pub percentile: Option<Ratio>,
    /// How many copies there may be beside the original: 1 to 10. Default 1.
    pub max: u32,
    /// How many copies there may be beside the original calls, or `off`. Together with a retry, its budget counts
    /// instead. Default 20% and 3 per second.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<RetryBudgetOptions>"))]
    pub budget: Option<RetryBudgetOptions>,
}

impl Default for HedgeOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Enabled,
            delay: Duration::from_secs(1),
            percentile: Some(Ratio::percent(95)),
            max: 1,
            budget: Some(RetryBudgetOptions::default()),
        }
    }
}

impl HedgeOptions {
    pub(super) fn check(&self) -> Result<(), InvalidOption> {
        if self.delay > Duration::from_secs(3600) {
            return Err(InvalidOption::new("delay", "must be at most 1h"));
        }
        if self.percentile.is_some_and(|share| !(0.01..=0.999).contains(&share.get())) {
            return Err(InvalidOption::new("percentile", "must be from 1% to 99.9%"));
        }
        if !(1..=10).contains(&self.max) {
            return Err(InvalidOption::new("max", "must be from 1 to 10"));
        }
        Ok(())
    }
}
