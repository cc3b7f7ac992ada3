//! Upstreams: the services behind the gateway.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::{Balance, Certificate, HealthCheck, HostField, Outlier, UpstreamProtocol};

/// One service and the endpoints that offer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name, unique in the plan.
    pub name: Arc<str>,
    /// Its endpoints in written order; at least one, of which one does not drain.
    pub endpoints: Vec<Endpoint>,
    /// How an endpoint is chosen for a request.
    pub balance: Balance,
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
    /// Bounds on connections and on waiting for one.
    pub pool: Pool,
    /// Bounds on waiting for an endpoint.
    pub timeouts: UpstreamTimeouts,
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
    /// Whether it gets no new requests.
    pub drain: bool,
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
