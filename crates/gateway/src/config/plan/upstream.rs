//! Upstreams: the services behind the gateway.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use rustls::pki_types::ServerName;

use super::{Certificate, HealthCheck, HostField, Outlier, SameSite, UpstreamProtocol};

/// One service and the endpoints that offer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name, unique in the plan.
    pub name: Arc<str>,
    /// Its endpoints in written order; at least one, of which one does not drain.
    pub endpoints: Vec<Endpoint>,
    /// How an endpoint is chosen for a request.
    pub balance: Balance,
    /// How long an endpoint that has just come takes until it is given all of its load; zero is at once.
    pub slow_start: Duration,
    /// In percent: fewer usable endpoints than this, and health is ignored; 0 is never.
    pub panic_threshold: u32,
    /// What is spoken to the endpoints.
    pub protocol: UpstreamProtocol,
    /// TLS to the endpoints; `None` for plain text. `Auto` is never without.
    pub tls: Option<UpstreamTls>,
    /// Which `Host` the endpoints see.
    pub host: HostField,
    /// What the gateway asks each endpoint by itself; `None` is nothing.
    pub health_check: Option<HealthCheck>,
    /// When an endpoint is ejected for how it answers requests; `None` is never.
    pub outlier: Option<Outlier>,
    /// Whether each endpoint has a circuit breaker of its own: see [`Upstream::breaker_of`].
    pub endpoint_breaker: bool,
    /// Bytes of the longest request body that is kept to be sent again.
    pub replay: usize,
    /// Bounds on connections and on waiting for one.
    pub pool: Pool,
    /// Bounds on waiting for an endpoint.
    pub timeouts: UpstreamTimeouts,
}

impl Upstream {
    /// What the circuit breaker of one endpoint is called in [`Plan::policies`](super::Plan::policies).
    pub fn breaker_of(&self, endpoint: &Endpoint) -> String {
        let pipeline = Self::pipeline_of(&self.name, endpoint);
        tidegate_resilience::Document::own_name(&pipeline, "circuit_breaker", 1)
    }

    /// What the pipeline with that breaker is called.
    pub(in crate::config) fn pipeline_of(upstream: &str, endpoint: &Endpoint) -> String {
        format!("{upstream} {endpoint}")
    }
}

/// A host and port that requests are sent to. It displays as an authority: `name:80`, `[::1]:80`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// An IP address, or a name to resolve.
    pub host: EndpointHost,
    /// The port; never 0.
    pub port: u16,
    /// Its share of requests beside other endpoints; 1 to 1000.
    pub weight: u32,
    /// Endpoints of a higher tier are used when no endpoint of a lower one can be; 0 to 255.
    pub tier: u8,
    /// Whether it gets no new requests.
    pub drain: bool,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastRequests,
    /// The one with the fewest connections in use for its weight.
    LeastConnections,
    /// The one that is likely to answer first, of two.
    PeakEwma,
    /// The same one for the same client address.
    IpHash,
    /// The same one for the same key, by a table.
    Maglev(HashBy),
    /// The one that a cookie names.
    StickyCookie(StickyCookie),
}

/// What requests for the same endpoint have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// The value of this field.
    Header(HeaderName),
    /// The value of this cookie.
    Cookie(Box<str>),
    /// Who asks, behind trusted proxies.
    ClientAddress,
    /// The normalised path, without the query.
    Path,
}

/// A cookie that keeps a client at its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyCookie {
    /// Its name.
    pub name: Box<str>,
    /// What names of endpoints are hashed with.
    pub key: Box<str>,
    /// How long a client keeps it; `None` is until it closes.
    pub ttl: Option<Duration>,
    /// For which paths the client sends it.
    pub path: Box<str>,
    /// Whether it is sent over TLS alone; `None` is where the request came over TLS.
    pub secure: Option<bool>,
    /// Whether it is hidden from scripts.
    pub http_only: bool,
    /// When it is sent with requests that another site causes.
    pub same_site: SameSite,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointHost {
    /// At this address.
    Address(IpAddr),
    /// At the addresses of this DNS name (lower case, no final dot).
    Name(Arc<str>),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            EndpointHost::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            EndpointHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            EndpointHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// TLS towards an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamTls {
    /// The roots to trust, a PEM file; `None` trusts the system's.
    pub ca: Option<PathBuf>,
    /// The name to ask for and to verify; `None` takes the endpoint's host.
    pub server_name: Option<ServerName<'static>>,
    /// What the gateway shows when the endpoint asks for a certificate.
    pub identity: Option<Certificate>,
    /// Whether the endpoint's certificate is verified.
    pub verify: bool,
}

/// Bounds on the connections to each endpoint, per worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Connections, idle and busy, to one endpoint.
    pub max_connections: usize,
    /// Idle connections kept to one endpoint; at most `max_connections`.
    pub max_idle: usize,
    /// How long a connection may be idle before it is closed.
    pub idle_timeout: Duration,
    /// Age after which a connection is not used again; `None` is unlimited.
    pub max_lifetime: Option<Duration>,
    /// Requests waiting for a connection; the next one is refused.
    pub max_waiting: usize,
    /// How long a request waits for a connection; zero refuses at once.
    pub max_wait: Duration,
}

/// Bounds on waiting for an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamTimeouts {
    /// For a connection: name resolution, TCP and TLS together.
    pub connect: Duration,
    /// From the end of the request to the end of the response head; `None` is off.
    pub response: Option<Duration>,
    /// Without progress of the response body; `None` is off.
    pub body: Option<Duration>,
}
