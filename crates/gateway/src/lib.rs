//! One request, start to end: routing, hygiene, upstreams, relay.

pub mod access;
pub mod authority;
pub mod config;
pub mod forwarded;
pub mod path;
pub mod router;
pub mod stats;
