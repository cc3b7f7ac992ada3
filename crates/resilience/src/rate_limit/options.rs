//! The options of rate limiters.

use std::time::Duration;

use crate::clock::nanos;
use crate::error::InvalidOption;
use crate::policy::Mode;

/// How many calls are admitted in a time: in all, or for each key.
///
/// Exactly one of `token_bucket`, `sliding_window`, `fixed_window` and `leaky_bucket` must be set.
///
/// ```
/// use std::time::Duration;
/// use tidegate_resilience::{RateLimitOptions, TokenBucket};
///
/// let bucket = TokenBucket { rate: 100, per: Duration::from_secs(1), burst: Some(20) };
/// let options = RateLimitOptions { max_keys: 10_000, ..RateLimitOptions::token_bucket(bucket) };
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RateLimitOptions {
    /// Whether it acts. Default `enabled`.
    ///
    /// With `metrics_only`, calls that would be rejected, or would wait, run at once; the first are counted and told of
    /// as denied. With `disabled`, nothing is counted.
    pub mode: Mode,
    /// A steady rate, with a burst after a pause.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub token_bucket: Option<TokenBucket>,
    /// So many in any stretch of time of this length.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub sliding_window: Option<SlidingWindow>,
    /// So many between one beat of a clock and the next.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub fixed_window: Option<FixedWindow>,
    /// One after the other, at a steady pace; who comes too early waits.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub leaky_bucket: Option<LeakyBucket>,
    /// How long a call waits for the tokens of a `token_bucket`, 0 s to 1 h, and never beyond its own deadline. Default
    /// 0 s: what the bucket does not hold is rejected. Who may wait is served in the order of arrival. With another
    /// algorithm it must be 0 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub max_wait: Duration,
    /// How many keys a limiter by key follows: 1 to 100,000,000. Default 100,000. A limiter without keys ignores it.
    ///
    /// The keys are spread over shards of equal size, so that the first newcomer may find its shard full when a little
    /// less than so many keys are followed. See [`KeyedRateLimiter`](crate::KeyedRateLimiter) for what happens then.
    pub max_keys: u32,
}

/// Tokens flow into a bucket at a steady rate until it is full, and every call takes as many as it costs. Computed by
/// the generic cell rate algorithm (ITU-T I.371), so that a bucket is one number.
///
/// Rates hold exactly, whatever the fraction of a nanosecond between two tokens. Where `rate` and `per` have so little in
/// common, and `burst` or `max_wait` are so large, that this cannot be, the rate is a little lower: up to a million calls
/// a second, by less than one part in a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenBucket {
    /// How many tokens flow in during `per`: 1 to 1,000,000,000, and not more than one in a nanosecond.
    pub rate: u32,
    /// The time that `rate` is for: 1 ms to 100 days. Default 1 s.
    #[cfg_attr(feature = "serde", serde(default = "one_second", with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub per: Duration,
    /// How many tokens the bucket holds: 1 to 1,000,000,000. Default as many as `rate`. An empty bucket must be full
    /// again within 100 days.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub burst: Option<u32>,
}

/// At most `limit` in any stretch of time of the length `window`.
///
/// Up to a limit of 64, the time of every call is kept, which is exact and takes 8 bytes for each. Beyond that, calls are
/// counted from one beat to the next, and those of the last window count by the share of it that still lies in the
/// sliding one, as if they had been spread evenly; where they were not, up to twice the limit may fall into one window,
/// but never more than `limit` + `limit` × *time* / `window` into any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlidingWindow {
    /// How many: 1 to 4,000,000.
    pub limit: u32,
    /// In how much time: 1 ms to 100 days.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub window: Duration,
}

/// At most `limit` in each of the windows that follow one another. They begin at multiples of their length on the clock of
/// the limiter. Up to twice as many may come together where two of them meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FixedWindow {
    /// How many: 1 to 4,000,000,000.
    pub limit: u32,
    /// The length of a window: 1 ms to 100 days.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub window: Duration,
}

/// Calls go through one after the other, at a steady rate. Who comes too early waits in a queue, in the order of arrival;
/// who finds no place in it is rejected. A call that costs more keeps those behind it waiting for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeakyBucket {
    /// How many go through during `per`: 1 to 1,000,000,000, and not more than one in a nanosecond.
    pub rate: u32,
    /// The time that `rate` is for: 1 ms to 100 days. Default 1 s.
    #[cfg_attr(feature = "serde", serde(default = "one_second", with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub per: Duration,
    /// How many may wait: 0 to 1,000,000,000. Default 100. None waits longer than `queue` × `per` / `rate`, which must be
    /// within 100 days, nor beyond its own deadline.
    #[cfg_attr(feature = "serde", serde(default = "a_hundred"))]
    pub queue: u32,
}

impl Default for RateLimitOptions {
    /// All but the limit itself, for which there is no default.
    fn default() -> Self {
        Self {
            mode: Mode::Enabled,
            token_bucket: None,
            sliding_window: None,
            fixed_window: None,
            leaky_bucket: None,
            max_wait: Duration::ZERO,
            max_keys: 100_000,
        }
    }
}

impl RateLimitOptions {
    /// A token bucket for so many calls a second, all of them at once after a pause.
    pub fn per_second(rate: u32) -> Self {
        Self::token_bucket(TokenBucket { rate, per: one_second(), burst: None })
    }

    /// A token bucket, which makes no call wait.
    pub fn token_bucket(bucket: TokenBucket) -> Self {
        Self { token_bucket: Some(bucket), ..Self::default() }
    }

    /// A sliding window.
    pub fn sliding_window(window: SlidingWindow) -> Self {
        Self { sliding_window: Some(window), ..Self::default() }
    }

    /// A fixed window.
    pub fn fixed_window(window: FixedWindow) -> Self {
        Self { fixed_window: Some(window), ..Self::default() }
    }

    /// A leaky bucket.
    pub fn leaky_bucket(bucket: LeakyBucket) -> Self {
        Self { leaky_bucket: Some(bucket), ..Self::default() }
    }
}

const fn one_second() -> Duration {
    Duration::from_secs(1)
}

#[cfg(feature = "serde")]
const fn a_hundred() -> u32 {
    100
}

/// The most of anything that flows.
const MOST: u32 = 1_000_000_000;

/// The most in a fixed window.
const MOST_FIXED: u32 = 4_000_000_000;

/// The most in a sliding window: 22 bits in the state of a key.
const MOST_SLIDING: u32 = 4_000_000;

/// Up to so many in a sliding window, every one is remembered.
const MOST_REMEMBERED: u32 = 64;

/// The most keys.
const MOST_KEYS: u32 = 100_000_000;

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(100 * 86_400);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Checked options.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) limit: Limit,
    pub(super) max_keys: u32,
}

/// A limit within its ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Tokens {
        pace: Pace,
        burst: u32,
        max_wait: u64,
    },
    Leaky {
        pace: Pace,
        queue: u32,
    },
    Fixed {
        limit: u32,
        window: u64,
    },
    /// A sliding window that counts by shares.
    Weighted {
        limit: u32,
        window: u64,
    },
    /// A sliding window that remembers every call.
    Exact {
        limit: u32,
        window: u64,
    },
}

/// So many in so many nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) rate: u32,
    pub(super) per: u64,
}

impl TryFrom<&RateLimitOptions> for Settings {
    type Error = InvalidOption;

    fn try_from(options: &RateLimitOptions) -> Result<Self, InvalidOption> {
        let limits = [
            options.token_bucket.map(|bucket| bucket.checked(options.max_wait)),
            options.sliding_window.map(SlidingWindow::checked),
            options.fixed_window.map(FixedWindow::checked),
            options.leaky_bucket.map(LeakyBucket::checked),
        ];
        let mut limits = limits.into_iter().flatten();
        let (Some(limit), None) = (limits.next(), limits.next()) else {
            let problem = "must be set, or `sliding_window`, `fixed_window` or `leaky_bucket`: exactly one of the four";
            return Err(InvalidOption::new("token_bucket", problem));
        };
        if options.token_bucket.is_none() && options.max_wait > Duration::ZERO {
            return Err(InvalidOption::new("max_wait", "is only for a `token_bucket`"));
        }
        within("max_keys", options.max_keys, 1..=MOST_KEYS)?;
        Ok(Self { mode: options.mode, limit: limit?, max_keys: options.max_keys })
    }
}

impl TokenBucket {
    fn checked(self, max_wait: Duration) -> Result<Limit, InvalidOption> {
        within("token_bucket.rate", self.rate, 1..=MOST)?;
        let per = time("token_bucket.per", self.per)?;
        let burst = self.burst.unwrap_or(self.rate);
        within("token_bucket.burst", burst, 1..=MOST)?;
        if max_wait > LONGEST_WAIT {
            return Err(InvalidOption::new("max_wait", "must be at most 1h"));
        }
        let pace = Pace { rate: self.rate, per }.checked("token_bucket.rate")?;
        pace.drains("token_bucket.burst", burst)?;
        Ok(Limit::Tokens { pace, burst, max_wait: nanos(max_wait) })
    }
}

impl LeakyBucket {
    fn checked(self) -> Result<Limit, InvalidOption> {
        within("leaky_bucket.rate", self.rate, 1..=MOST)?;
        let per = time("leaky_bucket.per", self.per)?;
        within("leaky_bucket.queue", self.queue, 0..=MOST)?;
        let pace = Pace { rate: self.rate, per }.checked("leaky_bucket.rate")?;
        pace.drains("leaky_bucket.queue", self.queue + 1)?;
        Ok(Limit::Leaky { pace, queue: self.queue })
    }
}

impl FixedWindow {
    fn checked(self) -> Result<Limit, InvalidOption> {
        within("fixed_window.limit", self.limit, 1..=MOST_FIXED)?;
        Ok(Limit::Fixed { limit: self.limit, window: time("fixed_window.window", self.window)? })
    }
}

impl SlidingWindow {
    fn checked(self) -> Result<Limit, InvalidOption> {
        within("sliding_window.limit", self.limit, 1..=MOST_SLIDING)?;
        let (limit, window) = (self.limit, time("sliding_window.window", self.window)?);
        Ok(if limit <= MOST_REMEMBERED { Limit::Exact { limit, window } } else { Limit::Weighted { limit, window } })
    }
}

impl Pace {
    fn checked(self, option: &'static str) -> Result<Self, InvalidOption> {
        match u64::from(self.rate) <= self.per {
            true => Ok(self),
            false => Err(InvalidOption::new(option, "must be at most one in a nanosecond")),
        }
    }

    /// Checks that so many are through in a time that can be computed with.
    fn drains(self, option: &'static str, count: u32) -> Result<(), InvalidOption> {
        let time = u128::from(count) * u128::from(self.per) / u128::from(self.rate);
        match time <= LONGEST.as_nanos() {
            true => Ok(()),
            false => Err(InvalidOption::new(option, "is so large that the rate needs more than 100 days for it")),
        }
    }
}

fn within(option: &'static str, value: u32, range: std::ops::RangeInclusive<u32>) -> Result<(), InvalidOption> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(InvalidOption::new(option, format!("must be from {} to {}", range.start(), range.end()))),
    }
}

/// The nanoseconds of a time that is neither too short nor too long.
fn time(option: &'static str, time: Duration) -> Result<u64, InvalidOption> {
    match (SHORTEST..=LONGEST).contains(&time) {
        true => Ok(nanos(time)),
        false => Err(InvalidOption::new(option, "must be from 1ms to 100d")),
    }
}
