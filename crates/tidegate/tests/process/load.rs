//! Honest clients of every kind, busy while something happens to the gateway. A single request that is lost,
//! cut or answered with somebody else's answer fails the test.
//!
//! Time is counted in rounds: a test does one thing after another to the gateway and says so, and uploads and
//! downloads that last rounds are sure to have been on their way meanwhile.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use http::Request;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::http1::{BodyReader, Response};
use tidegate_testkit::http2::Http2Client;
use tidegate_testkit::recorder::{Recorder, Seen, Step, response};

/// How many rounds a download lasts.
const DOWNLOAD_ROUNDS: usize = 2;

/// Bytes of a download that come at once.
const PIECE: usize = 200_000;

/// Bytes of an upload, half of them in one round and half in the next.
const UPLOAD: usize = 100_000;

/// What happens to the gateway, counted.
#[derive(Clone, Default)]
struct Rounds(Arc<Mutex<Progress>>);

#[derive(Default)]
struct Progress {
    current: usize,
    over: bool,
    gates: HashMap<usize, Gate>,
}

impl Rounds {
    fn with<T>(&self, act: impl FnOnce(&mut Progress) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens when so many more rounds are over.
    fn gate_after(&self, more: usize) -> Gate {
        self.with(|progress| {
            let gate = progress.gates.entry(progress.current + more).or_default().clone();
            if progress.over {
                gate.open();
            }
            gate
        })
    }

    fn advance(&self) {
        self.with(|progress| {
            progress.current += 1;
            if let Some(gate) = progress.gates.remove(&progress.current) {
                gate.open();
            }
        });
    }

    fn end(&self) {
        self.with(|progress| {
            progress.over = true;
            progress.gates.values().for_each(Gate::open);
        });
    }
}

/// The upstream of the load, before its clients are there.
pub(crate) struct Service {
    rounds: Rounds,
    recorder: Recorder,
}

impl Service {
    pub(crate) fn start() -> Self {
        let rounds = Rounds::default();
        let at = rounds.clone();
        Self { rounds, recorder: Recorder::with(move |seen| steps(seen, &at)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.recorder.address()
    }

    /// Clients that keep the gateway at `address` busy until they are stopped.
    pub(crate) fn load(self, address: SocketAddr) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let kinds: [(&str, Act); 5] = [
            ("keep-alive", keep_alive),
            ("new-connection", new_connection),
            ("upload", upload),
            ("download", download),
            ("http2", http2),
        ];
        let clients = kinds.map(|(kind, act)| {
            let client = Client { kind, address, rounds: self.rounds.clone(), stop: Arc::clone(&stop) };
            (kind, std::thread::spawn(move || act(&client)))
        });
        Load { service: self, seen: 0, stop, clients: clients.into() }
    }
}

fn steps(seen: &Seen, rounds: &Rounds) -> Vec<Step> {
    if seen.target.starts_with("/download/") {
        let length = PIECE * (DOWNLOAD_ROUNDS + 1);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let mut steps = vec![Step::Send(head.into_bytes()), Step::Send(pattern(&seen.target, PIECE))];
        for round in 1..=DOWNLOAD_ROUNDS {
            steps.push(Step::AwaitGate(rounds.gate_after(round)));
            steps.push(Step::Send(pattern(&seen.target, PIECE)));
        }
        return steps;
    }
    vec![Step::AwaitRequest, Step::Send(response("200 OK", &[], &seen.target))]
}

/// Bytes that say whose they are.
fn pattern(target: &str, length: usize) -> Vec<u8> {
    target.bytes().cycle().take(length).collect()
}

/// Clients at work.
pub(crate) struct Load {
    service: Service,
    /// Requests that had arrived before this round.
    seen: usize,
    stop: Arc<AtomicBool>,
    clients: Vec<(&'static str, JoinHandle<usize>)>,
}

impl Load {
    /// Waits until a request of every kind is on its way.
    pub(crate) fn wait_until_busy(&mut self) {
        self.wait_for(&["keep-alive", "new-connection", "upload", "download", "http2"]);
    }

    /// One more thing has happened to the gateway; waits until it was busy since.
    pub(crate) fn next_round(&mut self) {
        self.service.rounds.advance();
        self.wait_for(&["keep-alive", "new-connection", "upload", "http2"]);
    }

    /// Waits until a new request of each of these kinds has arrived.
    fn wait_for(&mut self, kinds: &[&str]) {
        for (kind, client) in &self.clients {
            assert!(!client.is_finished(), "the {kind} client has ended early");
        }
        let seen = self.seen;
        self.seen = self.service.recorder.wait_for(&format!("requests of {kinds:?}"), |requests| {
            let is_of = |seen: &Seen, kind: &str| seen.target.split('/').nth(1) == Some(kind);
            let new = &requests[seen..];
            kinds.iter().all(|kind| new.iter().any(|seen| is_of(seen, kind))).then_some(requests.len())
        });
    }

    /// Stops the clients and checks that nothing was lost.
    ///
    /// # Panics
    /// When a client was not served as it should be.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.service.rounds.end();
        let mut uploads = 0;
        for (kind, client) in self.clients {
            let served = client.join().unwrap_or_else(|_| panic!("the {kind} client lost a request"));
            assert!(served > 0, "the {kind} client was never served");
            if kind == "upload" {
                uploads = served;
            }
        }
        self.service.recorder.wait_for("the uploads", |requests| {
            let arrived = requests.iter().filter(|seen| seen.target.starts_with("/upload/"));
            let whole = arrived.inspect(|seen| assert_eq!(seen.body, pattern(&seen.target, UPLOAD), "{}", seen.target));
            (whole.count() == uploads).then_some(())
        });
    }
}

/// One client: where it goes and when it stops.
struct Client {
    kind: &'static str,
    address: SocketAddr,
    rounds: Rounds,
    stop: Arc<AtomicBool>,
}

/// What a client does; it returns how many requests it had answered.
type Act = fn(&Client) -> usize;

impl Client {
    /// A target for each request, until it is time to stop.
    fn targets(&self) -> impl Iterator<Item = String> {
        let target = |number: usize| format!("/{}/{number}", self.kind);
        (0..).take_while(|_| !self.stop.load(Ordering::SeqCst)).map(target)
    }

    fn connect(&self) -> RawClient {
        RawClient::connect(self.address)
    }
}

fn get(target: &str, connection: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\nConnection: {connection}\r\n\r\n")
}

fn check(answer: &Response, target: &str) {
    assert!(answer.status == 200 && answer.is_complete(), "for {target}: {answer:?}");
    assert_eq!(answer.text(), target, "somebody else's answer");
}

/// Uses a connection until the gateway says that an answer is its last.
fn keep_alive(client: &Client) -> usize {
    let mut connection = client.connect();
    let mut served = 0;
    for target in client.targets() {
        let answer = connection.exchange(get(&target, "keep-alive"));
        check(&answer, &target);
        served += 1;
        if answer.fields.first("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            connection = client.connect();
        }
    }
    served
}

fn new_connection(client: &Client) -> usize {
    let serve = |target: String| check(&client.connect().exchange(get(&target, "close")), &target);
    client.targets().map(serve).count()
}

/// Sends half of a body in one round and half in the next.
fn upload(client: &Client) -> usize {
    let serve = |target: String| {
        let body = pattern(&target, UPLOAD);
        let (now, later) = body.split_at(UPLOAD / 2);
        let mut connection = client.connect();
        let head = format!("POST {target} HTTP/1.1\r\nHost: honest.test\r\nContent-Length: {UPLOAD}\r\n\r\n");
        let gate = client.rounds.gate_after(1);
        assert!(connection.send(head) && connection.send(now), "{target} is not taken");
        assert!(gate.wait(), "the next round never came");
        assert!(connection.send(later), "the rest of {target} is not taken");
        let answer = connection.read_response("POST");
        check(&answer.unwrap_or_else(|broken| panic!("no answer to {target}: {broken:?}")), &target);
    };
    client.targets().map(serve).count()
}

/// Reads an answer that takes some rounds.
fn download(client: &Client) -> usize {
    let serve = |target: String| {
        let mut connection = client.connect();
        assert!(connection.send(get(&target, "close")), "{target} is not taken");
        let head = connection.begin_response("GET");
        let head = head.unwrap_or_else(|broken| panic!("no answer to {target}: {broken:?}"));
        assert_eq!(head.status, 200, "{target}: {head:?}");
        let mut reader = BodyReader::new(head.framing);
        let mut body = Vec::new();
        while let Some(piece) = connection.read_some(&mut reader).unwrap_or_else(|cut| panic!("{target}: {cut:?}")) {
            body.extend_from_slice(&piece);
        }
        let expected = pattern(&target, PIECE).repeat(DOWNLOAD_ROUNDS + 1);
        assert!(body == expected, "{target}: {} bytes instead of {}, or others", body.len(), expected.len());
    };
    client.targets().map(serve).count()
}

/// Uses a connection until the gateway says goodbye.
fn http2(client: &Client) -> usize {
    let mut connection = Http2Client::connect(client.address);
    let mut served = 0;
    for target in client.targets() {
        let answer = loop {
            let request = Request::get(format!("http://honest.test{target}")).body(()).expect("a valid URL");
            match connection.exchange(request, &[]) {
                Ok(answer) => break answer,
                // A stream that was not taken any more may be sent again elsewhere (RFC 9113 section 6.8). Elsewhere
                // may be a worker that is about to say goodbye, too.
                Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => {
                    connection = Http2Client::connect(client.address);
                }
                Err(error) => panic!("{target}: {error:?}"),
            }
        };
        answer.end.unwrap_or_else(|error| panic!("{target} was cut: {error:?}"));
        assert_eq!((answer.status, answer.body.as_slice()), (200, target.as_bytes()), "somebody else's answer");
        served += 1;
    }
    served
}
