//! TLS on both sides: certificates by name, and ends that an attacker could have made.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig, ServerConnection, Stream};
use tempfile::TempDir;
use tidegate_testkit::certificates::Authority;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gateway::{Gateway, folder};
use tidegate_testkit::http1::{Broken, Closed};
use tidegate_testkit::recorder::{Recorder, Step};

use crate::rig::{BINARY, HIDDEN, check_echo, check_honest_or_ended};

/// A gateway with TLS towards clients, in front of a plain recorder.
struct Front {
    gateway: Gateway,
    recorder: Recorder,
    authority: Authority,
}

impl Front {
    fn start(tls: &str) -> Self {
        let place = folder();
        let authority = Authority::new("test authority");
        authority.issue(place.path(), "first", &["first.test"]);
        authority.issue(place.path(), "second", &["second.test", "*.wild.test"]);
        let recorder = Recorder::start();
        let gateway = start(place, tls, &format!("{{ endpoints: [ \"{}\" ] }}", recorder.address()));
        Self { gateway, recorder, authority }
    }

    fn connect(&self) -> RawClient {
        let config = self.authority.client_config(&["http/1.1"]);
        RawClient::connect_tls(self.gateway.address(0), "first.test", config).expect("a handshake")
    }
}

const CERTIFICATES: &str =
    "certificates: [ { certificate: first.pem, key: first.key }, { certificate: second.pem, key: second.key } ]";

fn start(place: TempDir, tls: &str, upstream: &str) -> Gateway {
    let tls = if tls.is_empty() { String::new() } else { format!(", tls: {{ {tls} }}") };
    let config = format!(
        "workers: 1\nlog: {{ format: json }}\nadmin: {{ address: \"127.0.0.1:0\" }}\nshutdown: {{ drain: 200ms }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\", timeouts: {{ body: 1s }}{tls} }} ]\nupstreams: {{ app: {upstream} }}\n\
         routes: [ {{ match: {{ prefix: / }}, upstream: app }}, {{ match: {{ path: /403 }}, respond: {{ status: 403 }} }} ]\n"
    );
    Gateway::start_in(BINARY, place, &config)
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let front = Front::start(CERTIFICATES);
    let certificate = |name: &str| {
        let client =
            RawClient::connect_tls(front.gateway.address(0), name, front.authority.client_config(&["http/1.1"]));
        client.map(|client| client.server_certificate())
    };
    let first = certificate("first.test").expect("a handshake");
    let second = certificate("second.test").expect("a handshake");
    assert!(first.is_some() && second.is_some() && first != second);
    assert_eq!(certificate("a.wild.test").expect("a handshake"), second);
    assert_eq!(certificate("SECOND.test").expect("a handshake"), second);
    for name in ["unknown.test", "a.b.wild.test", "wild.test"] {
        certificate(name).expect_err("no certificate has that name");
    }
}

#[test]
fn only_known_protocols_and_versions_are_spoken() {
    let front = Front::start(&format!("{CERTIFICATES}, min_version: \"1.3\""));
    let address = front.gateway.address(0);
    let connect = |config: Arc<ClientConfig>| RawClient::connect_tls(address, "first.test", config);
    connect(front.authority.client_config(&["spdy/3"])).expect_err("RFC 7301 section 3.2: no_application_protocol");
    let without = connect(front.authority.client_config(&[])).expect("ALPN is not needed");
    assert_eq!(without.negotiated_protocol(), None);
    check_honest_or_ended(without, "/without-alpn");
    let old = connect(front.authority.client_config(&["http/1.0"]));
    let answer = old.expect("HTTP/1.0 is served").exchange("GET /old HTTP/1.0\r\nHost: honest.test\r\n\r\n");
    check_echo(&answer, "/old");
    let mut old = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_root_certificates(front.authority.roots())
        .with_no_client_auth();
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    connect(Arc::new(old)).expect_err("1.3 is the oldest allowed");
    check_honest_or_ended(front.connect(), "/after");
}

#[test]
fn hostile_bytes_are_as_hostile_inside_tls() {
    let front = Front::start(CERTIFICATES);
    for head in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Content-Length: +5",
        "X: y\nContent-Length: 5",
    ] {
        let mut client = front.connect();
        client.send(format!("POST /evil HTTP/1.1\r\nHost: first.test\r\n{head}\r\n\r\n0\r\n\r\n{HIDDEN}"));
        assert_eq!(client.read_response("POST").expect("an answer").status, 400, "{head}");
        assert_eq!(client.read_to_end(), (Vec::new(), Closed::Clean), "{head}");
    }
    let mut client = front.connect();
    client.send(format!("POST /403 HTTP/1.1\r\nHost: first.test\r\nContent-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()));
    assert_eq!(client.read_response("POST").expect("an answer").status, 403);
    check_honest_or_ended(client, "/after");
    assert!(front.recorder.requests().iter().all(|seen| seen.target == "/after"));
}

#[test]
fn a_truncated_request_is_cut_and_a_proper_half_close_is_not() {
    let front = Front::start(CERTIFICATES);
    let mut client = front.connect();
    client.send("POST /evil HTTP/1.1\r\nHost: first.test\r\nContent-Length: 10\r\n\r\nhalf");
    let seen = front.recorder.wait_for_content("/evil", 4);
    client.truncate();
    front.recorder.wait_until_ended(seen.connection);
    assert!(!front.recorder.wait_for_target("/evil").complete);
    let mut client = front.connect();
    client.send("GET /whole HTTP/1.1\r\nHost: first.test\r\n\r\n");
    client.half_close();
    check_echo(&client.read_response("GET").expect("an answer"), "/whole");
    assert_eq!(client.read_to_end(), (Vec::new(), Closed::Clean));
}

#[test]
fn a_cut_answer_looks_cut_inside_tls() {
    let front = Front::start(CERTIFICATES);
    for (number, head) in ["Content-Length: 10", "Transfer-Encoding: chunked"].iter().enumerate() {
        let target = format!("/cut/{number}");
        let body = if number == 0 { "half" } else { "4\r\nhalf\r\n" };
        let bytes = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").into_bytes();
        front.recorder.on(&target, vec![Step::AwaitRequest, Step::Send(bytes), Step::Close]);
        let mut client = front.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: first.test\r\n\r\n"));
        match client.read_response("GET") {
            Ok(answer) => assert!(answer.status == 502 || !answer.is_complete(), "{answer:?}"),
            Err(broken) => assert!(matches!(broken, Broken::Closed(..)), "{broken:?}"),
        }
    }
    // To HTTP/1.0 the end of the connection is the end of the body: a cut must not look like one.
    front.recorder.on(
        "/old",
        vec![
            Step::AwaitRequest,
            Step::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec()),
            Step::Reset,
        ],
    );
    let mut client = front.connect();
    client.send("GET /old HTTP/1.0\r\nHost: first.test\r\n\r\n");
    match client.read_response("GET") {
        Ok(answer) => assert!(answer.status == 502 || !answer.is_complete(), "{answer:?}"),
        Err(broken) => assert!(matches!(broken, Broken::Closed(..)), "{broken:?}"),
    }
}

/// Serves each connection with these bytes after a request head, and ends TLS properly or only TCP.
fn tls_upstream(config: Arc<ServerConfig>, answer: &'static [u8], is_proper: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut connection = ServerConnection::new(Arc::clone(&config)).expect("a valid configuration");
            let mut stream = Stream::new(&mut connection, &mut socket);
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            let _ = stream.write_all(answer).and_then(|()| stream.flush());
            if is_proper {
                connection.send_close_notify();
                let _ = connection.write_tls(&mut socket);
            }
        }
    });
    address
}

#[test]
fn a_truncated_answer_of_an_upstream_is_cut() {
    let place = folder();
    let authority = Authority::new("test authority");
    let issued = authority.issue(place.path(), "back", &["back.test"]);
    let config = authority.server_config(&issued, &["http/1.1"]);
    let until_close = b"HTTP/1.1 200 OK\r\n\r\nbody";
    for is_proper in [true, false] {
        let upstream = tls_upstream(Arc::clone(&config), until_close, is_proper);
        let place = folder();
        authority.write(place.path());
        let upstream =
            format!("{{ endpoints: [ \"{upstream}\" ], tls: {{ ca: authority.pem, server_name: back.test }} }}");
        let gateway = start(place, "", &upstream);
        let mut client = RawClient::connect(gateway.address(0));
        client.send("GET /body HTTP/1.1\r\nHost: honest.test\r\n\r\n");
        match client.read_response("GET") {
            Ok(answer) if is_proper => assert!(answer.is_complete() && answer.text() == "body", "{answer:?}"),
            Ok(answer) => assert!(answer.status == 502 || !answer.is_complete(), "a truncation is no end: {answer:?}"),
            Err(broken) => assert!(!is_proper && matches!(broken, Broken::Closed(..)), "{broken:?}"),
        }
    }
}

/// Answers the first request on each connection, and sends an answer that nobody asked for right behind
/// it, in a TLS record of its own. The first is as long as what the gateway reads at once, so that the
/// second is decrypted and left where it is.
fn talkative_upstream(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (Ok(mut socket), config) = (socket, Arc::clone(&config)) else { return };
            std::thread::spawn(move || {
                let mut connection = ServerConnection::new(config).expect("a valid configuration");
                let mut request = [0; 1024];
                let _ = Stream::new(&mut connection, &mut socket).read(&mut request);
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 16342\r\n\r\n";
                let own = format!("{head}{}", "o".repeat(16 * 1024 - head.len()));
                for answer in [own.as_str(), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"] {
                    connection.writer().write_all(answer.as_bytes()).expect("room for two answers");
                }
                let _ = connection.write_tls(&mut socket);
                // Until the gateway closes the connection.
                while socket.read(&mut request).is_ok_and(|count| count > 0) {}
            });
        }
    });
    address
}

#[test]
fn an_answer_that_nobody_asked_for_is_given_to_nobody() {
    let place = folder();
    let authority = Authority::new("test authority");
    let issued = authority.issue(place.path(), "back", &["back.test"]);
    authority.write(place.path());
    let upstream = talkative_upstream(authority.server_config(&issued, &["http/1.1"]));
    let upstream = format!("{{ endpoints: [ \"{upstream}\" ], tls: {{ ca: authority.pem, server_name: back.test }} }}");
    let gateway = start(place, "", &upstream);
    for number in 0..5 {
        let answer = RawClient::connect(gateway.address(0)).get(&format!("/{number}"));
        assert_eq!((answer.status, answer.body.len()), (200, 16_342), "request {number}");
    }
}
