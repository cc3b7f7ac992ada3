//! Clients that send what is of no use: the connection ends, and the work behind it is bounded.

use crate::rig::{Rig, ends_stream, goodbye, read_through, resets};
use serde_json::json;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::http2::frames::{
    self, block, data, flag, frame, headers, indexed, kind, literal_indexed, ping, rst_stream, settings, status,
    window_update,
};
use tidegate_testkit::recorder::{Recorder, Step};

const ENHANCE_YOUR_CALM: u32 = 11;

/// More frames than any flood needs to be noticed.
const MANY: u32 = 20_000;

fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// Sends `next` again and again; the connection must end with GOAWAY and this code.
fn check_flood(rig: &Rig, what: &str, next: impl Fn(u32) -> Vec<u8>) {
    let mut client = rig.open();
    flood(&mut client, &next);
    // What the client still had to say may reset the connection before GOAWAY is read.
    let code = goodbye(&mut client);
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{what}: {code:?}");
    rig.probe();
}

/// Sends until the gateway closes; answers are read away, so that nobody waits for this side.
fn flood(client: &mut RawClient, next: &impl Fn(u32) -> Vec<u8>) {
    let bytes: Vec<Vec<u8>> =
        (0..MANY / 100).map(|batch| (0..100).flat_map(|i| next(batch * 100 + i)).collect()).collect();
    for batch in bytes {
        client.keep_available();
        if !client.send(batch) {
            return;
        }
    }
}

#[test]
fn frames_of_no_use_end_the_connection() {
    let recorder = Recorder::with(|_| vec![Step::AwaitRequest, Step::AwaitClose]);
    let rig = Rig::to_http1(recorder.address());
    check_flood(&rig, "PING", |number| ping(number.into()));
    check_flood(&rig, "PING answers", |_| frame(kind::PING, flag::ACK, 0, &[0; 8]));
    check_flood(&rig, "SETTINGS", |number| settings(&[(4, 65_535 + number)]));
    check_flood(&rig, "PRIORITY", |number| frame(kind::PRIORITY, 0, stream(number), &[0, 0, 0, 0, 1]));
    check_flood(&rig, "WINDOW_UPDATE", |_| window_update(0, 1));
    check_flood(&rig, "frames of unknown types", |_| frame(200, 0, 0, &[]));
    check_flood(&rig, "empty DATA", |number| match number {
        0 => headers(1, &frames::get("/held"), false),
        _ => data(1, &[], false),
    });
    check_flood(&rig, "DATA of nothing but padding", |number| match number {
        0 => headers(1, &frames::get("/held"), false),
        _ => frame(kind::DATA, 0x8, 1, &[1, 0]),
    });
    check_flood(&rig, "CONTINUATION", |number| match number {
        0 => frame(kind::HEADERS, flag::END_STREAM, 1, &frames::get("/held")),
        _ => frame(kind::CONTINUATION, 0, 1, &[]),
    });
}

#[test]
fn rapid_resets_end_the_connection_and_bound_the_work_behind_it() {
    let recorder = Recorder::with(|_| vec![Step::AwaitRequest, Step::AwaitClose]);
    let rig = Rig::to_http1(recorder.address());
    let request = |number: u32| headers(stream(number), &frames::get("/held"), true);
    let reset = |number: u32| rst_stream(stream(number), 8);
    check_flood(&rig, "a reset behind each request", |number| [request(number), reset(number)].concat());
    check_flood(&rig, "a reset four requests behind", |number| {
        [request(number), number.checked_sub(4).map(reset).unwrap_or_default()].concat()
    });
    let connections = recorder.connections();
    assert!(connections <= 2 * (64 + 128), "{connections} upstream connections were opened for them");
    recorder.wait_until_all_ended();
}

#[test]
fn resets_that_the_gateway_is_provoked_to_send_end_the_connection() {
    let recorder = Recorder::with(|_| vec![Step::AwaitRequest, Step::AwaitClose]);
    let rig = Rig::to_http1(recorder.address());
    let open = |number: u32, ends: bool| headers(stream(number), &frames::get("/held"), ends);
    check_flood(&rig, "a window that overflows", |number| {
        let wide = window_update(stream(number), 0x7fff_ffff);
        [open(number, true), wide.clone(), wide].concat()
    });
    check_flood(&rig, "a stream that depends on itself", |number| {
        let itself = [stream(number).to_be_bytes().to_vec(), vec![1]].concat();
        [open(number, true), frame(kind::PRIORITY, 0, stream(number), &itself)].concat()
    });
    check_flood(&rig, "a body that is too long", |number| {
        let block = [frames::get("/held"), block(&[("content-length", b"1")])].concat();
        [headers(stream(number), &block, false), data(stream(number), b"ab", false)].concat()
    });
    check_flood(&rig, "malformed requests", |number| {
        let block = [frames::get("/held"), block(&[("connection", b"close")])].concat();
        headers(stream(number), &block, true)
    });
    let connections = recorder.connections();
    assert!(connections <= 4 * (64 + 128), "{connections} upstream connections were opened for them");
    recorder.wait_until_all_ended();
}

#[test]
fn streams_beyond_the_limit_are_refused_and_then_the_connection_ends() {
    let recorder = Recorder::with(|_| vec![Step::AwaitRequest, Step::AwaitClose]);
    let rig = Rig::with(recorder.address(), json!({ "http2": { "max_concurrent_streams": 4 } }), json!({}));
    check_flood(&rig, "streams that are never reset", |number| headers(stream(number), &frames::get("/held"), true));
    assert!(recorder.connections() <= 4);
}

#[test]
fn what_is_refused_before_it_is_a_request_is_counted() {
    let recorder = Recorder::start();
    let rig = Rig::with(recorder.address(), json!({ "limits": { "head": "8KiB", "target": "4KiB" } }), json!({}));
    let mut client = rig.open();
    let large = vec![b'x'; 9000];
    let cases = [("connection", &large[..1]), ("x", &large[..]), ("te", &large[..1]), ("x", &large[..])];
    for (count, (name, value)) in (1..).zip(cases) {
        let stream = stream(count);
        let fields = [frames::get("/evil"), block(&[(name, value)])].concat();
        client.send(headers(stream, &fields, true));
        read_through(&mut client, |frame| {
            frame.stream == stream && matches!(frame.kind, kind::HEADERS | kind::RST_STREAM)
        });
        assert_eq!(rig.protocol_errors(), u64::from(count), "{name}");
    }
    rig.probe();
    client.send(headers(stream(9), &frames::get("/own"), true));
    read_through(&mut client, |frame| ends_stream(frame, stream(9)));
    assert_eq!(rig.protocol_errors(), 4, "what is answered is not refused");
    assert!(recorder.requests().is_empty());
}

#[test]
fn header_lists_beyond_the_limit_are_refused() {
    let recorder = Recorder::start();
    let rig = Rig::with(recorder.address(), json!({ "limits": { "head": "8KiB", "target": "4KiB" } }), json!({}));
    let filled = |length: usize| [frames::get("/evil"), block(&[("x", &vec![b'x'; length])])].concat();
    let mut client = rig.open();
    client.send(headers(1, &filled(9 * 1024), true));
    let answer = read_through(&mut client, |frame| frame.kind == kind::HEADERS);
    assert_eq!(status(&answer[answer.len() - 1].payload), Some(431));
    // A few bytes that stand for many: the table is filled once and named again and again.
    let bomb: Vec<u8> = [frames::get("/evil"), literal_indexed("x", &[b'x'; 3000])].concat();
    let bomb = (0..4000).fold(bomb, |bomb, _| [bomb, indexed(62)].concat());
    let mut client = rig.open();
    client.send(headers(1, &bomb, true));
    assert_eq!(goodbye(&mut client), Some(ENHANCE_YOUR_CALM));
    let many = (0..200).fold(frames::get("/evil"), |many, _| [many, block(&[("x", b"y")])].concat());
    let mut client = rig.open();
    client.send(headers(1, &many, true));
    let answer = read_through(&mut client, |frame| frame.kind == kind::HEADERS);
    assert_eq!(status(&answer[answer.len() - 1].payload), Some(431));
    rig.probe();
    assert!(recorder.requests().is_empty());
}

#[test]
fn streams_whose_windows_stay_closed_are_ended() {
    let piece = vec![b'x'; 64 * 1024];
    let recorder = Recorder::with(move |_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 6553600\r\n\r\n".to_vec();
        vec![Step::AwaitRequest, Step::Send(head), Step::Repeat(piece.clone(), 100)]
    });
    let rig = Rig::with(recorder.address(), json!({ "timeouts": { "body": "300ms" } }), json!({}));
    let mut client = rig.connect();
    client.send([frames::PREFACE, &settings(&[(4, 0)])].concat());
    for number in 0..32 {
        client.send(headers(stream(number), &frames::get("/large"), true));
    }
    for _ in 0..32 {
        let seen = read_through(&mut client, |frame| frame.kind == kind::RST_STREAM);
        assert!(seen.iter().all(|frame| frame.kind != kind::DATA), "{seen:#?}");
    }
    recorder.wait_until_all_ended();
}

#[test]
fn a_client_that_takes_nothing_is_ended() {
    let piece = vec![b'x'; 64 * 1024];
    let recorder = Recorder::with(move |_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n".to_vec();
        vec![Step::AwaitRequest, Step::Send(head), Step::Repeat(piece.clone(), 1600)]
    });
    let rig = Rig::with(recorder.address(), json!({ "timeouts": { "body": "300ms" } }), json!({}));
    let mut client = rig.connect();
    client.shrink_receive_buffer();
    client.send([frames::PREFACE, &settings(&[(4, 0x7fff_ffff)]), &window_update(0, 0x7000_0000)].concat());
    client.send((0..8).flat_map(|number| headers(stream(number), &frames::get("/large"), true)).collect::<Vec<_>>());
    // Every upstream connection ends, because the client's has ended.
    recorder.wait_for("eight requests", |seen| (seen.len() == 8).then_some(()));
    recorder.wait_until_all_ended();
    rig.probe();
}

#[test]
fn a_refused_request_is_answered_and_the_others_go_on() {
    let recorder = Recorder::start();
    let rig = Rig::to_http1(recorder.address());
    let mut client = rig.open();
    let contradicting = [frames::get("/evil"), block(&[("host", b"other.test")])].concat();
    client.send([headers(1, &contradicting, false), headers(3, &frames::get("/good"), true)].concat());
    let seen = read_through(&mut client, |frame| resets(frame, 1));
    let head = seen.iter().find(|frame| frame.stream == 1 && frame.kind == kind::HEADERS).expect("an answer");
    let first = seen.iter().find(|frame| frame.kind == kind::HEADERS).expect("an answer");
    if std::ptr::eq(head, first) {
        assert_eq!(status(&head.payload), Some(400));
    }
    recorder.wait_for_target("/good");
    assert!(recorder.requests().iter().all(|seen| seen.target != "/evil"));
}
