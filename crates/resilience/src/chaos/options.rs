//! The options of chaos.

use std::time::Duration;

use crate::error::InvalidOption;
use crate::policy::Mode;
use crate::units::Ratio;

/// What goes wrong on purpose, how often, for which calls and when.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChaosOptions {
    /// Whether it acts. `metrics_only` counts and tells of the calls that would be hit, and leaves them alone. Default
    /// `disabled`.
    pub mode: Mode,
    /// Calls that begin later than they should, or `off`. Default `off`.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<ChaosLatency>"))]
    pub latency: Option<ChaosLatency>,
    /// Calls that are rejected before they begin, or `off`. A call that is aborted is not delayed too. Default `off`.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<ChaosFault>"))]
    pub abort: Option<ChaosFault>,
    /// Calls that fail where they ask for it ([`Chaos::fault`](crate::Chaos::fault)), or `off`. Default `off`.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<ChaosFault>"))]
    pub fault: Option<ChaosFault>,
    /// Only calls whose key begins so, or `off` for all calls. Default `off`.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<String>"))]
    pub key: Option<String>,
    /// How long after it was switched on the chaos begins. It is switched on when it is made, and again when a new
    /// document changes `mode`, `start` or `end`. Default 0 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub start: Duration,
    /// How long after it was switched on the chaos ends, later than `start`, or `off` for never. Default `off`.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration_or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<crate::units::DurationText>"))]
    pub end: Option<Duration>,
}

impl Default for ChaosOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Disabled,
            latency: None,
            abort: None,
            fault: None,
            key: None,
            start: Duration::ZERO,
            end: None,
        }
    }
}

/// Calls that begin later than they should.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChaosLatency {
    /// The share of calls that are hit. Default 0%.
    pub percentage: Ratio,
    /// How long each waits, 0 s to 1 h. Default 100 ms.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub delay: Duration,
    /// How much longer chance may make that, 0 s to 1 h. Default 0 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub jitter: Duration,
}

impl Default for ChaosLatency {
    fn default() -> Self {
        Self { percentage: Ratio::ZERO, delay: Duration::from_millis(100), jitter: Duration::ZERO }
    }
}

/// Calls that do not end well.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChaosFault {
    /// The share of calls that are hit. Default 0%.
    pub percentage: Ratio,
}

impl Default for ChaosFault {
    fn default() -> Self {
        Self { percentage: Ratio::ZERO }
    }
}

impl ChaosOptions {
    pub(super) fn check(&self) -> Result<(), InvalidOption> {
        const LONGEST: Duration = Duration::from_secs(3600);
        if self.latency.as_ref().is_some_and(|latency| latency.delay > LONGEST) {
            return Err(InvalidOption::new("latency.delay", "must be at most 1h"));
        }
        if self.latency.as_ref().is_some_and(|latency| latency.jitter > LONGEST) {
            return Err(InvalidOption::new("latency.jitter", "must be at most 1h"));
        }
        if self.end.is_some_and(|end| end <= self.start) {
            return Err(InvalidOption::new("end", "must be later than `start`"));
        }
        Ok(())
    }
}
