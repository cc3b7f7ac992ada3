//! Listeners: addresses, TLS, and what one client may take.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::{RateLimit, TlsVersion};

/// One address on which every worker accepts clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The address; port 0 lets the system choose a port.
    pub address: SocketAddr,
    /// TLS towards clients; `None` for plain text.
    pub tls: Option<ListenerTls>,
    /// Peers that must begin each connection with a PROXY header; `None` when none is read at all.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Peers whose `Forwarded` and `X-Forwarded-*` fields are believed; empty trusts nobody.
    pub trusted_proxies: Vec<IpNet>,
    /// What every request has to pass.
    pub rate_limits: Vec<RateLimit>,
    /// Bounds on connections and messages.
    pub limits: Limits,
    /// Bounds on waiting.
    pub timeouts: ListenerTimeouts,
    /// Bounds of HTTP/2.
    pub http2: Http2,
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerTls {
    /// Certificates, chosen by server name; the first answers clients that name none. At least one.
    pub certificates: Vec<Certificate>,
    /// The oldest version a client may speak.
    pub min_version: TlsVersion,
}

/// A certificate chain with its private key, both PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
}

/// Who must speak the PROXY protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyProtocol {
    /// Peers in these networks must begin with a PROXY header (version 1 or 2), and it is believed. From
    /// any other peer no header is read: its bytes are TLS or HTTP from the start. At least one.
    pub trusted: Vec<IpNet>,
}

/// Bounds on connections and messages of one listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Open connections, all workers together.
    pub connections: usize,
    /// Bytes of a request head: request line and fields.
    pub head: usize,
    /// Fields in a request head.
    pub fields: usize,
    /// Bytes of a request target; at most `head`.
    pub target: usize,
    /// Bytes of a request body; `None` is unlimited. A route may say otherwise.
    pub body: Option<u64>,
    /// Requests on one connection before it is closed; `None` is unlimited.
    pub requests_per_connection: Option<u64>,
}

/// Bounds on waiting for a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerTimeouts {
    /// For the TLS handshake and the PROXY header together.
    pub handshake: Duration,
    /// From the first byte of a request head to its end.
    pub head: Duration,
    /// Idle between two requests, and from the end of the handshake to the first request.
    pub keep_alive: Duration,
    /// Without progress of a body, in either direction.
    pub body: Duration,
    /// The slowest client that is still served; `None` serves any.
    pub body_rate: Option<MinimumRate>,
    /// How long what is left of a request body is read away after an early answer.
    pub linger: Duration,
    /// Without a byte in either direction of a tunnel.
    pub tunnel: Duration,
}

/// The slowest body that is still served, measured while the gateway waits for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinimumRate {
    /// Bytes per second on average.
    pub minimum: u64,
    /// How long a body may be slower before it is judged.
    pub grace: Duration,
}

impl MinimumRate {
    /// How much longer somebody may be waited for who has moved so many bytes in the time it was waited
    /// for: the grace, and the time that the bytes have earned.
    #[must_use]
    pub fn patience(self, moved: u64, waited: Duration) -> Duration {
        let earned = Duration::from_millis(moved.saturating_mul(1000) / self.minimum.max(1));
        self.grace.saturating_add(earned).saturating_sub(waited)
    }
}

/// Bounds of HTTP/2 towards clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Http2 {
    /// Streams open at once on a connection (SETTINGS_MAX_CONCURRENT_STREAMS).
    pub max_concurrent_streams: u32,
    /// Bytes a client may send on a stream before it is read; at most 2^31-1 (RFC 9113 section 6.9.2).
    pub initial_stream_window: u32,
    /// Bytes a client may send on a connection before they are read; at most 2^31-1.
    pub initial_connection_window: u32,
    /// Bytes of the largest frame accepted; 2^14 to 2^24-1 (RFC 9113 section 4.2).
    pub max_frame_size: u32,
    /// Streams that may be reset in a second without an answer, by the client or because of it; a burst may
    /// have `max_concurrent_streams` more, and one beyond that ends the connection.
    pub max_resets: usize,
    /// Bytes of a header list, counted as RFC 9113 section 6.5.2 counts them.
    pub max_header_list: u32,
    /// Pings on quiet connections; `None` sends none.
    pub keep_alive: Option<Ping>,
}

/// How a quiet HTTP/2 connection is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Between pings.
    pub interval: Duration,
    /// For the answer to a ping, before the connection is ended.
    pub timeout: Duration,
}
