//! How connections of clients come to their end.

use crate::rig::{RawUpstream, Rig, ends_stream, goodbye, read_through};
use serde_json::json;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::http2::frames::{self, Frame, flag, frame, headers, kind};
use tidegate_testkit::recorder::{Recorder, Step};

const NO_ERROR: u32 = 0;

fn is_ping(frame: &Frame) -> bool {
    frame.kind == kind::PING && frame.flags & flag::ACK == 0
}

#[test]
fn a_client_that_answers_no_ping_is_ended() {
    let recorder = Recorder::with(|_| vec![Step::AwaitRequest, Step::AwaitClose]);
    let listener = json!({ "http2": { "keep_alive": { "interval": "50ms", "timeout": "50ms" } } });
    let rig = Rig::with(recorder.address(), listener, json!({}));
    let mut client = rig.open();
    client.send(headers(1, &frames::get("/held"), true));
    read_through(&mut client, is_ping);
    goodbye(&mut client);
    // With its connection, its exchanges have ended.
    recorder.wait_until_all_ended();
}

#[test]
fn a_client_that_answers_pings_stays() {
    let gate = Gate::new();
    let held = gate.clone();
    let recorder = Recorder::with(move |_| vec![Step::AwaitRequest, Step::AwaitGate(held.clone()), Step::Answer]);
    let listener = json!({ "http2": { "keep_alive": { "interval": "20ms", "timeout": "10s" } } });
    let rig = Rig::with(recorder.address(), listener, json!({}));
    let mut client = rig.open();
    client.send(headers(1, &frames::get("/held"), true));
    for _ in 0..5 {
        let seen = read_through(&mut client, is_ping);
        client.send(frame(kind::PING, flag::ACK, 0, &seen[seen.len() - 1].payload));
    }
    gate.open();
    read_through(&mut client, |frame| ends_stream(frame, 1));
}

#[test]
fn an_idle_connection_is_told_to_go_and_then_closed() {
    let recorder = Recorder::start();
    let rig = Rig::with(recorder.address(), json!({ "timeouts": { "keep_alive": "50ms" } }), json!({}));
    let mut client = rig.open();
    client.send(headers(1, &frames::get("/"), true));
    read_through(&mut client, |frame| ends_stream(frame, 1));
    assert_eq!(goodbye(&mut client), Some(NO_ERROR));
}

#[test]
fn a_connection_that_never_says_anything_more_is_closed() {
    let recorder = Recorder::start();
    let timeouts = json!({ "timeouts": { "keep_alive": "50ms", "head": "50ms" } });
    let rig = Rig::with(recorder.address(), timeouts, json!({}));
    for said in [&frames::PREFACE[..10], frames::PREFACE, &frames::opening()[..30]] {
        let mut client = rig.connect();
        client.send(said);
        // It returns, because the gateway closes.
        client.read_to_end();
    }
    rig.probe();
}

#[test]
fn a_connection_ends_after_the_requests_it_may_carry() {
    let recorder = Recorder::start();
    let rig = Rig::with(recorder.address(), json!({ "limits": { "requests_per_connection": 2 } }), json!({}));
    let mut client = rig.open();
    client.send([headers(1, &frames::get("/1"), true), headers(3, &frames::get("/2"), true)].concat());
    let mut seen = read_through(&mut client, is_ping);
    client.send(frame(kind::PING, flag::ACK, 0, &seen[seen.len() - 1].payload));
    while let Ok(frame) = frames::read_frame(&mut client) {
        seen.push(frame);
    }
    assert!(ends(&seen, 1) && ends(&seen, 3), "{seen:#?}");
    assert!(seen.iter().any(|frame| frame.is_goaway() && frame.error_code() == Some(NO_ERROR)));
}

fn ends(seen: &[Frame], stream: u32) -> bool {
    seen.iter().any(|frame| ends_stream(frame, stream))
}

#[test]
fn a_drain_finishes_what_runs() {
    let gate = Gate::new();
    let held = gate.clone();
    let recorder = Recorder::with(move |_| vec![Step::AwaitRequest, Step::AwaitGate(held.clone()), Step::Answer]);
    let mut rig = Rig::to_http1(recorder.address());
    let mut client = rig.open();
    client.send(headers(1, &frames::get("/held"), true));
    recorder.wait_for_target("/held");
    let drained = rig.drain();
    read_through(&mut client, Frame::is_goaway);
    gate.open();
    let seen = read_through(&mut client, |frame| ends_stream(frame, 1));
    assert!(seen.iter().all(|frame| frame.kind != kind::RST_STREAM), "{seen:#?}");
    drop(client);
    drained.join().expect("the drain ends");
}

#[test]
fn an_upstream_connection_that_nobody_uses_is_closed() {
    let upstream = RawUpstream::start();
    let options = json!({ "protocol": "http2", "pool": { "idle_timeout": "10ms" } });
    let rig = Rig::with(upstream.address(), json!({}), options);
    let mut client = rig.connect();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut connection = upstream.accept(&[]);
    let stream = connection.next_request();
    connection.answer(stream);
    assert_eq!(client.read_response("GET").expect("an answer").status, 200);
    let goaway = connection.read_until("the end", Frame::is_goaway);
    assert_eq!(goaway.error_code(), Some(NO_ERROR));
    assert!(connection.read_frame().is_none());
}

#[test]
fn a_reload_that_changes_an_upstream_ends_its_connections() {
    let upstream = RawUpstream::start();
    let mut rig = Rig::to_http2(upstream.address());
    let mut client = rig.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut first = upstream.accept(&[]);
    let stream = first.next_request();
    rig.reload(upstream.address(), json!({ "protocol": "http2", "pool": { "max_idle": 1 } }));
    // What was begun is finished on the old connection, and then it is closed.
    first.answer(stream);
    assert_eq!(client.read_response("GET").expect("an answer").status, 200);
    assert_eq!(first.read_until("the end", Frame::is_goaway).error_code(), Some(NO_ERROR));
    client.send("GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut second = upstream.accept(&[]);
    let stream = second.next_request();
    second.answer(stream);
    assert_eq!(client.read_response("GET").expect("an answer").status, 200);
}
