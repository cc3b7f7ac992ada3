//! A gateway in front of a recording upstream, and the checks that hold after every hostile case.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tidegate_testkit::client::RawClient;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::http1::{Broken, Closed, Response, find};
use tidegate_testkit::judge::{self, Request};
use tidegate_testkit::recorder::{Mark, Recorder};
use tidegate_testkit::shown;

/// The executable under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// What an attacker hides behind or inside another request. It must never be taken for a request.
pub(crate) const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: honest.test\r\n\r\n";

/// A running gateway with its upstream.
pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    pub(crate) recorder: Recorder,
}

/// The options of a rig that differ between tests; each is a piece of YAML.
pub(crate) struct Options {
    /// Further keys of the listener, such as `timeouts: { head: 300ms }, limits: { head: 8KiB }`.
    pub(crate) listener: &'static str,
    /// Further keys of the upstream `app`.
    pub(crate) upstream: &'static str,
    /// Routes besides the one that forwards everything else to `app`, with commas between them.
    pub(crate) routes: &'static str,
    /// Workers; one makes the use of pooled connections predictable.
    pub(crate) workers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { listener: "", upstream: "", routes: "", workers: 1 }
    }
}

impl Rig {
    /// A gateway that forwards everything to an upstream that answers with its echo.
    pub(crate) fn start() -> Self {
        Self::with(Recorder::start(), &Options::default())
    }

    /// A gateway in front of `recorder`.
    pub(crate) fn with(recorder: Recorder, options: &Options) -> Self {
        let gateway = Gateway::start(BINARY, &config(&recorder, options));
        Self { gateway, recorder }
    }

    /// A new connection to the gateway.
    pub(crate) fn connect(&self) -> RawClient {
        RawClient::connect(self.gateway.address(0))
    }

    /// Sends an honest request on a connection of its own and checks that its own answer comes back.
    pub(crate) fn probe(&self, target: &str) {
        check_echo(&self.connect().get(target), target);
    }

    /// Ends the gateway and checks everything that its upstream has ever received: every model of a
    /// back end reads the same requests; none is one that was hidden (`/smuggled`) or had to be refused
    /// (`/evil`), and none that had to be cut (`/cut`) is whole; the gateway has not panicked.
    pub(crate) fn conclude(self) {
        let ended = self.gateway.terminate();
        assert!(ended.status.success(), "exit status {}:\n{}", ended.status, ended.log);
        assert!(!ended.log.contains("panicked"), "{}", ended.log);
        self.recorder.wait_until_all_ended();
        let requests = self.recorder.judged().unwrap_or_else(|disagreement| panic!("{disagreement}"));
        for request in requests {
            let is_wrong = request.target.contains("smuggled")
                || request.target.contains("evil")
                || (request.target.starts_with("/cut") && request.complete);
            assert!(!is_wrong, "forwarded: {request}");
        }
    }
}

fn config(recorder: &Recorder, options: &Options) -> String {
    let Options { listener, upstream, routes, workers } = options;
    let address = recorder.address();
    format!(
        "workers: {workers}\n\
         log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         shutdown: {{ drain: 200ms }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\"{} }} ]\n\
         upstreams: {{ app: {{ endpoints: [ \"{address}\" ]{} }} }}\n\
         routes: [ {{ name: all, match: {{ prefix: / }}, upstream: app }}{} ]\n",
        more(listener),
        more(upstream),
        more(routes),
    )
}

/// A piece of a flow collection that goes on after others.
fn more(piece: &str) -> String {
    if piece.is_empty() { String::new() } else { format!(", {piece}") }
}

/// Checks that `answer` is the upstream's echo of a request for `target`.
pub(crate) fn check_echo(answer: &Response, target: &str) {
    assert!(answer.status == 200 && answer.is_complete(), "for {target}: {answer:?}");
    assert_eq!(answer.json()["target"], target, "somebody else's answer");
}

/// What must come of a case.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// One of these statuses, then the end of the connection; nothing reaches the upstream.
    Refused(&'static [u16]),
    /// One of these statuses; nothing reaches the upstream; the connection ends or serves an honest
    /// request.
    Answered(&'static [u16]),
    /// An answer by the upstream, which has received exactly one request with this target and content.
    Forwarded(String, Vec<u8>),
    /// Either of the two: the class allows both.
    RefusedOrForwarded(&'static [u16], String, Vec<u8>),
    /// One of these statuses or none, then the end of the connection; what reached the upstream is
    /// visibly cut.
    Cut(&'static [u16]),
}

/// One hostile input.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) send: Vec<u8>,
    /// Whether the client says that nothing more will come.
    pub(crate) ends: bool,
    pub(crate) want: Want,
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, send: impl Into<Vec<u8>>, want: Want) -> Self {
        Self { name: name.into(), send: send.into(), ends: false, want }
    }

    /// A case that is named after what it sends.
    pub(crate) fn of(send: impl Into<Vec<u8>>, want: Want) -> Self {
        let send = send.into();
        Self::new(shown(&send), send, want)
    }

    pub(crate) fn ending(self) -> Self {
        Self { ends: true, ..self }
    }
}

/// Runs every case, each on a connection of its own, and reports all that fail.
pub(crate) fn run(rig: &Rig, cases: &[Case]) {
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        // A failed check is a panic with its evidence; the other cases are still worth running.
        let result = catch_unwind(AssertUnwindSafe(|| run_case(rig, number, case)));
        if let Err(panic) = result {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            failures.push(format!("{}\n  {}", case.name, text.unwrap_or_default()));
        }
    }
    assert!(failures.is_empty(), "{} of {} cases fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn run_case(rig: &Rig, number: usize, case: &Case) {
    let mark = rig.recorder.mark();
    let mut client = rig.connect();
    let sent = named(case, number);
    client.send(&sent);
    if case.ends {
        client.half_close();
    }
    let answer = client.read_response(method_of(&sent));
    match &case.want {
        Want::Refused(statuses) => {
            check_problem(check_status(&answer, statuses));
            check_end(&mut client);
        }
        Want::Answered(statuses) => {
            check_status(&answer, statuses);
            check_honest_or_ended(client, &format!("/same/{number}"));
        }
        Want::Forwarded(target, _) => {
            check_echo(answer.as_ref().unwrap_or_else(|broken| panic!("no answer: {broken:?}")), target);
            check_honest_or_ended(client, &format!("/same/{number}"));
        }
        Want::RefusedOrForwarded(statuses, target, _) => match &answer {
            Ok(answer) if answer.status == 200 => {
                check_echo(answer, target);
                check_honest_or_ended(client, &format!("/same/{number}"));
            }
            _ => {
                check_problem(check_status(&answer, statuses));
                check_end(&mut client);
            }
        },
        Want::Cut(statuses) => {
            if let Ok(answer) = &answer {
                assert!(statuses.contains(&answer.status), "answered {answer:?}");
            }
            check_end(&mut client);
        }
    }
    let probe = format!("/probe/{number}");
    rig.probe(&probe);
    check_forwarded(rig, &mark, &case.want, number);
}

/// What the case sends, with its number in the target: what a case before it has let through may reach the
/// upstream late and must not be taken for this one's.
fn named(case: &Case, number: usize) -> Vec<u8> {
    let name = match case.want {
        Want::Cut(_) => format!("/cut-{number}-"),
        _ => format!("/evil-{number}-"),
    };
    match find(&case.send, b"/evil") {
        Some(at) => [&case.send[..at], name.as_bytes(), &case.send[at + 5..]].concat(),
        None => case.send.clone(),
    }
}

fn method_of(request: &[u8]) -> &'static str {
    if request.starts_with(b"HEAD ") { "HEAD" } else { "GET" }
}

fn check_status<'a>(answer: &'a Result<Response, Broken>, statuses: &[u16]) -> &'a Response {
    let answer = answer.as_ref().unwrap_or_else(|broken| panic!("wanted {statuses:?}, got no answer: {broken:?}"));
    let fits = statuses.contains(&answer.status) && answer.is_complete();
    assert!(fits, "wanted {statuses:?}, got {} {:?}", answer.status, answer.text());
    answer
}

/// The gateway's own errors are problem documents that can be found again in the log.
pub(crate) fn check_problem(answer: &Response) {
    assert_eq!(answer.fields.first("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem = answer.json();
    for member in ["error_code", "request_id", "timestamp"] {
        assert!(problem[member].is_string(), "no {member} in {problem}");
    }
}

/// The connection ends and nothing more is said on it.
pub(crate) fn check_end(client: &mut RawClient) {
    let (rest, closed) = client.read_to_end();
    assert!(rest.is_empty(), "after the answer came {}", shown(&rest));
    assert!(closed != Closed::Truncated, "no close_notify");
}

/// On the same connection an honest request gets its own answer, unless the connection ends first.
pub(crate) fn check_honest_or_ended(mut client: RawClient, target: &str) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n\r\n"));
    match client.read_response("GET") {
        Ok(answer) => check_echo(&answer, target),
        Err(Broken::Closed(_, rest)) => assert!(rest.is_empty(), "half an answer: {}", shown(&rest)),
        Err(malformed) => panic!("{malformed:?}"),
    }
}

/// The upstream has received what the case wanted and honest requests, nothing else.
fn check_forwarded(rig: &Rig, mark: &Mark, want: &Want, number: usize) {
    // What is forwarded whole is there when its answer is. What is cut may come late, in pieces, so whole
    // streams are read then, and the targets tell whose it is.
    let streams = match want {
        Want::Forwarded(..) | Want::RefusedOrForwarded(..) => rig.recorder.raw_since(mark),
        Want::Refused(_) | Want::Answered(_) | Want::Cut(_) => rig.recorder.raw(),
    };
    let mut requests: Vec<Request> = Vec::new();
    for bytes in streams {
        requests.extend(judge::agree(&bytes).unwrap_or_else(|disagreement| panic!("{disagreement}")));
    }
    requests.retain(|request| !is_honest(&request.target) && !is_of_another_case(&request.target, number));
    let listed: Vec<String> = requests.iter().map(ToString::to_string).collect();
    let is_one = |target: &String, body: &Vec<u8>| {
        requests.len() == 1 && requests[0].complete && requests[0].target == *target && requests[0].body == *body
    };
    let is_right = match want {
        Want::Refused(_) | Want::Answered(_) => requests.is_empty(),
        Want::Forwarded(target, body) => is_one(target, body),
        Want::RefusedOrForwarded(_, target, body) => requests.is_empty() || is_one(target, body),
        Want::Cut(_) => requests.len() <= 1 && requests.iter().all(|request| !request.complete),
    };
    assert!(is_right, "forwarded {listed:?}");
}

fn is_honest(target: &str) -> bool {
    target.starts_with("/same/") || target.starts_with("/probe/")
}

fn is_of_another_case(target: &str, number: usize) -> bool {
    ["/cut-", "/evil-"].iter().any(|kind| target.starts_with(kind) && !target.starts_with(&format!("{kind}{number}-")))
}
