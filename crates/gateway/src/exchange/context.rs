//! What is known about one request besides its heads.

use super::replay::Replay;
use crate::config::plan::Scheme;
use crate::fault::Fault;
use crate::forwarded::{Origin, Peer};
use crate::idempotency::Claim;
use crate::path::Separators;
use crate::recent::Trail;
use crate::request_id;
use http::StatusCode;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tidegate_wire::framing::BodyLength;
use tidegate_wire::head::ResponseHead;
use tidegate_wire::peer;

/// The client of a connection, for all of its requests.
pub(crate) struct Client {
    /// Where the connection comes from; what a PROXY header told, where one is trusted.
    pub(crate) address: SocketAddr,
    pub(crate) scheme: Scheme,
    /// Position of the listener in the configuration with which the connection was accepted.
    pub(crate) listener: Rc<crate::worker::Door>,
}

/// The name of a request in logs, answers and at the upstream.
pub(super) enum RequestId {
    /// Not named yet.
    None,
    /// Made here.
    Own([u8; request_id::LENGTH]),
    /// Sent by the client and taken over.
    Sent(Box<[u8]>),
}

impl RequestId {
    /// The name; empty where there is none yet.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Own(id) => id,
            Self::Sent(id) => id,
        }
    }
}

/// What one exchange learns on its way; the access log and the metrics are written from it.
pub(super) struct Context {
    pub(super) started: Instant,
    /// The time of the last wake-up that mattered: it dates answers and names.
    pub(super) now: Instant,
    /// Who asks, as far as it can be believed.
    pub(super) origin: Origin,
    pub(super) length: BodyLength,
    /// Length of the path at the front of the request target; the query follows.
    pub(super) path: usize,
    pub(super) separators: Separators,
    /// The place of the route in the configuration.
    pub(super) route: Option<usize>,
    pub(super) body_limit: Option<u64>,
    /// The client asked to close after this request, or speaks HTTP/1.0.
    pub(super) close: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// The client takes trailers (`TE: trailers`).
    pub(super) takes_trailers: bool,
    /// Both sides speak when they have something to say (gRPC), so that silence means nothing.
    pub(super) converses: bool,
    /// The client wants to change the protocol to this.
    pub(super) upgrade: Option<Vec<u8>>,
    pub(super) request_id: RequestId,
    pub(super) trace_id: Option<[u8; 32]>,
    /// The place of the upstream in the configuration.
    pub(super) upstream: Option<usize>,
    /// The endpoints that it tried.
    pub(super) trail: Trail,
    /// How many times it was sent.
    pub(super) attempts: u32,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) to_head: Option<Duration>,
    pub(super) fault: Option<Fault>,
    /// Whether the request could be sent once more, and its body as far as it was kept for that.
    pub(super) repeatable: bool,
    pub(super) replay: Option<Rc<RefCell<Replay>>>,
    /// Whether an upstream may have acted on it.
    pub(super) risked: bool,
    /// Its hold on an idempotency key, until it is known what came of it. Boxed, because few have one.
    pub(super) claim: Option<Box<Claim>>,
    /// Limits were asked; what the answer tells of them is in the scratch.
    pub(super) limited: bool,
    /// When the client may come back, where a policy that refused it knows.
    pub(super) retry_after: Option<Duration>,
}

impl Context {
    pub(super) fn open(started: Instant, client: &Client, last: bool) -> Self {
        let peer = Peer { address: client.address.ip(), scheme: client.scheme };
        Self {
            origin: Origin::direct(peer),
            started,
            now: started,
            length: BodyLength::None,
            path: 0,
            separators: Separators::default(),
            route: None,
            body_limit: None,
            close: last,
            expects_continue: false,
            takes_trailers: false,
            converses: false,
            upgrade: None,
            request_id: RequestId::None,
            trace_id: None,
            upstream: None,
            trail: Trail::new(started, 0),
            attempts: 0,
            received: 0,
            sent: 0,
            to_head: None,
            fault: None,
            repeatable: true,
            replay: None,
            risked: false,
            claim: None,
            limited: false,
            retry_after: None,
        }
    }

    /// Tells a client that holds its body back to send it (RFC 9110 §10.1.1).
    pub(super) fn invite_body(&mut self, peer: &mut peer::Peer) -> Result<(), Fault> {
        if std::mem::take(&mut self.expects_continue) && !peer.has_received_all() {
            let interim = ResponseHead { status: StatusCode::CONTINUE, ..ResponseHead::default() };
            peer.send_interim(&interim).map_err(|_| Fault::ClientLeft)?;
        }
        Ok(())
    }
}
