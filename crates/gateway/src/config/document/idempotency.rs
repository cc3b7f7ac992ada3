//! What a user writes about idempotency keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::filter::ipv6_prefix;
use crate::config::units::{Count, DAY, KIB, MIB, Period, Size, Statuses};

/// Has a request with an `Idempotency-Key` take effect once: a later one with the same key and the same content gets the
/// answer of the first. For routes that forward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// What tells clients apart, all of it together: `client_address`, `header:NAME`, `cookie:NAME`, `host`, `path`,
    /// `method`, `route`. The same key of two clients is two keys. At least one. Requests without the field or cookie
    /// have their keys in common.
    #[schemars(length(min = 1))]
    pub by: Vec<String>,

    /// How many bits of an IPv6 address tell clients apart: a host has a network of 64 to itself.
    #[serde(default = "ipv6_prefix")]
    pub ipv6_prefix: Count<1, 128>,

    /// The methods to which it applies. They are case-sensitive.
    #[serde(default = "methods")]
    pub methods: Vec<String>,

    /// Whether a request of these methods without a key is refused.
    #[serde(default)]
    pub required: bool,

    /// For how long a key is kept after its first request has ended.
    #[serde(default = "day")]
    pub keep: Period<1000, { 7 * DAY }>,

    /// Largest request body: it is read to its end before it is sent on, so that it can be compared. A larger one with a
    /// key is refused.
    #[serde(default = "kept")]
    pub max_body: Size<0, { 16 * MIB }>,

    /// Largest answer that is kept; up to this it is read to its end before it is sent on. A larger one is passed on once.
    #[serde(default = "kept")]
    pub max_answer: Size<0, { 16 * MIB }>,

    /// Statuses by which the upstream says that it has done nothing. Such an answer is not kept, and the key is free again.
    #[serde(default = "release")]
    pub release: Vec<Statuses>,

    /// How many keys there are at once. When there are as many, the one that was finished first gives way to a new one.
    #[serde(default = "max_keys")]
    pub max_keys: Count<1, 10_000_000>,

    /// Memory for all keys with their answers, which give way as above.
    #[serde(default = "max_memory")]
    pub max_memory: Size<{ 64 * KIB }, { 1 << 40 }>,
}

fn methods() -> Vec<String> {
    ["POST", "PATCH"].map(str::to_owned).to_vec()
}

fn day() -> Period<1000, { 7 * DAY }> {
    Period::of(DAY)
}

fn kept() -> Size<0, { 16 * MIB }> {
    Size::of(64 * KIB)
}

/// Refused for who asks, when, or how often. By RFC 9110 and RFC 6585 nothing else is said to be without effect.
fn release() -> Vec<Statuses> {
    [401, 403, 408, 425, 429, 503].map(|status| Statuses::of(status, status)).to_vec()
}

fn max_keys() -> Count<1, 10_000_000> {
    Count::of(100_000)
}

fn max_memory() -> Size<{ 64 * KIB }, { 1 << 40 }> {
    Size::of(64 * MIB)
}
