//! The same over HTTP/2, from clients and to upstreams.

use http::{HeaderValue, Request};
use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::http2::{Http2Client, Http2Recorder, Http2Step};
use tidegate_testkit::recorder::{Step, chunked, response};

use super::rig::{Guarded, check_fault, check_replayed, config, created, post};
use crate::rig::BINARY;

/// What [`post`] is over HTTP/1.
fn request(target: &str, key: &str) -> Request<()> {
    let request = Request::post(format!("http://shop.test{target}")).header("x-user", "ann");
    request.header("idempotency-key", key).body(()).expect("valid")
}

#[test]
fn one_key_is_one_key_over_both_protocols() {
    let rig = Guarded::start("", created());
    let mut client = Http2Client::connect(rig.gateway.address(0));
    let first = client.exchange(request("/orders", "k1"), b"a=1").expect("an answer");
    assert_eq!((first.status, first.field("idempotency-replayed")), (201, None));
    let again = client.exchange(request("/orders", "k1"), b"a=1").expect("an answer");
    assert_eq!((again.status, again.field("idempotency-replayed"), &again.body[..]), (201, Some("true"), &b"made"[..]));
    check_replayed(&rig.ask(&post("/orders", "k1", "a=1")));
    let other = client.exchange(request("/orders", "k1"), b"a=2").expect("an answer");
    assert_eq!((other.status, other.json()["error_code"].as_str()), (422, Some("KEY_004")));
    assert_eq!(rig.recorder.requests().len(), 1);
    rig.end();
}

#[test]
fn trailers_come_again() {
    let steps = vec![Step::AwaitRequest, Step::Send(chunked("200 OK", &[], &[b"abc"], &[("X-Sum", "7")]))];
    let rig = Guarded::start("", steps);
    let mut client = Http2Client::connect(rig.gateway.address(0));
    for replayed in [None, Some("true")] {
        let answer = client.exchange(request("/orders", "k1"), b"a=1").expect("an answer");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"abc"[..]));
        assert_eq!(answer.field("idempotency-replayed"), replayed);
        assert_eq!(answer.trailers.get("x-sum"), Some(&HeaderValue::from_static("7")));
    }
    rig.end();
}

#[test]
fn a_stream_that_is_reset_leaves_its_answer() {
    let (asked, gate) = (Gate::new(), Gate::new());
    let rig = Guarded::start("", created());
    let slow = vec![
        Step::AwaitRequest,
        Step::OpenGate(asked.clone()),
        Step::AwaitGate(gate.clone()),
        Step::Send(response("201 Made", &[], "made")),
    ];
    rig.recorder.on("/slow", slow);
    let mut client = Http2Client::connect(rig.gateway.address(0));
    let mut exchange = client.begin(request("/slow", "k1"), false).expect("a stream");
    exchange.send(b"a=1", true).expect("sent");
    assert!(asked.wait());
    exchange.reset(h2::Reason::CANCEL);
    drop((exchange, client));
    check_fault(&rig.ask(&post("/slow", "k1", "a=1")), 409, "KEY_003");
    gate.open();
    super::lost::wait_for_answer(&rig, &post("/slow", "k1", "a=1"));
    assert_eq!(rig.recorder.requests_for("/slow").len(), 1);
    rig.end();
}

#[test]
fn an_upstream_that_speaks_http2_is_guarded_too() {
    let recorder = Http2Recorder::with(None, |_| {
        vec![
            Http2Step::AwaitRequest,
            Http2Step::Head(201, Vec::new()),
            Http2Step::Data(b"made".to_vec()),
            Http2Step::Trailers(vec![("x-sum", "7".to_owned())]),
        ]
    });
    let plain = config(recorder.address(), "");
    let gateway = Gateway::start(BINARY, &plain.replace("endpoints:", "protocol: http2, endpoints:"));
    let mut client = Http2Client::connect(gateway.address(0));
    for replayed in [None, Some("true")] {
        let answer = client.exchange(request("/orders", "k1"), b"a=1").expect("an answer");
        assert_eq!((answer.status, &answer.body[..]), (201, &b"made"[..]));
        assert_eq!(answer.field("idempotency-replayed"), replayed);
        assert_eq!(answer.trailers.get("x-sum"), Some(&HeaderValue::from_static("7")));
    }
    assert_eq!(recorder.requests().len(), 1);
    let ended = gateway.terminate();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}
