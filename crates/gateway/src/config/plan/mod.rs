//! The checked configuration: plain typed values from which the data plane is built.
//!
//! A `Plan` comes from checking a [`Document`](super::Document) alone. Whatever it holds has been parsed, is in range, and
//! refers only to things that exist; defaults and overrides are already applied. Times are [`Duration`](std::time::Duration)s,
//! sizes are bytes, and an `Option` that is `None` means *off* or *unlimited*.

mod applied;
mod filter;
mod health;
mod listener;
mod operations;
mod route;
mod upstream;

use std::num::NonZeroUsize;

pub use applied::Applied;
pub use filter::{Idempotency, KeyBounds, KeyPart, Quota, RateLimit};
pub use health::{HealthCheck, Outlier, Probe, SuccessRate};
pub use listener::{
    Certificate, Http2, Limits, Listener, ListenerTimeouts, ListenerTls, MinimumRate, Ping, ProxyProtocol,
};
pub use operations::{AccessLog, Admin, Output, Shutdown};
pub use route::{
    Action, BodyLimit, Fallback, FieldMatch, HostPattern, PathAllowances, PathPattern, QueryMatch, Redirect, Respond,
    Route, RouteMatch, RouteTimeouts, Test, Upgrades,
};
pub use upstream::{
    Balance, Endpoint, EndpointHost, HashBy, Pool, StickyCookie, Upstream, UpstreamTimeouts, UpstreamTls,
};

/// What cannot be written wrongly is in the plan as it is written.
pub use super::document::{
    Format, Forwarded, Headers, HostField, Log, LogLevel, ProbeMethod, Reload, SameSite, Scheme, TlsVersion,
    UpstreamProtocol,
};

/// A whole configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Worker threads, each with its own runtime, listening sockets and upstream connections; 1 to 256.
    pub workers: NonZeroUsize,
    /// Where clients connect; at least one, no address twice.
    pub listeners: Vec<Listener>,
    /// The admin listener; `None` when it is off.
    pub admin: Option<Admin>,
    /// Upstreams in the order of their names, which are unique.
    pub upstreams: Vec<Upstream>,
    /// Routes in written order; their names are unique.
    pub routes: Vec<Route>,
    /// The policies of all upstreams, routes and listeners. [`Route::protection`] names its pipelines,
    /// [`RateLimit::policy`] its limits.
    pub policies: tidegate_resilience::Document,
    /// The access log; `None` when it is off.
    pub access_log: Option<AccessLog>,
    /// How many exchanges each worker remembers; 0 when that is off.
    pub recent: usize,
    /// Which fields the gateway adds to requests and answers.
    pub headers: Headers,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// When the configuration is read again.
    pub reload: Reload,
    /// What the process says about itself.
    pub log: Log,
}
