//! Fields that end at the gateway, and fields that only the gateway may write.

use http::Request;
use tidegate_testkit::http2::Http2Client;
use tidegate_testkit::recorder::{Recorder, Seen, Step, response};

use crate::rig::{Options, Rig};

/// Sends a GET with these field lines and returns what the upstream received.
fn forwarded(rig: &Rig, target: &str, lines: &[&str]) -> Seen {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let mut client = rig.connect();
    let answer = client.exchange(format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n{lines}\r\n"));
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    rig.recorder.wait_for_target(target)
}

#[test]
fn hop_by_hop_fields_are_removed() {
    let rig = Rig::start();
    let seen = forwarded(
        &rig,
        "/hop",
        &[
            "Connection: keep-alive, X-Named",
            "X-Named: hop",
            "Keep-Alive: hop",
            "Proxy-Connection: hop",
            "Proxy-Authenticate: hop",
            "Proxy-Authorization: hop",
            "TE: gzip",
            "Trailer: hop",
            "Upgrade: hop",
            "Proxy: hop",
            "X-End-To-End: stays",
        ],
    );
    let names = [
        "x-named",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "trailer",
        "upgrade",
        "proxy",
    ];
    for name in names {
        assert!(!seen.fields.has(name), "{name} got through: {:?}", seen.fields);
    }
    assert!(seen.fields.all("te").all(|value| value == "trailers"), "{:?}", seen.fields);
    assert_eq!(seen.fields.first("x-end-to-end"), Some("stays"));
    rig.conclude();
}

#[test]
fn fields_named_by_connection_are_removed_however_they_are_named() {
    let rig = Rig::start();
    let spellings: [&[&str]; 8] = [
        &["Connection: X-Key"],
        &["Connection: close, X-Key"],
        &["Connection: x-key"],
        &["Connection: X-KEY"],
        &["Connection: ,,X-Key,,"],
        &["Connection: a,\tX-Key ,b"],
        &["Connection: keep-alive", "Connection: X-Key"],
        &["Connection: X-Key, X-Key, X-Key"],
    ];
    for (number, spelling) in spellings.iter().enumerate() {
        let mut before = spelling.to_vec();
        before.push("X-Key: 1");
        let mut after = vec!["X-Key: 1", "X-KEY: 2"];
        after.extend_from_slice(spelling);
        for (order, lines) in [before, after].iter().enumerate() {
            let seen = forwarded(&rig, &format!("/named/{number}/{order}"), lines);
            assert!(!seen.fields.has("x-key"), "{lines:?} let it through");
        }
    }
    rig.conclude();
}

#[test]
fn connection_cannot_remove_what_the_gateway_needs_or_adds() {
    let rig = Rig::start();
    let seen = forwarded(
        &rig,
        "/added",
        &[
            "Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-Id, Forwarded, Traceparent, Host, Content-Length, Transfer-Encoding, Via",
            "X-Request-Id: forged",
        ],
    );
    assert_eq!(seen.fields.first("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.fields.first("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.fields.all("host").collect::<Vec<_>>(), ["honest.test"]);
    assert!(seen.fields.first("x-request-id").is_some_and(|id| !id.is_empty()), "{:?}", seen.fields);
    rig.conclude();
}

#[test]
fn connection_cannot_change_the_framing() {
    let rig = Rig::start();
    for (number, (named, framing, body)) in [
        ("Content-Length", "Content-Length: 5", "hello"),
        ("Transfer-Encoding", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
    ]
    .iter()
    .enumerate()
    {
        let mut client = rig.connect();
        let target = format!("/framed/{number}");
        let answer = client.exchange(format!(
            "POST {target} HTTP/1.1\r\nHost: honest.test\r\nConnection: {named}\r\n{framing}\r\n\r\n{body}"
        ));
        if answer.status == 200 {
            assert_eq!(rig.recorder.wait_for_target(&target).body, b"hello");
        } else {
            assert_eq!(answer.status, 400);
        }
    }
    rig.conclude();
}

#[test]
fn fields_named_by_connection_are_gone_before_routing() {
    let routes = "{ match: { prefix: /, header: { x-team: blue } }, respond: { status: 418 } }";
    let rig = Rig::with(Recorder::start(), &Options { routes, ..Options::default() });
    let status = |connection: &str| {
        rig.connect()
            .exchange(format!(
                "GET / HTTP/1.1\r\nHost: honest.test\r\nX-Team: blue\r\nConnection: {connection}\r\n\r\n"
            ))
            .status
    };
    assert_eq!(status("keep-alive"), 418, "the route matches at all");
    assert_eq!(status("X-Team"), 200, "what the upstream would not see must not route");
    assert_eq!(status("keep-alive, x-team"), 200);
    rig.conclude();
}

#[test]
fn forwarding_fields_of_untrusted_clients_never_arrive() {
    let rig = Rig::start();
    let names = [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded-Prefix",
        "X-Forwarded-Scheme",
        "X-Forwarded-Ssl",
        "X-Forwarded-By",
        "X-Forwarded",
        "Forwarded",
        "Forwarded-For",
        "X-Real-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Original-Host",
        "X-Original-URI",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
    ];
    let mut failures = Vec::new();
    for (number, name) in names.iter().enumerate() {
        for (spelling, name) in spellings(name).iter().enumerate() {
            let target = format!("/identity/{number}/{spelling}");
            let mut client = rig.connect();
            let line = format!("{name}: forged");
            client.send(format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n{line}\r\n{line}\r\n\r\n"));
            let answer = client.read_response("GET").expect("an answer");
            let is_right = match answer.status {
                400 => true,
                200 => !answer.json()["head"].to_string().contains("forged"),
                _ => false,
            };
            if !is_right {
                failures.push(name.clone());
            }
        }
    }
    assert!(failures.is_empty(), "these arrive as the client sent them: {failures:?}");
    rig.conclude();
}

/// Spellings that are, or that some servers take for, one field name.
fn spellings(name: &str) -> Vec<String> {
    let first = name.replacen('-', "_", 1);
    vec![
        name.to_owned(),
        name.to_lowercase(),
        name.to_uppercase(),
        name.replace('-', "_"),
        first,
        name.replace('-', "_").to_lowercase(),
    ]
}

#[test]
fn a_trusted_proxy_is_believed_and_extended() {
    let options = Options { listener: "trusted_proxies: [ 127.0.0.0/8 ]", ..Options::default() };
    let rig = Rig::with(Recorder::start(), &options);
    let seen = forwarded(&rig, "/trusted", &["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"]);
    assert_eq!(seen.fields.all("x-forwarded-for").collect::<Vec<_>>().join(", "), "192.0.2.7, 127.0.0.1");
    assert_eq!(seen.fields.all("x-forwarded-proto").collect::<Vec<_>>(), ["https"]);
    let seen = forwarded(&rig, "/underscores", &["X_Forwarded_For: forged"]);
    assert!(!String::from_utf8_lossy(&seen.raw_head).contains("forged"), "aliases are never trusted");
    rig.conclude();
}

#[test]
fn request_ids_and_trace_contexts_are_one_each() {
    let rig = Rig::start();
    let seen = forwarded(&rig, "/made", &[]);
    assert_eq!(seen.fields.all("x-request-id").count(), 1);
    let twice = forwarded(&rig, "/twice", &["X-Request-Id: a", "x-request-id: b"]);
    assert_eq!(twice.fields.all("x-request-id").count(), 1);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = forwarded(&rig, "/traced", &[&format!("traceparent: {traceparent}")]);
    let passed = traced.fields.all("traceparent").collect::<Vec<_>>();
    assert_eq!(passed.len(), 1);
    assert!(passed[0].contains("4bf92f3577b34da6a3ce929d0e0e4736"), "the trace goes on: {passed:?}");
    for forged in [
        "junk",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        let target = format!("/forged/{}", forged.len());
        let seen = forwarded(&rig, &target, &[&format!("traceparent: {forged}")]);
        assert!(seen.fields.all("traceparent").all(|value| value != forged), "{forged} was passed on");
    }
    rig.conclude();
}

#[test]
fn hop_by_hop_fields_of_answers_are_removed() {
    let rig = Rig::start();
    let answer = response(
        "200 OK",
        &[
            ("Connection", "keep-alive, X-Named"),
            ("X-Named", "hop"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "hop"),
            ("Proxy-Connection", "hop"),
            ("Trailer", "hop"),
            ("Upgrade", "h2c"),
            ("X-End-To-End", "stays"),
        ],
        "body",
    );
    rig.recorder.on("/answer", vec![Step::AwaitRequest, Step::Send(answer)]);
    let answer = rig.connect().get("/answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
    for name in ["x-named", "proxy-authenticate", "proxy-connection", "trailer", "upgrade"] {
        assert!(!answer.fields.has(name), "{name} got through: {:?}", answer.fields);
    }
    assert!(answer.fields.first("keep-alive") != Some("timeout=5"));
    assert_eq!(answer.fields.first("x-end-to-end"), Some("stays"));
    rig.conclude();
}

#[test]
fn the_same_fields_never_arrive_over_http2() {
    let rig = Rig::start();
    let mut client = Http2Client::connect(rig.gateway.address(0));
    let names = [
        "x-forwarded-for",
        "x_forwarded_for",
        "forwarded",
        "x-real-ip",
        "x-original-url",
        "x-http-method-override",
        "x_real-ip",
        "proxy",
        "trailer",
    ];
    for (number, name) in names.iter().enumerate() {
        let target = format!("/two/{number}");
        let request =
            Request::get(format!("http://honest.test{target}")).header(*name, "forged").body(()).expect("valid");
        let Ok(answer) = client.exchange(request, &[]) else { continue };
        assert!(matches!(answer.status, 200 | 400), "{name}: {}", answer.status);
        if answer.status == 200 {
            let seen = rig.recorder.wait_for_target(&target);
            assert!(!String::from_utf8_lossy(&seen.raw_head).contains("forged"), "{name} arrived as sent");
        }
    }
    rig.conclude();
}
