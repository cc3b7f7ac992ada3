use http::Request;

use super::frames::{flag, kind};
use super::*;
use crate::certificates::Authority;
use crate::client::RawClient;
use crate::gate::Gate;

fn post(url: &str) -> Request<()> {
    Request::post(url).header("content-type", "application/grpc").body(()).expect("a valid request")
}

#[test]
fn client_and_upstream_exchange_bodies_and_trailers() {
    let recorder = Http2Recorder::with(None, |_| vec![Http2Step::Echo]);
    let mut client = Http2Client::connect(recorder.address());
    let mut exchange = client.begin(post("http://h/echo"), false).expect("a stream");
    exchange.send(b"ping", false).expect("a window");
    assert_eq!(exchange.head().expect("a head").status(), 200);
    assert_eq!(exchange.read_some().expect("an echo").as_deref(), Some(&b"ping"[..]));
    exchange.send(b"", true).expect("the end");
    assert_eq!(exchange.read_some().expect("the end"), None);
    assert_eq!(exchange.trailers().expect("trailers")["grpc-status"], "0");
    let seen = recorder.wait_for("the end", |seen| seen.first().filter(|seen| seen.complete).cloned());
    assert_eq!((seen.target.as_str(), seen.authority.as_deref(), seen.body), ("/echo", Some("h"), b"ping".to_vec()));
}

#[test]
fn resets_are_seen_as_cuts() {
    let gate = Gate::new();
    let script_gate = gate.clone();
    let recorder = Http2Recorder::with(None, move |_| {
        vec![
            Http2Step::Head(200, vec![]),
            Http2Step::Data(b"half".to_vec()),
            Http2Step::AwaitGate(script_gate.clone()),
            Http2Step::Reset(h2::Reason::INTERNAL_ERROR),
        ]
    });
    let mut client = Http2Client::connect(recorder.address());
    let mut exchange = client.begin(post("http://h/cut"), true).expect("a stream");
    exchange.head().expect("a head");
    assert_eq!(exchange.read_some().expect("half").as_deref(), Some(&b"half"[..]));
    gate.open();
    let error = exchange.read_some().expect_err("a cut");
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
}

#[test]
fn raw_frames_get_an_answer() {
    let recorder = Http2Recorder::start();
    let mut client = RawClient::connect(recorder.address());
    client.send([frames::opening(), frames::headers(1, &frames::get("/raw"), true)].concat());
    let head = frames::read_until(&mut client, |frame| frame.kind == kind::HEADERS).expect("an answer");
    assert_eq!((head.stream, frames::status(&head.payload)), (1, Some(200)));
    let body = frames::read_until(&mut client, |frame| frame.kind == kind::DATA).expect("a body");
    assert_eq!(body.flags & flag::END_STREAM, flag::END_STREAM);
    client.send(frames::data(7, b"idle stream", true));
    let end = frames::read_until(&mut client, frames::Frame::is_goaway).expect("a connection error");
    assert_eq!(end.error_code(), Some(h2::Reason::PROTOCOL_ERROR.into()));
}

#[test]
fn tls_chooses_h2() {
    let folder = crate::gateway::folder();
    let authority = Authority::new("test authority");
    let issued = authority.issue(folder.path(), "server", &["a.test"]);
    let tls = authority.server_config(&issued, &["h2"]);
    let recorder = Http2Recorder::with(Some(tls), |_| vec![Http2Step::AwaitRequest, Http2Step::Answer]);
    let mut client = Http2Client::connect_tls(recorder.address(), "a.test", authority.client_config(&["h2"]));
    let answer = client.exchange(post("https://a.test/x"), b"body").expect("an answer");
    assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("body")));
    assert!(answer.end.is_ok());
}
