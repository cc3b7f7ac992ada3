//! What is kept of one exchange.

use super::clipped::Clipped;
use super::trail::Trail;
use crate::fault::Fault;
use http::StatusCode;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tidegate_wire::head::Version;

/// One exchange that has ended. Its size is fixed but for attempts beyond the first, of which there are few.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When the request head was complete.
    pub started: SystemTime,
    /// From then to the last byte of the answer.
    pub took: Duration,
    /// The request's `X-Request-Id`; empty where the client left before it had one.
    pub request_id: Clipped<128>,
    /// Its trace (W3C Trace Context), 32 hexadecimal digits; only what is forwarded has one.
    pub trace_id: Option<[u8; 32]>,
    /// The client, as far back as proxies are trusted.
    pub client: IpAddr,
    /// The listener that it came to, as it is configured.
    pub listener: SocketAddr,
    /// The protocol that it spoke.
    pub version: Version,
    /// The method.
    pub method: Clipped<24>,
    /// The host that routes saw, without a port.
    pub host: Clipped<64>,
    /// The path, normalised, without the query.
    pub path: Clipped<128>,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// The upstream's name.
    pub upstream: Option<Arc<str>>,
    /// What was answered; `None` when the client went away before that.
    pub status: Option<StatusCode>,
    /// Whether the answer was sent in full.
    pub complete: bool,
    /// Why the gateway answered by itself or cut the answer.
    pub fault: Option<Fault>,
    /// Bytes of the request's body, as relayed.
    pub request_bytes: u64,
    /// Bytes of the answer's body, as relayed.
    pub response_bytes: u64,
    /// Which endpoints were tried.
    pub trail: Trail,
}

impl Entry {
    /// A place for an entry; all of it is written before it is seen.
    pub(super) fn blank() -> Self {
        Self {
            started: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            request_id: Clipped::new(b""),
            trace_id: None,
            client: IpAddr::from([0, 0, 0, 0]),
            listener: SocketAddr::from(([0, 0, 0, 0], 0)),
            version: Version::Http11,
            method: Clipped::new(b""),
            host: Clipped::new(b""),
            path: Clipped::new(b""),
            route: None,
            upstream: None,
            status: None,
            complete: false,
            fault: None,
            request_bytes: 0,
            response_bytes: 0,
            trail: Trail::new(Instant::now()),
        }
    }

    /// When it ended.
    #[must_use]
    pub fn ended(&self) -> SystemTime {
        self.started + self.took
    }
}
