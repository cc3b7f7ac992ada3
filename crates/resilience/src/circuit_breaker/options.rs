//! The options of a circuit breaker.

use std::time::Duration;

use crate::error::InvalidOption;
use crate::policy::Mode;
use crate::units::Ratio;

/// When a circuit breaker opens, for how long, and how it closes again.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CircuitBreakerOptions {
    /// Whether it acts. `metrics_only` goes through its states and counts, and rejects nothing. Default `enabled`.
    pub mode: Mode,
    /// Failures one after the other that open it: 1 and more, or `off`. A success begins the count anew; an overload
    /// answer (429) neither counts nor does so. Default 5.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<u32>"))]
    pub consecutive_failures: Option<u32>,
    /// The share of failures in the window that opens it, above 0% to 100%, or `off`. Overload answers count. Default
    /// 50%.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<Ratio>"))]
    pub failure_rate: Option<Ratio>,
    /// The share of slow calls in the window that opens it, above 0% to 100%, or `off`. Default `off`.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<Ratio>"))]
    pub slow_call_rate: Option<Ratio>,
    /// From how long on a call is slow: more than 0 s. Only asked where `slow_call_rate` is set. Default 5 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub slow_call: Duration,
    /// Which calls the shares are of. Default the last 10 s: a number of calls that is right for a quiet service is
    /// over in a blink for a busy one.
    pub window: BreakerWindow,
    /// How many calls must be in the window before a share means anything: 1 and more, at most those of a window by
    /// calls. Default 20.
    pub min_calls: u32,
    /// How long it stays open before it probes: 1 ms to 24 h. Default 60 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub open_for: Duration,
    /// How many times as long it stays open each time that it opens again without having closed: 1 to 10. Default 1:
    /// always as long.
    pub open_growth: f64,
    /// The longest that it stays open, not less than `open_for`, at most 24 h. Default 10 min.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub open_max: Duration,
    /// How much of the open time is left to chance, so that many breakers do not probe at once: 10% makes 60 s 54 s to
    /// 66 s. Default 0%.
    pub open_jitter: Ratio,
    /// How many probes there may be at a time: 1 to 1,000. Default 3.
    pub probes: u32,
    /// How many probes must succeed to close it: 1 to 1,000. Default 3.
    pub success_threshold: u32,
    /// How long the probes have until it opens again: 1 ms to 24 h. A probe that never ends holds nothing up for
    /// longer. Default 60 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub half_open_for: Duration,
    /// How long it takes after closing until all calls go through, from a tenth of them at first, or `off`. Default
    /// `off`.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration_or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<crate::units::DurationText>"))]
    pub ramp: Option<Duration>,
}

/// The calls that shares are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum BreakerWindow {
    /// The last so many calls: 1 to 65,536.
    Calls(u32),
    /// The calls of the last while, 10 ms to 24 h, in ten slices.
    Time(
        #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
        Duration,
    ),
}

impl Default for CircuitBreakerOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Enabled,
            consecutive_failures: Some(5),
            failure_rate: Some(Ratio::percent(50)),
            slow_call_rate: None,
            slow_call: Duration::from_secs(5),
            window: BreakerWindow::Time(Duration::from_secs(10)),
            min_calls: 20,
            open_for: Duration::from_secs(60),
            open_growth: 1.0,
            open_max: Duration::from_secs(600),
            open_jitter: Ratio::ZERO,
            probes: 3,
            success_threshold: 3,
            half_open_for: Duration::from_secs(60),
            ramp: None,
        }
    }
}

/// The longest of all times.
const DAY: Duration = Duration::from_secs(24 * 3600);

impl CircuitBreakerOptions {
    pub(super) fn check(&self) -> Result<(), InvalidOption> {
        let wrong = |option, problem: &str| Err(InvalidOption::new(option, problem));
        let outside = |time: Duration| time < Duration::from_millis(1) || time > DAY;
        if self.consecutive_failures == Some(0) {
            return wrong("consecutive_failures", "must be at least 1, or `off`");
        }
        for (option, share) in [("failure_rate", self.failure_rate), ("slow_call_rate", self.slow_call_rate)] {
            if share == Some(Ratio::ZERO) {
                return wrong(option, "must be above 0%, or `off`");
            }
        }
        if self.slow_call.is_zero() {
            return wrong("slow_call", "must be more than 0s");
        }
        match self.window {
            BreakerWindow::Calls(calls) if !(1..=65_536).contains(&calls) => {
                return wrong("window.calls", "must be from 1 to 65536");
            }
            BreakerWindow::Calls(calls) if self.min_calls > calls => {
                return wrong("min_calls", "must be at most the calls of the window, or it never has enough");
            }
            BreakerWindow::Time(time) if time < Duration::from_millis(10) || time > DAY => {
                return wrong("window.time", "must be from 10ms to 24h");
            }
            _ => {}
        }
        if self.min_calls == 0 {
            return wrong("min_calls", "must be at least 1");
        }
        if outside(self.open_for) {
            return wrong("open_for", "must be from 1ms to 24h");
        }
        if !(1.0..=10.0).contains(&self.open_growth) {
            return wrong("open_growth", "must be from 1 to 10");
        }
        if self.open_max < self.open_for || self.open_max > DAY {
            return wrong("open_max", "must be from `open_for` to 24h");
        }
        for (option, number) in [("probes", self.probes), ("success_threshold", self.success_threshold)] {
            if !(1..=1000).contains(&number) {
                return wrong(option, "must be from 1 to 1000");
            }
        }
        if outside(self.half_open_for) {
            return wrong("half_open_for", "must be from 1ms to 24h");
        }
        if self.ramp.is_some_and(outside) {
            return wrong("ramp", "must be from 1ms to 24h, or `off`");
        }
        Ok(())
    }
}
