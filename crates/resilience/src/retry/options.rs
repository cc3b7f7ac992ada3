//! The options of a retry.

use std::time::Duration;

use crate::budget::RetryBudgetOptions;
use crate::error::InvalidOption;
use crate::policy::Mode;

/// When and how often a failed call is tried again.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RetryOptions {
    /// Whether it acts. `metrics_only` decides, takes from its budget and tells of the retries that would be made, and
    /// makes none. Default `enabled`.
    pub mode: Mode,
    /// How many attempts there are in all, with the first: 1 to 100. Default 3.
    pub attempts: u32,
    /// How long each retry waits. Default exponential: 100 ms, 200 ms, 400 ms and so on, at most 10 s.
    pub backoff: Backoff,
    /// How much of the wait is left to chance, so that calls that failed together do not come back together. Default
    /// `full`.
    pub jitter: Jitter,
    /// The longest time that the other side may ask this call to wait (`Retry-After`), 0 s to 24 h. The time is waited
    /// in full, and then what chance adds. Where more is asked for, the result is final at once: coming back too early
    /// helps nobody. Default 30 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub retry_after_cap: Duration,
    /// Whether a call that is not [idempotent](crate::Call::idempotent) is tried again only where the attempt surely
    /// had no effect: a policy further in rejected it before it began, or its
    /// [verdict](crate::Verdict::unprocessed) says so (RFC 9110 section 9.2.2). An answer such as 429 alone is no proof
    /// of that. Default `false`: what may be tried again is what the classification says.
    pub only_idempotent: bool,
    /// How many retries there may be beside the original calls, or `off`. Default 20% and 3 per second.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<RetryBudgetOptions>"))]
    pub budget: Option<RetryBudgetOptions>,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Enabled,
            attempts: 3,
            backoff: Backoff::default(),
            jitter: Jitter::Full,
            retry_after_cap: Duration::from_secs(30),
            only_idempotent: false,
            budget: Some(RetryBudgetOptions::default()),
        }
    }
}

/// How the wait grows from retry to retry, before [`Jitter`]. Durations are from 0 s to 24 h.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "strategy", rename_all = "snake_case", deny_unknown_fields)
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Backoff {
    /// `base`, and `factor` times as long with every retry.
    Exponential {
        /// The wait before the first retry. Default 100 ms.
        #[cfg_attr(feature = "serde", serde(default = "default_base", with = "crate::units::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
        base: Duration,
        /// How much longer each wait is than the one before: 1 to 100. Default 2.
        #[cfg_attr(feature = "serde", serde(default = "default_factor"))]
        factor: f64,
        /// The longest wait, not less than `base`. Default 10 s.
        #[cfg_attr(feature = "serde", serde(default = "default_cap", with = "crate::units::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
        cap: Duration,
    },
    /// `base`, and `step` more with every retry.
    Linear {
        /// The wait before the first retry. Default 100 ms.
        #[cfg_attr(feature = "serde", serde(default = "default_base", with = "crate::units::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
        base: Duration,
        /// What each wait adds to the one before. Default 100 ms.
        #[cfg_attr(feature = "serde", serde(default = "default_base", with = "crate::units::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
        step: Duration,
        /// The longest wait, not less than `base`. Default 10 s.
        #[cfg_attr(feature = "serde", serde(default = "default_cap", with = "crate::units::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
        cap: Duration,
    },
    /// Always the same.
    Constant {
        /// The wait. Default 100 ms.
        #[cfg_attr(feature = "serde", serde(default = "default_base", with = "crate::units::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
        delay: Duration,
    },
}

impl Default for Backoff {
    fn default() -> Self {
        Self::Exponential { base: default_base(), factor: default_factor(), cap: default_cap() }
    }
}

const fn default_base() -> Duration {
    Duration::from_millis(100)
}

const fn default_factor() -> f64 {
    2.0
}

const fn default_cap() -> Duration {
    Duration::from_secs(10)
}

/// Reads the options of all strategies at once: what serde derives for them does not know which option a mistake is in.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Backoff {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Strategy {
            Exponential,
            Linear,
            Constant,
        }

        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            strategy: Strategy,
            #[serde(default, deserialize_with = "crate::units::some_duration")]
            base: Option<Duration>,
            #[serde(default, deserialize_with = "crate::units::some")]
            factor: Option<f64>,
            #[serde(default, deserialize_with = "crate::units::some_duration")]
            step: Option<Duration>,
            #[serde(default, deserialize_with = "crate::units::some_duration")]
            cap: Option<Duration>,
            #[serde(default, deserialize_with = "crate::units::some_duration")]
            delay: Option<Duration>,
        }

        let Written { strategy, base, factor, step, cap, delay } = Written::deserialize(deserializer)?;
        let foreign = |strategy, options: &[(&str, bool)]| crate::units::foreign::<D::Error>(strategy, options);
        let (own_base, own_cap) = (base.unwrap_or(default_base()), cap.unwrap_or(default_cap()));
        match strategy {
            Strategy::Exponential => {
                foreign("exponential", &[("step", step.is_some()), ("delay", delay.is_some())])?;
                Ok(Self::Exponential { base: own_base, factor: factor.unwrap_or(default_factor()), cap: own_cap })
            }
            Strategy::Linear => {
                foreign("linear", &[("factor", factor.is_some()), ("delay", delay.is_some())])?;
                Ok(Self::Linear { base: own_base, step: step.unwrap_or(default_base()), cap: own_cap })
            }
            Strategy::Constant => {
                let others = [("base", base.is_some()), ("factor", factor.is_some()), ("step", step.is_some())];
                foreign("constant", &others)?;
                foreign("constant", &[("cap", cap.is_some())])?;
                Ok(Self::Constant { delay: delay.unwrap_or(default_base()) })
            }
        }
    }
}

/// How chance changes a wait. The names are those of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Jitter {
    /// Anything from nothing to the whole wait.
    #[default]
    Full,
    /// Half of the wait, and anything up to the other half.
    Equal,
    /// Anything from the first wait to three times the last one, at most `cap`. The waits grow by themselves: `factor`
    /// and `step` have no effect. Not with `constant`, which must not grow.
    Decorrelated,
    /// The wait as it is.
    None,
}

/// The longest duration of any option here.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Checked options.
#[derive(Debug)]
pub(super) struct Settings(RetryOptions);

impl std::ops::Deref for Settings {
    type Target = RetryOptions;

    fn deref(&self) -> &RetryOptions {
        &self.0
    }
}

impl TryFrom<&RetryOptions> for Settings {
    type Error = InvalidOption;

    fn try_from(options: &RetryOptions) -> Result<Self, InvalidOption> {
        if !(1..=100).contains(&options.attempts) {
            return Err(InvalidOption::new("attempts", "must be from 1 to 100"));
        }
        if options.retry_after_cap > LONGEST {
            return Err(InvalidOption::new("retry_after_cap", "must be at most 24h"));
        }
        check_backoff(&options.backoff)?;
        if options.jitter == Jitter::Decorrelated && matches!(options.backoff, Backoff::Constant { .. }) {
            return Err(InvalidOption::new("jitter", "cannot be `decorrelated` with a `constant` backoff"));
        }
        Ok(Self(options.clone()))
    }
}

fn check_backoff(backoff: &Backoff) -> Result<(), InvalidOption> {
    let (base, cap) = match *backoff {
        Backoff::Exponential { factor, .. } if !(1.0..=100.0).contains(&factor) => {
            return Err(InvalidOption::new("backoff.factor", "must be from 1 to 100"));
        }
        Backoff::Linear { step, .. } if step > LONGEST => {
            return Err(InvalidOption::new("backoff.step", "must be at most 24h"));
        }
        Backoff::Constant { delay } if delay > LONGEST => {
            return Err(InvalidOption::new("backoff.delay", "must be at most 24h"));
        }
        Backoff::Exponential { base, cap, .. } | Backoff::Linear { base, cap, .. } => (base, cap),
        Backoff::Constant { .. } => return Ok(()),
    };
    if cap > LONGEST {
        return Err(InvalidOption::new("backoff.cap", "must be at most 24h"));
    }
    if base > cap {
        return Err(InvalidOption::new("backoff.base", "must not be longer than `backoff.cap`"));
    }
    Ok(())
}
