//! What a user writes about filters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_resilience::{FixedWindow, LeakyBucket, Mode, SlidingWindow, TokenBucket};

use super::idempotency::Idempotency;
use crate::config::units::{Count, HOUR, Period};

/// What a request has to pass before it is answered. A map with one entry, its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// So many requests in a time: in all, or from each client, or of whatever else tells them apart.
    RateLimit(RateLimit),
    /// Requests with an `Idempotency-Key` take effect once. In routes alone.
    Idempotency(Idempotency),
}

impl Filter {
    /// The limit, where it is one.
    pub fn rate_limit(&self) -> Option<&RateLimit> {
        match self {
            Self::RateLimit(limit) => Some(limit),
            Self::Idempotency(_) => None,
        }
    }

    /// The guard of idempotency keys, where it is one.
    pub fn idempotency(&self) -> Option<&Idempotency> {
        match self {
            Self::Idempotency(guard) => Some(guard),
            Self::RateLimit(_) => None,
        }
    }
}

/// How many requests are let through in a time. Exactly one of `token_bucket`, `sliding_window`, `fixed_window` and
/// `leaky_bucket`. What is refused gets a 429; where a request meets several limits, all of them have to let it through,
/// and it counts in none of them where one does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Its name in answers, metrics and reloads: a limit keeps its counts for as long as it keeps its name. The same name
    /// elsewhere is the same limit, and has the same options but `cost` and `headers`. No policy of `policies` has it.
    /// Default: from the route or listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// What tells requests apart, all of it together: `client_address`, `header:NAME`, `cookie:NAME`, `host`, `path`,
    /// `method`, `route`. A request without the field or cookie counts with all others that have none. Left out or empty:
    /// one limit for all requests.
    #[serde(default)]
    pub by: Vec<String>,

    /// How many bits of an IPv6 address tell clients apart: a host has a network of 64 to itself.
    #[serde(default = "ipv6_prefix")]
    pub ipv6_prefix: Count<1, 128>,

    /// How much a request counts for.
    #[serde(default = "one")]
    pub cost: Count<1, 1_000_000_000>,

    /// Whether answers tell of it, in the fields `RateLimit` and `RateLimit-Policy`.
    #[serde(default = "yes")]
    pub headers: bool,

    /// Whether it acts. `metrics_only` counts and refuses nobody; `disabled` does nothing. Neither is told of in answers.
    #[serde(default)]
    pub mode: Mode,

    /// A steady rate, with a burst after a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_bucket: Option<TokenBucket>,

    /// So many in any stretch of time of this length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<SlidingWindow>,

    /// So many between one beat of a clock and the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_window: Option<FixedWindow>,

    /// One after the other, at a steady pace; who comes too early waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaky_bucket: Option<LeakyBucket>,

    /// How long a request waits for the tokens of a `token_bucket`. With another algorithm it must be `0s`.
    #[serde(default = "at_once")]
    pub max_wait: Period<0, HOUR>,

    /// How many keys are followed at once; without `by` it has no effect. When there are as many, a new one takes the
    /// place of one that has all of its limit back, and where none is found quickly, new ones share one limit.
    #[serde(default = "max_keys")]
    pub max_keys: Count<1, 100_000_000>,
}

pub(super) fn ipv6_prefix() -> Count<1, 128> {
    Count::of(64)
}

fn one() -> Count<1, 1_000_000_000> {
    Count::of(1)
}

fn yes() -> bool {
    true
}

fn at_once() -> Period<0, HOUR> {
    Period::of(0)
}

fn max_keys() -> Count<1, 100_000_000> {
    Count::of(100_000)
}
