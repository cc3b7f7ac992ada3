use super::*;
use crate::client::RawClient;
use crate::gate::Gate;
use crate::http1::{Closed, End};

#[test]
fn the_default_answer_describes_the_request() {
    let recorder = Recorder::start();
    let mut client = RawClient::connect(recorder.address());
    let first = client
        .exchange("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n");
    assert_eq!(first.json()["body"], "abc");
    let second = client.get("/b");
    assert_eq!((second.json()["connection"].as_u64(), second.json()["index"].as_u64()), (Some(0), Some(1)));
    let seen = recorder.wait_for_requests(2);
    assert_eq!(seen[0].trailers.first("x"), Some("y"));
    assert_eq!(recorder.judged().expect("clean").len(), 2);
}

#[test]
fn steps_are_taken_in_order_and_gates_hold() {
    let recorder = Recorder::start();
    let gate = Gate::new();
    recorder.on(
        "/slow",
        vec![
            Step::AwaitContent(2),
            Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab".to_vec()),
            Step::AwaitGate(gate.clone()),
            Step::Send(b"cd".to_vec()),
            Step::Close,
        ],
    );
    let mut client = RawClient::connect(recorder.address());
    client.send("POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nxy");
    let response = client.begin_response("POST").expect("the head is not held back");
    let mut reader = crate::http1::BodyReader::new(response.framing);
    assert_eq!(client.read_some(&mut reader).expect("a piece"), Some(b"ab".to_vec()));
    gate.open();
    assert_eq!(client.read_some(&mut reader).expect("a piece"), Some(b"cd".to_vec()));
    assert!(!recorder.wait_for_content("/slow", 2).complete);
}

#[test]
fn close_reset_and_echo_do_what_they_say() {
    let recorder = Recorder::start();
    recorder.on("/close", vec![Step::AwaitRequest, Step::Close]);
    recorder.on("/reset", vec![Step::AwaitRequest, Step::Reset]);
    recorder.on("/echo", vec![Step::Echo]);
    let ended_by = |target: &str| {
        let mut client = RawClient::connect(recorder.address());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        client.read_to_end()
    };
    assert_eq!(ended_by("/close"), (Vec::new(), Closed::Clean));
    assert_eq!(ended_by("/reset"), (Vec::new(), Closed::Reset));
    let mut client = RawClient::connect(recorder.address());
    client.send("GET /echo HTTP/1.1\r\nHost: h\r\n\r\nping");
    assert_eq!(client.read_exactly(4).expect("an echo"), b"ping");
    client.half_close();
    assert_eq!(client.read_to_end(), (Vec::new(), Closed::Clean));
}

#[test]
fn the_record_since_a_mark_has_only_what_came_after() {
    let recorder = Recorder::start();
    let mut client = RawClient::connect(recorder.address());
    client.get("/before");
    let mark = recorder.mark();
    client.get("/after");
    let news = recorder.raw_since(&mark);
    assert_eq!(news.len(), 1);
    assert!(news[0].starts_with(b"GET /after "));
    assert_eq!(recorder.requests_since(&mark).len(), 1);
    drop(client);
    recorder.wait_until_all_ended();
}

#[test]
fn a_malformed_request_is_recorded_and_refused() {
    let recorder = Recorder::start();
    let mut client = RawClient::connect(recorder.address());
    client.send("GET / HTTP/1.1\r\nHost : h\r\n\r\nGET /x HTTP/1.1\r\n\r\n");
    client.half_close();
    let answer = client.read_response("GET").expect("an answer");
    assert_eq!((answer.status, answer.end), (400, End::Complete));
    recorder.wait_until_all_ended();
    assert!(recorder.requests().is_empty());
    assert!(recorder.raw()[0].ends_with(b"GET /x HTTP/1.1\r\n\r\n"));
    recorder.judged().expect_err("models read it differently");
}
