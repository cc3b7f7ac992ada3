//! What is shown of one exchange.

use super::clipped::Clipped;
use super::decisions::Decision;
use super::trail::PassedOver;
use crate::fault::Fault;
use http::StatusCode;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tidegate_wire::head::Version;

/// One exchange that has ended.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(super) began: Instant,
    /// From the complete request head to the last byte of the answer.
    pub took: Duration,
    /// The request's `X-Request-Id`; empty where the client left before it had one.
    pub request_id: Clipped,
    /// Its trace (W3C Trace Context), 32 hexadecimal digits; only what is forwarded has one.
    pub trace_id: Option<[u8; 32]>,
    /// The client, as far back as proxies are trusted.
    pub client: IpAddr,
    /// The listener that it came to, as it is configured.
    pub listener: SocketAddr,
    /// The protocol that it spoke.
    pub version: Version,
    /// The method.
    pub method: Clipped,
    /// The host that routes saw, without a port.
    pub host: Clipped,
    /// The path, normalised, without the query.
    pub path: Clipped,
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
    /// What was decided about it, besides the endpoints that it was sent to; at most eight decisions.
    pub decisions: Vec<Decision>,
    /// Bytes of the request's body, as relayed.
    pub request_bytes: u64,
    /// Bytes of the answer's body, as relayed.
    pub response_bytes: u64,
    /// The attempts that are kept, in their order.
    pub attempts: Vec<Attempt>,
    /// How many attempts are missing before the last one.
    pub attempts_left_out: u32,
}

/// One attempt at one endpoint. Times count from the start of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The endpoint, as it is configured.
    pub endpoint: Arc<str>,
    /// How many endpoints the upstream has.
    pub endpoints: usize,
    /// How many of them were passed over. Known where the choice met one that was not fit, and of every attempt after
    /// the first: nobody counts while all goes well.
    pub passed_over: Option<PassedOver>,
    /// Whether the connection had carried requests before.
    pub reused: bool,
    /// When the endpoint was chosen.
    pub began: Duration,
    /// When there was a connection to send on; `None` when there never was.
    pub connected: Option<Duration>,
    /// When the response head or a fault ended it, and which of them; `None` when the client left meanwhile.
    pub ended: Option<(Duration, Result<StatusCode, Fault>)>,
}

impl Entry {
    /// When the request head was complete, by the clock on the wall as it stands now.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        SystemTime::now() - self.began.elapsed()
    }

    /// When it ended.
    pub(super) fn ended(&self) -> Instant {
        self.began + self.took
    }
}
