//! Answers belong to the client that asked, whatever clients and upstreams do on shared connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_testkit::http1::Broken;
use tidegate_testkit::recorder::{Recorder, Seen, Step, chunked, response};

use crate::rig::{Options, Rig};

const CLIENTS: usize = 8;
const REQUESTS: usize = 60;

/// Behaves in a way that the target names; whatever it says carries the tag of the request.
fn misbehave(seen: &Seen) -> Vec<Step> {
    let tag = seen.fields.first("x-tag").unwrap_or("none").to_owned();
    let ok = response("200 OK", &[("X-Tag", &tag)], &tag);
    let behaviour = seen.target.rsplit('/').next().unwrap_or_default();
    let mut steps = vec![Step::AwaitRequest];
    steps.extend(match behaviour {
        "chunked" => vec![Step::Send(chunked("200 OK", &[("X-Tag", &tag)], &[tag.as_bytes()], &[("X-Sum", "1")]))],
        "surplus" => vec![Step::Send([ok.clone(), ok].concat())],
        "cut" => vec![Step::Send(ok[..ok.len() - 2].to_vec()), Step::Close],
        "reset" => vec![Step::Send(ok[..ok.len() - 2].to_vec()), Step::Reset],
        "close" => vec![Step::Send(ok), Step::Close],
        "nothing" => vec![Step::Close],
        "no-content" => {
            vec![Step::Send([format!("HTTP/1.1 204 No Content\r\nX-Tag: {tag}\r\n\r\n").as_bytes(), &ok].concat())]
        }
        "interim" => vec![Step::Send(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()), Step::Send(ok)],
        _ => vec![Step::Send(ok)],
    });
    if behaviour == "early" {
        steps.remove(0);
    }
    steps
}

const BEHAVIOURS: [&str; 12] = [
    "plain",
    "chunked",
    "surplus",
    "plain",
    "cut",
    "early",
    "reset",
    "close",
    "nothing",
    "no-content",
    "interim",
    "plain",
];

fn request(tag: &str, behaviour: &str, number: usize) -> String {
    let head = format!("/{tag}/{behaviour} HTTP/1.1\r\nHost: honest.test\r\nX-Tag: {tag}\r\n");
    match number % 4 {
        0 => format!("GET {head}\r\n"),
        1 => format!("POST {head}Content-Length: {}\r\n\r\n{tag}", tag.len()),
        2 => format!("POST {head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{tag}\r\n0\r\n\r\n", tag.len()),
        _ => format!("HEAD {head}\r\n"),
    }
}

fn hammer(rig: &Rig, client: usize, answered: &AtomicUsize) {
    let mut connection = rig.connect();
    for number in 0..REQUESTS {
        let tag = format!("tag-{client}-{number}-end");
        let behaviour = BEHAVIOURS[(client * 5 + number) % BEHAVIOURS.len()];
        let request = request(&tag, behaviour, number);
        if number % 17 == 16 {
            // Leaves without waiting for the answer.
            connection.send(&request);
            connection.reset();
            connection = rig.connect();
            continue;
        }
        connection.send(&request);
        let method = request.split(' ').next().unwrap_or_default().to_owned();
        match connection.read_response(&method) {
            Ok(answer) => {
                check_own(&tag, answer.fields.first("x-tag").unwrap_or(&tag), true);
                if answer.status < 400 {
                    check_own(&tag, &answer.text(), answer.is_complete());
                }
                if answer.status == 200 && method != "HEAD" && answer.is_complete() {
                    assert_eq!(answer.text(), tag);
                    assert!(!matches!(behaviour, "cut" | "reset" | "nothing"), "{behaviour} looked complete");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                if answer.closes() || !answer.is_complete() {
                    connection = rig.connect();
                }
            }
            Err(Broken::Closed(_, rest)) => {
                assert!(rest.is_empty(), "{rest:?}");
                connection = rig.connect();
            }
            Err(malformed) => panic!("{malformed:?}"),
        }
    }
}

/// A text is the tag of the request, or its beginning where it was cut.
fn check_own(tag: &str, text: &str, is_complete: bool) {
    let is_own = text == tag || text.is_empty() || (!is_complete && tag.starts_with(text));
    assert!(is_own, "{tag} was answered with {text}");
}

#[test]
fn no_answer_reaches_another_client() {
    for workers in [1, 2] {
        let options = Options { upstream: "pool: { max_connections: 3, max_wait: 5s }", workers, ..Options::default() };
        let rig = Rig::with(Recorder::with(misbehave), &options);
        let answered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (rig, answered) = (&rig, &answered);
                scope.spawn(move || hammer(rig, client, answered));
            }
        });
        let honest = answered.into_inner();
        assert!(honest > CLIENTS * REQUESTS / 4, "only {honest} requests were answered: the test shows little");
        let requests = rig.recorder.requests();
        for seen in requests.iter().filter(|seen| seen.method == "POST") {
            let times = requests.iter().filter(|other| other.target == seen.target).count();
            assert_eq!(times, 1, "{} was sent {times} times", seen.target);
            let tag = seen.fields.first("x-tag").unwrap_or_default();
            assert!(!seen.complete || seen.text() == tag, "{} has the body {}", seen.target, seen.text());
        }
        rig.conclude();
    }
}

#[test]
fn connections_are_shared_and_bounded() {
    let options = Options { upstream: "pool: { max_connections: 2, max_wait: 5s }", ..Options::default() };
    let rig = Rig::with(Recorder::start(), &options);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let rig = &rig;
            scope.spawn(move || {
                let mut connection = rig.connect();
                for number in 0..20 {
                    let target = format!("/shared/{client}/{number}");
                    crate::rig::check_echo(&connection.get(&target), &target);
                }
            });
        }
    });
    let used = rig.recorder.connections();
    assert!(used <= 2, "{used} upstream connections for {CLIENTS} clients, and nothing went wrong with any");
    rig.conclude();
}

#[test]
fn a_full_pool_says_so() {
    let gate = tidegate_testkit::gate::Gate::new();
    let held = gate.clone();
    let recorder = Recorder::with(move |_| vec![Step::AwaitRequest, Step::AwaitGate(held.clone()), Step::Answer]);
    let options = Options { upstream: "pool: { max_connections: 1, max_waiting: 0 }", ..Options::default() };
    let rig = Rig::with(recorder, &options);
    let mut first = rig.connect();
    first.send("GET /first HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    rig.recorder.wait_for_target("/first");
    let mut second = rig.connect();
    let answer = second.get("/second");
    assert_eq!(answer.status, 503);
    crate::rig::check_problem(&answer);
    assert!(answer.fields.has("retry-after"), "{answer:?}");
    gate.open();
    crate::rig::check_echo(&first.read_response("GET").expect("an answer"), "/first");
    crate::rig::check_echo(&second.get("/later"), "/later");
    rig.conclude();
}
