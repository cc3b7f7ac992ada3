//! Limits in front of requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

/// A limit that requests have to pass.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimit {
    /// The policy of [`Plan::policies`](super::Plan::policies) that counts: by key, where `by` is not empty.
    pub policy: Arc<str>,
    /// What tells requests apart, all of it together.
    pub by: Vec<KeyPart>,
    /// How much a request counts for.
    pub cost: u32,
    /// What it lets through.
    pub quota: Quota,
    /// Whether answers tell of it; never where it refuses nobody.
    pub told: bool,
}

/// So much in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The most that is let through at once.
    pub limit: u32,
    /// How long it takes until all of it is back.
    pub window: Duration,
}

/// A part of a request that tells it from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address; of IPv6 its first so many bits, 1 to 128.
    ClientAddress(u8),
    /// The value of this field.
    Header(HeaderName),
    /// The value of this cookie.
    Cookie(Box<str>),
    /// The host that was asked for.
    Host,
    /// The path, without the query.
    Path,
    /// The method.
    Method,
    /// The name of the route.
    Route,
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientAddress(_) => f.write_str("client_address"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Host => f.write_str("host"),
            Self::Path => f.write_str("path"),
            Self::Method => f.write_str("method"),
            Self::Route => f.write_str("route"),
        }
    }
}

/// In one line, for people.
impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, by, cost, quota, .. } = self;
        write!(f, "`{policy}`: {} in {:?}", quota.limit, quota.window)?;
        for (position, part) in by.iter().enumerate() {
            write!(f, "{} {part}", if position == 0 { " by" } else { " and" })?;
        }
        if *cost > 1 { write!(f, ", of which a request takes {cost}") } else { Ok(()) }
    }
}
