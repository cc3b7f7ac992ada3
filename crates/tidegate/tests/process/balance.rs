//! Which endpoint answers, as a client sees it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::http1::Response;
use tidegate_testkit::port::RefusingPort;
use tidegate_testkit::recorder::{Recorder, Step, response};

use crate::rig::BINARY;

/// Endpoints that answer with their number.
fn endpoints(count: usize) -> Vec<Recorder> {
    let numbered = (0..count).map(|number| {
        Recorder::with(move |_| vec![Step::Send(response("200 OK", &[], number.to_string())), Step::AwaitRequest])
    });
    numbered.collect()
}

fn config(endpoints: &[String], more: &str) -> String {
    let endpoints = endpoints.join(", ");
    format!(
        "workers: 2\n\
         log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         reload: {{ watch: false }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\", trusted_proxies: [ 127.0.0.1 ] }} ]\n\
         upstreams: {{ app: {{ endpoints: [ {endpoints} ], {more} }} }}\n\
         routes: [ {{ name: all, match: {{ prefix: / }}, upstream: app }} ]\n",
    )
}

fn quoted(endpoints: &[Recorder]) -> Vec<String> {
    endpoints.iter().map(|endpoint| format!("\"{}\"", endpoint.address())).collect()
}

fn end(gateway: Gateway) {
    let ended = gateway.terminate();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}

/// A request on a connection of its own, so that every worker answers some.
fn ask(gateway: &Gateway, target: &str, fields: &str) -> Response {
    let mut client = RawClient::connect(gateway.address(0));
    client.exchange(format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n{fields}\r\n"))
}

/// The number of the endpoint that answers.
fn endpoint(gateway: &Gateway, target: &str, fields: &str) -> usize {
    let answer = ask(gateway, target, fields);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text().parse().expect("a number")
}

/// The target of a request, and its fields.
type Request = (String, String);

/// The same endpoint for the same value; returns how many endpoints ten values find.
fn check_affinity(gateway: &Gateway, request: impl Fn(usize) -> Request) -> usize {
    let mut found = BTreeMap::new();
    for turn in 0..40 {
        let (target, fields) = request(turn % 10);
        let at = endpoint(gateway, &target, &fields);
        let first = *found.entry(turn % 10).or_insert(at);
        assert_eq!(at, first, "{target} {fields}");
    }
    let mut endpoints: Vec<_> = found.into_values().collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints.len()
}

#[test]
fn one_key_goes_to_one_endpoint() {
    let endpoints = endpoints(4);
    let calls = AtomicUsize::new(0);
    let to = |value: usize, field: &str| ("/".to_owned(), format!("{field}{value}\r\n"));
    for (by, request) in [
        ("header:x-user", Box::new(|value| to(value, "X-User: ")) as Box<dyn Fn(usize) -> Request + '_>),
        ("cookie:sid", Box::new(|value| to(value, "Cookie: a=b; sid="))),
        ("client_address", Box::new(|value| to(value, "X-Forwarded-For: 192.0.2."))),
        // The query is another one every time, which must not matter.
        ("path", Box::new(|value| (format!("/{value}?{}", calls.fetch_add(1, Ordering::Relaxed)), String::new()))),
    ] {
        let balance = format!("balance: {{ maglev: {{ by: \"{by}\" }} }}");
        let gateway = Gateway::start(BINARY, &config(&quoted(&endpoints), &balance));
        let spread = check_affinity(&gateway, request);
        assert!(spread > 1, "{by}: all at one endpoint");
        // Requests that belong nowhere go anywhere.
        if by == "header:x-user" {
            let first = endpoint(&gateway, "/", "");
            assert!((0..100).any(|_| endpoint(&gateway, "/", "") != first));
        }
        end(gateway);
    }
}

#[test]
fn one_client_goes_to_one_endpoint() {
    let endpoints = endpoints(4);
    let gateway = Gateway::start(BINARY, &config(&quoted(&endpoints), "balance: ip_hash"));
    let spread = check_affinity(&gateway, |value| ("/".to_owned(), format!("X-Forwarded-For: 192.0.2.{value}\r\n")));
    assert!(spread > 1);
    end(gateway);
}

#[test]
fn a_cookie_keeps_a_client_at_its_endpoint() {
    let endpoints = endpoints(4);
    let balance = "balance: { sticky_cookie: { name: at, ttl: 1h, key: secret } }";
    let gateway = Gateway::start(BINARY, &config(&quoted(&endpoints), balance));
    let mut met = Vec::new();
    for _ in 0..8 {
        let first = ask(&gateway, "/", "");
        let set = first.fields.all("set-cookie").next().expect("a cookie").to_owned();
        let (cookie, attributes) = set.split_once("; ").expect("attributes");
        assert_eq!(attributes, "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
        let port = endpoints[0].address().port().to_string();
        assert!(cookie.len() == "at=".len() + 16 && !cookie.contains(&port), "{cookie}");
        for _ in 0..6 {
            let again = ask(&gateway, "/", &format!("Cookie: other=1; {cookie}\r\n"));
            assert_eq!(again.text(), first.text());
            assert!(!again.fields.has("set-cookie"));
        }
        met.push(first.text());
    }
    met.sort_unstable();
    met.dedup();
    assert!(met.len() > 1, "new clients are all at one endpoint");
    // A name that no endpoint has, or none at all, is answered with another one.
    for wrong in ["at=0000000000000000", "at=x", "at="] {
        assert!(ask(&gateway, "/", &format!("Cookie: {wrong}\r\n")).fields.has("set-cookie"), "{wrong}");
    }
    end(gateway);
}

#[test]
fn a_client_whose_endpoint_is_gone_gets_another_and_its_cookie() {
    let endpoints = endpoints(2);
    let dead = RefusingPort::reserve();
    let balance = "balance: { sticky_cookie: { name: at, key: secret } }";
    let addresses = quoted(&endpoints);
    let gateway = Gateway::start(BINARY, &config(&addresses, balance));
    let (cookie, first) = loop {
        let answer = ask(&gateway, "/", "");
        if answer.text() == "0" {
            let set = answer.fields.all("set-cookie").next().expect("a cookie").to_owned();
            break (set.split(';').next().expect("a pair").to_owned(), answer.text());
        }
    };
    assert_eq!(ask(&gateway, "/", &format!("Cookie: {cookie}\r\n")).text(), first);
    gateway.rewrite_config(&config(&[format!("\"{}\"", dead.address()), addresses[1].clone()], balance));
    let before = gateway.log_length();
    gateway.signal(Signal::HUP);
    gateway.wait_for_log_after(before, "the reload", |line| line.says("reloaded"));
    for _ in 0..4 {
        let answer = ask(&gateway, "/", &format!("Cookie: {cookie}\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "1"));
        assert!(answer.fields.has("set-cookie"));
    }
    end(gateway);
}

#[test]
fn weights_are_shares_of_requests() {
    let endpoints = endpoints(3);
    let weighted: Vec<_> = endpoints.iter().zip([1, 2, 5]).collect();
    let written = weighted
        .iter()
        .map(|(endpoint, weight)| format!("{{ address: \"{}\", weight: {weight} }}", endpoint.address()));
    let written: Vec<_> = written.collect();
    for balance in ["weighted", "round_robin"] {
        // One connection has one worker, whose turns are exact.
        let gateway = Gateway::start(BINARY, &config(&written, &format!("balance: {balance}")));
        let mut client = RawClient::connect(gateway.address(0));
        let mut counts = [0; 3];
        for _ in 0..80 {
            counts[client.get("/").text().parse::<usize>().expect("a number")] += 1;
        }
        assert_eq!(counts, [10, 20, 50], "{balance}");
        end(gateway);
    }
}

#[test]
fn endpoints_that_cannot_be_reached_are_passed_over() {
    let endpoints = endpoints(2);
    let dead = [RefusingPort::reserve(), RefusingPort::reserve()];
    let mut addresses = quoted(&endpoints);
    addresses.extend(dead.iter().map(|dead| format!("\"{}\"", dead.address())));
    for balance in [
        "round_robin",
        "least_requests",
        "least_connections",
        "peak_ewma",
        "ip_hash",
        "{ maglev: { by: path } }",
        "{ sticky_cookie: { name: at } }",
    ] {
        let gateway = Gateway::start(BINARY, &config(&addresses, &format!("balance: {balance}")));
        for turn in 0..20 {
            let at = endpoint(&gateway, &format!("/{turn}"), &format!("X-Forwarded-For: 192.0.2.{turn}\r\n"));
            assert!(at < 2, "{balance}");
        }
        end(gateway);
    }
}

#[test]
fn a_lower_tier_answers_when_the_first_cannot_be_reached() {
    let endpoints = endpoints(2);
    let dead = RefusingPort::reserve();
    let second = |address| format!("{{ address: \"{address}\", tier: 1 }}");
    let gateway =
        |first: String| Gateway::start(BINARY, &config(&[second(endpoints[1].address()), first], "host: preserve"));
    let well = gateway(format!("\"{}\"", endpoints[0].address()));
    assert!((0..10).all(|_| endpoint(&well, "/", "") == 0));
    end(well);
    let ill = gateway(format!("\"{}\"", dead.address()));
    assert!((0..10).all(|_| endpoint(&ill, "/", "") == 1));
    end(ill);
}

#[test]
fn the_slow_endpoint_gets_little() {
    let slow = Recorder::with(|_| {
        vec![Step::Drip(response("200 OK", &[], "1"), Duration::from_millis(2)), Step::AwaitRequest]
    });
    let mut endpoints = endpoints(1);
    endpoints.push(slow);
    let gateway = Gateway::start(BINARY, &config(&quoted(&endpoints), "balance: peak_ewma"));
    let mut client = RawClient::connect(gateway.address(0));
    let slow = (0..60).filter(|_| client.get("/").text() == "1").count();
    assert!(slow <= 6, "{slow} of 60");
    end(gateway);
}
