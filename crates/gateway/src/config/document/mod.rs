//! The configuration as it is written: one field for each option, with its unit, range and default.
//!
//! A field that is left out has its default; a key that is not here is an error. The comments on these
//! types are the reference that users read, through the JSON Schema.

mod balance;
mod filter;
mod health;
mod idempotency;
mod listener;
mod operations;
mod route;
mod upstream;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_resilience::PolicyOptions;

pub use balance::{Algorithm, Balance, KeyedBalance, Maglev, SameSite, StickyCookie};
pub use filter::{Filter, RateLimit};
pub use health::{GrpcCheck, HealthCheck, Outlier, ProbeMethod, SuccessRate, TcpCheck};
pub use idempotency::Idempotency;
pub use listener::{
    BodyRate, Certificate, Http2, Limits, Listener, ListenerTimeouts, ListenerTls, Ping, ProxyProtocol, Timeout,
    TlsVersion,
};
pub use operations::{AccessLog, Admin, Format, Forwarded, Headers, Log, LogLevel, Recent, Reload, Shutdown};
pub use route::{Allowance, Fallback, FieldTest, Match, Redirect, Respond, Route, RouteTimeouts, Scheme, Upgrade};
pub use upstream::{Endpoint, HostField, Pool, Upstream, UpstreamProtocol, UpstreamTimeouts, UpstreamTls};

use super::units::{Count, OrOff};

/// The configuration of a Tidegate process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Where editors find the JSON Schema of this file; the gateway does not read it.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,

    /// Worker threads. Each accepts on every listener and has its own upstream connections.
    /// Default: the cores that this process may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Count<1, 256>>,

    /// Where clients connect. At least one.
    #[schemars(length(min = 1))]
    pub listeners: Vec<Listener>,

    /// The admin listener with health and metrics, apart from the threads that serve requests; or `off`.
    #[serde(default = "admin")]
    pub admin: OrOff<Admin>,

    /// The services behind the gateway, by name.
    #[serde(default)]
    pub upstreams: BTreeMap<String, Upstream>,

    /// Policies by name, for `use` in any `protect`: whatever uses a name shares the one policy. The name is made of
    /// letters, digits, `-`, `_` and `.`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, PolicyOptions>,

    /// Which requests go where. Which route wins does not depend on their order here, except between equals,
    /// where the first one does.
    #[serde(default)]
    pub routes: Vec<Route>,

    /// One record for each request; or `off`.
    #[serde(default = "no_access_log")]
    pub access_log: OrOff<AccessLog>,

    /// The exchanges that ended last, each with its route, its attempts and its times, for `/exchanges` on the
    /// admin listener; or `off`.
    #[serde(default = "recent")]
    pub recent: OrOff<Recent>,

    /// Fields that the gateway adds to requests and answers.
    #[serde(default)]
    pub headers: Headers,

    /// How the process ends.
    #[serde(default)]
    pub shutdown: Shutdown,

    /// When the configuration is read again, apart from SIGHUP.
    #[serde(default)]
    pub reload: Reload,

    /// What the process says about itself, on standard error.
    #[serde(default)]
    pub log: Log,
}

fn admin() -> OrOff<Admin> {
    OrOff(Some(Admin::default()))
}

fn no_access_log() -> OrOff<AccessLog> {
    OrOff(None)
}

fn recent() -> OrOff<Recent> {
    OrOff(Some(Recent::default()))
}
