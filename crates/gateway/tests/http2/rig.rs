//! A gateway inside the test, and an upstream whose HTTP/2 frames are made by hand.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use tidegate_gateway::config::{self, Document};
use tidegate_gateway::server::Gateway;
use tidegate_gateway::snapshot::Snapshot;
use tidegate_gateway::stats::Registry;
use tidegate_testkit::PATIENCE;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::http2::frames::{self, Frame, PREFACE, flag, kind};

/// A running gateway with one upstream.
pub(crate) struct Rig {
    gateway: Option<Gateway>,
    registry: Registry,
    address: SocketAddr,
}

impl Rig {
    /// In front of an upstream that speaks HTTP/1.
    pub(crate) fn to_http1(upstream: SocketAddr) -> Self {
        Self::with(upstream, json!({}), json!({}))
    }

    /// In front of an upstream that speaks HTTP/2 with prior knowledge.
    pub(crate) fn to_http2(upstream: SocketAddr) -> Self {
        Self::with(upstream, json!({}), json!({ "protocol": "http2" }))
    }

    /// With further keys of the listener and of the upstream.
    pub(crate) fn with(upstream: SocketAddr, listener: Value, options: Value) -> Self {
        let registry = Registry::new(1);
        let snapshot = snapshot(upstream, listener, options, &registry);
        let gateway = Gateway::start(snapshot, Vec::new(), None).expect("a free port");
        let address = gateway.addresses().next().expect("one listener").expect("bound");
        Self { gateway: Some(gateway), registry, address }
    }

    /// Puts a configuration in force that differs in its upstream.
    pub(crate) fn reload(&mut self, upstream: SocketAddr, options: Value) {
        let snapshot = snapshot(upstream, json!({}), options, &self.registry);
        let gateway = self.gateway.as_mut().expect("not drained");
        runtime().block_on(gateway.apply(snapshot)).expect("no new address");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Violations of HTTP by clients that were counted so far.
    pub(crate) fn protocol_errors(&self) -> u64 {
        self.registry.listeners()[0].totals().protocol_errors
    }

    /// A plain connection on which nothing was said yet.
    pub(crate) fn connect(&self) -> RawClient {
        RawClient::connect(self.address)
    }

    /// A connection on which HTTP/2 was opened by hand.
    pub(crate) fn open(&self) -> RawClient {
        let mut client = self.connect();
        client.send(frames::opening());
        client
    }

    /// An honest request on a connection of its own is answered by the gateway.
    pub(crate) fn probe(&self) {
        let answer = self.connect().get("/own");
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"own"[..]));
    }

    /// Begins to drain and returns at once; the gateway is gone once the result is dropped.
    pub(crate) fn drain(&mut self) -> std::thread::JoinHandle<()> {
        let gateway = self.gateway.take().expect("drained once");
        std::thread::spawn(move || runtime().block_on(gateway.drain(PATIENCE)))
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn snapshot(upstream: SocketAddr, listener: Value, options: Value, registry: &Registry) -> Arc<Snapshot> {
    let document = json!({
        "workers": 1,
        "listeners": [merged(json!({ "address": "127.0.0.1:0" }), listener)],
        "upstreams": { "app": merged(json!({ "endpoints": [upstream.to_string()] }), options) },
        "routes": [
            { "match": { "path": "/own" }, "respond": { "status": 200, "body": "own" } },
            { "match": { "prefix": "/" }, "upstream": "app" },
        ],
    });
    let document: Document = serde_json::from_value(document).expect("the document has the right shape");
    let checked = config::check(&document, Path::new("."));
    let plan = checked.unwrap_or_else(|problems| panic!("{problems:#?}")).plan;
    Arc::new(Snapshot::build(plan, registry, None).expect("nothing to load"))
}

fn merged(mut base: Value, more: Value) -> Value {
    let (Value::Object(base_map), Value::Object(more)) = (&mut base, more) else {
        panic!("objects are merged");
    };
    base_map.extend(more);
    base
}

/// The frames up to and including the first that satisfies `is_it`.
pub(crate) fn read_through(client: &mut RawClient, is_it: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let mut seen = Vec::new();
    loop {
        match frames::read_frame(client) {
            Ok(frame) => {
                let found = is_it(&frame);
                seen.push(frame);
                if found {
                    return seen;
                }
            }
            Err(broken) => panic!("the connection ended first: {broken:?}; frames: {seen:#?}"),
        }
    }
}

/// The error code of the GOAWAY that ends the connection; panics if it does not end.
pub(crate) fn goodbye(client: &mut RawClient) -> Option<u32> {
    let mut code = None;
    while let Ok(frame) = frames::read_frame(client) {
        if frame.is_goaway() {
            code = frame.error_code();
        }
    }
    code
}

pub(crate) fn ends_stream(frame: &Frame, stream: u32) -> bool {
    frame.stream == stream && matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.flags & flag::END_STREAM != 0
}

pub(crate) fn resets(frame: &Frame, stream: u32) -> bool {
    frame.stream == stream && frame.kind == kind::RST_STREAM
}

/// An upstream whose connections the test serves by hand.
pub(crate) struct RawUpstream {
    address: SocketAddr,
    accepted: mpsc::Receiver<TcpStream>,
}

/// One connection of the gateway to a [`RawUpstream`].
pub(crate) struct RawConnection(TcpStream);

impl RawUpstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (sender, accepted) = mpsc::channel();
        std::thread::spawn(move || {
            // It ends with the test, which drops the other end.
            while let Ok((stream, _)) = listener.accept() {
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, accepted }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, after its preface; the upstream has said these SETTINGS.
    pub(crate) fn accept(&self, settings: &[(u16, u32)]) -> RawConnection {
        let mut stream = self.accepted.recv_timeout(PATIENCE).expect("the gateway connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("patience is not zero");
        stream.write_all(&frames::settings(settings)).expect("the gateway listens");
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).expect("a preface");
        assert_eq!(preface, PREFACE);
        RawConnection(stream)
    }

    /// Whether the gateway has opened another connection by now.
    pub(crate) fn has_another(&self) -> bool {
        self.accepted.try_recv().is_ok()
    }
}

impl RawConnection {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("the gateway listens");
    }

    /// Reads frames until one satisfies `is_it`.
    pub(crate) fn read_until(&mut self, what: &str, is_it: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.read_frame().unwrap_or_else(|| panic!("the connection ended before {what}"));
            if frame.kind == kind::SETTINGS && frame.flags & flag::ACK == 0 {
                self.send(frames::frame(kind::SETTINGS, flag::ACK, 0, &[]));
            }
            if is_it(&frame) {
                return frame;
            }
        }
    }

    /// The stream of the next request.
    pub(crate) fn next_request(&mut self) -> u32 {
        self.read_until("a request", |frame| frame.kind == kind::HEADERS).stream
    }

    /// Answers a request with a status that HPACK knows, without a body.
    pub(crate) fn answer(&mut self, stream: u32) {
        self.send(frames::headers(stream, &frames::indexed(8), true));
    }

    /// `None` at the end of the connection.
    pub(crate) fn read_frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
        self.0.read_exact(&mut payload).ok()?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Says GOAWAY.
    pub(crate) fn go_away(&mut self, last: u32, code: u32) {
        self.send(frames::frame(kind::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat()));
    }
}
