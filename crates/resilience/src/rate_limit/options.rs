//! The options of a rate limiter.

use std::time::Duration;

use crate::clock::nanos;
use crate::error::InvalidOption;
use crate::policy::Mode;

use super::state::{Gcra, Rule};

/// How many calls are admitted in which time. Exactly one algorithm is set.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RateLimitOptions {
    /// Whether it acts. `metrics_only` counts, and rejects nothing. Default `enabled`.
    pub mode: Mode,
    /// A steady rate, and a burst after a pause.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub token_bucket: Option<TokenBucket>,
    /// A steady rate, with calls that wait for their turn.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub leaky_bucket: Option<LeakyBucket>,
    /// So many calls in each window of the clock.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub fixed_window: Option<FixedWindow>,
    /// So many calls in any window.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub sliding_window: Option<SlidingWindow>,
    /// How long a call may wait for tokens of a token bucket: 0 s to 1 h. Default 0 s: it is rejected.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub max_wait: Duration,
    /// How many keys a keyed limiter follows: 1 to 100,000,000. Default 100,000.
    pub max_keys: u32,
}

/// `rate` calls in each `per`, and `burst` at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenBucket {
    /// Calls in each `per`: 1 to 1,000,000,000.
    pub rate: u32,
    /// The time that `rate` is for: 1 ms to 31 days. Default 1 s.
    #[cfg_attr(feature = "serde", serde(default = "second", with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub per: Duration,
    /// Calls at once after a pause: 1 and more. Default: as many as `rate`.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub burst: Option<u32>,
}

/// `rate` calls in each `per`, evenly spread; up to `queue` wait for their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeakyBucket {
    /// Calls in each `per`: 1 to 1,000,000,000.
    pub rate: u32,
    /// The time that `rate` is for: 1 ms to 31 days. Default 1 s.
    #[cfg_attr(feature = "serde", serde(default = "second", with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub per: Duration,
    /// Calls that may wait: 0 and more.
    pub queue: u32,
}

/// `limit` calls in each window. Windows begin at multiples of their length on the policy's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FixedWindow {
    /// Calls in a window: 1 to 4,000,000,000.
    pub limit: u32,
    /// The length of a window: 1 ms to 31 days.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub window: Duration,
}

/// `limit` calls in any window: exactly up to 64 calls, and above that by the count of the current window and the part
/// of the last one that a window ending now would reach into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlidingWindow {
    /// Calls in a window: 1 to 16,000,000.
    pub limit: u32,
    /// The length of a window: 1 ms to 31 days.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub window: Duration,
}

#[cfg(feature = "serde")]
const fn second() -> Duration {
    Duration::from_secs(1)
}

impl Default for RateLimitOptions {
    /// No algorithm: one has to be set.
    fn default() -> Self {
        Self {
            mode: Mode::Enabled,
            token_bucket: None,
            leaky_bucket: None,
            fixed_window: None,
            sliding_window: None,
            max_wait: Duration::ZERO,
            max_keys: 100_000,
        }
    }
}

/// The longest window.
const MONTH: Duration = Duration::from_secs(31 * 24 * 3600);

impl RateLimitOptions {
    /// A steady rate per second, and as many at once after a pause.
    pub fn per_second(rate: u32) -> Self {
        Self::token_bucket(TokenBucket { rate, per: Duration::from_secs(1), burst: None })
    }

    /// A token bucket.
    pub fn token_bucket(bucket: TokenBucket) -> Self {
        Self { token_bucket: Some(bucket), ..Self::default() }
    }

    /// A leaky bucket.
    pub fn leaky_bucket(bucket: LeakyBucket) -> Self {
        Self { leaky_bucket: Some(bucket), ..Self::default() }
    }

    /// A fixed window.
    pub fn fixed_window(window: FixedWindow) -> Self {
        Self { fixed_window: Some(window), ..Self::default() }
    }

    /// A sliding window.
    pub fn sliding_window(window: SlidingWindow) -> Self {
        Self { sliding_window: Some(window), ..Self::default() }
    }

    /// What is to be counted, if the options make sense.
    pub(super) fn rule(&self) -> Result<Rule, InvalidOption> {
        if self.max_wait > Duration::from_secs(3600) {
            return Err(InvalidOption::new("max_wait", "must be at most 1h"));
        }
        if !(1..=100_000_000).contains(&self.max_keys) {
            return Err(InvalidOption::new("max_keys", "must be from 1 to 100000000"));
        }
        match (self.token_bucket, self.leaky_bucket, self.fixed_window, self.sliding_window) {
            (Some(bucket), None, None, None) => bucket.rule(self.max_wait),
            (None, Some(bucket), None, None) => bucket.rule(),
            (None, None, Some(window), None) => window.rule(),
            (None, None, None, Some(window)) => window.rule(),
            (None, None, None, None) => Err(InvalidOption::new(
                "token_bucket",
                "is missing: write one of `token_bucket`, `leaky_bucket`, `fixed_window` and `sliding_window`",
            )),
            _ => Err(InvalidOption::new(
                "token_bucket",
                "must stand alone: write only one of `token_bucket`, `leaky_bucket`, `fixed_window` and `sliding_window`",
            )),
        }
    }
}

fn length(option: &'static str, time: Duration) -> Result<u64, InvalidOption> {
    if time < Duration::from_millis(1) || time > MONTH {
        return Err(InvalidOption::new(option, "must be from 1ms to 31d"));
    }
    Ok(nanos(time))
}

fn calls(option: &'static str, calls: u32, most: u32) -> Result<u32, InvalidOption> {
    if calls == 0 || calls > most {
        return Err(InvalidOption::new(option, format!("must be from 1 to {most}")));
    }
    Ok(calls)
}

impl TokenBucket {
    fn rule(self, max_wait: Duration) -> Result<Rule, InvalidOption> {
        let rate = calls("token_bucket.rate", self.rate, 1_000_000_000)?;
        let per = length("token_bucket.per", self.per)?;
        let burst = calls("token_bucket.burst", self.burst.unwrap_or(rate), u32::MAX)?;
        Gcra::new(rate, per, burst, nanos(max_wait))
            .map(Rule::Gcra)
            .ok_or_else(|| InvalidOption::new("token_bucket.burst", "takes more than 31d to come back at this rate"))
    }
}

impl LeakyBucket {
    fn rule(self) -> Result<Rule, InvalidOption> {
        let rate = calls("leaky_bucket.rate", self.rate, 1_000_000_000)?;
        let per = length("leaky_bucket.per", self.per)?;
        let most = u128::from(per) * u128::from(self.queue) / u128::from(rate);
        u64::try_from(most)
            .ok()
            .filter(|wait| *wait <= nanos(MONTH))
            .and_then(|wait| Gcra::new(rate, per, 1, wait))
            .map(Rule::Gcra)
            .ok_or_else(|| InvalidOption::new("leaky_bucket.queue", "takes more than 31d to empty at this rate"))
    }
}

impl FixedWindow {
    fn rule(self) -> Result<Rule, InvalidOption> {
        let limit = calls("fixed_window.limit", self.limit, 4_000_000_000)?;
        Ok(Rule::Fixed { limit, window: length("fixed_window.window", self.window)? })
    }
}

impl SlidingWindow {
    fn rule(self) -> Result<Rule, InvalidOption> {
        let limit = calls("sliding_window.limit", self.limit, 16_000_000)?;
        Ok(Rule::Sliding { limit, window: length("sliding_window.window", self.window)? })
    }
}
