//! Answers before the request is complete, and `Expect`: what is on the way is never taken for a request.

use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::http1::Broken;
use tidegate_testkit::recorder::{Recorder, Step, response};

use crate::rig::{HIDDEN, Options, Rig, check_echo, check_honest_or_ended, check_problem};

const ROUTES: &str = "{ match: { path: /401 }, respond: { status: 401 } }, \
                      { match: { path: /403 }, respond: { status: 403 } }, \
                      { match: { path: /404 }, respond: { status: 404 } }, \
                      { match: { path: /429 }, respond: { status: 429 } }, \
                      { match: { path: /redirected }, redirect: { path: /elsewhere } }, \
                      { match: { path: /413 }, upstream: app, max_body: 10 }";

fn rig() -> Rig {
    let options = Options { routes: ROUTES, listener: "timeouts: { linger: 500ms }", ..Options::default() };
    Rig::with(Recorder::start(), &options)
}

/// Ways to send a body that looks like a request.
fn disguised(target: &str, expect: &str) -> Vec<(String, String)> {
    let head = format!("POST {target} HTTP/1.1\r\nHost: honest.test\r\n{expect}");
    let length = HIDDEN.len();
    let many = HIDDEN.repeat(2000);
    vec![
        (format!("{head}Content-Length: {length}\r\n\r\n"), HIDDEN.to_owned()),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n"), format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n")),
        (format!("{head}Content-Length: {}\r\n\r\n", many.len()), many.clone()),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n"), format!("{:x}\r\n{many}\r\n0\r\n\r\n", many.len())),
    ]
}

#[test]
fn a_body_after_an_early_answer_is_never_a_request() {
    let rig = rig();
    for status in [401, 403, 404, 413, 429] {
        for (number, (head, body)) in disguised(&format!("/{status}"), "").into_iter().enumerate() {
            // The body comes with the head.
            let mut client = rig.connect();
            client.send(format!("{head}{body}"));
            let answer = client.read_response("POST").expect("an early answer");
            assert_eq!(answer.status, status, "{head}");
            check_honest_or_ended(client, &format!("/with/{status}/{number}"));
            // The body comes when the answer has been read.
            let mut client = rig.connect();
            client.send(&head);
            if status == 413 && head.contains("chunked") {
                client.send(&body);
            }
            let answer = client.read_response("POST").expect("an early answer");
            assert_eq!(answer.status, status, "{head}");
            client.send(&body);
            check_no_second_answer(client, &format!("/after/{status}/{number}"));
        }
        rig.probe("/probe");
    }
    rig.conclude();
}

/// After an answer and its late body: an honest request gets its own answer, the connection ends, or a
/// client that has sent more than it announced is told so; but the body itself is not answered.
fn check_no_second_answer(mut client: RawClient, target: &str) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n\r\n"));
    match client.read_response("GET") {
        Ok(answer) if answer.status == 400 => {}
        Ok(answer) => check_echo(&answer, target),
        Err(Broken::Closed(_, rest)) => assert!(rest.is_empty(), "{rest:?}"),
        Err(malformed) => panic!("{malformed:?}"),
    }
}

#[test]
fn a_body_beyond_the_limit_is_refused_and_cut() {
    let rig = rig();
    let framings = [
        "Content-Length: 11\r\n\r\nhello world",
        "Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nB\r\nhello world\r\n0\r\n\r\n",
    ];
    for framing in framings {
        let mut client = rig.connect();
        client.send(format!("POST /413 HTTP/1.1\r\nHost: honest.test\r\n{framing}"));
        let answer = client.read_response("POST").expect("an answer");
        assert_eq!(answer.status, 413);
        check_problem(&answer);
        check_honest_or_ended(client, "/after");
    }
    let within =
        rig.connect().exchange("POST /413 HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 10\r\n\r\n0123456789");
    check_echo(&within, "/413");
    let whole = rig.recorder.requests_for("/413").into_iter().filter(|seen| seen.complete).count();
    assert_eq!(whole, 1, "only the small one arrived whole");
    rig.conclude();
}

#[test]
fn a_client_that_waits_for_100_gets_an_early_answer_and_no_desync() {
    let rig = rig();
    for status in [401, 403, 404, 413] {
        for (number, (head, body)) in
            disguised(&format!("/{status}"), "Expect: 100-continue\r\n").into_iter().enumerate()
        {
            if status == 413 && head.contains("chunked") {
                continue;
            }
            let mut client = rig.connect();
            client.send(&head);
            let answer = client.read_response("POST").expect("an answer without the body");
            assert_eq!(
                (answer.status, answer.interim.as_slice()),
                (status, &[][..]),
                "no 100 is wanted before a refusal"
            );
            client.send(&body);
            check_no_second_answer(client, &format!("/expected/{status}/{number}"));
        }
    }
    rig.conclude();
}

#[test]
fn a_delayed_body_is_asked_for_and_forwarded() {
    let rig = rig();
    for (number, (framing, body)) in
        [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")].iter().enumerate()
    {
        let target = format!("/delayed/{number}");
        let mut client = rig.connect();
        client
            .send(format!("POST {target} HTTP/1.1\r\nHost: honest.test\r\nExpect: 100-Continue\r\n{framing}\r\n\r\n"));
        let (status, _) = client.read_head().expect("an interim answer");
        assert_eq!(status, 100);
        client.send(body);
        check_echo(&client.read_response("POST").expect("an answer"), &target);
        assert_eq!(rig.recorder.wait_for_target(&target).body, b"hello");
        check_honest_or_ended(client, &format!("/next/{number}"));
    }
    // A client that does not wait is right too.
    let mut client = rig.connect();
    client.send("POST /eager HTTP/1.1\r\nHost: honest.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    check_echo(&client.read_response("POST").expect("an answer"), "/eager");
    check_honest_or_ended(client, "/after-eager");
    // And one that expects it without a body.
    let mut client = rig.connect();
    client.send("GET /bodiless HTTP/1.1\r\nHost: honest.test\r\nExpect: 100-continue\r\n\r\n");
    check_echo(&client.read_response("GET").expect("an answer"), "/bodiless");
    check_honest_or_ended(client, "/after-bodiless");
    rig.conclude();
}

#[test]
fn unknown_expectations_fail() {
    let rig = rig();
    for expectation in
        ["200-ok", "100-continue, x", "x, 100-continue", "100-continu", "100", "\"100-continue\"", "100-continue;q=1"]
    {
        let mut client = rig.connect();
        client.send(format!(
            "POST /evil HTTP/1.1\r\nHost: honest.test\r\nExpect: {expectation}\r\nContent-Length: {}\r\n\r\n{HIDDEN}",
            HIDDEN.len()
        ));
        let answer = client.read_response("POST").expect("an answer");
        assert_eq!(answer.status, 417, "{expectation}");
        check_problem(&answer);
        check_honest_or_ended(client, "/after");
    }
    let seen = rig.recorder.requests();
    assert!(seen.iter().all(|seen| seen.target == "/after"), "{seen:?}");
    rig.conclude();
}

#[test]
fn http_1_0_gets_no_interim_answer() {
    let rig = rig();
    let mut client = rig.connect();
    client.send("POST /old HTTP/1.0\r\nHost: honest.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    let answer = client.read_response("POST").expect("an answer");
    assert_eq!((answer.status, answer.interim.len()), (200, 0));
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec();
    rig.recorder.on("/hints", vec![Step::AwaitRequest, Step::Send(interim), Step::Answer]);
    let answer = rig.connect().exchange("GET /hints HTTP/1.0\r\nHost: honest.test\r\n\r\n");
    assert_eq!((answer.status, answer.interim.len()), (200, 0));
    rig.conclude();
}

#[test]
fn an_early_answer_of_the_upstream_reaches_the_client() {
    let rig = rig();
    let refusal = response("403 Forbidden", &[], "early");
    let goes_on = vec![Step::Send(refusal.clone())];
    let closes = vec![
        Step::Send(response("403 Forbidden", &[("Connection", "close")], "early")),
        Step::HalfClose,
        Step::AwaitClose,
    ];
    for (number, steps) in [goes_on, closes].into_iter().enumerate() {
        let target = format!("/early/{number}");
        rig.recorder.on(&target, steps);
        let mut client = rig.connect();
        let body = HIDDEN.repeat(100);
        client.send(format!("POST {target} HTTP/1.1\r\nHost: honest.test\r\nContent-Length: {}\r\n\r\n", body.len()));
        let answer = client.read_response("POST").expect("the upstream's early answer");
        assert_eq!((answer.status, answer.text().as_str()), (403, "early"));
        client.send(body);
        check_no_second_answer(client, &format!("/after-early/{number}"));
        rig.probe("/probe");
    }
    rig.conclude();
}

#[test]
fn an_upstream_may_refuse_an_expectation() {
    let rig = rig();
    rig.recorder.on("/refusing", vec![Step::Send(response("417 Expectation Failed", &[], "no"))]);
    let mut client = rig.connect();
    client.send(format!(
        "POST /refusing HTTP/1.1\r\nHost: honest.test\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        HIDDEN.len()
    ));
    let answer = client.read_response("POST").expect("an answer");
    assert_eq!(answer.status, 417);
    client.send(HIDDEN);
    check_no_second_answer(client, "/after");
    rig.conclude();
}

#[test]
fn redirects_and_direct_answers_keep_the_connection() {
    let rig = rig();
    let mut client = rig.connect();
    let answer = client.get("/redirected");
    assert_eq!((answer.status, answer.fields.first("location")), (308, Some("http://honest.test/elsewhere")));
    assert_eq!(client.get("/403").status, 403);
    let head = client.exchange("HEAD /403 HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    assert_eq!((head.status, head.is_complete()), (403, true));
    check_echo(&client.get("/next"), "/next");
    rig.conclude();
}

#[test]
fn a_client_that_resets_frees_its_upstream_and_one_that_half_closes_gets_its_answer() {
    let rig = Rig::start();
    rig.recorder.on("/silent", vec![Step::AwaitRequest, Step::AwaitClose]);
    let mut gone = rig.connect();
    gone.send("GET /silent HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    let seen = rig.recorder.wait_for_target("/silent");
    gone.reset();
    rig.recorder.wait_until_ended(seen.connection);
    let gate = Gate::new();
    rig.recorder.on("/patient", vec![Step::AwaitRequest, Step::AwaitGate(gate.clone()), Step::Answer]);
    let mut patient = rig.connect();
    patient.send("GET /patient HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    patient.half_close();
    rig.recorder.wait_for_target("/patient");
    gate.open();
    assert_eq!(patient.read_response("GET").expect("an answer").status, 200);
    rig.conclude();
}
