//! One exchange in every mixture of HTTP/1 and HTTP/2.

use crate::rig::{Rig, ends_stream, read_through, resets};
use http::Request;
use serde_json::json;
use std::time::{Duration, Instant};
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::http1::BodyReader;
use tidegate_testkit::http2::frames::{self, Frame, block, data, headers, kind, status};
use tidegate_testkit::http2::{Http2Client, Http2Recorder, Http2Step};
use tidegate_testkit::recorder::{Recorder, Step, chunked, response};

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

fn url(target: &str) -> String {
    format!("http://a.test{target}")
}

fn post_block(target: &str) -> Vec<u8> {
    let fields: [(&str, &[u8]); 4] =
        [(":method", b"POST"), (":scheme", b"http"), (":path", target.as_bytes()), (":authority", b"a.test")];
    block(&fields)
}

#[test]
fn bodies_stream_both_ways_from_http2_to_http1() {
    let recorder = Recorder::with(|_| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        vec![
            Step::Send(head),
            Step::AwaitContent(3),
            Step::Send(b"3\r\none\r\n".to_vec()),
            Step::AwaitContent(6),
            Step::Send(b"3\r\ntwo\r\n".to_vec()),
            Step::AwaitRequest,
            Step::Send(b"0\r\n\r\n".to_vec()),
        ]
    });
    let rig = Rig::to_http1(recorder.address());
    let mut client = Http2Client::connect(rig.address());
    let mut exchange = client.begin(Request::post(url("/")).body(()).expect("valid"), false).expect("a stream");
    assert_eq!(exchange.head().expect("a head").status(), 200);
    for text in ["one", "two"] {
        exchange.send(text.as_bytes(), false).expect("a window");
        assert_eq!(exchange.read_some().expect("a piece").expect("not the end"), text);
    }
    exchange.send(b"", true).expect("the end");
    assert!(exchange.read_some().expect("the end").unwrap_or_default().is_empty());
}

#[test]
fn an_answer_that_has_begun_may_wait_for_the_rest_of_the_request() {
    let recorder = Recorder::with(|_| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        vec![Step::Send(head), Step::AwaitRequest, Step::Send(b"3\r\nend\r\n0\r\n\r\n".to_vec())]
    });
    let patience = Duration::from_millis(500);
    let rig = Rig::with(recorder.address(), json!({}), json!({ "timeouts": { "body": "500ms" } }));
    let mut client = Http2Client::connect(rig.address());
    let mut exchange = client.begin(Request::post(url("/")).body(()).expect("valid"), false).expect("a stream");
    assert_eq!(exchange.head().expect("a head").status(), 200);
    // Other requests are what makes time pass.
    let begun = Instant::now();
    while begun.elapsed() < 3 * patience {
        exchange.send(b"more", false).expect("the stream is still there");
        rig.probe();
    }
    exchange.send(b"", true).expect("the end");
    assert_eq!(exchange.read_some().expect("a piece").expect("not the end"), "end");
}

#[test]
fn a_grpc_stream_may_be_silent_where_a_body_may_not() {
    let recorder = Http2Recorder::with(None, |seen| match seen.target.as_str() {
        "/late" => {
            vec![Http2Step::AwaitContent(3), Http2Step::Head(200, Vec::new()), Http2Step::Data(b"one".to_vec())]
        }
        _ => vec![Http2Step::Echo],
    });
    let impatient = json!({ "timeouts": { "body": "200ms", "body_rate": { "minimum": "1MiB", "grace": "100ms" } } });
    let rig = Rig::with(recorder.address(), impatient, json!({ "protocol": "http2" }));
    let mut client = Http2Client::connect(rig.address());
    let mut begin = |target: &str, content_type: &str| {
        let request = Request::post(url(target)).header("content-type", content_type);
        client.begin(request.body(()).expect("valid"), false).expect("a stream")
    };
    // One is answered before it has said anything, and one is not.
    let mut grpc = ["/", "/late"].map(|target| begin(target, "application/grpc+proto"));
    let plain = ["/", "/late"].map(|target| begin(target, "application/json"));
    for silent in plain {
        let timed_out = silent.finish().map_or(true, |answer| answer.status == 408 || answer.end.is_err());
        assert!(timed_out, "a body without progress is ended");
    }
    for stream in &mut grpc {
        stream.send(b"one", false).expect("the stream is still there");
        assert_eq!(stream.head().expect("a head").status(), 200);
        assert_eq!(stream.read_some().expect("a piece").expect("not the end"), "one");
    }
}

#[test]
fn bodies_stream_both_ways_from_http1_to_http2() {
    let recorder = Http2Recorder::with(None, |_| vec![Http2Step::Echo]);
    let rig = Rig::to_http2(recorder.address());
    let mut client = rig.connect();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let answer = client.begin_response("POST").expect("a head");
    assert_eq!(answer.status, 200);
    let mut reader = BodyReader::new(answer.framing);
    for text in ["one", "two"] {
        client.send(format!("3\r\n{text}\r\n"));
        assert_eq!(client.read_some(&mut reader).expect("a piece"), Some(text.as_bytes().to_vec()));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read_some(&mut reader).expect("the end"), None);
}

#[test]
fn answers_without_a_body_by_rule_have_none() {
    let http1 = Recorder::with(|seen| {
        let text = match seen.target.as_str() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
        };
        vec![Step::AwaitRequest, Step::Send(text.as_bytes().to_vec())]
    });
    let http2 = Http2Recorder::with(None, |seen| {
        let (status, length) = match seen.target.as_str() {
            "/204" => (204, vec![]),
            "/304" => (304, vec![("content-length", "7".to_owned())]),
            _ => (200, vec![("content-length", "7".to_owned())]),
        };
        vec![Http2Step::AwaitRequest, Http2Step::Head(status, length), Http2Step::End]
    });
    for rig in [Rig::to_http1(http1.address()), Rig::to_http2(http2.address())] {
        let mut raw = rig.connect();
        let mut client = Http2Client::connect(rig.address());
        for (method, target, wanted, length) in
            [("HEAD", "/200", 200, Some("7")), ("GET", "/204", 204, None), ("GET", "/304", 304, Some("7"))]
        {
            let request = Request::builder().method(method).uri(url(target)).body(()).expect("valid");
            let answer = client.exchange(request, &[]).expect("an answer");
            assert!(answer.end.is_ok() && answer.body.is_empty(), "{method} {target}: {answer:?}");
            assert_eq!((answer.status, answer.field("content-length")), (wanted, length), "{method} {target}");
            let answer = raw.exchange(format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
            assert!(answer.is_complete() && answer.body.is_empty(), "{method} {target}: {answer:?}");
            assert_eq!((answer.status, answer.fields.first("content-length")), (wanted, length), "{method} {target}");
        }
    }
}

#[test]
fn hints_pass_before_the_answer() {
    let recorder = Recorder::with(|_| {
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec();
        vec![Step::AwaitRequest, Step::Send(hints), Step::Send(response("200 OK", &[], "x"))]
    });
    let rig = Rig::to_http1(recorder.address());
    let mut client = rig.open();
    client.send(headers(1, &frames::get("/"), true));
    let seen = read_through(&mut client, |frame| ends_stream(frame, 1));
    let heads: Vec<&Frame> = seen.iter().filter(|frame| frame.kind == kind::HEADERS).collect();
    assert_eq!((heads.len(), status(&heads[0].payload)), (2, Some(103)));
}

/// The frames of an answer that came before the request had ended, up to the reset behind it.
fn check_early(client: &mut RawClient, body: &[u8]) {
    let seen = read_through(client, |frame| resets(frame, 1));
    let pieces = seen.iter().filter(|frame| frame.kind == kind::DATA).flat_map(|frame| frame.payload.clone());
    assert_eq!(pieces.collect::<Vec<u8>>(), body);
    assert!(ends_stream(&seen[seen.len() - 2], 1), "the answer is complete before the reset: {seen:#?}");
    assert_eq!(seen[seen.len() - 1].error_code(), Some(NO_ERROR));
}

#[test]
fn an_early_answer_is_complete_and_then_the_rest_is_declined() {
    let body = vec![b'x'; 40_000];
    let answer = response("413 Content Too Large", &[], &body);
    let recorder = Recorder::with(move |_| vec![Step::AwaitContent(3), Step::Send(answer.clone())]);
    let rig = Rig::to_http1(recorder.address());
    let mut client = rig.open();
    client.send([headers(1, &post_block("/"), false), data(1, b"abc", false)].concat());
    check_early(&mut client, &body);
    // The same for an answer of the gateway's own.
    let mut client = rig.open();
    client.send([headers(1, &post_block("/own"), false), data(1, b"abc", false)].concat());
    check_early(&mut client, b"own");
}

#[test]
fn a_cut_answer_never_ends_its_stream() {
    let gates = [Gate::new(), Gate::new()];
    let held = gates[0].clone();
    let http1 = Recorder::with(move |_| {
        let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec();
        vec![Step::AwaitRequest, Step::Send(begun), Step::AwaitGate(held.clone()), Step::Close]
    });
    let held = gates[1].clone();
    let http2 = Http2Recorder::with(None, move |_| {
        let (head, half) = (Http2Step::Head(200, vec![]), Http2Step::Data(b"half".to_vec()));
        let reset = Http2Step::Reset(h2::Reason::CANCEL);
        vec![Http2Step::AwaitRequest, head, half, Http2Step::AwaitGate(held.clone()), reset]
    });
    let rigs = [Rig::to_http1(http1.address()), Rig::to_http2(http2.address())];
    for (rig, gate) in rigs.iter().zip(gates) {
        let mut client = rig.open();
        client.send(headers(1, &frames::get("/"), true));
        read_through(&mut client, |frame| frame.kind == kind::DATA);
        gate.open();
        let seen = read_through(&mut client, |frame| resets(frame, 1));
        assert!(!seen.iter().any(|frame| ends_stream(frame, 1)), "{seen:#?}");
        assert_eq!(seen[seen.len() - 1].error_code(), Some(INTERNAL_ERROR));
        let mut client = rig.connect();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let is_whole = client.read_response("GET").is_ok_and(|answer| answer.status == 200 && answer.is_complete());
        assert!(!is_whole, "a cut answer looks complete");
    }
}

#[test]
fn a_cut_request_never_ends_its_stream() {
    let recorder = Http2Recorder::with(None, |_| vec![Http2Step::AwaitRequest, Http2Step::Answer]);
    let rig = Rig::to_http2(recorder.address());
    let mut client = rig.connect();
    client.send("POST /h1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf");
    recorder.wait_for("half a body", |seen| seen.first().filter(|seen| seen.body == b"half").map(|_| ()));
    drop(client);
    let mut client = Http2Client::connect(rig.address());
    let mut exchange = client.begin(Request::post(url("/h2")).body(()).expect("valid"), false).expect("a stream");
    exchange.send(b"half", false).expect("a window");
    recorder.wait_for("half a body", |seen| seen.get(1).filter(|seen| seen.body == b"half").map(|_| ()));
    exchange.reset(h2::Reason::CANCEL);
    let seen =
        recorder.wait_for("two resets", |seen| seen.iter().all(|seen| seen.reset.is_some()).then(|| seen.to_vec()));
    assert!(seen.iter().all(|seen| !seen.complete), "{seen:#?}");
}

#[test]
fn a_client_that_leaves_a_silent_answer_is_noticed() {
    let http1 = Recorder::with(|_| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        vec![Step::AwaitRequest, Step::Send(head), Step::AwaitClose]
    });
    let rig = Rig::to_http1(http1.address());
    let mut client = Http2Client::connect(rig.address());
    let mut exchange = client.begin(Request::get(url("/")).body(()).expect("valid"), true).expect("a stream");
    exchange.head().expect("a head");
    exchange.reset(h2::Reason::CANCEL);
    http1.wait_until_ended(0);
    let http2 = Http2Recorder::with(None, |_| vec![Http2Step::Head(200, vec![]), Http2Step::AwaitReset]);
    let rig = Rig::to_http2(http2.address());
    let mut client = Http2Client::connect(rig.address());
    let mut exchange = client.begin(Request::get(url("/")).body(()).expect("valid"), true).expect("a stream");
    exchange.head().expect("a head");
    exchange.reset(h2::Reason::CANCEL);
    http2.wait_for("a reset", |seen| seen.first().and_then(|seen| seen.reset));
}

#[test]
fn a_slow_reader_slows_the_upstream_down() {
    let done = Gate::new();
    let told = done.clone();
    let recorder = Recorder::with(move |_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 268435456\r\n\r\n".to_vec();
        let piece = vec![b'x'; 1 << 20];
        vec![Step::AwaitRequest, Step::Send(head), Step::Repeat(piece, 256), Step::OpenGate(told.clone())]
    });
    let rig = Rig::to_http1(recorder.address());
    // The client opens its windows as wide as it can, and then does not read.
    let mut client = rig.connect();
    client.send(
        [frames::PREFACE, &frames::settings(&[(4, 0x7fff_ffff)]), &frames::window_update(0, 0x7000_0000)].concat(),
    );
    client.send(headers(1, &frames::get("/large"), true));
    frames::read_until(&mut client, |frame| frame.kind == kind::DATA).expect("the answer begins");
    for _ in 0..200 {
        rig.probe();
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(done.wait()));
    assert!(receiver.try_recv().is_err(), "256 MiB are on their way to a client that reads nothing");
}

#[test]
fn trailers_of_requests_say_nothing_that_a_head_says() {
    let http1 = Recorder::start();
    let http2 = Http2Recorder::start();
    for rig in [Rig::to_http1(http1.address()), Rig::to_http2(http2.address())] {
        let mut client = Http2Client::connect(rig.address());
        let request = Request::post(url("/")).header("te", "trailers").body(()).expect("valid");
        let mut exchange = client.begin(request, false).expect("a stream");
        exchange.send(b"body", false).expect("a window");
        let mut trailers = http::HeaderMap::new();
        for name in ["authorization", "content-length", "host", "x-forwarded-for", "digest"] {
            trailers.insert(http::HeaderName::from_static(name), http::HeaderValue::from_static("4"));
        }
        exchange.send_trailers(trailers).expect("the end");
        assert_eq!(exchange.finish().expect("an answer").status, 200);
    }
    let seen = http1.wait_for_requests(1);
    assert_eq!(seen[0].trailers.iter().collect::<Vec<_>>(), [("digest", "4")]);
    let seen = http2.wait_for("the end", |seen| seen.first().filter(|seen| seen.complete).cloned());
    assert_eq!(seen.trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["digest"]);
}

#[test]
fn the_last_bytes_of_a_chunked_answer_end_the_stream() {
    let recorder = Recorder::with(|_| {
        let answer = chunked("200 OK", &[], &[b"one", b"two"], &[]);
        vec![Step::AwaitRequest, Step::Send(answer)]
    });
    let rig = Rig::to_http1(recorder.address());
    let mut client = rig.open();
    for stream in [1, 3] {
        client.send(headers(stream, &frames::get("/"), true));
        let seen = read_through(&mut client, |frame| ends_stream(frame, stream));
        let data: Vec<&Frame> = seen.iter().filter(|frame| frame.kind == kind::DATA).collect();
        assert_eq!(data.iter().flat_map(|frame| frame.payload.clone()).collect::<Vec<u8>>(), b"onetwo");
        assert!(data.iter().all(|frame| !frame.payload.is_empty()), "{data:#?}");
    }
    assert_eq!(recorder.connections(), 1, "the upstream's connection is used again");
}

#[test]
fn a_client_that_leaves_the_queue_for_a_connection_gives_its_place_up() {
    for leaves_http2 in [false, true] {
        let gate = Gate::new();
        let held = gate.clone();
        let recorder = Recorder::with(move |seen| match seen.target.as_str() {
            "/held" => vec![Step::AwaitRequest, Step::AwaitGate(held.clone()), Step::Answer],
            _ => vec![Step::AwaitRequest, Step::Answer],
        });
        let pool = json!({ "max_connections": 1, "max_idle": 1, "max_waiting": 1, "max_wait": "1m" });
        let rig = Rig::with(recorder.address(), json!({}), json!({ "pool": pool }));
        let ask = |target: &str| {
            let mut client = rig.connect();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
            client
        };
        let mut first = ask("/held");
        recorder.wait_for_target("/held");
        if leaves_http2 {
            let mut second = rig.open();
            second.send(headers(1, &frames::get("/left"), true));
            rig.probe();
            second.send(frames::rst_stream(1, CANCEL));
            rig.probe();
        } else {
            let second = ask("/left");
            rig.probe();
            second.reset();
            rig.probe();
        }
        let mut third = ask("/next");
        rig.probe();
        gate.open();
        assert_eq!(first.read_response("GET").expect("an answer").status, 200);
        assert_eq!(third.read_response("GET").expect("an answer").status, 200, "HTTP/2: {leaves_http2}");
        assert!(recorder.requests_for("/left").is_empty());
    }
}

#[test]
fn a_doubtful_host_ends_the_connection() {
    let recorder = Recorder::start();
    let rig = Rig::to_http1(recorder.address());
    for host in ["", "Host: a.test\r\nHost: b.test\r\n", "Host: a b\r\n"] {
        let mut client = rig.connect();
        client.send(format!("GET /evil HTTP/1.1\r\n{host}\r\nGET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let answer = client.read_response("GET").expect("an answer");
        assert_eq!((answer.status, answer.fields.first("connection")), (400, Some("close")), "{host:?}");
        assert!(client.read_to_end().0.is_empty(), "{host:?}");
    }
    assert!(recorder.requests().is_empty());
}
