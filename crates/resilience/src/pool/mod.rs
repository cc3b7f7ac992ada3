//! Pool: a bounded number of resources that are costly to make, taken in turns.
//!
//! A caller is given an idle resource, or makes one while there are fewer than `size` (and, for a while, `overflow`
//! more), or waits, first come first served, in a queue of bounded length and for a bounded time. What it is given comes
//! back when it is dropped. Resources that are broken, too old or idle for too long are closed and replaced, at the
//! checkout and, before a caller meets them, by [maintenance](Pool::run_maintenance).
//!
//! ```
//! use std::time::Duration;
//! use tidegate_resilience::{Manage, Pool, PoolOptions, Pooled};
//!
//! # struct Session;
//! # impl Session {
//! #     async fn open() -> std::io::Result<Self> { Ok(Self) }
//! #     async fn ping(&mut self) -> std::io::Result<()> { Ok(()) }
//! #     async fn query(&mut self, _: &str) -> std::io::Result<u32> { Ok(7) }
//! # }
//! struct Database;
//!
//! impl Manage for Database {
//!     type Resource = Session;
//!     type Error = std::io::Error;
//!
//!     async fn connect(&self) -> std::io::Result<Session> {
//!         Session::open().await
//!     }
//!
//!     async fn check(&self, session: &mut Session) -> std::io::Result<()> {
//!         session.ping().await
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = PoolOptions { size: 20, min_idle: 2, ..Default::default() };
//! let pool = Pool::new("database", Database, &options)?;
//! tokio::spawn(pool.run_maintenance(Duration::from_secs(30)));
//!
//! let mut session = pool.acquire().await?;
//! session.query("insert").await?;
//! drop(session);
//!
//! let rows = pool.transaction(async |session: &mut Session| session.query("select").await).await?;
//! assert_eq!(rows, 7);
//!
//! pool.drain().await;
//! # Ok(())
//! # }
//! ```
//!
//! How it is built: the [state] is pure and knows places, idle resources and who waits; it says what is to be
//! done. [`shared`] does it, outside of its lock. A [`Pooled`] is the one guard for a busy place, for callers, for
//! [checkouts](checkout) that have not ended and for [maintenance] alike, so that whatever is dropped gives its place
//! back, to the first who waits.
//!
//! Invariants: there are never more than `size + overflow` resources at a time, those being made or closed included; a
//! place comes free only when its resource is gone; while somebody waits, nobody who comes later is served.

mod checkout;
mod maintenance;
mod manage;
mod options;
mod policy;
mod pooled;
mod shared;
mod state;

#[cfg(all(test, not(tidegate_models)))]
mod tests;

pub use manage::Manage;
pub use options::{PoolOptions, PoolOrder};
pub use policy::{Pool, PoolStats};
pub use pooled::Pooled;
