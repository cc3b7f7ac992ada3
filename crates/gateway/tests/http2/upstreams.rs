//! HTTP/2 upstreams: which connection a request goes on, and when it is sent again.

use crate::rig::{RawConnection, RawUpstream, Rig, ends_stream, read_through};
use http::Request;
use serde_json::json;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::http2::frames::{self, data, flag, headers, indexed, kind, rst_stream};
use tidegate_testkit::http2::{Http2Client, Http2Recorder, Http2Step};
use tidegate_testkit::recorder::Recorder;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;

fn post(target: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n")
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

/// A client that has sent a request and not read the answer.
fn asking(rig: &Rig, request: &str) -> RawClient {
    let mut client = rig.connect();
    client.send(request);
    client
}

#[test]
fn a_refused_request_is_sent_again_whatever_its_method() {
    let upstream = RawUpstream::start();
    let rig = Rig::to_http2(upstream.address());
    let mut client = asking(&rig, &post("/"));
    let mut first = upstream.accept(&[]);
    let stream = first.next_request();
    first.send(rst_stream(stream, REFUSED_STREAM));
    let mut second = upstream.accept(&[]);
    let stream = second.next_request();
    second.answer(stream);
    assert_eq!(client.read_response("POST").expect("an answer").status, 200);
}

#[test]
fn a_request_behind_the_last_stream_of_a_goaway_is_sent_again() {
    let upstream = RawUpstream::start();
    let rig = Rig::to_http2(upstream.address());
    let mut kept = asking(&rig, &post("/kept"));
    let mut first = upstream.accept(&[]);
    let kept_stream = first.next_request();
    let mut late = asking(&rig, &post("/late"));
    assert!(first.next_request() > kept_stream);
    first.go_away(kept_stream, 0);
    let mut second = upstream.accept(&[]);
    let stream = second.next_request();
    second.answer(stream);
    assert_eq!(late.read_response("POST").expect("an answer").status, 200);
    // The stream that the GOAWAY named is finished where it was begun.
    first.answer(kept_stream);
    assert_eq!(kept.read_response("POST").expect("an answer").status, 200);
    assert_eq!(first.read_until("the end", frames::Frame::is_goaway).stream, 0, "nothing more is sent on it");
}

#[test]
fn a_request_that_may_have_had_an_effect_is_not_sent_again() {
    let upstream = RawUpstream::start();
    let rig = Rig::to_http2(upstream.address());
    let mut connection = None;
    let mut check = |request: &str, code: u32| {
        let mut client = asking(&rig, request);
        let connection = connection.get_or_insert_with(|| upstream.accept(&[]));
        let stream = connection.next_request();
        if request.ends_with("body") {
            connection.read_until("the body", |frame| frame.kind == kind::DATA && !frame.payload.is_empty());
        }
        connection.send(rst_stream(stream, code));
        assert_eq!(client.read_response("POST").expect("an answer").status, 502, "{request:?}");
    };
    check(&post("/"), INTERNAL_ERROR);
    check("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody", REFUSED_STREAM);
    assert!(!upstream.has_another());
}

#[test]
fn the_limit_of_an_upstream_is_kept() {
    let upstream = RawUpstream::start();
    let options = json!({ "protocol": "http2", "pool": { "max_connections": 2, "max_idle": 2 } });
    let rig = Rig::with(upstream.address(), json!({}), options);
    let one = [(MAX_CONCURRENT_STREAMS, 1)];
    let mut clients = vec![asking(&rig, &get("/0"))];
    let mut connections = vec![upstream.accept(&one)];
    let mut streams = vec![connections[0].next_request()];
    clients.push(asking(&rig, &get("/1")));
    connections.push(upstream.accept(&one));
    streams.push(connections[1].next_request());
    // Both connections are full: the third request waits until a stream has ended.
    clients.push(asking(&rig, &get("/2")));
    rig.probe();
    connections[1].answer(streams[1]);
    assert_eq!(clients[1].read_response("GET").expect("an answer").status, 200);
    let stream = connections[1].next_request();
    connections[1].answer(stream);
    assert_eq!(clients[2].read_response("GET").expect("an answer").status, 200);
    connections[0].answer(streams[0]);
    assert_eq!(clients[0].read_response("GET").expect("an answer").status, 200);
    assert!(!upstream.has_another());
}

#[test]
fn requests_that_come_together_share_the_connection_that_is_being_opened() {
    let upstream = RawUpstream::start();
    let rig = Rig::to_http2(upstream.address());
    let mut client = rig.open();
    let request = |number: u32| headers(2 * number + 1, &frames::get(&format!("/{number}")), true);
    client.send((0..50).flat_map(request).collect::<Vec<u8>>());
    let mut connection = upstream.accept(&[]);
    for _ in 0..50 {
        let stream = connection.next_request();
        connection.answer(stream);
    }
    for _ in 0..50 {
        frames::read_until(&mut client, |frame| frame.kind == kind::HEADERS).expect("an answer");
    }
    assert!(!upstream.has_another());
}

#[test]
fn a_connection_that_is_lost_fails_its_own_streams_only() {
    let upstream = RawUpstream::start();
    let options = json!({ "protocol": "http2", "pool": { "max_connections": 2, "max_idle": 2 } });
    let rig = Rig::with(upstream.address(), json!({}), options);
    let one = [(MAX_CONCURRENT_STREAMS, 1)];
    let mut lost = asking(&rig, &post("/lost"));
    let mut first = upstream.accept(&one);
    first.next_request();
    let mut safe = asking(&rig, &get("/safe"));
    let mut second = upstream.accept(&one);
    let stream = second.next_request();
    drop(first);
    assert_eq!(lost.read_response("POST").expect("an answer").status, 502);
    second.answer(stream);
    assert_eq!(safe.read_response("GET").expect("an answer").status, 200);
}

#[test]
fn an_upstream_that_does_not_speak_http2_gets_no_request() {
    let recorder = Recorder::start();
    let rig = Rig::to_http2(recorder.address());
    let answer = rig.connect().exchange(post("/evil"));
    assert_eq!(answer.status, 502);
    assert!(recorder.requests().iter().all(|seen| seen.target != "/evil"));
}

#[test]
fn an_answer_in_trailers_only_arrives() {
    let upstream = RawUpstream::start();
    let rig = Rig::to_http2(upstream.address());
    let mut client = Http2Client::connect(rig.address());
    let request = Request::post("http://a.test/").header("te", "trailers").body(()).expect("valid");
    let exchange = client.begin(request, true).expect("a stream");
    let mut connection = upstream.accept(&[]);
    let stream = connection.next_request();
    let fields: [(&str, &[u8]); 2] = [("content-type", b"application/grpc"), ("grpc-status", b"7")];
    connection.send(headers(stream, &[indexed(8), frames::block(&fields)].concat(), true));
    let answer = exchange.finish().expect("an answer");
    assert!(answer.end.is_ok() && answer.body.is_empty() && answer.trailers.is_empty(), "{answer:?}");
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("7")));
}

#[test]
fn an_early_answer_is_passed_on_in_full() {
    let upstream = RawUpstream::start();
    let rig = Rig::to_http2(upstream.address());
    let mut client = rig.open();
    let request = frames::block(&[(":method", b"POST"), (":scheme", b"http"), (":path", b"/"), (":authority", b"a")]);
    client.send(headers(1, &request, false));
    let mut connection = upstream.accept(&[]);
    let stream = connection.next_request();
    // RFC 9113 §8.1: a server may ask to stop the request once it has answered it in full.
    connection
        .send([headers(stream, &indexed(8), false), data(stream, b"early", true), rst_stream(stream, 0)].concat());
    let frames = read_through(&mut client, |frame| frame.kind == kind::RST_STREAM);
    let body: Vec<u8> =
        frames.iter().filter(|frame| frame.kind == kind::DATA).flat_map(|frame| frame.payload.clone()).collect();
    assert_eq!(body, b"early");
    assert!(frames.iter().any(|frame| ends_stream(frame, 1)));
    assert_eq!(frames.last().and_then(frames::Frame::error_code), Some(0));
}

#[test]
fn what_http_has_no_form_for_is_refused() {
    let recorder = Http2Recorder::start();
    let rig = Rig::to_http2(recorder.address());
    // A character that HTTP/1 clients send in queries and the `http` crate refuses.
    let answer = rig.connect().exchange("GET /?a=<b> HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(answer.status, 400);
    let answer = rig.connect().exchange("GET /?a=b HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(answer.status, 200);
}

#[test]
fn an_upstream_that_resets_is_asked_no_more_for_the_body() {
    let recorder = Http2Recorder::with(None, |seen| match seen.target.as_str() {
        "/stop" => vec![Http2Step::AwaitContent(3), Http2Step::Reset(h2::Reason::INTERNAL_ERROR)],
        _ => vec![Http2Step::AwaitRequest, Http2Step::Answer],
    });
    let rig = Rig::to_http2(recorder.address());
    let mut client = Http2Client::connect(rig.address());
    let request = Request::post("http://a.test/stop").body(()).expect("valid");
    let mut exchange = client.begin(request, false).expect("a stream");
    exchange.send(b"abc", false).expect("a window");
    // The request has not ended, and yet its failure is told.
    assert_eq!(exchange.head().expect("an answer").status(), 502);
    assert_eq!(client.get("http://a.test/next").expect("an answer").status, 200);
}

#[test]
fn flags_of_settings_are_answered() {
    let upstream = RawUpstream::start();
    let rig = Rig::to_http2(upstream.address());
    let mut client = asking(&rig, &get("/"));
    let mut connection = upstream.accept(&[]);
    connection.read_until("the acknowledgement", |frame| frame.kind == kind::SETTINGS && frame.flags & flag::ACK != 0);
    let stream = connection.next_request();
    connection.answer(stream);
    assert_eq!(client.read_response("GET").expect("an answer").status, 200);
}

#[test]
fn an_answer_of_another_length_than_it_says_is_a_cut() {
    let upstream = RawUpstream::start();
    let rig = Rig::to_http2(upstream.address());
    let mut connection = None;
    for (length, said) in [("5", "abc"), ("2", "abc")] {
        let mut http1 = asking(&rig, &get("/"));
        let connection = connection.get_or_insert_with(|| upstream.accept(&[]));
        let mut http2 = Http2Client::connect(rig.address());
        let exchange = http2.begin(Request::get("http://a.test/").body(()).expect("valid"), true).expect("a stream");
        let head = [indexed(8), frames::block(&[("content-length", length.as_bytes())])].concat();
        for _ in 0..2 {
            let stream = connection.next_request();
            connection.send([headers(stream, &head, false), data(stream, said.as_bytes(), true)].concat());
        }
        let is_whole = http1.read_response("GET").is_ok_and(|answer| answer.status == 200 && answer.is_complete());
        assert!(!is_whole, "{length} for {said:?}");
        let is_whole = exchange.finish().is_ok_and(|answer| answer.status == 200 && answer.end.is_ok());
        assert!(!is_whole, "{length} for {said:?}");
    }
}

#[test]
fn trailers_come_also_behind_no_content() {
    let upstream = RawUpstream::start();
    let rig = Rig::to_http2(upstream.address());
    let mut client = Http2Client::connect(rig.address());
    let exchange = client.begin(Request::get("http://a.test/").body(()).expect("valid"), true).expect("a stream");
    let mut connection = upstream.accept(&[]);
    let answer = |connection: &mut RawConnection| {
        let stream = connection.next_request();
        let head = [indexed(8), frames::block(&[("content-length", b"0")])].concat();
        connection.send(headers(stream, &head, false));
        connection.send(headers(stream, &frames::block(&[("x-sum", b"7")]), true));
    };
    answer(&mut connection);
    let seen = exchange.finish().expect("an answer");
    assert!(seen.end.is_ok() && seen.body.is_empty(), "{seen:?}");
    assert_eq!((seen.status, seen.field("content-length")), (200, Some("0")));
    assert_eq!(seen.trailers.get("x-sum").map(http::HeaderValue::as_bytes), Some(&b"7"[..]));
    // HTTP/1 has no place for them behind a length.
    let mut client = asking(&rig, &get("/"));
    answer(&mut connection);
    let seen = client.read_response("GET").expect("an answer");
    assert!(seen.is_complete() && seen.fields.first("content-length") == Some("0"), "{seen:?}");
    client.send(get("/"));
    answer(&mut connection);
    assert_eq!(client.read_response("GET").expect("another answer").status, 200);
}
