//! One request, start to end: routing, hygiene, upstreams, relay.
//!
//! A program that embeds a gateway checks a [`config::Document`] into a [`config::Plan`], builds a
//! [`snapshot::Snapshot`] from it and starts a [`server::Gateway`].

pub mod access;
pub mod authority;
mod balance;
mod checker;
pub mod config;
mod exchange;
pub mod explain;
pub mod fault;
pub mod forwarded;
pub mod health;
mod hex;
pub mod idempotency;
pub mod listen;
pub mod path;
mod places;
pub mod problem;
mod protection;
mod rate_limit;
pub mod recent;
pub mod request_id;
pub mod router;
mod scratch;
pub mod server;
pub mod snapshot;
pub mod stats;
pub mod timer;
pub mod trace;
mod upstream;
mod worker;
