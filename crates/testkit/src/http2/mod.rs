//! HTTP/2 for tests: a client and a recording upstream on the `h2` crate, and hand-made frames for
//! everything that a correct implementation would not send.

mod client;
pub mod frames;
mod upstream;

pub use client::{Exchange, Http2Client, Http2Response};
pub use upstream::{Http2Recorder, Http2Seen, Http2Step};

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use crate::PATIENCE;

/// A runtime whose one worker drives the connections while the test's own thread waits.
fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("the system has a thread left")
}

/// Waits for a future within [`PATIENCE`].
fn patiently<F: Future>(runtime: &Runtime, what: &str, future: F) -> F::Output {
    let waited = runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
    waited.unwrap_or_else(|_| panic!("the peer hangs: waited in vain for {what}"))
}

#[cfg(test)]
mod tests;
