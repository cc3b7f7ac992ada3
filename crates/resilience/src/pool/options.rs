//! The options of a pool.

use std::time::Duration;

use crate::clock::{Moment, nanos};
use crate::error::InvalidOption;

/// Which of the idle resources is handed out first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PoolOrder {
    /// The one that came back last. What is not needed stays idle, and goes after `idle_timeout`.
    #[default]
    Lifo,
    /// The one that has been idle for longest. All take turns, and none is left to be closed by the other side.
    Fifo,
}

/// How many resources there are, for how long, and who waits for them.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PoolOptions {
    /// How many resources are kept: 1 to 1,000,000. Default 10, as in HikariCP. They are made when they are needed.
    ///
    /// Where it shrinks, surplus idle resources are closed at once and surplus busy ones when they come back.
    pub size: u32,
    /// How many more are made while all of `size` are busy: 0 to 1,000,000. Default 0. Such a resource is closed when
    /// it comes back and nobody waits for it, as in poolboy.
    pub overflow: u32,
    /// How many resources are to be idle while there are fewer than `size`: 0 to `size`. Default 0. Each
    /// [pass of maintenance](crate::Pool::maintain) makes what is missing, and none closes them for being idle.
    pub min_idle: u32,
    /// How long a resource lives at most, or `off`. Default 30 min, as in HikariCP and bb8. A busy one is closed when it
    /// comes back.
    ///
    /// The life of each is up to a tenth shorter, by chance: what was made together does not end together.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration_or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<crate::units::DurationText>"))]
    pub max_lifetime: Option<Duration>,
    /// How long a resource beyond `min_idle` is idle at most, or `off`. Default 10 min, as in HikariCP and bb8.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration_or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<crate::units::DurationText>"))]
    pub idle_timeout: Option<Duration>,
    /// Which of the idle resources is handed out first: `lifo` (default) or `fifo`. Who waits is always served first
    /// come, first served.
    pub order: PoolOrder,
    /// How many callers wait at a time: 0 to 1,000,000. Default 1,000. Further ones are rejected at once.
    ///
    /// Where it shrinks, who waits already goes on waiting.
    pub queue: u32,
    /// How long a caller waits for a resource or a place for one, 0 s to 1 h, and never beyond its own deadline. Default
    /// 5 s, as in poolboy. Making and checking a resource come on top of it. With 0 s nobody waits.
    ///
    /// Where it changes, who waits already waits as long as was said at first.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub max_wait: Duration,
    /// Whether a resource that was used before is [checked](crate::Manage::check) before it is handed out. Default no: a
    /// check is often a round trip, and each pass of maintenance checks what is idle.
    pub check_on_checkout: bool,
    /// How long making a resource may take, and how long checking one: 1 ms to 1 h, and for a caller never beyond its own
    /// deadline. Default 5 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub connect_timeout: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            size: 10,
            overflow: 0,
            min_idle: 0,
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            order: PoolOrder::Lifo,
            queue: 1_000,
            max_wait: Duration::from_secs(5),
            check_on_checkout: false,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// The most resources, the most beyond them, and the most callers that wait.
const MOST: u32 = 1_000_000;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct Settings(PoolOptions);

impl std::ops::Deref for Settings {
    type Target = PoolOptions;

    fn deref(&self) -> &PoolOptions {
        &self.0
    }
}

impl Settings {
    /// The most resources that there may be at a time.
    pub(super) fn limit(&self) -> u32 {
        self.size + self.overflow
    }

    /// How many callers may wait at a time.
    pub(super) fn room(&self) -> u32 {
        if self.max_wait.is_zero() { 0 } else { self.queue }
    }

    /// Whether a resource made at `born` has lived for as long as it may, or as long as that less `spread` of [`SPREAD`]
    /// parts of a tenth.
    pub(super) fn is_too_old(&self, born: Moment, spread: u32, now: Moment) -> bool {
        self.max_lifetime.map(nanos).is_some_and(|most| {
            // Divided first, so that it cannot overflow; what the rounding loses is below 3 microseconds.
            let cut = most / (10 * u64::from(SPREAD)) * u64::from(spread);
            now >= born.after(Duration::from_nanos(most - cut))
        })
    }

    /// Whether a resource that is idle since then has been so for as long as it may.
    pub(super) fn is_too_idle(&self, since: Moment, now: Moment) -> bool {
        self.idle_timeout.is_some_and(|most| now >= since.after(most))
    }
}

/// The parts that a tenth of a lifetime is divided into.
pub(super) const SPREAD: u32 = 256;

impl TryFrom<&PoolOptions> for Settings {
    type Error = InvalidOption;

    fn try_from(options: &PoolOptions) -> Result<Self, InvalidOption> {
        let zero = |time: Option<Duration>| time.is_some_and(|time| time.is_zero());
        let problem = if !(1..=MOST).contains(&options.size) {
            ("size", "must be from 1 to 1000000")
        } else if options.overflow > MOST {
            ("overflow", "must be at most 1000000")
        } else if options.min_idle > options.size {
            ("min_idle", "must be at most `size`")
        } else if zero(options.max_lifetime) {
            ("max_lifetime", "must be more than 0s, or `off`")
        } else if zero(options.idle_timeout) {
            ("idle_timeout", "must be more than 0s, or `off`")
        } else if options.queue > MOST {
            ("queue", "must be at most 1000000")
        } else if options.max_wait > LONGEST {
            ("max_wait", "must be at most 1h")
        } else if !(Duration::from_millis(1)..=LONGEST).contains(&options.connect_timeout) {
            ("connect_timeout", "must be from 1ms to 1h")
        } else {
            return Ok(Self(options.clone()));
        };
        Err(InvalidOption::new(problem.0, problem.1))
    }
}
