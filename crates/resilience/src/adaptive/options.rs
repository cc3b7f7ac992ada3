//! The options of an adaptive limit.

use std::time::Duration;

use crate::call::Priority;
use crate::error::InvalidOption;
use crate::policy::Mode;
use crate::units::Ratio;

/// How the number of calls at a time is found.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AdaptiveOptions {
    /// Whether it acts. Default `enabled`. With `metrics_only` the limit is found and nobody is rejected; with
    /// `disabled` nothing is counted or measured, and the limit stays what it was.
    pub mode: Mode,
    /// How the limit follows what is measured. Default `gradient`.
    pub algorithm: AdaptiveAlgorithm,
    /// The limit at the beginning, from `min` to `max`. Default 20, as in Netflix's concurrency-limits and failsafe-go.
    pub initial: u32,
    /// The lowest limit, at least 1. Default 1, as in failsafe-go.
    pub min: u32,
    /// The highest limit, at most 1,000,000. Default 200.
    pub max: u32,
    /// How long is measured before the limit is thought over again, 1 ms to 1 min. Default 100 ms, as in Envoy. A
    /// window lasts at least twice as long as a call took on average in the window before, up to 30 times this time:
    /// a limit must not be changed again before the last change shows.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub window: Duration,
    /// How many calls must have ended in a window, 1 to 10,000. With fewer, it goes on. Default 10.
    pub min_samples: u32,
    /// How often the latency without load is measured again while the service is never without load, 1 s to 1 h, or
    /// `off`. Default 60 s, as in Envoy; sooner while the measurements still fall. Chance moves it by up to a quarter
    /// either way, so that many clients of one service do not measure at the same time. `aimd` has no need of it.
    ///
    /// To measure, the limit is halved for a window, and then until 50 calls that began since have ended. Without this, a service that is
    /// overloaded for a long time teaches the limit that this is how long its calls take.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration_or_off"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::OrOff<crate::units::DurationText>"))]
    pub probe: Option<Duration>,
    /// How much of the limit calls of each priority may use.
    pub shares: PriorityShares,
}

impl Default for AdaptiveOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Enabled,
            algorithm: AdaptiveAlgorithm::default(),
            initial: 20,
            min: 1,
            max: 200,
            window: Duration::from_millis(100),
            min_samples: 10,
            probe: Some(Duration::from_secs(60)),
            shares: PriorityShares::default(),
        }
    }
}

/// How a limit follows what is measured.
///
/// None of them grows while fewer calls than half the limit run: a service that has little to do says nothing about
/// how much it could do.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(tag = "kind", rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum AdaptiveAlgorithm {
    /// By how much longer calls take than they do without load.
    Gradient(Gradient),
    /// By how many calls must be queueing, judged by the same two latencies.
    Vegas(Vegas),
    /// By overload answers and calls that take too long.
    Aimd(Aimd),
}

impl Default for AdaptiveAlgorithm {
    fn default() -> Self {
        Self::Gradient(Gradient::default())
    }
}

/// Reads the options of all algorithms at once: what serde derives for them does not know which option a mistake is in.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for AdaptiveAlgorithm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Gradient,
            Vegas,
            Aimd,
        }

        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            kind: Kind,
            #[serde(default, deserialize_with = "crate::units::some")]
            tolerance: Option<f64>,
            #[serde(default, deserialize_with = "crate::units::some")]
            smoothing: Option<Ratio>,
            #[serde(default, deserialize_with = "crate::units::some")]
            queue_size: Option<u32>,
            #[serde(default, deserialize_with = "crate::units::some")]
            alpha: Option<u32>,
            #[serde(default, deserialize_with = "crate::units::some")]
            beta: Option<u32>,
            #[serde(default, deserialize_with = "crate::units::some")]
            backoff: Option<Ratio>,
            #[serde(default, deserialize_with = "crate::units::some_duration")]
            too_long: Option<Duration>,
        }

        let written = Written::deserialize(deserializer)?;
        let Written { tolerance, smoothing, queue_size, alpha, beta, backoff, too_long, .. } = written;
        let of_gradient = [
            ("tolerance", tolerance.is_some()),
            ("smoothing", smoothing.is_some()),
            ("queue_size", queue_size.is_some()),
        ];
        let of_vegas = [("alpha", alpha.is_some()), ("beta", beta.is_some())];
        let of_aimd = [("backoff", backoff.is_some()), ("too_long", too_long.is_some())];
        let foreign = |kind, one: &[(&str, bool)], other: &[(&str, bool)]| {
            crate::units::foreign::<D::Error>(kind, &[one, other].concat())
        };
        match written.kind {
            Kind::Gradient => {
                foreign("gradient", &of_vegas, &of_aimd)?;
                let default = Gradient::default();
                Ok(Self::Gradient(Gradient {
                    tolerance: tolerance.unwrap_or(default.tolerance),
                    smoothing: smoothing.unwrap_or(default.smoothing),
                    queue_size: queue_size.unwrap_or(default.queue_size),
                }))
            }
            Kind::Vegas => {
                foreign("vegas", &of_gradient, &of_aimd)?;
                let default = Vegas::default();
                Ok(Self::Vegas(Vegas { alpha: alpha.unwrap_or(default.alpha), beta: beta.unwrap_or(default.beta) }))
            }
            Kind::Aimd => {
                foreign("aimd", &of_gradient, &of_vegas)?;
                let default = Aimd::default();
                Ok(Self::Aimd(Aimd {
                    backoff: backoff.unwrap_or(default.backoff),
                    too_long: too_long.unwrap_or(default.too_long),
                }))
            }
        }
    }
}

/// Gradient2 of Netflix's concurrency-limits: the limit is multiplied with the latency without load over the latency
/// now, 0.5 to 1, and some room for a queue is added.
///
/// Two things differ. The latency without load is learnt from windows in which calls did not fill half the limit, and
/// from [probes](AdaptiveOptions::probe); from a loaded window, only if it is lower. And overload answers, and failures
/// slower than `tolerance` times the latency without load (timeouts), shrink the limit too: where their share of all
/// calls is α, it is multiplied with 1 − α/2 (RFC 8257 section 3.3).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gradient {
    /// How many times as long as without load a call may take before the limit shrinks, 1 to 100. Default 1.5.
    pub tolerance: f64,
    /// How much of each new limit is taken over, more than 0%. Default 20%.
    pub smoothing: Ratio,
    /// How many calls may queue: what the limit grows by, before smoothing, at most 1,000. Default 4.
    pub queue_size: u32,
}

impl Default for Gradient {
    fn default() -> Self {
        Self { tolerance: 1.5, smoothing: Ratio::percent(20), queue_size: 4 }
    }
}

/// The Vegas limit of Netflix's concurrency-limits, after TCP Vegas (Brakmo and Peterson, 1995).
///
/// Of the calls at a time, `limit × (1 − latency without load / latency)` must be queueing. Below `alpha` of them the
/// limit grows, above `beta` it shrinks; both are multiplied with the logarithm to base 10 of the limit, at least 1.
/// The latency without load is learnt as for [`Gradient`], not the lowest ever seen: of many averages the lowest is far
/// too low where calls differ from each other.
/// A window with an overload answer shrinks it too, or with a failure that took twice as long as a call does without
/// load (a timeout).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Vegas {
    /// How many calls must at least be queueing, 1 to 1,000. Default 3.
    pub alpha: u32,
    /// How many calls may at most be queueing, `alpha` to 1,000. Default 6.
    pub beta: u32,
}

impl Default for Vegas {
    fn default() -> Self {
        Self { alpha: 3, beta: 6 }
    }
}

/// Additive increase, multiplicative decrease (RFC 5681 section 3.1): the limit grows by 1 in a window, and is
/// multiplied with `backoff` after one with an overload answer or a call that took too long.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Aimd {
    /// What is left of the limit, 50% to less than 100%. Default 90%.
    pub backoff: Ratio,
    /// A call that takes longer than this, whether it succeeds or not, has taken too long: 1 ms to 1 min. Default 5 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub too_long: Duration,
}

impl Default for Aimd {
    fn default() -> Self {
        Self { backoff: Ratio::percent(90), too_long: Duration::from_secs(5) }
    }
}

/// How much of the limit calls of each [`Priority`] may use; critical ones may use all of it.
///
/// The rest is kept free for calls that matter more: when the service has too much to do, background calls are shed
/// first, because for them the limit is reached first. Each share is at least as large as that of lesser calls. Where
/// there is any share at all, it is one call at least.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PriorityShares {
    /// The share that background calls may fill. Default 70%.
    pub background: Ratio,
    /// The share that normal and lesser calls may fill. Default 85%.
    pub normal: Ratio,
    /// The share that all but critical calls may fill. Default 95%.
    pub high: Ratio,
}

impl Default for PriorityShares {
    fn default() -> Self {
        Self { background: Ratio::percent(70), normal: Ratio::percent(85), high: Ratio::percent(95) }
    }
}

impl PriorityShares {
    /// The share of one priority.
    pub const fn of(&self, priority: Priority) -> Ratio {
        match priority {
            Priority::Background => self.background,
            Priority::Normal => self.normal,
            Priority::High => self.high,
            Priority::Critical => Ratio::ONE,
        }
    }
}

/// Checked options.
#[derive(Debug)]
pub(super) struct Settings(AdaptiveOptions);

impl std::ops::Deref for Settings {
    type Target = AdaptiveOptions;

    fn deref(&self) -> &AdaptiveOptions {
        &self.0
    }
}

impl TryFrom<&AdaptiveOptions> for Settings {
    type Error = InvalidOption;

    fn try_from(options: &AdaptiveOptions) -> Result<Self, InvalidOption> {
        let wrong = |option, problem| Err(InvalidOption::new(option, problem));
        let (millisecond, second) = (Duration::from_millis(1), Duration::from_secs(1));
        if !(1..=1_000_000).contains(&options.max) {
            return wrong("max", "must be from 1 to 1000000");
        }
        if !(1..=options.max).contains(&options.min) {
            return wrong("min", "must be from 1 to `max`");
        }
        if !(options.min..=options.max).contains(&options.initial) {
            return wrong("initial", "must be from `min` to `max`");
        }
        if !(millisecond..=60 * second).contains(&options.window) {
            return wrong("window", "must be from 1ms to 1m");
        }
        if !(1..=10_000).contains(&options.min_samples) {
            return wrong("min_samples", "must be from 1 to 10000");
        }
        if options.probe.is_some_and(|probe| !(second..=3600 * second).contains(&probe)) {
            return wrong("probe", "must be from 1s to 1h, or off");
        }
        check_algorithm(&options.algorithm)?;
        check_shares(&options.shares)?;
        Ok(Self(options.clone()))
    }
}

fn check_algorithm(algorithm: &AdaptiveAlgorithm) -> Result<(), InvalidOption> {
    let wrong = |option, problem| Err(InvalidOption::new(option, problem));
    match algorithm {
        AdaptiveAlgorithm::Gradient(gradient) if !(1.0..=100.0).contains(&gradient.tolerance) => {
            wrong("algorithm.tolerance", "must be from 1 to 100")
        }
        AdaptiveAlgorithm::Gradient(gradient) if gradient.smoothing == Ratio::ZERO => {
            wrong("algorithm.smoothing", "must be more than 0%")
        }
        AdaptiveAlgorithm::Gradient(gradient) if gradient.queue_size > 1_000 => {
            wrong("algorithm.queue_size", "must be at most 1000")
        }
        AdaptiveAlgorithm::Vegas(vegas) if !(1..=1_000).contains(&vegas.alpha) => {
            wrong("algorithm.alpha", "must be from 1 to 1000")
        }
        AdaptiveAlgorithm::Vegas(vegas) if !(vegas.alpha..=1_000).contains(&vegas.beta) => {
            wrong("algorithm.beta", "must be from `alpha` to 1000")
        }
        AdaptiveAlgorithm::Aimd(aimd) if !(0.5..1.0).contains(&aimd.backoff.get()) => {
            wrong("algorithm.backoff", "must be from 50% to less than 100%")
        }
        AdaptiveAlgorithm::Aimd(aimd)
            if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&aimd.too_long) =>
        {
            wrong("algorithm.too_long", "must be from 1ms to 1m")
        }
        _ => Ok(()),
    }
}

fn check_shares(shares: &PriorityShares) -> Result<(), InvalidOption> {
    if shares.normal < shares.background {
        return Err(InvalidOption::new("shares.normal", "must not be less than `shares.background`"));
    }
    if shares.high < shares.normal {
        return Err(InvalidOption::new("shares.high", "must not be less than `shares.normal`"));
    }
    Ok(())
}
