//! Answers that do not come, and clients that do not wait for them.

use std::time::Instant;

use tidegate_testkit::PATIENCE;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::http1::Response;
use tidegate_testkit::port::RefusingPort;
use tidegate_testkit::recorder::{Step, response};

use super::rig::{Guarded, check_fault, check_replayed, created, post};
use crate::rig::BINARY;

/// Asks until the answer of the first request has made its way: until then that is under way.
pub(super) fn wait_for_answer(rig: &Guarded, request: &str) -> Response {
    let (mut client, begun) = (rig.connect(), Instant::now());
    loop {
        let answer = client.exchange(request);
        if answer.status != 409 {
            assert_eq!(answer.status, 201);
            check_replayed(&answer);
            return answer;
        }
        check_fault(&answer, 409, "KEY_003");
        assert!(begun.elapsed() < PATIENCE, "it never came");
    }
}

#[test]
fn a_client_that_leaves_finds_the_answer_when_it_comes_back() {
    let (asked, gate) = (Gate::new(), Gate::new());
    let rig = Guarded::start(
        "",
        vec![
            Step::AwaitRequest,
            Step::OpenGate(asked.clone()),
            Step::AwaitGate(gate.clone()),
            Step::Send(response("201 Made", &[], "made")),
        ],
    );
    let mut client = rig.connect();
    client.send(post("/orders", "k1", "a=1"));
    assert!(asked.wait());
    client.reset();
    check_fault(&rig.ask(&post("/orders", "k1", "a=1")), 409, "KEY_003");
    gate.open();
    let answer = wait_for_answer(&rig, &post("/orders", "k1", "a=1"));
    assert_eq!(answer.text(), "made");
    assert_eq!(rig.recorder.requests().len(), 1);
    rig.end();
}

#[test]
fn an_answer_that_is_lost_is_not_asked_for_again() {
    let rig = Guarded::start("", created());
    rig.recorder.on("/reset", vec![Step::AwaitRequest, Step::Reset]);
    rig.recorder.on(
        "/cut",
        vec![Step::AwaitRequest, Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec()), Step::Close],
    );
    rig.recorder.on("/broken", vec![Step::AwaitRequest, Step::Send(b"nonsense\r\n\r\n".to_vec()), Step::Close]);
    for target in ["/reset", "/cut", "/broken"] {
        let first = rig.ask(&post(target, target, "a=1"));
        assert_eq!(first.status, 502, "nothing of an answer that is not whole was sent: {first:?}");
        check_fault(&rig.ask(&post(target, target, "a=1")), 409, "KEY_006");
        check_fault(&rig.ask(&post(target, target, "a=2")), 422, "KEY_004");
        assert_eq!(rig.recorder.requests_for(target).len(), 1);
    }
    rig.end();
}

#[test]
fn an_answer_that_is_late_is_lost() {
    for (bound, code) in [
        ("timeouts: { response: 100ms }", "SVC_006"),
        ("protect: [ { timeout: { total: 100ms } } ]", "SVC_007"),
        ("protect: [ { timeout: { attempt: 100ms } } ]", "SVC_006"),
    ] {
        let recorder = super::scripted(vec![Step::AwaitClose]);
        let config = super::rig::config(recorder.address(), "");
        let gateway = Gateway::start(BINARY, &config.replace("endpoints:", &format!("{bound}, endpoints:")));
        let ask = |request: &str| RawClient::connect(gateway.address(0)).exchange(request);
        check_fault(&ask(&post("/orders", "k1", "a=1")), 504, code);
        check_fault(&ask(&post("/orders", "k1", "a=1")), 409, "KEY_006");
        assert_eq!(recorder.requests().len(), 1, "{bound}");
        let ended = gateway.terminate();
        assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
    }
}

#[test]
fn a_request_that_was_never_sent_leaves_its_key() {
    let port = RefusingPort::reserve();
    let config = super::rig::config(port.address(), "");
    let gateway = Gateway::start(BINARY, &config);
    let recorder = super::scripted(created());
    let ask = |request: &str| RawClient::connect(gateway.address(0)).exchange(request);
    for _ in 0..2 {
        check_fault(&ask(&post("/orders", "k1", "a=1")), 502, "SVC_002");
    }
    gateway.rewrite_config(&super::rig::config(recorder.address(), ""));
    crate::reload::reload(&gateway, crate::reload::is_reloaded);
    assert_eq!(ask(&post("/orders", "k1", "a=1")).status, 201);
    check_replayed(&ask(&post("/orders", "k1", "a=1")));
    assert_eq!(recorder.requests().len(), 1);
    let ended = gateway.terminate();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}

#[test]
fn what_stands_in_is_not_kept() {
    let recorder = super::scripted(created());
    let config = super::rig::config(recorder.address(), "")
        .replace("upstream: app,", "upstream: app, fallback: { respond: { status: 202, body: later } },");
    let gateway = Gateway::start(BINARY, &config);
    let ask = |request: &str| RawClient::connect(gateway.address(0)).exchange(request);
    // 503 says that nothing was done; what 502 means nobody knows.
    for (target, status) in [("/busy", "503 No"), ("/bad", "502 No")] {
        recorder.on(target, vec![Step::AwaitRequest, Step::Send(response(status, &[], "no"))]);
        let stand_in = ask(&post(target, target, "a=1"));
        assert_eq!((stand_in.status, stand_in.text().as_str()), (202, "later"));
        recorder.on(target, created());
    }
    assert_eq!(ask(&post("/busy", "/busy", "a=1")).status, 201);
    check_fault(&ask(&post("/bad", "/bad", "a=1")), 409, "KEY_006");
    let ended = gateway.terminate();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}
