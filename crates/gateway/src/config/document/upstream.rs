//! What a user writes about an upstream.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use tidegate_resilience::{CircuitBreakerOptions, StepOptions};

use super::{Balance, Certificate, HealthCheck, Outlier, Timeout};
use crate::config::units::{Count, DAY, KIB, MIB, OrOff, OrUnlimited, Percent, Period, Size};

/// One service, offered by one or several endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Where the service is. 1 to 1024.
    #[schemars(length(min = 1, max = 1024))]
    pub endpoints: Vec<Endpoint>,

    /// How an endpoint is chosen for a request.
    #[serde(default)]
    pub balance: Balance,

    /// How long an endpoint that has just come, or come back, takes until it is given its whole share of the
    /// requests. It begins with a tenth; or `off`.
    #[serde(default = "at_once")]
    pub slow_start: OrOff<Timeout>,

    /// A tier serves while at least this share of its endpoints is usable, and the next one where it is not. Where no
    /// tier has so many, health is ignored: what says that so many are ill is more likely wrong itself. By default
    /// one usable endpoint is enough; `0%` never ignores health.
    #[serde(default = "none_left")]
    pub panic_threshold: Percent<0, 100>,

    /// What is spoken to the endpoints.
    #[serde(default)]
    pub protocol: UpstreamProtocol,

    /// TLS to the endpoints. Left out, they are spoken to in plain text; `{}` takes every default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,

    /// Which `Host` the endpoints see.
    #[serde(default)]
    pub host: HostField,

    /// Questions that the gateway asks each endpoint by itself, to keep requests from one that does not answer them.
    /// Left out, none are asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,

    /// When an endpoint gets no requests for a while because of how it answered others; or `off`.
    #[serde(default = "outlier")]
    pub outlier: OrOff<Outlier>,

    /// Policies around requests to the upstream, outermost first; `[]` for none. Default: a retry that sends a request
    /// that failed once more, to another endpoint where there is one: if it may be sent twice, and while such requests
    /// are no more than 9% of all and 3 per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<Vec<StepOptions>>,

    /// A circuit breaker for each endpoint: one that is open gets no requests, and when it is half open as many as it has
    /// probes. Left out, there are none; `outlier` watches endpoints too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_breaker: Option<CircuitBreakerOptions>,

    /// Request bodies up to this are kept until the answer begins, so that they can be sent again. Longer ones are
    /// sent once.
    #[serde(default = "replayed")]
    pub replay: Size<0, { 16 * MIB }>,

    /// Bounds on connections and on waiting for one.
    #[serde(default)]
    pub pool: Pool,

    /// Bounds on waiting for the endpoints.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
}

impl Upstream {
    /// How much of a body is kept where nothing is said of it.
    pub const REPLAY: Size<0, { 16 * MIB }> = Size::of(64 * KIB);
}

fn replayed() -> Size<0, { 16 * MIB }> {
    Upstream::REPLAY
}

fn at_once() -> OrOff<Timeout> {
    OrOff(None)
}

fn none_left() -> Percent<0, 100> {
    Percent::of(1)
}

fn outlier() -> OrOff<Outlier> {
    OrOff(Some(Outlier::default()))
}

/// A place that offers the service: `host:port`, or a map with more about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Endpoint {
    /// Host name or IP address, and port: `app.internal:8080`, `10.0.0.7:80`, `[::1]:80`.
    pub address: String,

    /// Share of the requests beside the other endpoints.
    pub weight: Count<1, 1000>,

    /// When it is used: endpoints of tier 1 are when too few of tier 0 are usable (`panic_threshold`), and so on.
    pub tier: Count<0, 255>,

    /// Whether it gets no new requests. Those that it has are finished.
    pub drain: bool,
}

/// The longer of the two ways to write an endpoint.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WeightedEndpoint")]
#[schemars(description = "An endpoint, and what there is to say about it.")]
struct Weighted {
    /// Host name or IP address, and port: `app.internal:8080`, `10.0.0.7:80`, `[::1]:80`.
    address: String,

    /// Share of the requests beside the other endpoints.
    #[serde(default = "one")]
    weight: Count<1, 1000>,

    /// When it is used: endpoints of tier 1 are when too few of tier 0 are usable (`panic_threshold`), and so on.
    #[serde(default = "first")]
    tier: Count<0, 255>,

    /// Whether it gets no new requests. Those that it has are finished.
    #[serde(default)]
    drain: bool,
}

fn one() -> Count<1, 1000> {
    Count::of(1)
}

fn first() -> Count<0, 255> {
    Count::of(0)
}

struct EndpointVisitor;

impl<'de> Visitor<'de> for EndpointVisitor {
    type Value = Endpoint;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`host:port`, or a map with `address`")
    }

    fn visit_str<E: Error>(self, address: &str) -> Result<Endpoint, E> {
        Ok(Endpoint { address: address.to_owned(), weight: one(), tier: first(), drain: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Endpoint, A::Error> {
        let Weighted { address, weight, tier, drain } = Weighted::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Endpoint { address, weight, tier, drain })
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EndpointVisitor)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let weighted = generator.subschema_for::<Weighted>();
        json_schema!({
            "description": "A place that offers the service: `host:port`, or a map with more about it.",
            "anyOf": [{ "type": "string" }, weighted],
        })
    }
}

/// What is spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN with TLS, by prior knowledge without.
    Http2,
    /// What the endpoint chooses by ALPN. Needs `tls`.
    Auto,
}

/// TLS to an upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// PEM file with the roots to trust. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,

    /// The name to ask for and to verify. Default: the endpoint's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,

    /// PEM file with the certificate chain that the gateway shows when asked. Needs `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,

    /// PEM file with the private key of `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,

    /// Whether the endpoint's certificate is verified. `false` lets anybody on the way read and change
    /// everything.
    pub verify: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { ca: None, server_name: None, certificate: None, key: None, verify: true }
    }
}

impl UpstreamTls {
    /// The certificate and key, where both are written.
    pub fn identity(&self) -> Option<Certificate> {
        Some(Certificate { certificate: self.certificate.clone()?, key: self.key.clone()? })
    }
}

/// Which `Host` an upstream sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostField {
    /// The client's.
    #[default]
    Preserve,
    /// The endpoint's.
    Endpoint,
}

/// Bounds on the connections to each endpoint. Every worker has its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// Connections to one endpoint, idle and busy.
    pub max_connections: Count<1, 65_536>,

    /// Idle connections kept to one endpoint. No more than `max_connections` ever are.
    pub max_idle: Count<0, 65_536>,

    /// How long a connection may be idle before it is closed. Less than the endpoint's own limit is best.
    pub idle_timeout: Timeout,

    /// Age after which a connection is not used again.
    pub max_lifetime: OrUnlimited<Timeout>,

    /// Requests that wait for a connection. One more is answered with 503.
    pub max_waiting: Count<0, 1_000_000>,

    /// How long a request waits for a connection, before it is answered with 503.
    pub max_wait: Period<0, DAY>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            max_connections: Count::of(1024),
            max_idle: Count::of(256),
            idle_timeout: Timeout::of(60_000),
            max_lifetime: OrUnlimited(Some(Timeout::of(3_600_000))),
            max_waiting: Count::of(1024),
            max_wait: Period::of(1000),
        }
    }
}

/// Bounds on waiting for an endpoint. What exceeds one is answered with 504, or cut if the answer has begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTimeouts {
    /// A new connection: name resolution, TCP and TLS together.
    pub connect: Timeout,

    /// The response head, from the end of the request; or `off`.
    pub response: OrOff<Timeout>,

    /// A response body that makes no progress while the request makes none; for gRPC, both directions; or `off`.
    pub body: OrOff<Timeout>,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            connect: Timeout::of(5000),
            response: OrOff(Some(Timeout::of(60_000))),
            body: OrOff(Some(Timeout::of(60_000))),
        }
    }
}
