//! What concerns the whole process: admin, logs, added fields, reload, shutdown.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Format;

/// The admin listener: health, metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// The address; a loopback address unless remote access was asked for by name.
    pub address: SocketAddr,
    /// Names it answers to in `Host`, besides `localhost` and IP addresses, in lower case.
    pub hosts: Vec<String>,
}

/// The access log: one record for each request.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// How a record looks.
    pub format: Format,
    /// Where records go.
    pub to: Output,
    /// Records waiting to be written; further ones are dropped and counted.
    pub buffer: usize,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of this file.
    File(PathBuf),
}

/// How the process ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Shutdown {
    /// For requests in flight, once no new ones are accepted.
    pub drain: Duration,
    /// Between lowering readiness and no longer accepting, so that load balancers notice.
    pub readiness_delay: Duration,
}
