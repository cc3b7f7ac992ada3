//! Changes of protocol: a tunnel only after a 101 that was asked for, and never `h2c`.

use tidegate_testkit::gate::Gate;
use tidegate_testkit::http1::{Broken, Closed};
use tidegate_testkit::recorder::{Step, response};

use crate::rig::{HIDDEN, Rig, check_echo, check_honest_or_ended};

const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn handshake(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: honest.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

#[test]
fn a_tunnel_carries_bytes_both_ways_until_either_side_ends() {
    let rig = Rig::start();
    rig.recorder.on("/socket", vec![Step::Send(SWITCHING.to_vec()), Step::Echo]);
    let mut client = rig.connect();
    client.send(handshake("/socket"));
    let (status, head) = client.read_head().expect("an answer");
    assert_eq!((status, head.fields.first("upgrade")), (101, Some("websocket")));
    assert_eq!(head.fields.first("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let seen = rig.recorder.wait_for_target("/socket");
    assert_eq!(seen.fields.first("upgrade"), Some("websocket"));
    assert!(seen.fields.first("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    for text in ["ping", HIDDEN, "\0\u{1}\r\n\r\n"] {
        client.send(text);
        assert_eq!(client.read_exactly(text.len()).expect("an echo"), text.as_bytes());
    }
    client.half_close();
    assert_eq!(client.read_to_end(), (Vec::new(), Closed::Clean));
    rig.recorder.wait_until_ended(seen.connection);
    rig.probe("/probe");
    assert!(rig.recorder.requests_for("/smuggled").is_empty(), "inside a tunnel there are no requests");
}

#[test]
fn a_tunnel_ends_when_the_upstream_ends_it() {
    let rig = Rig::start();
    rig.recorder.on("/short", vec![Step::Send([SWITCHING, b"bye"].concat()), Step::Close]);
    let mut client = rig.connect();
    client.send(handshake("/short"));
    assert_eq!(client.read_head().expect("an answer").0, 101);
    assert_eq!(client.read_to_end(), (b"bye".to_vec(), Closed::Clean));
    rig.probe("/probe");
    rig.conclude();
}

#[test]
fn a_large_transfer_through_a_tunnel_arrives_whole() {
    let rig = Rig::start();
    rig.recorder.on("/large", vec![Step::Send(SWITCHING.to_vec()), Step::Echo]);
    let mut client = rig.connect();
    client.send(handshake("/large"));
    assert_eq!(client.read_head().expect("an answer").0, 101);
    let piece: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    for _ in 0..32 {
        client.send(&piece);
        assert_eq!(client.read_exactly(piece.len()).expect("an echo"), piece);
    }
}

#[test]
fn bytes_before_the_101_are_no_request_and_wait_for_it() {
    let rig = Rig::start();
    let gate = Gate::new();
    rig.recorder.on("/eager", vec![Step::AwaitGate(gate.clone()), Step::Send(SWITCHING.to_vec()), Step::Echo]);
    let mut client = rig.connect();
    client.send(format!("{}{HIDDEN}", handshake("/eager")));
    let seen = rig.recorder.wait_for_target("/eager");
    gate.open();
    match client.read_head() {
        Ok((101, _)) => {
            // They belong to the tunnel.
            assert_eq!(client.read_exactly(HIDDEN.len()).expect("an echo"), HIDDEN.as_bytes());
        }
        Ok((status, _)) => assert!(status >= 400, "status {status}"),
        Err(broken) => assert!(matches!(broken, Broken::Closed(..)), "{broken:?}"),
    }
    assert_eq!(rig.recorder.raw()[seen.connection].windows(4).filter(|window| window == b"\r\n\r\n").count(), 2);
    rig.probe("/probe");
    assert!(rig.recorder.requests_for("/smuggled").is_empty());
}

#[test]
fn a_declined_change_is_an_ordinary_answer() {
    let rig = Rig::start();
    rig.recorder.on("/declined", vec![Step::AwaitRequest, Step::Answer]);
    let mut client = rig.connect();
    client.send(handshake("/declined"));
    check_echo(&client.read_response("GET").expect("an answer"), "/declined");
    check_honest_or_ended(client, "/after");
    rig.conclude();
}

#[test]
fn h2c_and_other_protocols_are_never_forwarded() {
    let rig = Rig::start();
    let fields = [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: H2C\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "Connection: Upgrade\r\nUpgrade: h2c",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0",
        "Connection: Upgrade\r\nUpgrade: spdy/3.1",
        "Connection: Upgrade\r\nUpgrade: websocket/13, h2c/1",
        "Connection: Upgrade\r\nUpgrade: \"h2c\"",
        "Connection: Upgrade\r\nUpgrade:",
        "Upgrade: websocket",
        "Upgrade: h2c",
        "Connection: close\r\nUpgrade: websocket",
        "Connection: keep-alive\r\nUpgrade: websocket",
        "Connection: UpgradeX\r\nUpgrade: websocket",
    ];
    let mut failures = Vec::new();
    for (number, lines) in fields.iter().enumerate() {
        let target = format!("/other/{number}");
        // An upstream that says 101 to anything.
        rig.recorder.on(&target, vec![Step::Send(SWITCHING.to_vec()), Step::AwaitClose]);
        let mut client = rig.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n{lines}\r\n\r\n"));
        let status = client.read_head().map(|(status, _)| status);
        let seen = rig.recorder.requests_for(&target);
        let upgrades: Vec<_> = seen.iter().filter_map(|seen| seen.fields.first("upgrade")).collect();
        let is_right = match status {
            // Only `websocket` may have been left of the list.
            Ok(101) => upgrades == ["websocket"] && lines.contains("Connection: Upgrade"),
            Ok(400..600) => upgrades.is_empty() || upgrades == ["websocket"],
            _ => false,
        };
        if !is_right || seen.iter().any(|seen| seen.fields.has("http2-settings")) {
            failures.push(format!("{lines:?}: {status:?}, upstream saw {upgrades:?}"));
        }
        rig.probe("/probe");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    rig.conclude();
}

#[test]
fn a_101_that_nobody_asked_for_is_a_bad_gateway() {
    let rig = Rig::start();
    rig.recorder.on("/unasked", vec![Step::AwaitRequest, Step::Send(SWITCHING.to_vec()), Step::Echo]);
    for request in [
        "GET /unasked HTTP/1.1\r\nHost: honest.test\r\n\r\n",
        "GET /unasked HTTP/1.0\r\nHost: honest.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "POST /unasked HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 5\r\n\r\nhello",
        "HEAD /unasked HTTP/1.1\r\nHost: honest.test\r\n\r\n",
    ] {
        let mut client = rig.connect();
        let answer = client.exchange(request);
        assert_eq!(answer.status, 502, "{request}");
        let connection = rig.recorder.requests_for("/unasked").last().expect("it was forwarded").connection;
        rig.recorder.wait_until_ended(connection);
        check_honest_or_ended(client, "/after");
    }
    rig.conclude();
}

#[test]
fn a_101_to_another_protocol_is_a_bad_gateway() {
    let rig = Rig::start();
    for (number, fields) in [
        "Connection: Upgrade\r\nUpgrade: h2c",
        "Connection: Upgrade",
        "Upgrade: websocket, h2c",
        "Connection: Upgrade\r\nUpgrade: websocketx",
    ]
    .iter()
    .enumerate()
    {
        let target = format!("/wrong/{number}");
        rig.recorder.on(
            &target,
            vec![Step::Send(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n").into_bytes()), Step::Echo],
        );
        let mut client = rig.connect();
        client.send(handshake(&target));
        assert_eq!(client.read_response("GET").expect("an answer").status, 502, "{fields}");
        rig.probe("/probe");
    }
    rig.conclude();
}

#[test]
fn a_change_with_a_body_makes_no_tunnel() {
    let rig = Rig::start();
    for (number, (framing, body)) in
        [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")].iter().enumerate()
    {
        let target = format!("/body/{number}");
        let mut client = rig.connect();
        let head = handshake(&target).replace("\r\n\r\n", &format!("\r\n{framing}\r\n\r\n"));
        client.send(format!("{head}{body}"));
        let answer = client.read_response("GET").expect("an answer");
        match answer.status {
            400 | 501 => {}
            _ => check_echo(&answer, &target),
        }
        rig.probe("/probe");
    }
    rig.conclude();
}

#[test]
fn a_refused_change_with_an_ordinary_error_keeps_its_body() {
    let rig = Rig::start();
    rig.recorder.on("/forbidden", vec![Step::AwaitRequest, Step::Send(response("403 Forbidden", &[], "no socket"))]);
    let mut client = rig.connect();
    client.send(handshake("/forbidden"));
    let answer = client.read_response("GET").expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (403, "no socket"));
    rig.conclude();
}
