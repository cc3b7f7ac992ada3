//! Upstreams that fail, lie or say too much: an error or a visible cut, and never somebody else's answer.

use std::time::Duration;

use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::http1::{Broken, Framing, Response};
use tidegate_testkit::port::RefusingPort;
use tidegate_testkit::recorder::{Recorder, Seen, Step, chunked, response};

use crate::rig::{BINARY, Options, Rig, check_echo, check_honest_or_ended, check_problem};

/// What a client must never see: it belongs to no request.
const POISON: &[u8] = b"HTTP/1.1 200 OK\r\nX-Poison: yes\r\nContent-Length: 6\r\n\r\npoison";

fn rig() -> Rig {
    let options = Options { upstream: "timeouts: { connect: 2s, response: 400ms, body: 400ms }", ..Options::default() };
    Rig::with(Recorder::start(), &options)
}

fn send(bytes: impl AsRef<[u8]>) -> Step {
    Step::Send(bytes.as_ref().to_vec())
}

/// Asks for a target whose steps these are; then checks that other clients are served right, also on
/// connections that the pool may have kept.
fn ask(rig: &Rig, target: &str, steps: Vec<Step>) -> Response {
    try_to_ask(rig, target, steps).unwrap_or_else(|broken| panic!("no answer to {target}: {broken:?}"))
}

/// The same where the gateway may end the connection without an answer.
fn try_to_ask(rig: &Rig, target: &str, steps: Vec<Step>) -> Result<Response, Broken> {
    rig.recorder.on(target, steps);
    let mut client = rig.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n\r\n"));
    let answer = client.read_response("GET");
    for number in 0..3 {
        rig.probe(&format!("/probe{target}/{number}"));
    }
    if answer.is_ok() {
        check_honest_or_ended(client, &format!("/same{target}"));
    }
    answer
}

/// A cut that the client sees: an error, an incomplete body, or the end of the connection.
fn is_visible(answer: &Result<Response, Broken>) -> bool {
    match answer {
        Ok(answer) => answer.status == 502 || (answer.status == 200 && !answer.is_complete()),
        Err(broken) => matches!(broken, Broken::Closed(..)),
    }
}

fn check_bad_gateway(answer: &Response, what: &str) {
    assert!(answer.status == 502 && answer.is_complete(), "{what}: {answer:?}");
    check_problem(answer);
}

#[test]
fn an_upstream_that_refuses_connections_is_a_bad_gateway() {
    let port = RefusingPort::reserve();
    let gateway = Gateway::start(
        BINARY,
        &format!(
            "log: {{ format: json }}\nadmin: {{ address: \"127.0.0.1:0\" }}\nlisteners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
             upstreams: {{ app: {{ endpoints: [ \"{}\" ] }} }}\nroutes: [ {{ match: {{ prefix: / }}, upstream: app }} ]\n",
            port.address()
        ),
    );
    let mut client = tidegate_testkit::client::RawClient::connect(gateway.address(0));
    for _ in 0..3 {
        let answer = client.get("/nobody");
        check_bad_gateway(&answer, "refused");
        let text = answer.text();
        assert!(!text.contains(&port.address().port().to_string()), "the answer tells where the upstream is: {text}");
    }
}

#[test]
fn an_end_before_or_inside_the_head_is_a_bad_gateway() {
    let rig = rig();
    let partial = [
        "",
        "H",
        "HTTP/1.1",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2",
    ];
    for (number, head) in partial.iter().enumerate() {
        for (how, end) in [("close", Step::Close), ("reset", Step::Reset)] {
            let target = format!("/partial/{number}/{how}");
            let answer = ask(&rig, &target, vec![Step::AwaitRequest, send(head), end]);
            check_bad_gateway(&answer, &format!("{how} after {head:?}"));
        }
    }
    rig.conclude();
}

#[test]
fn a_head_that_breaks_http_is_a_bad_gateway() {
    let rig = rig();
    let large = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\nContent-Length: 2\r\n\r\nhi", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nhi", "X-A: y\r\n".repeat(20_000));
    let heads = [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\r\n\r\n",
        "200 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "ICY 200 OK\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        // Line ends and fields.
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
        "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nhi",
        // Framing.
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\x0bchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        &large,
        &many,
    ];
    let mut failures = Vec::new();
    for (number, head) in heads.iter().enumerate() {
        let target = format!("/broken/{number}");
        let answer = ask(&rig, &target, vec![Step::AwaitRequest, send(head), Step::AwaitClose]);
        if answer.status != 502 {
            failures.push(format!("{:.90?}: {} {:?}", head, answer.status, answer.text()));
        }
    }
    assert!(failures.is_empty(), "not a bad gateway:\n{}", failures.join("\n"));
    rig.conclude();
}

#[test]
fn folded_or_repeated_but_equal_fields_of_an_answer_are_resolved_or_refused() {
    let rig = rig();
    for (number, fields) in
        ["Content-Length: 2\r\nContent-Length: 2", "Content-Length: 2, 2", "X: a\r\n b\r\nContent-Length: 2"]
            .iter()
            .enumerate()
    {
        let answer = ask(
            &rig,
            &format!("/resolved/{number}"),
            vec![Step::AwaitRequest, send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhi"))],
        );
        match answer.status {
            502 => {}
            200 => assert_eq!((answer.text().as_str(), answer.framing), ("hi", Framing::Length(2)), "{fields}"),
            other => panic!("{fields}: {other}"),
        }
    }
    rig.conclude();
}

#[test]
fn a_body_that_breaks_off_is_visibly_cut() {
    let rig = rig();
    let bodies = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "half"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nhalf"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nhalf\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nhalf\r\n0"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nhalf\r\n0\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nhalf\r\n0\r\nX: y\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "A\r\nhalf"),
    ];
    for (number, (head, body)) in bodies.iter().enumerate() {
        for (how, end) in [("close", Step::Close), ("reset", Step::Reset)] {
            let target = format!("/breaks/{number}/{how}");
            let answer = try_to_ask(&rig, &target, vec![Step::AwaitRequest, send(head), send(body), end]);
            assert!(is_visible(&answer), "{how} after {head:?} {body:?}: {answer:?}");
        }
    }
    rig.conclude();
}

#[test]
fn malformed_chunks_of_an_answer_are_a_cut() {
    let rig = rig();
    for (number, body) in [
        "zz\r\nhi\r\n0\r\n\r\n",
        "2\nhi\r\n0\r\n\r\n",
        "2\r\nhi0\r\n\r\n",
        "10000000000000002\r\nhi\r\n0\r\n\r\n",
        "+2\r\nhi\r\n0\r\n\r\n",
        "-2\r\nhi\r\n0\r\n\r\n",
        "0x2\r\nhi\r\n0\r\n\r\n",
        "2;x\nhi\r\n0\r\n\r\n",
        "2\r\nhi\r\n0\r\nX : y\r\n\r\n",
        "2\r\nhi\r\n0\r\n X: y\r\n\r\n",
        "2\r\nhi\n0\r\n\r\n",
        "\r\n2\r\nhi\r\n0\r\n\r\n",
    ]
    .iter()
    .enumerate()
    {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let steps = vec![Step::AwaitRequest, send(head), send(body), Step::AwaitClose];
        let answer = try_to_ask(&rig, &format!("/chunks/{number}"), steps);
        assert!(is_visible(&answer), "{body:?}: {answer:?}");
    }
    rig.conclude();
}

#[test]
fn a_body_delimited_by_close_is_complete_after_fin_and_cut_after_reset() {
    let rig = rig();
    let head = "HTTP/1.1 200 OK\r\nX-A: y\r\n\r\n";
    let whole = ask(&rig, "/fin", vec![Step::AwaitRequest, send(head), send("whole"), Step::Close]);
    assert!(whole.status == 200 && whole.is_complete() && whole.text() == "whole", "{whole:?}");
    assert_ne!(whole.framing, Framing::UntilClose, "towards HTTP/1.1 the end is marked, so that a cut can be seen");
    let gate = Gate::new();
    rig.recorder
        .on("/rst", vec![Step::AwaitRequest, send(head), send("half"), Step::AwaitGate(gate.clone()), Step::Reset]);
    let mut client = rig.connect();
    client.send("GET /rst HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    let begun = client.begin_response("GET").expect("a head");
    let mut reader = tidegate_testkit::http1::BodyReader::new(begun.framing);
    assert_eq!(client.read_some(&mut reader).expect("a piece"), Some(b"half".to_vec()));
    gate.open();
    client.read_some(&mut reader).expect_err("a reset is no end");
    let old = rig.connect().exchange("GET /fin HTTP/1.0\r\nHost: honest.test\r\n\r\n");
    assert!(old.status == 200 && old.text() == "whole" && old.framing == Framing::UntilClose, "{old:?}");
    rig.conclude();
}

#[test]
fn surplus_bytes_reach_nobody() {
    let rig = rig();
    let ok = response("200 OK", &[], "mine");
    let answers: [(&str, Vec<u8>); 6] = [
        ("two answers", [ok.clone(), POISON.to_vec()].concat()),
        ("junk", [ok.clone(), b"junk".to_vec()].concat()),
        ("one line end", [ok.clone(), b"\r\n".to_vec()].concat()),
        ("after chunks", [chunked("200 OK", &[], &[b"mi", b"ne"], &[]), POISON.to_vec()].concat()),
        ("half an answer", [ok, b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()].concat()),
        ("a length that is too short", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine", POISON].concat()),
    ];
    for (number, (what, bytes)) in answers.into_iter().enumerate() {
        let target = format!("/surplus/{number}");
        let answer = ask(&rig, &target, vec![Step::AwaitRequest, Step::Send(bytes)]);
        assert!(answer.status == 200 && answer.is_complete() && answer.text() == "mine", "{what}: {answer:?}");
        let connection = rig.recorder.wait_for_target(&target).connection;
        rig.recorder.wait_until_ended(connection);
        let later =
            rig.recorder.requests().into_iter().filter(|seen| seen.connection == connection && seen.target != target);
        let after: Vec<Seen> = later.filter(|seen| seen.target.contains(&target)).collect();
        assert!(after.is_empty(), "{what}: a doubtful connection was used again for {after:?}");
    }
    rig.conclude();
}

#[test]
fn an_answer_that_nobody_asked_for_is_not_given_to_the_next_client() {
    let rig = rig();
    for number in 0..20 {
        let (release, sent) = (Gate::new(), Gate::new());
        let target = format!("/unasked/{number}");
        rig.recorder.on(
            &target,
            vec![
                Step::AwaitRequest,
                Step::Answer,
                Step::AwaitGate(release.clone()),
                send(POISON),
                Step::OpenGate(sent.clone()),
            ],
        );
        let mut client = rig.connect();
        check_echo(&client.get(&target), &target);
        // The connection is idle in the pool now, and then an answer arrives on it.
        release.open();
        assert!(sent.wait());
        for next in 0..3 {
            rig.probe(&format!("/next/{number}/{next}"));
        }
    }
    rig.conclude();
}

#[test]
fn answers_without_a_body_by_rule_have_none() {
    let rig = rig();
    let bodies =
        ["Content-Length: 6\r\n\r\npoison", "Transfer-Encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n", "\r\npoison"];
    for (number, body) in bodies.iter().enumerate() {
        for status in ["204 No Content", "304 Not Modified"] {
            let target = format!("/bodiless/{number}/{}", &status[..3]);
            let answer = ask(&rig, &target, vec![Step::AwaitRequest, send(format!("HTTP/1.1 {status}\r\n{body}"))]);
            assert!(
                answer.status == 502 || (status.starts_with(&answer.status.to_string()) && answer.body.is_empty()),
                "{answer:?}"
            );
            if answer.status == 204 {
                assert!(
                    !answer.fields.has("content-length") && !answer.fields.has("transfer-encoding"),
                    "RFC 9110 section 8.6: {answer:?}"
                );
            }
        }
        let target = format!("/head/{number}");
        rig.recorder.on(&target, vec![Step::AwaitRequest, send(format!("HTTP/1.1 200 OK\r\n{body}"))]);
        let mut client = rig.connect();
        let answer = client.exchange(format!("HEAD {target} HTTP/1.1\r\nHost: honest.test\r\n\r\n"));
        assert!(matches!(answer.status, 200 | 502) && answer.body.is_empty());
        for next in 0..3 {
            rig.probe(&format!("/next{target}/{next}"));
        }
        check_honest_or_ended(client, &format!("/same{target}"));
    }
    rig.conclude();
}

#[test]
fn storms_of_interim_answers_end() {
    let rig = rig();
    for (number, interim) in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        "HTTP/1.1 199 Odd\r\n\r\n",
    ]
    .iter()
    .enumerate()
    {
        let before = rig.gateway.resident_bytes();
        let answer = ask(
            &rig,
            &format!("/storm/{number}"),
            vec![Step::AwaitRequest, Step::Repeat(interim.repeat(100).into_bytes(), 10_000), Step::Answer],
        );
        check_bad_gateway(&answer, interim);
        let growth = rig.gateway.resident_bytes().saturating_sub(before);
        assert!(growth < 16 << 20, "the storm left {growth} bytes behind");
    }
    let few = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec();
    check_echo(&ask(&rig, "/few", vec![Step::AwaitRequest, Step::Send(few), Step::Answer]), "/few");
    rig.conclude();
}

#[test]
fn silence_is_a_timeout() {
    let rig = rig();
    for (number, begun) in
        ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n"]
            .iter()
            .enumerate()
    {
        let target = format!("/silence/{number}");
        let answer = ask(&rig, &target, vec![Step::AwaitRequest, send(begun), Step::AwaitClose]);
        assert!(answer.status == 504 && answer.is_complete(), "after {begun:?}: {answer:?}");
        check_problem(&answer);
        rig.recorder.wait_until_ended(rig.recorder.wait_for_target(&target).connection);
    }
    let answer = ask(
        &rig,
        "/stalled",
        vec![Step::AwaitRequest, send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Step::AwaitClose],
    );
    assert!(answer.status == 200 && !answer.is_complete(), "a stalled body is cut: {answer:?}");
    rig.conclude();
}

#[test]
fn a_head_that_drips_is_a_timeout_too() {
    let rig = rig();
    let head = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n", "x".repeat(2000)).into_bytes();
    let answer = ask(&rig, "/drip", vec![Step::AwaitRequest, Step::Drip(head, Duration::from_millis(20))]);
    assert_eq!(answer.status, 504, "each byte comes in time, the head does not");
    let interim: Vec<u8> = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
    let answer = ask(&rig, "/drip-interim", vec![Step::AwaitRequest, Step::Drip(interim, Duration::from_millis(10))]);
    assert!(matches!(answer.status, 502 | 504), "{answer:?}");
    rig.conclude();
}

#[test]
fn a_request_that_may_have_had_an_effect_is_never_sent_twice() {
    let ends = [Step::Close, Step::Reset];
    let half = "HTTP/1.1 200 OK\r\nConte";
    for method in ["POST", "PATCH", "PUT", "DELETE"] {
        let rig = rig();
        for (number, end) in ends.iter().enumerate() {
            let scripts = [
                vec![end.clone()],
                vec![Step::AwaitContent(2), end.clone()],
                vec![Step::AwaitRequest, end.clone()],
                vec![Step::AwaitRequest, send(half), end.clone()],
            ];
            for (at, steps) in scripts.into_iter().enumerate() {
                let target = format!("/once/{number}/{at}");
                rig.recorder.on(&target, steps);
                // On a fresh upstream connection, and on one that has carried a request before.
                rig.probe("/before");
                let answer = rig.connect().exchange(format!(
                    "{method} {target} HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 5\r\n\r\nhello"
                ));
                check_bad_gateway(&answer, &format!("{method} {target}"));
                let seen = rig.recorder.requests_for(&target).len();
                assert!(
                    seen == 1 || (seen == 2 && matches!(method, "PUT" | "DELETE")),
                    "{method} {target} was sent {seen} times"
                );
            }
        }
        rig.conclude();
    }
}

/// The upstream closes its idle connection at the moment when the gateway uses it again.
#[test]
fn a_connection_that_closes_at_the_moment_of_reuse_costs_nobody_twice() {
    for end in [Step::Close, Step::Reset] {
        let recorder = Recorder::with(move |seen| match seen.index {
            0 => vec![Step::AwaitRequest, Step::Answer],
            _ => vec![end.clone()],
        });
        let rig = Rig::with(recorder, &Options::default());
        for number in 0..10 {
            let get = format!("/reuse/get/{number}");
            let answer = rig.connect().get(&get);
            assert!(matches!(answer.status, 200 | 502), "{answer:?}");
            let post = format!("/reuse/post/{number}");
            let answer = rig
                .connect()
                .exchange(format!("POST {post} HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 5\r\n\r\nhello"));
            assert!(matches!(answer.status, 200 | 502), "{answer:?}");
            assert_eq!(rig.recorder.requests_for(&post).len(), 1, "{post} was sent more than once");
        }
        rig.conclude();
    }
}

/// The upstream closes each connection right after its answer, without having said so.
#[test]
fn a_connection_that_closes_while_idle_is_not_missed() {
    let rig = Rig::with(Recorder::with(|_| vec![Step::AwaitRequest, Step::Answer, Step::Close]), &Options::default());
    for number in 0..20 {
        let target = format!("/idle/{number}");
        let answer = rig
            .connect()
            .exchange(format!("POST {target} HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 5\r\n\r\nhello"));
        assert!(matches!(answer.status, 200 | 502), "{answer:?}");
        assert!(rig.recorder.requests_for(&target).len() <= 1);
        if number > 0 {
            rig.recorder.wait_until_ended(number - 1);
        }
        check_echo(&rig.connect().get(&format!("/get/{number}")), &format!("/get/{number}"));
    }
    rig.conclude();
}

#[test]
fn an_upstream_that_says_close_is_not_asked_again_on_that_connection() {
    let rig = Rig::with(
        Recorder::with(|seen| {
            let answer = if seen.version == "HTTP/1.1" {
                response("200 OK", &[("Connection", "close")], "last")
            } else {
                Vec::new()
            };
            vec![Step::AwaitRequest, Step::Send(answer)]
        }),
        &Options::default(),
    );
    let mut client = rig.connect();
    for _ in 0..5 {
        let answer = client.get("/last");
        assert_eq!((answer.status, answer.text().as_str()), (200, "last"));
        assert!(!answer.fields.has("connection") || !answer.closes(), "the upstream's connection is not the client's");
    }
    assert!(rig.recorder.requests().iter().all(|seen| seen.index == 0));
    rig.conclude();
}

#[test]
fn a_client_that_leaves_takes_its_upstream_connection_with_it() {
    let rig = rig();
    let gate = Gate::new();
    rig.recorder.on(
        "/abandoned",
        vec![
            Step::AwaitRequest,
            send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin"),
            Step::AwaitGate(gate.clone()),
            send(POISON),
            Step::AwaitClose,
        ],
    );
    let mut client = rig.connect();
    client.send("GET /abandoned HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    client.begin_response("GET").expect("a head");
    client.reset();
    gate.open();
    rig.recorder.wait_until_ended(rig.recorder.wait_for_target("/abandoned").connection);
    rig.probe("/probe");
    rig.conclude();
}
