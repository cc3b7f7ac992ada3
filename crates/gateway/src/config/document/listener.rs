//! What a user writes about a listener.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Filter;
use crate::config::units::{Count, DAY, GIB, KIB, MIB, OrOff, OrUnlimited, Period, Size};

/// A time that something may take: at least a millisecond, at most a day.
pub type Timeout = Period<1, DAY>;

/// One address where clients connect. HTTP/1.1 and HTTP/2 are both spoken: in plain text HTTP/2 by prior
/// knowledge, with TLS by ALPN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port, such as `127.0.0.1:8080`, `0.0.0.0:80` or `[::]:443`. Port 0 lets the system
    /// choose one.
    pub address: String,

    /// TLS towards clients. Left out, the listener speaks plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,

    /// Peers that begin each connection with a PROXY header, version 1 or 2. Left out, none is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,

    /// Networks or addresses whose `Forwarded` and `X-Forwarded-*` fields are believed. From anybody else
    /// they are removed.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,

    /// What every request here has to pass before it is answered, whatever its route, and those that have none. 16 at
    /// most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,

    /// Bounds on connections and messages.
    #[serde(default)]
    pub limits: Limits,

    /// Bounds on waiting for clients.
    #[serde(default)]
    pub timeouts: ListenerTimeouts,

    /// Bounds of HTTP/2.
    #[serde(default)]
    pub http2: Http2,
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates, chosen by the name that a client asks for. The first one answers clients that ask for
    /// none. At least one.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Certificate>,

    /// The oldest version that a client may speak.
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// A certificate and its key. Relative paths start at the folder of the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file with the certificate chain, the server's own first.
    pub certificate: String,

    /// PEM file with the private key.
    pub key: String,
}

/// A TLS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 and later.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 and later.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Who speaks the PROXY protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Networks or addresses whose connections must begin with a PROXY header. Everybody else's must not.
    /// At least one.
    #[schemars(length(min = 1))]
    pub trusted: Vec<String>,
}

/// Bounds on connections and messages. What exceeds one is refused, with 413, 414 or 431.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections, all workers together. Further ones wait in the system's backlog.
    pub connections: Count<1, 10_000_000>,

    /// A request head: request line and all fields.
    pub head: Size<{ KIB }, { MIB }>,

    /// Fields in a request head.
    pub fields: Count<1, 256>,

    /// The request target (path and query). No more than `head`.
    pub target: Size<{ KIB }, { MIB }>,

    /// A request body. A route's `max_body` goes before it.
    pub body: OrUnlimited<Size<0, { 1 << 50 }>>,

    /// Requests on one connection before it is closed.
    pub requests_per_connection: OrUnlimited<Count<1, { u32::MAX }>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Count::of(16_384),
            head: Size::of(64 * KIB),
            fields: Count::of(128),
            target: Size::of(16 * KIB),
            body: OrUnlimited(Some(Size::of(GIB))),
            requests_per_connection: OrUnlimited(None),
        }
    }
}

/// Bounds on waiting for clients. What exceeds one is ended, with 408 where an answer is still possible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerTimeouts {
    /// The TLS handshake and the PROXY header together.
    pub handshake: Timeout,

    /// A request head, from its first byte to its end.
    pub head: Timeout,

    /// An idle connection, between two requests or before the first.
    pub keep_alive: Timeout,

    /// A body, in either direction, that makes no progress. Not for what a gRPC client sends.
    pub body: Timeout,

    /// The slowest client that is still served while a body flows; or `off`.
    pub body_rate: OrOff<BodyRate>,

    /// How long the rest of a request body is read away after an early answer.
    pub linger: Timeout,

    /// A tunnel (a WebSocket) without a byte in either direction.
    pub tunnel: Timeout,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            handshake: Timeout::of(10_000),
            head: Timeout::of(10_000),
            keep_alive: Timeout::of(75_000),
            body: Timeout::of(30_000),
            body_rate: OrOff(Some(BodyRate::default())),
            linger: Timeout::of(2000),
            tunnel: Timeout::of(3_600_000),
        }
    }
}

/// The slowest client that is still served while a body flows, in either direction. A gRPC client may be silent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BodyRate {
    /// Bytes per second, on average.
    pub minimum: Size<1, { GIB }>,

    /// How long a body may be slower before it is judged.
    pub grace: Timeout,
}

impl Default for BodyRate {
    fn default() -> Self {
        Self { minimum: Size::of(240), grace: Timeout::of(5000) }
    }
}

/// Bounds of HTTP/2 towards clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http2 {
    /// Streams open at once on one connection.
    pub max_concurrent_streams: Count<1, 65_536>,

    /// What a client may send on a stream ahead of the gateway.
    pub initial_stream_window: Size<{ 16 * KIB }, { GIB }>,

    /// What a client may send on a connection ahead of the gateway, all streams together.
    pub initial_connection_window: Size<{ 64 * KIB }, { GIB }>,

    /// The largest frame accepted.
    pub max_frame_size: Size<{ 16 * KIB }, { 16 * MIB - 1 }>,

    /// Streams that may be reset in a second without an answer, by the client or because of it. A burst
    /// may have `max_concurrent_streams` more; one beyond that ends the connection.
    pub max_resets: Count<1, 65_536>,

    /// A header list, counted by RFC 9113 section 6.5.2. Default: `limits.head`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_header_list: Option<Size<{ KIB }, { MIB }>>,

    /// Pings on quiet connections; or `off`.
    pub keep_alive: OrOff<Ping>,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_concurrent_streams: Count::of(128),
            initial_stream_window: Size::of(256 * KIB),
            initial_connection_window: Size::of(MIB),
            max_frame_size: Size::of(16 * KIB),
            max_resets: Count::of(64),
            max_header_list: None,
            keep_alive: OrOff(Some(Ping::default())),
        }
    }
}

/// How a quiet HTTP/2 connection is probed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ping {
    /// Between pings.
    pub interval: Timeout,

    /// For the answer, before the connection is ended.
    pub timeout: Timeout,
}

impl Default for Ping {
    fn default() -> Self {
        Self { interval: Timeout::of(30_000), timeout: Timeout::of(10_000) }
    }
}
