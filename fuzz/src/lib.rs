//! What must hold for any bytes at all.
//!
//! Each module is one fuzz target: a function that takes bytes and panics when a promise is broken.
//! The promises are judged by somebody else where there is somebody: hyper's parser for heads and
//! bodies, a plain model for what hyper has no opinion on. A disagreement is a finding only where
//! ours accepts: being stricter than the judge is the point.
//!
//! The same functions run as a test over the corpora, on stable and without libFuzzer. `cargo xtask
//! fuzz` goes on from there.

pub mod chunked;
pub mod head_round_trip;
mod hyper_judge;
pub mod path;
pub mod proxy_protocol;
pub mod request_head;
pub mod response_head;

/// A target: its name, which is also the name of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("chunked", chunked::check),
    ("head_round_trip", head_round_trip::check),
    ("path", path::check),
    ("proxy_protocol", proxy_protocol::check),
    ("request_head", request_head::check),
    ("response_head", response_head::check),
];
