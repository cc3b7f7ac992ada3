//! Requests with an `Idempotency-Key`, as clients and upstreams notice them.

mod http2;
mod lost;
mod rig;

use tidegate_testkit::gate::Gate;
use tidegate_testkit::http1::BodyReader;
use tidegate_testkit::recorder::{Recorder, Step, chunked, response};

use crate::reload::{admin, is_reloaded, reload};
use rig::{Guarded, check_fault, check_replayed, created, post, post_as};

#[test]
fn a_second_request_gets_the_answer_of_the_first() {
    let fields = [
        ("Location", "/orders/7"),
        ("Set-Cookie", "a=b"),
        ("Set-Cookie", "c=d"),
        ("Connection", "x-hop"),
        ("X-Hop", "1"),
    ];
    let rig = Guarded::start("", vec![Step::AwaitRequest, Step::Send(response("201 Made", &fields, "order 7"))]);
    let first = rig.ask(&post("/orders", "\"k1\"", "a=1"));
    assert_eq!((first.status, first.text().as_str()), (201, "order 7"));
    assert!(!first.fields.has("idempotency-replayed"), "{first:?}");
    for spelling in ["\"k1\"", "k1"] {
        let again = rig.ask(&post("/orders", spelling, "a=1"));
        assert_eq!((again.status, again.text().as_str()), (201, "order 7"));
        check_replayed(&again);
        assert_eq!(again.fields.first("location"), Some("/orders/7"));
        assert_eq!(again.fields.all("set-cookie").collect::<Vec<_>>(), ["a=b", "c=d"]);
        assert!(!again.fields.has("x-hop"), "{again:?}");
        assert_ne!(again.fields.first("x-request-id"), first.fields.first("x-request-id"), "it is another request");
    }
    let seen = rig.recorder.requests_for("/orders");
    assert_eq!((seen.len(), seen[0].text().as_str()), (1, "a=1"));
    assert_eq!(seen[0].fields.first("idempotency-key"), Some("\"k1\""), "the upstream may look at it too");
    rig.end();
}

#[test]
fn other_keys_other_clients_and_other_methods_go_on() {
    let rig = Guarded::start("", created());
    for request in [
        post("/orders", "k1", "a=1"),
        post("/orders", "k2", "a=1"),
        post_as("bob", "/orders", "k1", "a=1"),
        "PUT /orders HTTP/1.1\r\nHost: shop.test\r\nIdempotency-Key: k1\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "POST /orders HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "POST /orders HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ] {
        let answer = rig.ask(&request);
        assert!(answer.status == 201 && !answer.fields.has("idempotency-replayed"), "{request}: {answer:?}");
    }
    assert_eq!(rig.recorder.requests_for("/orders").len(), 6);
    rig.end();
}

#[test]
fn the_same_key_for_something_else_is_refused() {
    let rig = Guarded::start("", created());
    assert_eq!(rig.ask(&post("/orders", "k1", "a=1")).status, 201);
    for request in [
        post("/orders", "k1", "a=2"),
        post("/orders?x", "k1", "a=1"),
        post("/other", "k1", "a=1"),
        post("/orders", "k1", "a=1").replace("POST", "PATCH"),
        post("/orders", "k1", "a=1").replace("shop.test", "other.test"),
    ] {
        check_fault(&rig.ask(&request), 422, "KEY_004");
    }
    check_replayed(&rig.ask(&post("/orders", "k1", "a=1")));
    assert_eq!(rig.recorder.requests().len(), 1);
    rig.end();
}

#[test]
fn what_is_no_key_is_refused() {
    let rig = Guarded::start(", required: true", created());
    check_fault(&rig.ask("POST /orders HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\n\r\na=1"), 400, "KEY_001");
    for key in ["\"\"", "\"k1", "a b", "k1\r\nIdempotency-Key: k1"] {
        check_fault(&rig.ask(&post("/orders", key, "a=1")), 400, "KEY_002");
    }
    check_fault(&rig.ask(&post("/orders", &"x".repeat(256), "a=1")), 400, "KEY_002");
    assert_eq!(rig.ask("PUT /orders HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n").status, 201);
    assert_eq!(rig.recorder.requests().len(), 1);
    rig.end();
}

#[test]
fn a_second_request_while_the_first_is_under_way_is_told_to_come_back() {
    let gate = Gate::new();
    let rig = Guarded::start(
        "",
        vec![Step::AwaitRequest, Step::AwaitGate(gate.clone()), Step::Send(response("201 Made", &[], "made"))],
    );
    let mut first = rig.connect();
    first.send(post("/orders", "k1", "a=1"));
    rig.recorder.wait_for_target("/orders");
    let second = rig.ask(&post("/orders", "k1", "a=1"));
    check_fault(&second, 409, "KEY_003");
    assert_eq!(second.fields.first("cache-control"), Some("no-store"));
    assert_eq!(second.fields.first("retry-after"), Some("1"));
    check_fault(&rig.ask(&post("/orders", "k1", "a=2")), 422, "KEY_004");
    gate.open();
    assert_eq!(first.read_response("POST").expect("an answer").status, 201);
    check_replayed(&rig.ask(&post("/orders", "k1", "a=1")));
    assert_eq!(rig.recorder.requests().len(), 1);
    rig.end();
}

#[test]
fn bodies_are_compared_however_they_come() {
    let rig = Guarded::start(", max_body: 16", created());
    let head = "POST /orders HTTP/1.1\r\nHost: shop.test\r\nX-User: ann\r\nIdempotency-Key: k1\r\n";
    let one = format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n2\r\n&b\r\n0\r\nX-Sum: 7\r\n\r\n");
    assert_eq!(rig.ask(&one).status, 201);
    let seen = rig.recorder.wait_for_target("/orders");
    assert_eq!((seen.text().as_str(), seen.trailers.first("x-sum")), ("a=1&b", Some("7")));
    check_replayed(&rig.ask(&post("/orders", "k1", "a=1&b")));
    let waiting = format!("{head}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let mut client = rig.connect();
    client.send(waiting);
    assert_eq!(client.read_head().expect("an interim answer").0, 100);
    client.send("a=1&b");
    check_replayed(&client.read_response("POST").expect("an answer"));
    for request in [
        post("/orders", "k2", &"x".repeat(17)),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n11\r\n{}\r\n0\r\n\r\n", "x".repeat(17)),
    ] {
        check_fault(&rig.ask(&request), 413, "VAL_008");
    }
    assert_eq!(rig.ask(&post("/orders", "k2", &"x".repeat(16))).status, 201, "what was refused has taken no key");
    assert_eq!(rig.recorder.requests().len(), 2);
    rig.end();
}

#[test]
fn a_body_that_breaks_takes_no_key() {
    let rig = Guarded::start("", created());
    let mut client = rig.connect();
    client.send("POST /orders HTTP/1.1\r\nHost: shop.test\r\nIdempotency-Key: k1\r\nContent-Length: 5\r\n\r\na=");
    client.half_close();
    check_fault(&client.read_response("POST").expect("an answer"), 400, "VAL_009");
    assert_eq!(rig.ask(&post("/orders", "k1", "a=1")).status, 201);
    rig.end();
}

#[test]
fn an_answer_that_is_too_large_is_passed_on_once() {
    let large = "x".repeat(40);
    let pieces: &[&[u8]] = &[b"0123456789", b"0123456789", b"0123456789", b"0123456789"];
    let rig = Guarded::start(", max_answer: 32", created());
    rig.recorder.on("/announced", vec![Step::AwaitRequest, Step::Send(response("200 OK", &[], &large))]);
    rig.recorder.on("/pieces", vec![Step::AwaitRequest, Step::Send(chunked("200 OK", &[], pieces, &[("X-Sum", "7")]))]);
    rig.recorder
        .on("/small", vec![Step::AwaitRequest, Step::Send(chunked("200 OK", &[], &pieces[..3], &[("X-Sum", "7")]))]);
    for (target, text) in [("/announced", large.as_str()), ("/pieces", &"0123456789".repeat(4))] {
        let first = rig.ask(&post(target, target, "a=1"));
        assert!(first.is_complete() && first.text() == text, "{first:?}");
        check_fault(&rig.ask(&post(target, target, "a=1")), 409, "KEY_005");
    }
    let first = rig.ask(&post("/small", "small", "a=1"));
    let again = rig.ask(&post("/small", "small", "a=1"));
    check_replayed(&again);
    assert_eq!((first.text(), first.trailers.first("x-sum")), (again.text(), again.trailers.first("x-sum")));
    assert_eq!(again.trailers.first("x-sum"), Some("7"));
    assert_eq!(rig.recorder.requests().len(), 3);
    rig.end();
}

#[test]
fn a_stream_of_events_is_not_held_back() {
    let gate = Gate::new();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let rig = Guarded::start(
        "",
        vec![
            Step::AwaitRequest,
            Step::Send(format!("{head}3\r\none\r\n").into_bytes()),
            Step::AwaitGate(gate.clone()),
            Step::Send(b"3\r\ntwo\r\n0\r\n\r\n".to_vec()),
        ],
    );
    let mut client = rig.connect();
    client.send(post("/events", "k1", "a=1"));
    let head = client.begin_response("POST").expect("a head");
    let piece = client.read_some(&mut BodyReader::new(head.framing)).expect("valid");
    assert_eq!(piece.as_deref(), Some(&b"one"[..]), "it came before the end was there");
    check_fault(&rig.ask(&post("/events", "k1", "a=1")), 409, "KEY_005");
    gate.open();
    rig.end();
}

#[test]
fn an_error_is_kept_and_what_was_not_begun_is_not() {
    let rig = Guarded::start("", created());
    for (target, status) in [("/400", "400 No"), ("/404", "404 No"), ("/500", "500 No"), ("/502", "502 No")] {
        rig.recorder.on(target, vec![Step::AwaitRequest, Step::Send(response(status, &[], "no"))]);
        let first = rig.ask(&post(target, target, "a=1"));
        let again = rig.ask(&post(target, target, "a=1"));
        assert_eq!((again.status, again.text()), (first.status, first.text()));
        check_replayed(&again);
        assert_eq!(rig.recorder.requests_for(target).len(), 1, "{target}");
    }
    for (target, status) in [("/401", "401 No"), ("/429", "429 No"), ("/503", "503 No")] {
        rig.recorder.on(target, vec![Step::AwaitRequest, Step::Send(response(status, &[], "no"))]);
        assert_eq!(rig.ask(&post(target, target, "a=1")).text(), "no");
        rig.recorder.on(target, created());
        assert_eq!(rig.ask(&post(target, target, "a=1")).status, 201, "{target}");
        check_replayed(&rig.ask(&post(target, target, "a=1")));
    }
    rig.end();
}

#[test]
fn an_answer_without_content_is_kept_too() {
    let rig = Guarded::start("", vec![Step::AwaitRequest, Step::Send(b"HTTP/1.1 204 Done\r\nX-A: 1\r\n\r\n".to_vec())]);
    for number in 0..3 {
        let answer = rig.ask("POST /none HTTP/1.1\r\nHost: shop.test\r\nIdempotency-Key: k1\r\n\r\n");
        assert_eq!((answer.status, answer.body.len(), answer.fields.first("x-a")), (204, 0, Some("1")));
        assert_eq!(answer.fields.has("idempotency-replayed"), number > 0, "{answer:?}");
    }
    assert_eq!(rig.recorder.requests().len(), 1);
    rig.end();
}

#[test]
fn keys_outlive_a_reload() {
    let rig = Guarded::start("", created());
    assert_eq!(rig.ask(&post("/orders", "k1", "a=1")).status, 201);
    rig.gateway.rewrite_config(&rig::config(rig.recorder.address(), ", max_keys: 7, keep: 1h"));
    reload(&rig.gateway, is_reloaded);
    check_replayed(&rig.ask(&post("/orders", "k1", "a=1")));
    assert_eq!(rig.recorder.requests().len(), 1);
    rig.end();
}

#[test]
fn the_oldest_key_gives_way_and_one_under_way_never() {
    let gate = Gate::new();
    let rig = Guarded::start(", max_keys: 2", created());
    rig.recorder
        .on("/slow", vec![Step::AwaitRequest, Step::AwaitGate(gate.clone()), Step::Send(response("200 OK", &[], ""))]);
    for key in ["k1", "k2", "k3"] {
        assert_eq!(rig.ask(&post("/orders", key, "a=1")).status, 201);
    }
    check_replayed(&rig.ask(&post("/orders", "k2", "a=1")));
    let waiting: Vec<_> = ["s1", "s2"]
        .into_iter()
        .map(|key| {
            let mut client = rig.connect();
            client.send(post("/slow", key, "a=1"));
            rig.recorder.wait_for(key, |seen| {
                seen.iter().any(|seen| seen.fields.first("idempotency-key") == Some(key)).then_some(())
            });
            client
        })
        .collect();
    let refused = rig.ask(&post("/orders", "k4", "a=1"));
    check_fault(&refused, 503, "KEY_007");
    assert_eq!(refused.fields.first("retry-after"), Some("1"));
    gate.open();
    for mut client in waiting {
        assert_eq!(client.read_response("POST").expect("an answer").status, 200);
    }
    check_replayed(&rig.ask(&post("/slow", "s1", "a=1")));
    rig.end();
}

#[test]
fn what_keys_have_done_is_counted() {
    let rig = Guarded::start("", created());
    for body in ["a=1", "a=1", "a=2"] {
        rig.ask(&post("/orders", "k1", body));
    }
    let (status, text) = admin(&rig.gateway, "/metrics");
    assert_eq!(status, 200);
    for (result, count) in [("kept", 1), ("replayed", 1), ("reused", 1), ("under_way", 0)] {
        let line =
            format!(r#"tidegate_idempotent_requests_total{{route="shop",upstream="app",result="{result}"}} {count}"#);
        assert!(text.lines().any(|sample| sample == line), "{line}\n{text}");
    }
    rig.end();
}

/// Whoever asks while the only answer is on its way finds it: never is there a moment at which a client that has its answer
/// is told that the first request is under way.
#[test]
fn who_has_an_answer_can_ask_for_it_again_at_once() {
    let rig = Guarded::start("", created());
    let mut client = rig.connect();
    for number in 0..200 {
        let request = post("/orders", &format!("k{number}"), "a=1");
        assert_eq!(client.exchange(&request).status, 201);
        check_replayed(&client.exchange(&request));
    }
    rig.end();
}

/// An upstream that does the same for every target that has nothing of its own.
fn scripted(steps: Vec<Step>) -> Recorder {
    Recorder::with(move |_| steps.clone())
}
