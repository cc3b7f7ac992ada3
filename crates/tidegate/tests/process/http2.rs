//! HTTP/2 as correct clients and upstreams speak it, in every mixture with HTTP/1.

use http::{HeaderMap, HeaderValue, Request};
use tidegate_testkit::certificates::Authority;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::{Gateway, folder};
use tidegate_testkit::http2::{Http2Client, Http2Recorder, Http2Step};
use tidegate_testkit::recorder::{Recorder, Step, chunked};

use crate::rig::{BINARY, HIDDEN, Options, Rig};

/// A gateway whose upstream `app` speaks HTTP/2 in plain text.
fn to_http2(recorder: &Http2Recorder) -> Gateway {
    Gateway::start(
        BINARY,
        &format!(
            "workers: 1\nlog: {{ format: json }}\nadmin: {{ address: \"127.0.0.1:0\" }}\nlisteners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
             upstreams: {{ app: {{ endpoints: [ \"{}\" ], protocol: http2, timeouts: {{ response: 1s, body: 1s }} }} }}\n\
             routes: [ {{ match: {{ prefix: / }}, upstream: app }} ]\n",
            recorder.address()
        ),
    )
}

fn url(path: &str) -> String {
    format!("http://honest.test{path}")
}

#[test]
fn requests_go_from_http2_to_http1() {
    let rig = Rig::start();
    let mut client = Http2Client::connect(rig.gateway.address(0));
    let answer = client.get(&url("/get?x=y")).expect("an answer");
    assert_eq!((answer.status, answer.json()["target"].as_str()), (200, Some("/get?x=y")));
    let request = Request::post(url("/post")).header("x-end-to-end", "stays").body(()).expect("valid");
    let answer = client.exchange(request, HIDDEN.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 200);
    let seen = rig.recorder.wait_for_target("/post");
    assert_eq!(seen.body, HIDDEN.as_bytes());
    assert_eq!((seen.fields.first("host"), seen.fields.first("x-end-to-end")), (Some("honest.test"), Some("stays")));
    assert_eq!(seen.fields.all("x-forwarded-for").collect::<Vec<_>>(), ["127.0.0.1"]);
    let head = client.exchange(Request::head(url("/head")).body(()).expect("valid"), &[]).expect("an answer");
    assert_eq!((head.status, head.body.len()), (200, 0));
    rig.conclude();
}

#[test]
fn many_streams_of_one_connection_get_their_own_answers() {
    let rig = Rig::start();
    let mut client = Http2Client::connect(rig.gateway.address(0));
    let mut exchanges = Vec::new();
    for number in 0..100 {
        let request = Request::get(url(&format!("/stream/{number}"))).body(()).expect("valid");
        exchanges.push((number, client.begin(request, true).expect("a stream")));
    }
    for (number, exchange) in exchanges {
        let answer = exchange.finish().expect("an answer");
        assert_eq!(answer.json()["target"], format!("/stream/{number}"));
    }
    rig.conclude();
}

#[test]
fn a_cut_answer_is_a_reset_stream() {
    let rig = Rig::with(
        Recorder::start(),
        &Options { upstream: "timeouts: { response: 400ms, body: 400ms }", ..Options::default() },
    );
    let begun = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ];
    let mut client = Http2Client::connect(rig.gateway.address(0));
    for (number, begun) in begun.iter().enumerate() {
        for (how, end) in [("close", Step::Close), ("reset", Step::Reset), ("stall", Step::AwaitClose)] {
            let path = format!("/breaks/{number}/{how}");
            rig.recorder.on(&path, vec![Step::AwaitRequest, Step::Send(begun.as_bytes().to_vec()), end]);
            match client.get(&url(&path)) {
                Ok(answer) => {
                    let is_visible = answer.status == 502 || answer.end.is_err();
                    assert!(is_visible, "{path}: {answer:?}");
                }
                Err(error) => assert!(error.is_reset(), "{path}: {error:?}"),
            }
            let next = client.get(&url("/next")).expect("only the stream was cut");
            assert_eq!(next.json()["target"], "/next");
        }
    }
    rig.conclude();
}

#[test]
fn a_reset_by_the_client_is_a_cut_for_the_upstream() {
    let rig = Rig::start();
    let mut client = Http2Client::connect(rig.gateway.address(0));
    let mut exchange = client.begin(Request::post(url("/cut")).body(()).expect("valid"), false).expect("a stream");
    exchange.send(b"half", false).expect("a window");
    let seen = rig.recorder.wait_for_content("/cut", 4);
    exchange.reset(h2::Reason::CANCEL);
    rig.recorder.wait_until_ended(seen.connection);
    assert!(!rig.recorder.wait_for_target("/cut").complete);
    assert_eq!(client.get(&url("/next")).expect("the connection goes on").status, 200);
    rig.conclude();
}

#[test]
fn answers_stream_while_the_request_does() {
    let recorder = Http2Recorder::with(None, |_| vec![Http2Step::Echo]);
    let gateway = to_http2(&recorder);
    let mut client = Http2Client::connect(gateway.address(0));
    let mut exchange = client.begin(Request::post(url("/echo")).body(()).expect("valid"), false).expect("a stream");
    exchange.head().expect("the head comes before the request ends");
    for text in ["one", "two", "three"] {
        exchange.send(text.as_bytes(), false).expect("a window");
        let mut said = Vec::new();
        while said.len() < text.len() {
            said.extend_from_slice(&exchange.read_some().expect("an echo").expect("not the end"));
        }
        assert_eq!(said, text.as_bytes());
    }
    exchange.send(b"", true).expect("the end");
    assert_eq!(exchange.read_some().expect("the end"), None);
    assert_eq!(exchange.trailers().expect("trailers")["grpc-status"], "0");
}

#[test]
fn trailers_travel_in_every_mixture() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("9"));
    // HTTP/2 to HTTP/2.
    let recorder = Http2Recorder::with(None, |_| vec![Http2Step::AwaitRequest, Http2Step::Echo]);
    let gateway = to_http2(&recorder);
    let mut client = Http2Client::connect(gateway.address(0));
    let mut exchange = client
        .begin(
            Request::post(url("/h2"))
                .header("te", "trailers")
                .header("content-type", "application/grpc")
                .body(())
                .expect("valid"),
            false,
        )
        .expect("a stream");
    exchange.send(b"body", false).expect("a window");
    exchange.send_trailers(trailers.clone()).expect("the end");
    let answer = exchange.finish().expect("an answer");
    assert_eq!((answer.status, answer.trailers.get("grpc-status").map(HeaderValue::as_bytes)), (200, Some(&b"0"[..])));
    let seen = recorder.wait_for("the end", |seen| seen.first().filter(|seen| seen.complete).cloned());
    assert_eq!(seen.trailers.get("x-sum").map(HeaderValue::as_bytes), Some(&b"9"[..]));
    assert_eq!(seen.fields.get("te").map(HeaderValue::as_bytes), Some(&b"trailers"[..]), "gRPC servers ask for it");
    // HTTP/1 to HTTP/2.
    let mut client = RawClient::connect(gateway.address(0));
    let answer = client.exchange("POST /h1 HTTP/1.1\r\nHost: honest.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 9\r\n\r\n");
    assert!(answer.status == 200 && answer.is_complete(), "{answer:?}");
    assert_eq!(answer.trailers.first("grpc-status"), Some("0"));
    // HTTP/2 to HTTP/1.
    let rig = Rig::start();
    rig.recorder
        .on("/trailers", vec![Step::AwaitRequest, Step::Send(chunked("200 OK", &[], &[b"body"], &[("X-Sum", "9")]))]);
    let mut client = Http2Client::connect(rig.gateway.address(0));
    let mut exchange = client
        .begin(Request::post(url("/trailers")).header("te", "trailers").body(()).expect("valid"), false)
        .expect("a stream");
    exchange.send(b"body", false).expect("a window");
    exchange.send_trailers(trailers).expect("the end");
    let answer = exchange.finish().expect("an answer");
    assert_eq!((answer.status, answer.trailers.get("x-sum").map(HeaderValue::as_bytes)), (200, Some(&b"9"[..])));
    assert_eq!(rig.recorder.wait_for_requests(1)[0].trailers.first("x-sum"), Some("9"));
    rig.conclude();
}

#[test]
fn a_grpc_error_without_a_body_arrives() {
    let recorder = Http2Recorder::with(None, |_| {
        let head = vec![
            ("content-type", "application/grpc".to_owned()),
            ("grpc-status", "5".to_owned()),
            ("grpc-message", "none".to_owned()),
        ];
        vec![Http2Step::AwaitRequest, Http2Step::Head(200, head), Http2Step::End]
    });
    let gateway = to_http2(&recorder);
    let request = Request::post(url("/service/method"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(())
        .expect("valid");
    let answer = Http2Client::connect(gateway.address(0)).exchange(request, b"\0\0\0\0\0").expect("an answer");
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("5")));
}

#[test]
fn resets_and_goaways_of_an_upstream_are_errors_or_cuts() {
    let steps: [(&str, Vec<Http2Step>); 5] = [
        ("/reset", vec![Http2Step::AwaitRequest, Http2Step::Reset(h2::Reason::INTERNAL_ERROR)]),
        ("/refused", vec![Http2Step::Reset(h2::Reason::REFUSED_STREAM)]),
        (
            "/half",
            vec![
                Http2Step::AwaitRequest,
                Http2Step::Head(200, vec![]),
                Http2Step::Data(b"half".to_vec()),
                Http2Step::Reset(h2::Reason::INTERNAL_ERROR),
            ],
        ),
        (
            "/goaway",
            vec![Http2Step::AwaitRequest, Http2Step::GoAway(h2::Reason::INTERNAL_ERROR), Http2Step::AwaitReset],
        ),
        ("/silent", vec![Http2Step::AwaitRequest, Http2Step::AwaitReset]),
    ];
    let script = steps.clone();
    let recorder = Http2Recorder::with(None, move |seen| {
        let own = script.iter().find(|(target, _)| *target == seen.target).map(|(_, steps)| steps.clone());
        own.unwrap_or_else(|| vec![Http2Step::AwaitRequest, Http2Step::Answer])
    });
    let gateway = to_http2(&recorder);
    for (target, _) in steps {
        let mut client = RawClient::connect(gateway.address(0));
        let answer =
            client.exchange(format!("POST {target} HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 4\r\n\r\nbody"));
        let is_right = matches!(answer.status, 502..=504) || (answer.status == 200 && !answer.is_complete());
        assert!(is_right, "{target}: {answer:?}");
        let times = recorder.requests().iter().filter(|seen| seen.target == target).count();
        assert!(times == 1 || target == "/refused", "{target} was sent {times} times");
        let answer = RawClient::connect(gateway.address(0)).get("/honest");
        assert_eq!((answer.status, answer.json()["target"].as_str()), (200, Some("/honest")), "after {target}");
    }
}

#[test]
fn streams_of_many_clients_share_an_upstream_connection() {
    let recorder = Http2Recorder::start();
    let gateway = to_http2(&recorder);
    assert_eq!(RawClient::connect(gateway.address(0)).get("/first").status, 200);
    std::thread::scope(|scope| {
        for client in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut connection = RawClient::connect(gateway.address(0));
                for number in 0..20 {
                    let target = format!("/shared/{client}/{number}");
                    let answer = connection.get(&target);
                    assert_eq!(answer.json()["target"], target.as_str());
                }
            });
        }
    });
    let connections = recorder.requests().iter().map(|seen| seen.connection).max();
    assert_eq!(connections, Some(0), "one connection has room for them all");
}

#[test]
fn large_bodies_respect_the_windows_on_both_sides() {
    let recorder = Http2Recorder::with(None, |_| vec![Http2Step::Echo]);
    let gateway = to_http2(&recorder);
    let body: Vec<u8> = (0..=255).cycle().take(4 << 20).collect();
    let mut client = Http2Client::connect(gateway.address(0));
    let mut exchange = client.begin(Request::post(url("/large")).body(()).expect("valid"), false).expect("a stream");
    exchange.head().expect("a head");
    let mut said = Vec::new();
    let mut sent = 0;
    for piece in body.chunks(16 << 10) {
        exchange.send(piece, false).expect("a window");
        sent += piece.len();
        // No more is on the way than the smallest window holds: an echo that nobody reads stops everybody.
        while said.len() + (32 << 10) < sent {
            said.extend_from_slice(&exchange.read_some().expect("an echo").expect("not the end"));
        }
    }
    exchange.send(b"", true).expect("the end");
    while let Some(piece) = exchange.read_some().expect("an echo") {
        said.extend_from_slice(&piece);
    }
    assert!(said == body, "{} of {} bytes came back", said.len(), body.len());
}

#[test]
fn a_client_that_opens_no_window_holds_only_its_own_stream() {
    let rig = Rig::start();
    let piece = vec![b'x'; 64 << 10];
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n".to_vec();
    rig.recorder.on("/large", vec![Step::AwaitRequest, Step::Send(head), Step::Repeat(piece, 1024)]);
    rig.probe("/before");
    let before = rig.gateway.resident_bytes();
    let mut client = Http2Client::connect(rig.gateway.address(0));
    let mut held: Vec<_> = (0..4)
        .map(|_| client.begin(Request::get(url("/large")).body(()).expect("valid"), true).expect("a stream"))
        .collect();
    for exchange in &mut held {
        assert_eq!(exchange.head().expect("a head").status(), 200);
    }
    rig.probe("/other");
    let growth = rig.gateway.resident_bytes().saturating_sub(before);
    assert!(growth < 16 << 20, "four unread streams cost {growth} bytes");
    // Giving the streams up gives their share of the connection's window back.
    drop(held);
    assert_eq!(client.get(&url("/next")).expect("the connection goes on").status, 200);
}

#[test]
fn interim_answers_and_expectations_work_over_http2() {
    let gate = Gate::new();
    let rig = Rig::start();
    rig.recorder.on(
        "/hints",
        vec![
            Step::AwaitRequest,
            Step::Send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec()),
            Step::AwaitGate(gate.clone()),
            Step::Answer,
        ],
    );
    gate.open();
    let mut client = Http2Client::connect(rig.gateway.address(0));
    assert_eq!(client.get(&url("/hints")).expect("an answer").status, 200);
    let request = Request::post(url("/delayed")).header("expect", "100-continue").body(()).expect("valid");
    assert_eq!(client.exchange(request, b"hello").expect("an answer").status, 200);
    assert_eq!(rig.recorder.wait_for_target("/delayed").body, b"hello");
    let unknown = Request::post(url("/evil")).header("expect", "miracles").body(()).expect("valid");
    assert_eq!(client.exchange(unknown, b"hello").expect("an answer").status, 417);
    rig.conclude();
}

#[test]
fn both_protocols_are_chosen_by_alpn_and_upstream_tls_is_verified() {
    let place = folder();
    let authority = Authority::new("test authority");
    authority.write(place.path());
    authority.issue(place.path(), "front", &["front.test"]);
    authority.issue(place.path(), "other", &["other.test"]);
    let back = authority.issue(place.path(), "back", &["back.test"]);
    let upstream = Http2Recorder::with(Some(authority.server_config(&back, &["h2"])), |_| {
        vec![Http2Step::AwaitRequest, Http2Step::Answer]
    });
    let stranger = Authority::new("stranger");
    let forged = stranger.issue(place.path(), "forged", &["back.test"]);
    let impostor = Http2Recorder::with(Some(stranger.server_config(&forged, &["h2"])), |_| {
        vec![Http2Step::AwaitRequest, Http2Step::Answer]
    });
    let gateway = Gateway::start_in(
        BINARY,
        place,
        &format!(
            "log: {{ format: json }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
             listeners: [ {{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ certificate: front.pem, key: front.key }}, {{ certificate: other.pem, key: other.key }} ] }} }} ]\n\
             upstreams:\n  app: {{ endpoints: [ \"{}\" ], protocol: auto, tls: {{ ca: authority.pem, server_name: back.test }} }}\n  \
             impostor: {{ endpoints: [ \"{}\" ], protocol: auto, tls: {{ ca: authority.pem, server_name: back.test }} }}\n  \
             misnamed: {{ endpoints: [ \"{}\" ], protocol: auto, tls: {{ ca: authority.pem, server_name: wrong.test }} }}\n\
             routes: [ {{ match: {{ prefix: / }}, upstream: app }}, {{ match: {{ path: /impostor }}, upstream: impostor }}, {{ match: {{ path: /misnamed }}, upstream: misnamed }} ]\n",
            upstream.address(),
            impostor.address(),
            upstream.address(),
        ),
    );
    let address = gateway.address(0);
    let mut two = Http2Client::connect_tls(address, "front.test", authority.client_config(&["h2", "http/1.1"]));
    let answer = two.get("https://front.test/two").expect("an answer");
    assert_eq!((answer.status, answer.json()["target"].as_str()), (200, Some("/two")));
    for name in ["front.test", "other.test"] {
        let mut one =
            RawClient::connect_tls(address, name, authority.client_config(&["http/1.1"])).expect("a handshake");
        assert_eq!(one.negotiated_protocol().as_deref(), Some(&b"http/1.1"[..]));
        let answer = one.exchange(format!("GET /one HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        assert_eq!(answer.status, 200);
    }
    for target in ["/impostor", "/misnamed"] {
        let answer = two.get(&format!("https://front.test{target}")).expect("an answer");
        assert_eq!(answer.status, 502, "{target}");
    }
    assert!(impostor.requests().is_empty() && upstream.requests().iter().all(|seen| seen.target != "/misnamed"));
}
