//! What a user writes about the process: admin, logs, added fields, reload, shutdown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{Count, DAY, Period};

/// The admin listener: `/livez`, `/readyz`, `/healthz`, `/metrics` and `/exchanges`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port. An address that is not loopback needs `allow_remote`.
    pub address: String,

    /// Allows an address that others can reach. Whoever reaches it sees the metrics and
    /// who asked for what; there is no authentication.
    pub allow_remote: bool,

    /// Names that clients may call it by, besides `localhost` and IP addresses. A request with another
    /// name in `Host` is refused: it may come from a web page, through its visitor's browser.
    pub hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: "127.0.0.1:9901".to_owned(), allow_remote: false, hosts: Vec::new() }
    }
}

/// One record for each request, written off the request path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// How a record looks.
    pub format: Format,

    /// `stdout`, `stderr` or the path of a file. Relative paths start at the folder of the configuration file.
    pub to: String,

    /// Records that wait to be written. Further ones are dropped, and counted.
    pub buffer: Count<1, 1_000_000>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { format: Format::Json, to: "stdout".to_owned(), buffer: Count::of(8192) }
    }
}

/// What is remembered of requests that have ended. Neither values of header fields nor query strings are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Recent {
    /// How many exchanges each worker remembers, the latest ones; each takes about 1 KiB. A change of this number
    /// begins anew.
    pub exchanges: Count<0, 65_536>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { exchanges: Count::of(256) }
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Fields that the gateway adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Headers {
    /// Adds `Via` to requests and answers.
    pub via: bool,

    /// Adds `X-Request-Id` to requests and answers.
    pub request_id: bool,

    /// How an upstream learns who the client is.
    pub forwarded: Forwarded,

    /// Adds `X-Attempt`, which is 1 for the first attempt of a request, and `X-Timeout-Ms`, how long the gateway waits
    /// for its answer, to requests. The latter is there where a policy or the route limits the time. Over gRPC,
    /// `grpc-timeout` says it, with this option and without.
    pub attempt: bool,
}

impl Default for Headers {
    fn default() -> Self {
        Self { via: false, request_id: true, forwarded: Forwarded::XForwarded, attempt: false }
    }
}

/// How an upstream learns who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Forwarded {
    /// By `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    XForwarded,
    /// By `Forwarded` (RFC 7239).
    Rfc7239,
    /// By both.
    Both,
    /// Not at all.
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

/// How the process ends, on SIGTERM or SIGINT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long requests in flight may still take.
    pub drain: Period<0, DAY>,

    /// How long new connections are still accepted after `/readyz` says no, so that load balancers notice.
    pub readiness_delay: Period<0, DAY>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain: Period::of(30_000), readiness_delay: Period::of(0) }
    }
}

/// When the configuration is read again, apart from SIGHUP. An invalid one changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// When its file changes, symbolic links included.
    pub watch: bool,
}

impl Default for Reload {
    fn default() -> Self {
        Self { watch: true }
    }
}

/// What the process says about itself, on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least important event that is written.
    pub level: LogLevel,

    /// How a line looks.
    pub format: Format,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: Format::Text }
    }
}

/// How important an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
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
