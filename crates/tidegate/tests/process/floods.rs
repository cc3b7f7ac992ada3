//! HTTP/2 that no correct client sends: floods end the connection, bad messages end the stream, and a
//! fresh connection is served at once.

use tidegate_testkit::client::RawClient;
use tidegate_testkit::http2::frames::{
    self, block, data, flag, frame, get, headers, indexed, kind, literal_indexed, opening, ping, read_frame,
    rst_stream, settings, status, window_update,
};
use tidegate_testkit::recorder::Recorder;

use crate::rig::{Options, Rig};

/// More than any correct client would send of anything.
const MANY: u32 = 50_000;

/// What a flood may cost.
const MEMORY: u64 = 32 << 20;

fn rig() -> Rig {
    Rig::with(Recorder::start(), &Options { workers: 2, ..Options::default() })
}

/// How a flooding connection ended up.
#[derive(Debug, PartialEq)]
enum After {
    /// The gateway ended it.
    Ended,
    /// It still answers a ping.
    Alive,
}

/// Sends a flood, reading meanwhile so that the gateway is not just blocked on its answers, and checks
/// that others are served during and after it and that it costs little.
fn flood(rig: &Rig, first: Vec<u8>, next: impl Fn(u32) -> Vec<u8>, count: u32) -> After {
    rig.probe("/before");
    let before = rig.gateway.resident_bytes();
    let mut client = rig.connect();
    client.send([opening(), first].concat());
    let mut is_open = true;
    let mut batch = Vec::new();
    for number in 0..count {
        batch.extend(next(number));
        if batch.len() > 16 * 1024 || number + 1 == count {
            is_open = client.send(&batch);
            batch.clear();
            client.keep_available();
            if !is_open {
                break;
            }
        }
    }
    rig.probe("/after");
    let growth = rig.gateway.resident_bytes().saturating_sub(before);
    assert!(growth < MEMORY, "the flood costs {growth} bytes");
    if !is_open || !client.send(ping(7)) {
        return After::Ended;
    }
    let pong = frames::read_until(&mut client, |frame| {
        frame.is_goaway()
            || (frame.kind == kind::PING && frame.flags & flag::ACK != 0 && frame.payload == 7_u64.to_be_bytes())
    });
    match pong {
        Ok(frame) if !frame.is_goaway() => After::Alive,
        _ => After::Ended,
    }
}

/// The id of the `number`th stream of a client.
fn stream(number: u32) -> u32 {
    2 * number + 1
}

#[test]
fn rapid_resets_end_the_connection() {
    let rig = rig();
    let mark = rig.recorder.mark();
    let after = flood(
        &rig,
        vec![],
        |number| [headers(stream(number), &get("/reset"), true), rst_stream(stream(number), 8)].concat(),
        MANY,
    );
    assert_eq!(after, After::Ended);
    let asked = rig.recorder.requests_since(&mark).len();
    assert!(asked < 2000, "{asked} requests reached the upstream");
}

#[test]
fn resets_that_the_server_is_provoked_to_send_end_the_connection() {
    let provocations: [fn(u32) -> Vec<u8>; 4] = [
        |id| window_update(id, 0),
        |id| data(id, b"after the end", true),
        |id| window_update(id, 0x7fff_ffff),
        |id| frame(kind::PRIORITY, 0, id, &[0, 0, 0]),
    ];
    for (number, provoke) in provocations.into_iter().enumerate() {
        let rig = rig();
        let mark = rig.recorder.mark();
        let after = flood(
            &rig,
            vec![],
            |at| [headers(stream(at), &get("/provoked"), true), provoke(stream(at))].concat(),
            MANY,
        );
        assert_eq!(after, After::Ended, "provocation {number}");
        let asked = rig.recorder.requests_since(&mark).len();
        assert!(asked < 2000, "provocation {number}: {asked} requests reached the upstream");
    }
}

#[test]
fn endless_continuations_end_the_connection() {
    let rig = rig();
    let field = block(&[("x-a", &[b'y'; 1000])]);
    for payload in [field.as_slice(), &[]] {
        let first = frame(kind::HEADERS, flag::END_STREAM, 1, &get("/evil"));
        let after = flood(&rig, first, |_| frame(kind::CONTINUATION, 0, 1, payload), MANY);
        assert_eq!(after, After::Ended);
    }
    rig.conclude();
}

#[test]
fn floods_of_small_frames_are_ended_or_cost_nothing() {
    let rig = rig();
    let post = block(&[(":method", b"POST"), (":scheme", b"http"), (":path", b"/cut"), (":authority", b"honest.test")]);
    let open = headers(1, &post, false);
    let floods: [(&str, Vec<u8>, Vec<u8>); 9] = [
        ("empty DATA", open.clone(), data(1, b"", false)),
        ("DATA of padding only", open.clone(), frame(kind::DATA, 0x8, 1, &[7, 0, 0, 0, 0, 0, 0, 0])),
        ("PING", vec![], ping(1)),
        ("SETTINGS", vec![], settings(&[])),
        ("SETTINGS with parameters", vec![], settings(&[(4, 65_535), (5, 16_384), (1, 0), (1, 4096)])),
        ("PRIORITY", vec![], frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 16])),
        ("WINDOW_UPDATE of the connection", vec![], window_update(0, 1)),
        ("WINDOW_UPDATE of a stream", open.clone(), window_update(1, 1)),
        ("unknown frames", vec![], frame(0xbb, 0xff, 0, b"unknown")),
    ];
    for (what, first, each) in floods {
        println!("{what}");
        // Either end is right; what it costs and whom it disturbs is checked inside.
        flood(&rig, first, |_| each.clone(), MANY);
    }
    rig.conclude();
}

#[test]
fn pings_whose_answers_are_not_read_cost_no_memory() {
    let rig = rig();
    rig.probe("/before");
    let before = rig.gateway.resident_bytes();
    let mut client = rig.connect();
    client.shrink_receive_buffer();
    client.send(opening());
    let batch = ping(1).repeat(1000);
    // The gateway stops reading when it cannot write, or ends the connection; both stop this client.
    for _ in 0..10_000 {
        if !client.send_without_waiting(&batch) {
            break;
        }
    }
    rig.probe("/after");
    let growth = rig.gateway.resident_bytes().saturating_sub(before);
    assert!(growth < MEMORY, "unread answers cost {growth} bytes");
    rig.conclude();
}

#[test]
fn header_bombs_are_refused() {
    let rig = rig();
    let large = vec![b'y'; 4000];
    let mut bomb = get("/evil");
    bomb.extend(literal_indexed("x-bomb", &large));
    bomb.extend(indexed(62).repeat(12_000));
    check_refused(&rig, "indexed 12,000 times", &bomb);
    let names: Vec<String> = (0..20_000).map(|number| format!("x-{number}")).collect();
    let fields: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    check_refused(&rig, "20,000 fields", &[get("/evil"), block(&fields)].concat());
    let megabyte = vec![b'y'; 1 << 20];
    check_refused(&rig, "1 MB value", &[get("/evil"), block(&[("x-a", &megabyte)])].concat());
    check_refused(
        &rig,
        "1 MB path",
        &block(&[
            (":method", b"GET"),
            (":scheme", b"http"),
            (":path", &[b"/evil", megabyte.as_slice()].concat()),
            (":authority", b"honest.test"),
        ]),
    );
    let crumbs: Vec<(&str, &[u8])> = vec![("cookie", b"a=b"); 5000];
    check_refused(&rig, "5,000 cookie crumbs", &[get("/evil"), block(&crumbs)].concat());
    check_refused(
        &rig,
        "a table size that was not allowed",
        &[vec![0x3f, 0xe1, 0xff, 0xff, 0x07], get("/evil")].concat(),
    );
    check_refused(&rig, "an index outside the table", &[get("/evil"), vec![0xff, 0xff, 0xff, 0xff, 0x07]].concat());
    check_refused(&rig, "an index of zero", &[get("/evil"), vec![0x80]].concat());
    check_refused(
        &rig,
        "a string longer than the block",
        &[get("/evil"), vec![0x00, 0x7f, 0xff, 0xff, 0xff, 0x7f]].concat(),
    );
    check_refused(
        &rig,
        "Huffman code with EOS",
        &[get("/evil"), vec![0x00, 0x01, b'a', 0x84, 0xff, 0xff, 0xff, 0xff]].concat(),
    );
    rig.conclude();
}

/// A header block that must end its stream or its connection without anything being forwarded.
fn check_refused(rig: &Rig, what: &str, block: &[u8]) {
    let mark = rig.recorder.mark();
    let mut client = rig.connect();
    client.send(opening());
    client.send(in_frames(block));
    check_stream_refused(&mut client, what);
    rig.probe("/probe");
    let seen = rig.recorder.requests_since(&mark);
    assert!(seen.iter().all(|seen| seen.target == "/probe"), "{what}: forwarded {seen:?}");
}

/// HEADERS and as many CONTINUATIONs as the block needs, on stream 1, with END_STREAM.
fn in_frames(block: &[u8]) -> Vec<u8> {
    let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
    let mut bytes = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let end = if at + 1 == pieces.len() { flag::END_HEADERS } else { 0 };
        let (kind, flags) = if at == 0 { (kind::HEADERS, flag::END_STREAM | end) } else { (kind::CONTINUATION, end) };
        bytes.extend(frame(kind, flags, 1, piece));
    }
    bytes
}

/// Stream 1 is answered with a 4xx, reset, or ended with its connection.
fn check_stream_refused(client: &mut RawClient, what: &str) {
    loop {
        match read_frame(client) {
            Err(_) => return,
            Ok(frame) if frame.is_goaway() => return,
            Ok(frame) if frame.stream == 1 && frame.kind == kind::RST_STREAM => return,
            Ok(frame) if frame.stream == 1 && frame.kind == kind::HEADERS => {
                let status = status(&frame.payload);
                assert!(status.is_some_and(|status| (400..500).contains(&status)), "{what}: answered {status:?}");
                return;
            }
            Ok(_) => {}
        }
    }
}

/// A well-formed pseudo-header, without the fields that `without` names.
fn pseudo<'a>(without: &str) -> Vec<(&'a str, &'a [u8])> {
    let all: [(&str, &[u8]); 4] =
        [(":method", b"GET"), (":scheme", b"http"), (":path", b"/evil"), (":authority", b"honest.test")];
    all.into_iter().filter(|(name, _)| *name != without).collect()
}

#[test]
fn bad_messages_are_refused() {
    let rig = rig();
    type Field<'a> = (&'a str, &'a [u8]);
    // The pseudo-field to leave out, and what to add in its place.
    let table: &[(&str, &[Field<'_>])] = &[
        // Pseudo-fields (RFC 9113 section 8.3).
        (":method", &[]),
        (":scheme", &[]),
        (":path", &[]),
        (":authority", &[]),
        ("", &[(":method", b"GET")]),
        ("", &[(":path", b"/evil2")]),
        ("", &[(":scheme", b"https")]),
        ("", &[(":authority", b"other.test")]),
        ("", &[(":status", b"200")]),
        ("", &[(":unknown", b"x")]),
        ("", &[(":protocol", b"websocket")]),
        ("", &[(":", b"x")]),
        ("", &[("x-a", b"y"), (":late", b"x")]),
        (":path", &[("x-a", b"y"), (":path", b"/evil")]),
        (":path", &[(":path", b"")]),
        (":path", &[(":path", b"evil")]),
        (":path", &[(":path", b"*")]),
        (":path", &[(":path", b"/evil x")]),
        (":path", &[(":path", b"/evil\r\nX-A: y")]),
        (":path", &[(":path", b"/evil HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled")]),
        (":path", &[(":path", b"/evil\0")]),
        (":path", &[(":path", b"/ev\xc3\xa9il")]),
        (":path", &[(":path", b"http://other.test/evil")]),
        (":path", &[(":path", b"\\evil")]),
        (":method", &[(":method", b"")]),
        (":method", &[(":method", b"GET /smuggled HTTP/1.1\r\n\r\nGET")]),
        (":method", &[(":method", b"G ET")]),
        (":method", &[(":method", b"GET\0")]),
        (":method", &[(":method", b"CONNECT")]),
        (":scheme", &[(":scheme", b"")]),
        (":scheme", &[(":scheme", b"http\r\n")]),
        (":scheme", &[(":scheme", b"http://other.test/?")]),
        (":authority", &[(":authority", b"")]),
        (":authority", &[(":authority", b"user@honest.test")]),
        (":authority", &[(":authority", b"honest.test\r\nX: y")]),
        (":authority", &[(":authority", b"a b")]),
        (":authority", &[(":authority", b"honest.test/evil")]),
        (":authority", &[(":authority", b"honest.test"), ("host", b"other.test")]),
        (":authority", &[("host", b"a"), ("host", b"b")]),
        (":authority", &[(":authority", b"a:99999")]),
        // Names and values (RFC 9113 section 8.2.1).
        ("", &[("X-Upper", b"y")]),
        ("", &[("x a", b"y")]),
        ("", &[("x:a", b"y")]),
        ("", &[("", b"y")]),
        ("", &[("x\r\ny", b"z")]),
        ("", &[("x\0", b"z")]),
        ("", &[("x\x7f", b"z")]),
        ("", &[("x-a", b"a\r\nTransfer-Encoding: chunked")]),
        ("", &[("x-a", b"a\nb")]),
        ("", &[("x-a", b"a\rb")]),
        ("", &[("x-a", b"a\0b")]),
        ("", &[("x-a", b"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")]),
        ("", &[("x-a", b"a\x01b")]),
        ("", &[("cookie", b"a=b\r\nX: y")]),
        ("", &[("content-length", b"0\r\nTransfer-Encoding: chunked")]),
        // Fields of a connection (RFC 9113 section 8.2.2).
        ("", &[("connection", b"close")]),
        ("", &[("connection", b"x-a")]),
        ("", &[("transfer-encoding", b"chunked")]),
        ("", &[("transfer-encoding", b"identity")]),
        ("", &[("keep-alive", b"1")]),
        ("", &[("proxy-connection", b"x")]),
        ("", &[("upgrade", b"h2c")]),
        ("", &[("upgrade", b"websocket")]),
        ("", &[("te", b"gzip")]),
        ("", &[("te", b"trailers, gzip")]),
        ("", &[("transfer_encoding", b"chunked")]),
        ("", &[("content_length", b"5")]),
        // A length that is none, and one that nothing follows.
        ("", &[("content-length", b"5")]),
        ("", &[("content-length", b"+0")]),
        ("", &[("content-length", b"0"), ("content-length", b"0")]),
        ("", &[("content-length", b"0, 0")]),
        ("", &[("content-length", b"")]),
        ("", &[("content-length", b"-1")]),
        ("", &[("content-length", b"18446744073709551616")]),
    ];
    let mut failures = Vec::new();
    for (without, fields) in table {
        let all = [pseudo(without), fields.to_vec()].concat();
        let what: String = all.iter().map(|(name, value)| format!("{name}: {} | ", value.escape_ascii())).collect();
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check_refused(&rig, &what, &block(&all))));
        if tried.is_err() {
            failures.push(what);
        }
    }
    assert!(failures.is_empty(), "{} are not refused:\n{}", failures.len(), failures.join("\n"));
    rig.conclude();
}

#[test]
fn a_length_that_the_data_does_not_have_is_a_cut() {
    let rig = rig();
    for (number, (length, pieces)) in
        [("5", &[&b"hel"[..]][..]), ("5", &[b"hello!"]), ("5", &[b"hello", b"more"]), ("5", &[b""]), ("0", &[b"x"])]
            .into_iter()
            .enumerate()
    {
        let path = format!("/cut/{number}");
        let fields: [(&str, &[u8]); 5] = [
            (":method", b"POST"),
            (":scheme", b"http"),
            (":path", path.as_bytes()),
            (":authority", b"honest.test"),
            ("content-length", length.as_bytes()),
        ];
        let mut client = rig.connect();
        client.send([opening(), headers(1, &block(&fields), false)].concat());
        for (at, piece) in pieces.iter().enumerate() {
            client.send(data(1, piece, at + 1 == pieces.len()));
        }
        check_stream_refused(&mut client, &path);
        rig.probe("/probe");
        assert!(
            rig.recorder.requests_for(&path).iter().all(|seen| !seen.complete),
            "{length} {pieces:?} arrived as whole"
        );
    }
    rig.conclude();
}

#[test]
fn frames_that_break_the_protocol_end_the_connection() {
    let rig = rig();
    let broken: [(&str, Vec<u8>); 14] = [
        ("DATA on stream 0", data(0, b"x", true)),
        ("DATA on an idle stream", data(5, b"x", true)),
        ("HEADERS on stream 0", headers(0, &get("/evil"), true)),
        ("HEADERS on an even stream", headers(2, &get("/evil"), true)),
        ("CONTINUATION without HEADERS", frame(kind::CONTINUATION, flag::END_HEADERS, 1, &get("/evil"))),
        (
            "another frame inside a header block",
            [frame(kind::HEADERS, flag::END_STREAM, 1, &get("/evil")), ping(1)].concat(),
        ),
        ("PUSH_PROMISE", frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[&[0, 0, 0, 2][..], &get("/evil")].concat())),
        ("SETTINGS of a wrong length", frame(kind::SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", frame(kind::SETTINGS, 0, 1, &[])),
        ("a window that overflows", [window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)].concat()),
        ("a window of zero", window_update(0, 0)),
        ("a PING of a wrong length", frame(kind::PING, 0, 0, &[0; 7])),
        ("a frame that is too large", frame(kind::DATA, 0, 1, &vec![0; 16 * 1024 + 1])),
        (
            "padding longer than the frame",
            frame(kind::HEADERS, 0x8 | flag::END_HEADERS | flag::END_STREAM, 1, &[255, 0x82]),
        ),
    ];
    for (what, bytes) in broken {
        let mut client = rig.connect();
        client.send([opening(), bytes].concat());
        // Either way the connection ends; if it did not, the client would wait in vain.
        while read_frame(&mut client).is_ok_and(|frame| !frame.is_goaway()) {}
        rig.probe(&format!("/after/{}", what.replace(' ', "-")));
    }
    for preface in [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "PRI /evil HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "PRI * HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = rig.connect();
        client.send(preface);
        client.half_close();
        let (said, _) = client.read_to_end();
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{preface:?}");
    }
    rig.conclude();
}

#[test]
fn cookie_crumbs_become_one_field() {
    let rig = rig();
    let crumbs = [get("/crumbs"), block(&[("cookie", b"a=b"), ("cookie", b"c=d"), ("cookie", b"e=f")])].concat();
    let mut client = rig.connect();
    client.send([opening(), headers(1, &crumbs, true)].concat());
    let seen = rig.recorder.wait_for_target("/crumbs");
    assert_eq!(seen.fields.all("cookie").collect::<Vec<_>>(), ["a=b; c=d; e=f"], "RFC 9113 section 8.2.3");
    let answer = frames::read_until(&mut client, |frame| frame.kind == kind::HEADERS).expect("an answer");
    assert_eq!(status(&answer.payload), Some(200));
    rig.conclude();
}

#[test]
fn no_more_streams_are_served_at_once_than_stated() {
    let gate = tidegate_testkit::gate::Gate::new();
    let held = gate.clone();
    let recorder = Recorder::with(move |_| {
        use tidegate_testkit::recorder::Step;
        vec![Step::AwaitRequest, Step::AwaitGate(held.clone()), Step::Answer]
    });
    let rig = Rig::with(recorder, &Options { listener: "http2: { max_concurrent_streams: 4 }", ..Options::default() });
    let mut client = rig.connect();
    client.send(opening());
    for number in 0..32 {
        client.send(headers(stream(number), &get(&format!("/held/{number}")), true));
    }
    let refused =
        (0..28).filter(|_| frames::read_until(&mut client, |frame| frame.kind == kind::RST_STREAM).is_ok()).count();
    assert_eq!(refused, 28, "streams beyond the four are refused");
    gate.open();
    let answered =
        (0..4).filter(|_| frames::read_until(&mut client, |frame| frame.kind == kind::HEADERS).is_ok()).count();
    assert_eq!(answered, 4);
    assert_eq!(rig.recorder.requests().len(), 4);
}
