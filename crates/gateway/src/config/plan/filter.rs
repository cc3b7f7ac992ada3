//! Limits in front of requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::config::units::Statuses;

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

/// The guard of requests that have an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq)]
pub struct Idempotency {
    /// What tells clients apart, all of it together; not empty.
    pub by: Vec<KeyPart>,
    /// The methods to which it applies.
    pub methods: Vec<Method>,
    /// Whether a request of these methods has to have a key.
    pub required: bool,
    /// Bytes of the longest request body.
    pub max_body: usize,
    /// Bytes of the longest answer that is kept.
    pub max_answer: usize,
    /// Statuses by which an upstream says that it has done nothing, so that the key is free again.
    pub release: Vec<Statuses>,
    /// How much is kept, and for how long.
    pub bounds: KeyBounds,
}

/// How much is kept of idempotency keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyBounds {
    /// For how long a key is kept after its first request has ended.
    pub keep: Duration,
    /// How many keys there are at once.
    pub max_keys: usize,
    /// Bytes of memory for all of them with their answers.
    pub max_memory: usize,
}

impl Idempotency {
    /// Whether an answer with this status says that nothing was done.
    #[must_use]
    pub fn releases(&self, status: u16) -> bool {
        self.release.iter().any(|statuses| statuses.contains(status))
    }
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
        write_parts(f, by)?;
        if *cost > 1 { write!(f, ", of which a request takes {cost}") } else { Ok(()) }
    }
}

fn write_parts(f: &mut fmt::Formatter<'_>, by: &[KeyPart]) -> fmt::Result {
    for (position, part) in by.iter().enumerate() {
        write!(f, "{} {part}", if position == 0 { " by" } else { " and" })?;
    }
    Ok(())
}

/// In one line, for people.
impl fmt::Display for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, methods, required, max_body, max_answer, release, bounds } = self;
        for (position, method) in methods.iter().enumerate() {
            write!(f, "{}{method}", if position == 0 { "" } else { ", " })?;
        }
        write!(f, " with {} `Idempotency-Key`", if *required { "a required" } else { "an" })?;
        write_parts(f, by)?;
        write!(f, "; bodies up to {max_body} bytes, answers up to {max_answer} bytes kept for {:?}", bounds.keep)?;
        write!(f, ", at most {} keys in {} bytes", bounds.max_keys, bounds.max_memory)?;
        for (position, statuses) in release.iter().enumerate() {
            write!(f, "{}{statuses}", if position == 0 { "; free again after " } else { ", " })?;
        }
        Ok(())
    }
}
