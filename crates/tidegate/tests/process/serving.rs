//! What honest clients and upstreams get: whole messages both ways, as they come.

use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::http1::{BodyReader, Closed, Framing};
use tidegate_testkit::recorder::{Recorder, Step, chunked, response};

use crate::rig::{BINARY, Options, Rig, check_echo, check_end};

#[test]
fn every_method_and_framing_arrives_as_sent() {
    let rig = Rig::start();
    let mut client = rig.connect();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-OWN"] {
        for (framing, body) in [
            ("", ""),
            ("Content-Length: 5\r\n", "hello"),
            ("Content-Length: 0\r\n", ""),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ] {
            let target = format!("/{method}/{}", framing.len() + body.len());
            let answer =
                client.exchange(format!("{method} {target} HTTP/1.1\r\nHost: honest.test\r\n{framing}\r\n{body}"));
            check_echo(&answer, &target);
            let seen = rig.recorder.wait_for_target(&target);
            assert_eq!((seen.method.as_str(), seen.version.as_str()), (method, "HTTP/1.1"));
            assert_eq!(seen.body.is_empty(), !body.contains("hello"));
        }
    }
    rig.conclude();
}

#[test]
fn answers_arrive_as_sent() {
    let rig = Rig::start();
    let answers = [
        ("/ok", response("200 OK", &[("X-A", "y"), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")], "body"), 200, "body"),
        ("/created", response("201 Created", &[("Location", "/x")], ""), 201, ""),
        ("/not-found", response("404 Not Found", &[], "none"), 404, "none"),
        ("/error", response("503 Service Unavailable", &[("Retry-After", "7")], "later"), 503, "later"),
        ("/odd", response("299 Odd", &[], "odd"), 299, "odd"),
        ("/no-reason", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nhi".to_vec(), 200, "hi"),
        ("/chunked", chunked("200 OK", &[], &[b"bo", b"dy"], &[]), 200, "body"),
        ("/no-content", b"HTTP/1.1 204 No Content\r\nX-A: y\r\n\r\n".to_vec(), 204, ""),
        ("/not-modified", b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 100\r\n\r\n".to_vec(), 304, ""),
        ("/until-close", b"HTTP/1.0 200 OK\r\n\r\nbody".to_vec(), 200, "body"),
    ];
    let mut client = rig.connect();
    for (target, bytes, status, body) in answers {
        let end = if target == "/until-close" { Step::Close } else { Step::AwaitRequest };
        rig.recorder.on(target, vec![Step::AwaitRequest, Step::Send(bytes), end]);
        let answer = client.get(target);
        assert!(answer.is_complete());
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{target}");
        if target == "/ok" {
            assert_eq!(answer.fields.all("set-cookie").collect::<Vec<_>>(), ["a=b", "c=d"]);
        }
    }
    rig.conclude();
}

#[test]
fn connections_are_kept_or_closed_as_the_versions_say() {
    let rig = Rig::start();
    let mut client = rig.connect();
    check_echo(&client.exchange("GET /a HTTP/1.1\r\nHost: honest.test\r\nConnection: close\r\n\r\n"), "/a");
    check_end(&mut client);
    let mut client = rig.connect();
    check_echo(&client.exchange("GET /b HTTP/1.0\r\nHost: honest.test\r\n\r\n"), "/b");
    check_end(&mut client);
    let mut client = rig.connect();
    let answer = client.exchange("GET /c HTTP/1.0\r\nHost: honest.test\r\nConnection: keep-alive\r\n\r\n");
    check_echo(&answer, "/c");
    if !answer.closes() && answer.fields.has("connection") {
        check_echo(&client.get("/d"), "/d");
    }
    rig.conclude();
}

#[test]
fn a_connection_ends_after_its_last_request() {
    let rig = Rig::with(
        Recorder::start(),
        &Options { listener: "limits: { requests_per_connection: 3 }", ..Options::default() },
    );
    let mut client = rig.connect();
    for number in 0..3 {
        let answer = client.get("/counted");
        check_echo(&answer, "/counted");
        assert_eq!(answer.closes(), number == 2);
    }
    check_end(&mut client);
    rig.conclude();
}

#[test]
fn a_client_that_half_closes_still_gets_its_answers() {
    let rig = Rig::start();
    let gate = Gate::new();
    rig.recorder.on("/second", vec![Step::AwaitGate(gate.clone()), Step::Answer]);
    let mut client = rig.connect();
    client.send("GET /first HTTP/1.1\r\nHost: honest.test\r\n\r\nGET /second HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    client.half_close();
    check_echo(&client.read_response("GET").expect("an answer"), "/first");
    rig.recorder.wait_for_target("/second");
    gate.open();
    check_echo(&client.read_response("GET").expect("an answer"), "/second");
    assert_eq!(client.read_to_end(), (Vec::new(), Closed::Clean));
    rig.conclude();
}

#[test]
fn bytes_are_relayed_as_they_come() {
    let rig = Rig::start();
    // A long answer, piece by piece: nothing waits for the end.
    let gates: Vec<Gate> = (0..5).map(|_| Gate::new()).collect();
    let mut steps = vec![
        Step::AwaitRequest,
        Step::Send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        ),
    ];
    for gate in &gates {
        steps.extend([Step::AwaitGate(gate.clone()), Step::Send(b"5\r\nevent\r\n".to_vec())]);
    }
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    rig.recorder.on("/events", steps);
    let mut client = rig.connect();
    client.send("GET /events HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    let head = client.begin_response("GET").expect("the head does not wait for the body");
    let mut reader = BodyReader::new(head.framing);
    for gate in &gates {
        gate.open();
        assert_eq!(client.read_some(&mut reader).expect("a piece"), Some(b"event".to_vec()));
    }
    assert_eq!(client.read_some(&mut reader).expect("the end"), None);
    // A long request, piece by piece.
    let mut client = rig.connect();
    client.send("POST /upload HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 15\r\n\r\n");
    for number in 1..=3 {
        client.send("piece");
        rig.recorder.wait_for_content("/upload", number * 5);
    }
    check_echo(&client.read_response("POST").expect("an answer"), "/upload");
    rig.conclude();
}

#[test]
fn request_and_response_bodies_flow_at_the_same_time() {
    let rig = Rig::start();
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut steps = vec![Step::Send(head)];
    for number in 1..=3 {
        steps.extend([Step::AwaitContent(number * 4), Step::Send(b"4\r\npong\r\n".to_vec())]);
    }
    steps.extend([Step::AwaitRequest, Step::Send(b"0\r\n\r\n".to_vec())]);
    rig.recorder.on("/duplex", steps);
    let mut client = rig.connect();
    client.send("POST /duplex HTTP/1.1\r\nHost: honest.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let head = client.begin_response("POST").expect("the head does not wait for the request");
    let mut reader = BodyReader::new(head.framing);
    for _ in 0..3 {
        client.send("4\r\nping\r\n");
        assert_eq!(client.read_some(&mut reader).expect("a piece"), Some(b"pong".to_vec()));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read_some(&mut reader).expect("the end"), None);
    check_echo(&client.get("/next"), "/next");
    rig.conclude();
}

#[test]
fn large_bodies_arrive_whole() {
    let rig = Rig::start();
    let body: Vec<u8> = (0..251).cycle().take(3 << 20).collect();
    for chunked in [false, true] {
        let target = format!("/large/{chunked}");
        rig.recorder.on(&target, vec![Step::AwaitRequest, Step::Send(response("200 OK", &[], &body))]);
        let mut client = rig.connect();
        if chunked {
            client.send(format!("POST {target} HTTP/1.1\r\nHost: honest.test\r\nTransfer-Encoding: chunked\r\n\r\n"));
            for (at, piece) in body.chunks(70_001).enumerate() {
                client.send(format!("{:x};n={at}\r\n", piece.len()));
                client.send(piece);
                client.send("\r\n");
            }
            client.send("0\r\n\r\n");
        } else {
            client
                .send(format!("POST {target} HTTP/1.1\r\nHost: honest.test\r\nContent-Length: {}\r\n\r\n", body.len()));
            client.send(&body);
        }
        let answer = client.read_response("POST").expect("an answer");
        assert!(answer.body == body, "{} of {} bytes came back", answer.body.len(), body.len());
        assert!(rig.recorder.wait_for_content(&target, body.len()).body == body);
    }
    rig.conclude();
}

#[test]
fn trailers_of_answers_travel() {
    let rig = Rig::start();
    rig.recorder.on(
        "/trailers",
        vec![
            Step::AwaitRequest,
            Step::Send(chunked(
                "200 OK",
                &[],
                &[b"body"],
                &[("X-Sum", "9"), ("Content-Length", "5"), ("Set-Cookie", "forged=1")],
            )),
        ],
    );
    let mut client = rig.connect();
    let answer =
        client.exchange("GET /trailers HTTP/1.1\r\nHost: honest.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert!(answer.is_complete() && answer.text() == "body");
    assert!(!answer.fields.has("x-sum") && !answer.fields.has("set-cookie"), "trailers are no header fields");
    assert_eq!(answer.trailers.first("x-sum"), Some("9"));
    assert!(!answer.trailers.has("content-length"), "RFC 9110 section 6.5.1");
    check_echo(&client.get("/next"), "/next");
    let old = rig.connect().exchange("GET /trailers HTTP/1.0\r\nHost: honest.test\r\n\r\n");
    assert!(old.text() == "body" && old.framing == Framing::UntilClose);
    rig.conclude();
}

#[test]
fn one_request_has_one_id_everywhere() {
    let rig = Rig::start();
    let answer = rig.connect().get("/id");
    let id = answer.fields.first("x-request-id").expect("an id").to_owned();
    assert_eq!(rig.recorder.wait_for_target("/id").fields.first("x-request-id"), Some(&*id));
    let refused = rig.connect().get("/%00");
    assert_eq!(refused.json()["request_id"].as_str(), refused.fields.first("x-request-id"));
    assert_ne!(refused.fields.first("x-request-id"), Some(&*id));
    rig.conclude();
}

#[test]
fn the_data_port_knows_no_admin_pages() {
    let rig = Rig::start();
    for target in ["/livez", "/readyz", "/healthz", "/metrics", "/exchanges"] {
        check_echo(&rig.connect().get(target), target);
        assert_eq!(ask_admin(&rig, target), 200, "{target}");
    }
    assert_eq!(ask_admin(&rig, "/anything"), 404);
    rig.conclude();
}

fn ask_admin(rig: &Rig, target: &str) -> u16 {
    let address = rig.gateway.admin_address();
    RawClient::connect(address).exchange(format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n")).status
}

#[test]
fn endpoints_take_turns_and_a_dead_one_is_not_fatal_for_ever() {
    let recorders = [Recorder::start(), Recorder::start()];
    let addresses: Vec<String> = recorders.iter().map(|recorder| format!("\"{}\"", recorder.address())).collect();
    let gateway = Gateway::start(
        BINARY,
        &format!(
            "workers: 1\nlog: {{ format: json }}\nadmin: {{ address: \"127.0.0.1:0\" }}\nlisteners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
             upstreams: {{ app: {{ endpoints: [ {} ], balance: round_robin }} }}\nroutes: [ {{ match: {{ prefix: / }}, upstream: app }} ]\n",
            addresses.join(", ")
        ),
    );
    let mut client = RawClient::connect(gateway.address(0));
    for _ in 0..20 {
        check_echo(&client.get("/turn"), "/turn");
    }
    let counts = recorders.each_ref().map(|recorder| recorder.requests().len());
    assert_eq!(counts, [10, 10]);
}

#[test]
fn a_request_that_takes_too_long_in_all_is_a_timeout() {
    let routes = "{ match: { path: /total }, upstream: app, timeouts: { total: 300ms } }";
    let rig = Rig::with(Recorder::start(), &Options { routes, ..Options::default() });
    rig.recorder.on("/total", vec![Step::AwaitClose]);
    let answer = rig.connect().get("/total");
    assert_eq!(answer.status, 504);
    crate::rig::check_problem(&answer);
    rig.recorder
        .on("/total", vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec()), Step::AwaitClose]);
    let answer = rig.connect().get("/total");
    assert!(answer.status == 200 && !answer.is_complete(), "{answer:?}");
    rig.conclude();
}
