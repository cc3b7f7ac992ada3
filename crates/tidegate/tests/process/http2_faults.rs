//! HTTP/2 upstreams that break the protocol, lie or flood: an error or a visible cut, at a bounded cost.

use std::time::Duration;

use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::http1::{Broken, Response};
use tidegate_testkit::http2::frames::{
    block, data, flag, frame, headers, indexed, kind, literal_indexed, ping, rst_stream, settings, window_update,
};
use tidegate_testkit::recorder::{Recorder, Step};

use crate::rig::BINARY;

/// What a flooding upstream may cost.
const MEMORY: u64 = 32 << 20;

/// A gateway with two upstreams: `/bad` goes to one whose HTTP/2 is written by hand, the rest to an
/// honest one.
struct Mixed {
    gateway: Gateway,
    honest: Recorder,
    bad: Recorder,
}

impl Mixed {
    fn start() -> Self {
        let (honest, bad) = (Recorder::start(), Recorder::start());
        let gateway = Gateway::start(
            BINARY,
            &format!(
                "workers: 1\nlog: {{ format: json }}\nadmin: {{ address: \"127.0.0.1:0\" }}\nlisteners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
                 upstreams:\n  honest: {{ endpoints: [ \"{}\" ] }}\n  bad: {{ endpoints: [ \"{}\" ], protocol: http2, protect: [], timeouts: {{ response: 400ms, body: 400ms }} }}\n\
                 routes: [ {{ match: {{ prefix: / }}, upstream: honest }}, {{ match: {{ prefix: /bad }}, upstream: bad }} ]\n",
                honest.address(),
                bad.address(),
            ),
        );
        Self { gateway, honest, bad }
    }

    /// Answers the request on stream 1 with these frames.
    fn ask(&self, frames: &[u8]) -> Result<Response, Broken> {
        self.ask_with(vec![Step::Send(frames.to_vec())])
    }

    /// Takes these steps when the request has come on stream 1, and ends the connection when the
    /// client has its answer, so that each case has a connection of its own.
    fn ask_with(&self, steps: Vec<Step>) -> Result<Response, Broken> {
        let answered = Gate::new();
        // The client's preface reads as a request for `*`. HEADERS of stream 1 with END_HEADERS and
        // END_STREAM are the gateway's request.
        let request = vec![kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 0, 0, 0, 1];
        let mut script = vec![Step::Send(settings(&[])), Step::AwaitBytes(request)];
        script.extend(steps);
        script.extend([Step::AwaitGate(answered.clone()), Step::Close]);
        self.bad.on("*", script);
        let connection = self.bad.connections();
        let mut client = RawClient::connect(self.gateway.address(0));
        client.send("GET /bad HTTP/1.1\r\nHost: honest.test\r\n\r\n");
        let answer = client.read_response("GET");
        // A stream that was refused is asked for once more, on another connection (RFC 9113 §8.7).
        let played = self.bad.connections() - connection;
        assert!((1..=2).contains(&played), "the case was played on {played} connections");
        answered.open();
        (connection..connection + played).for_each(|connection| self.bad.wait_until_ended(connection));
        let probe = RawClient::connect(self.gateway.address(0)).get("/probe");
        assert_eq!((probe.status, probe.json()["target"].as_str()), (200, Some("/probe")));
        assert!(self.honest.requests().iter().all(|seen| seen.target == "/probe"));
        answer
    }
}

fn status(status: &str, fields: &[(&str, &[u8])], ends: bool) -> Vec<u8> {
    headers(1, &block(&[&[(":status", status.as_bytes())], fields].concat()), ends)
}

fn is_error_or_cut(answer: &Result<Response, Broken>) -> bool {
    match answer {
        Ok(answer) => matches!(answer.status, 502..=504) || (answer.status == 200 && !answer.is_complete()),
        Err(broken) => matches!(broken, Broken::Closed(..)),
    }
}

#[test]
fn a_correct_answer_by_hand_arrives() {
    let mixed = Mixed::start();
    let answer = mixed.ask(
        &[
            status("103", &[("link", b"</a>")], false),
            status("200", &[("x-a", b"y")], false),
            data(1, b"hel", false),
            data(1, b"lo", true),
        ]
        .concat(),
    );
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str(), answer.is_complete()), (200, "hello", true));
    assert_eq!(answer.fields.first("x-a"), Some("y"));
}

#[test]
fn answers_that_break_the_protocol_are_errors_or_cuts() {
    let mixed = Mixed::start();
    let large = vec![b'y'; 16_000];
    let many = block(&vec![("x-a", &b"y"[..]); 3000]);
    let bomb =
        [block(&[(":status", b"200")]), literal_indexed("x-bomb", &[b'y'; 4000]), indexed(62).repeat(12_000)].concat();
    let mut endless = frame(kind::HEADERS, 0, 1, &block(&[(":status", b"200")]));
    for _ in 0..100 {
        endless.extend(frame(kind::CONTINUATION, 0, 1, &block(&[("x-a", &large)])));
    }
    endless.extend(frame(kind::CONTINUATION, flag::END_HEADERS | flag::END_STREAM, 1, &[]));
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("DATA before HEADERS", data(1, b"hello", true)),
        ("no status", headers(1, &block(&[("x-a", b"y")]), true)),
        ("a status of letters", status("abc", &[], true)),
        ("a status of two digits", status("20", &[], true)),
        ("a status of four digits", status("2000", &[], true)),
        ("an empty status", status("", &[], true)),
        ("two statuses", status("200", &[(":status", b"404")], true)),
        ("a late pseudo-field", headers(1, &block(&[("x-a", b"y"), (":status", b"200")]), true)),
        ("an upper-case name", status("200", &[("X-Upper", b"y")], true)),
        ("CRLF in a value", status("200", &[("x-a", b"y\r\nX-Injected: z")], true)),
        ("CRLF in a name", status("200", &[("x\r\ny", b"z")], true)),
        ("NUL in a value", status("200", &[("x-a", b"y\0z")], true)),
        ("connection", status("200", &[("connection", b"close")], true)),
        ("transfer-encoding", status("200", &[("transfer-encoding", b"chunked")], true)),
        ("101", status("101", &[("upgrade", b"websocket")], false)),
        ("a length without data", status("200", &[("content-length", b"5")], true)),
        (
            "a length that is too long",
            [status("200", &[("content-length", b"5")], false), data(1, b"hel", true)].concat(),
        ),
        (
            "a length that is too short",
            [status("200", &[("content-length", b"2")], false), data(1, b"hello", true)].concat(),
        ),
        ("a length that is none", [status("200", &[("content-length", b"+2")], false), data(1, b"hi", true)].concat()),
        (
            "two lengths",
            [status("200", &[("content-length", b"2"), ("content-length", b"3")], false), data(1, b"hi", true)]
                .concat(),
        ),
        ("a reset instead of an answer", rst_stream(1, 2)),
        ("a reset inside the body", [status("200", &[], false), data(1, b"half", false), rst_stream(1, 2)].concat()),
        (
            "a polite reset inside the body",
            [status("200", &[], false), data(1, b"half", false), rst_stream(1, 0)].concat(),
        ),
        ("a cancelled body", [status("200", &[], false), data(1, b"half", false), rst_stream(1, 8)].concat()),
        (
            "trailers that do not end",
            [status("200", &[], false), data(1, b"half", false), headers(1, &block(&[("x-sum", b"1")]), false)]
                .concat(),
        ),
        (
            "PUSH_PROMISE",
            frame(
                kind::PUSH_PROMISE,
                flag::END_HEADERS,
                1,
                &[
                    &[0, 0, 0, 2][..],
                    &block(&[(":method", b"GET"), (":path", b"/"), (":scheme", b"http"), (":authority", b"a")]),
                ]
                .concat(),
            ),
        ),
        ("an answer to nobody", headers(3, &block(&[(":status", b"200")]), true)),
        ("a frame that is too large", [status("200", &[], false), frame(kind::DATA, 0, 1, &vec![0; 1 << 20])].concat()),
        ("more DATA than the window", [status("200", &[], false), data(1, &large, false).repeat(600)].concat()),
        ("SETTINGS of a wrong length", frame(kind::SETTINGS, 0, 0, &[0; 5])),
        ("a window that overflows", [window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)].concat()),
        ("GOAWAY", frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2])),
        ("a broken table index", headers(1, &[0xff, 0xff, 0xff, 0xff, 0x07], true)),
        ("a header bomb", headers(1, &bomb, true)),
        ("3,000 fields", headers(1, &[block(&[(":status", b"200")]), many].concat(), true)),
        ("a megabyte of continuations", endless),
        ("HTTP/1", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec()),
        ("silence", vec![]),
        ("a head and silence", status("200", &[], false)),
        (
            "half a body and silence",
            [status("200", &[("content-length", b"10")], false), data(1, b"half", false)].concat(),
        ),
    ];
    let mut failures = Vec::new();
    for (what, frames) in table {
        let answer = mixed.ask(&frames);
        if !is_error_or_cut(&answer) {
            failures.push(format!("{what}: {answer:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn pseudo_fields_that_mean_nothing_do_not_get_through() {
    let mixed = Mixed::start();
    let late =
        [status("200", &[], false), data(1, b"half", false), headers(1, &block(&[(":status", b"404")]), true)].concat();
    for frames in [status("200", &[(":path", b"/")], true), late] {
        let answer = mixed.ask(&frames);
        if !is_error_or_cut(&answer) {
            let answer = answer.expect("an answer");
            assert_eq!(answer.status, 200);
            assert!(
                answer
                    .fields
                    .iter()
                    .chain(answer.trailers.iter())
                    .all(|(name, _)| !name.contains(':') && name != "path")
            );
        }
    }
}

#[test]
fn ends_of_the_connection_are_errors_or_cuts() {
    let mixed = Mixed::start();
    let begun = [
        vec![],
        status("200", &[], false),
        [status("200", &[], false), data(1, b"half", false)].concat(),
        status("200", &[], false)[..5].to_vec(),
    ];
    for bytes in begun {
        for end in [Step::Close, Step::Reset] {
            let answer = mixed.ask_with(vec![Step::Send(bytes.clone()), end.clone()]);
            assert!(is_error_or_cut(&answer), "{end:?} after {bytes:?}: {answer:?}");
        }
    }
}

#[test]
fn floods_of_an_upstream_end_and_cost_little() {
    let mixed = Mixed::start();
    let floods = [
        ("interim answers", status("103", &[("link", b"</a>")], false)),
        ("PING", ping(1)),
        ("SETTINGS", settings(&[(4, 65_535)])),
        ("empty DATA", data(1, b"", false)),
        ("WINDOW_UPDATE", window_update(1, 1)),
        ("unknown frames", frame(0xbb, 0, 0, b"unknown")),
        ("CONTINUATION", frame(kind::CONTINUATION, 0, 1, &block(&[("x-a", &[b'y'; 1000])]))),
    ];
    for (what, each) in floods {
        let before = mixed.gateway.resident_bytes();
        let first = match what {
            "empty DATA" => status("200", &[], false),
            "CONTINUATION" => frame(kind::HEADERS, 0, 1, &block(&[(":status", b"200")])),
            _ => vec![],
        };
        let answer = mixed.ask_with(vec![Step::Send(first), Step::Repeat(each.repeat(100), 500)]);
        assert!(is_error_or_cut(&answer), "{what}: {answer:?}");
        let growth = mixed.gateway.resident_bytes().saturating_sub(before);
        assert!(growth < MEMORY, "{what} costs {growth} bytes");
    }
}

#[test]
fn an_answer_that_drips_is_a_timeout_or_a_cut() {
    let mixed = Mixed::start();
    let head = status("200", &[("x-a", &[b'y'; 100])], true);
    let answer = mixed.ask_with(vec![Step::Drip(head, Duration::from_millis(10))]);
    assert_eq!(answer.expect("an answer").status, 504);
}
