//! What concerns the whole process: admin, logs, added fields, reload, shutdown.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The admin listener: health, metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// The address; a loopback address unless remote access was asked for by name.
    pub address: SocketAddr,
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

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Which fields the gateway adds.
#[derive(Debug, Clone, PartialEq)]
pub struct Headers {
    /// `Via` (RFC 9110 section 7.6.3) on requests and answers.
    pub via: bool,
    /// `X-Request-Id` on requests and answers.
    pub request_id: bool,
    /// How an upstream learns who the client is.
    pub forwarded: Forwarded,
}

/// How an upstream learns who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// By `X-Forwarded-For`, `-Proto` and `-Host`.
    XForwarded,
    /// By `Forwarded` (RFC 7239).
    Rfc7239,
    /// By both.
    Both,
    /// Not at all; what a client sent is removed all the same.
    Off,
}

impl Forwarded {
    /// Whether `X-Forwarded-*` is sent.
    pub fn x_forwarded(self) -> bool {
        matches!(self, Self::XForwarded | Self::Both)
    }

    /// Whether `Forwarded` is sent.
    pub fn rfc7239(self) -> bool {
        matches!(self, Self::Rfc7239 | Self::Both)
    }
}

/// How the process ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Shutdown {
    /// For requests in flight, once no new ones are accepted.
    pub drain: Duration,
    /// Between lowering readiness and no longer accepting, so that load balancers notice.
    pub readiness_delay: Duration,
}

/// When the configuration is read again, apart from SIGHUP.
#[derive(Debug, Clone, PartialEq)]
pub struct Reload {
    /// When its file changes.
    pub watch: bool,
}

/// What the process says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The least important event that is written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: Format,
}

/// How important an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed that somebody must look at.
    Error,
    /// Something is odd, and the gateway goes on.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The level in lower case, as `tracing` filters spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
