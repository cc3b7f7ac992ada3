//! The one table of what a document can hold: how each kind of policy is written, what it makes, and how it is found.

use crate::adaptive::{Adaptive, AdaptiveOptions, AdaptiveStats};
use crate::bulkhead::{Bulkhead, BulkheadOptions, BulkheadStats};
use crate::chaos::{Chaos, ChaosOptions, ChaosStats};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerOptions, CircuitBreakerStats};
use crate::error::InvalidOption;
use crate::hedge::{Hedge, HedgeOptions, HedgeStats};
use crate::name::Name;
use crate::policies::Step;
use crate::policy::Environment;
use crate::rate_limit::{KeyedRateLimitStats, KeyedRateLimiter, RateLimitOptions, RateLimitStats, RateLimiter};
use crate::retry::{Retry, RetryOptions, RetryStats};
use crate::timeout::{Timeout, TimeoutOptions, TimeoutStats};

#[cfg(feature = "serde")]
use super::document::StepOptions;
use super::{Registry, View};

/// Declares everything that has one line for each kind.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident($options:ident) = $name:literal, $policy:ident, $stats:ident, $lookup:ident;)*) => {
        /// The options of one policy, written as a map with one entry: its kind.
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[non_exhaustive]
        pub enum PolicyOptions {
            $($(#[$doc])* $kind($options),)*
        }

        impl PolicyOptions {
            /// The kind, as it is written.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$kind(_) => $name,)* }
            }

            /// The options in force of this policy, if it is one that can be written.
            pub fn of(step: &Step) -> Option<Self> {
                match step {
                    $(Step::$kind(policy) => Some(Self::$kind(policy.options())),)*
                    _ => None,
                }
            }

            /// A new policy with these options.
            pub(super) fn build(&self, name: Name, environment: &Environment) -> Result<Step, InvalidOption> {
                match self {
                    $(Self::$kind(options) => $policy::in_environment(name, options, environment).map(Step::from),)*
                }
            }

            /// Puts these options in force. The answer is whether the policy is of this kind; if not, nothing has
            /// changed.
            pub(super) fn put_in_force(&self, step: &Step) -> Result<bool, InvalidOption> {
                match (self, step) {
                    $((Self::$kind(options), Step::$kind(policy)) => policy.reconfigure(options).map(|()| true),)*
                    _ => Ok(false),
                }
            }
        }

        /// The statistics of one policy.
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[non_exhaustive]
        pub enum PolicyStats {
            $($(#[$doc])* $kind($stats),)*
        }

        impl PolicyStats {
            /// The statistics of this policy, if it is one that can be written.
            pub fn of(step: &Step) -> Option<Self> {
                match step {
                    $(Step::$kind(policy) => Some(Self::$kind(policy.stats())),)*
                    _ => None,
                }
            }
        }

        impl View {
            $(#[doc = concat!("The `", $name, "` of this name.")]
            #[inline]
            pub fn $lookup(&self, name: &str) -> Option<&$policy> {
                match self.policy(name) {
                    Some(Step::$kind(policy)) => Some(policy),
                    _ => None,
                }
            })*
        }

        impl Registry {
            $(#[doc = concat!("The `", $name, "` of this name. It stays valid, and follows further documents.")]
            pub fn $lookup(&self, name: &str) -> Option<$policy> {
                self.load().$lookup(name).cloned()
            })*
        }

        /// A step as serde sees it: one enum, so that what is wrong is said of the kind that was meant.
        #[cfg(feature = "serde")]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(rename = "StepOptions"))]
        pub(super) enum WrittenStep {
            /// The policy of this name: one under `policies`, or one of another pipeline (`checkout/retry`).
            Use(String),
            $($(#[$doc])* $kind($options),)*
        }

        #[cfg(feature = "serde")]
        impl From<WrittenStep> for StepOptions {
            fn from(step: WrittenStep) -> Self {
                match step {
                    WrittenStep::Use(name) => Self::Use(name),
                    $(WrittenStep::$kind(options) => Self::Policy(PolicyOptions::$kind(options)),)*
                }
            }
        }

        #[cfg(feature = "serde")]
        impl From<StepOptions> for WrittenStep {
            fn from(step: StepOptions) -> Self {
                match step {
                    StepOptions::Use(name) => Self::Use(name),
                    $(StepOptions::Policy(PolicyOptions::$kind(options)) => Self::$kind(options),)*
                }
            }
        }
    };
}

kinds! {
    /// So many calls in a time, all calls together.
    RateLimit(RateLimitOptions) = "rate_limit", RateLimiter, RateLimitStats, rate_limiter;
    /// So many calls in a time of each key; every call must have one.
    KeyedRateLimit(RateLimitOptions) = "keyed_rate_limit", KeyedRateLimiter, KeyedRateLimitStats, keyed_rate_limiter;
    /// Calls only while what they call is well.
    CircuitBreaker(CircuitBreakerOptions) = "circuit_breaker", CircuitBreaker, CircuitBreakerStats, circuit_breaker;
    /// So many calls at once.
    Bulkhead(BulkheadOptions) = "bulkhead", Bulkhead, BulkheadStats, bulkhead;
    /// As many calls at once as what they call can take.
    Adaptive(AdaptiveOptions) = "adaptive", Adaptive, AdaptiveStats, adaptive;
    /// An end to what takes too long.
    Timeout(TimeoutOptions) = "timeout", Timeout, TimeoutStats, timeout;
    /// Another attempt after a failure.
    Retry(RetryOptions) = "retry", Retry, RetryStats, retry;
    /// A copy of a call that is slow.
    Hedge(HedgeOptions) = "hedge", Hedge, HedgeStats, hedge;
    /// Delays and failures on purpose.
    Chaos(ChaosOptions) = "chaos", Chaos, ChaosStats, chaos;
}

impl PolicyOptions {
    /// Whether a policy of these options knows nothing of the calls before, so that one will do for all keys.
    pub(super) fn is_stateless(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Chaos(_))
    }

    /// Whether a policy that changes from these options to those keeps all that it has counted and learnt.
    pub(super) fn keeps_state(&self, after: &Self) -> bool {
        match (self, after) {
            // The circuit stays as it is; what was counted in the window does not fit into another one.
            (Self::CircuitBreaker(before), Self::CircuitBreaker(after)) => before.window == after.window,
            _ => self.kind() == after.kind(),
        }
    }
}
