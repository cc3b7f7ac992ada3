//! What is kept of an exchange, in the form in which it is kept: short, in one piece, and all of it overwritten by the
//! next one without a look at what was there.

use super::entry::{Attempt, Entry};
use super::names::Names;
use super::texts::{Texts, Which};
use super::trail::{Step, Trail};
use crate::fault::Fault;
use http::StatusCode;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_wire::head::Version;

/// What is known of an exchange that has ended; numbers stand for names.
pub(crate) struct Ended<'a> {
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    pub(crate) request_id: &'a [u8],
    pub(crate) trace_id: Option<[u8; 32]>,
    pub(crate) client: IpAddr,
    pub(crate) listener: SocketAddr,
    pub(crate) version: Version,
    pub(crate) method: &'a [u8],
    pub(crate) host: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) route: Option<usize>,
    pub(crate) upstream: Option<usize>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) complete: bool,
    pub(crate) fault: Option<Fault>,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) trail: &'a mut Trail,
}

/// The place of one entry.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    began: Instant,
    took: Duration,
    trace_id: Option<[u8; 32]>,
    client: IpAddr,
    listener: SocketAddr,
    version: Version,
    route: Option<usize>,
    upstream: Option<usize>,
    status: Option<StatusCode>,
    complete: bool,
    fault: Option<Fault>,
    request_bytes: u64,
    response_bytes: u64,
    trail: Trail,
    /// What its numbers mean, where that is something else than for its neighbours.
    names: Option<Arc<Names>>,
    texts: Texts,
}

impl Slot {
    /// One that nothing was written into.
    pub(super) fn blank() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            took: Duration::ZERO,
            trace_id: None,
            client: IpAddr::from([0, 0, 0, 0]),
            listener: SocketAddr::from(([0, 0, 0, 0], 0)),
            version: Version::Http11,
            route: None,
            upstream: None,
            status: None,
            complete: false,
            fault: None,
            request_bytes: 0,
            response_bytes: 0,
            trail: Trail::new(now, 0),
            names: None,
            texts: Texts::default(),
        }
    }

    /// Takes the trail, and leaves the memory of another one for it.
    pub(super) fn write(&mut self, ended: &mut Ended<'_>, names: Option<Arc<Names>>) {
        self.began = ended.began;
        self.took = ended.took;
        self.trace_id = ended.trace_id;
        self.client = ended.client;
        self.listener = ended.listener;
        self.version = ended.version;
        self.route = ended.route;
        self.upstream = ended.upstream;
        self.status = ended.status;
        self.complete = ended.complete;
        self.fault = ended.fault;
        self.request_bytes = ended.request_bytes;
        self.response_bytes = ended.response_bytes;
        std::mem::swap(&mut self.trail, ended.trail);
        self.names = names;
        self.texts.set([ended.request_id, ended.method, ended.host, ended.path]);
    }

    /// As it is shown; `names` are those of its neighbours.
    pub(super) fn show(&self, names: &Names) -> Entry {
        let names = self.names.as_deref().unwrap_or(names);
        Entry {
            began: self.began,
            took: self.took,
            request_id: self.texts.get(Which::RequestId),
            trace_id: self.trace_id,
            client: self.client,
            listener: self.listener,
            version: self.version,
            method: self.texts.get(Which::Method),
            host: self.texts.get(Which::Host),
            path: self.texts.get(Which::Path),
            route: self.route.and_then(|route| names.route(route)).cloned(),
            upstream: self.upstream.and_then(|upstream| names.upstream(upstream)).cloned(),
            status: self.status,
            complete: self.complete,
            fault: self.fault,
            decisions: self.trail.decisions().cloned().collect(),
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            attempts: self.trail.steps().map(|step| attempt(step, names)).collect(),
            attempts_left_out: self.trail.left_out(),
        }
    }
}

fn attempt(step: &Step, names: &Names) -> Attempt {
    Attempt {
        endpoint: names.endpoint(step.endpoint).cloned().unwrap_or_default(),
        endpoints: names.endpoints(step.endpoint.upstream),
        passed_over: step.passed_over,
        reused: step.reused,
        began: step.began,
        connected: step.connected,
        ended: step.ended,
    }
}
