//! Endpoints that are not fit for requests: they get none, everybody can see why, and they come back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::time::Instant;

use serde_json::Value;
use tidegate_testkit::PATIENCE;
use tidegate_testkit::certificates::Authority;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::{Gateway, folder};
use tidegate_testkit::http2::{Http2Recorder, Http2Step};
use tidegate_testkit::log::LogLine;
use tidegate_testkit::port::RefusingPort;
use tidegate_testkit::recorder::{Recorder, Seen, Step, response};

use crate::reload::{admin, is_reloaded, reload};
use crate::rig::BINARY;

/// Probes in quick succession, two of which decide.
const CHECK: &str = "health_check: { path: /health, interval: 20ms, timeout: 5s, unhealthy_after: 2 }";

/// An endpoint whose probes and requests are answered with statuses that a test sets.
struct Endpoint {
    recorder: Recorder,
    health: Arc<AtomicU16>,
    requests: Arc<AtomicU16>,
}

impl Endpoint {
    fn start() -> Self {
        let (health, requests) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
        let statuses = (Arc::clone(&health), Arc::clone(&requests));
        let recorder = Recorder::with(move |seen| {
            let status = if is_probe(seen) { &statuses.0 } else { &statuses.1 };
            let line = format!("{} As Told", status.load(Ordering::SeqCst));
            vec![Step::AwaitRequest, Step::Send(response(&line, &[], "told"))]
        });
        Self { recorder, health, requests }
    }

    fn address(&self) -> SocketAddr {
        self.recorder.address()
    }

    /// How many requests came that are no probes.
    fn served(&self) -> usize {
        self.recorder.requests().iter().filter(|seen| !is_probe(seen)).count()
    }
}

fn is_probe(seen: &Seen) -> bool {
    seen.target == "/health"
}

fn config(endpoints: &str, upstream: &str) -> String {
    let more = if upstream.is_empty() { String::new() } else { format!(", {upstream}") };
    format!(
        "workers: 1\n\
         log: {{ format: json }}\n\
         reload: {{ watch: false }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         shutdown: {{ drain: 200ms }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
         upstreams: {{ app: {{ protect: [], endpoints: [ {endpoints} ]{more} }} }}\n\
         routes: [ {{ match: {{ prefix: / }}, upstream: app }} ]\n"
    )
}

/// The same for endpoints about which there is nothing to say.
fn config_of(endpoints: &[SocketAddr], upstream: &str) -> String {
    let listed: Vec<_> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    config(&listed.join(", "), upstream)
}

fn start(endpoints: &[SocketAddr], upstream: &str) -> Gateway {
    Gateway::start(BINARY, &config_of(endpoints, upstream))
}

/// Sends so many requests, one after the other; returns the statuses.
fn send(gateway: &Gateway, count: usize) -> Vec<u16> {
    let mut client = RawClient::connect(gateway.address(0));
    (0..count).map(|number| client.get(&format!("/{number}")).status).collect()
}

/// Waits until the gateway says this of an endpoint, after the first `from` lines of its log.
fn wait_until(gateway: &Gateway, from: usize, message: &str, endpoint: SocketAddr) -> LogLine {
    let endpoint = endpoint.to_string();
    let is_it = |line: &LogLine| line.says(message) && line.text_of("endpoint").as_ref() == Some(&endpoint);
    gateway.wait_for_log_after(from, message, is_it)
}

/// What `/healthz?verbose` says of the upstream.
fn upstream(gateway: &Gateway) -> Value {
    let (_, text) = admin(gateway, "/healthz?verbose");
    let health: Value = serde_json::from_str(&text).expect("JSON");
    health["details"]["upstreams"][0].clone()
}

/// What it says of one endpoint.
fn endpoint(gateway: &Gateway, address: SocketAddr) -> Value {
    let upstream = upstream(gateway);
    let mut endpoints = upstream["endpoints"].as_array().expect("a list").iter();
    let found = endpoints.find(|endpoint| endpoint["address"] == address.to_string());
    found.unwrap_or_else(|| panic!("no {address} in {upstream}")).clone()
}

/// Checks that a metric has this sample.
fn check_metric(gateway: &Gateway, sample: &str) {
    let (_, text) = admin(gateway, "/metrics");
    assert!(text.lines().any(|line| line == sample), "{sample}\nin\n{text}");
}

#[test]
fn an_endpoint_that_fails_its_probes_gets_no_requests_and_comes_back() {
    let (sick, well) = (Endpoint::start(), Endpoint::start());
    sick.health.store(500, Ordering::SeqCst);
    let gateway = start(&[sick.address(), well.address()], CHECK);
    let line = wait_until(&gateway, 0, "endpoint unhealthy", sick.address());
    assert_eq!(line.text_of("reason").as_deref(), Some("status 500"));

    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!((sick.served(), well.served()), (0, 10));
    let state = endpoint(&gateway, sick.address());
    assert_eq!((&state["state"], &state["last_probe"]["detail"]), (&"unhealthy".into(), &"status 500".into()));
    assert_eq!(upstream(&gateway)["usable_endpoints"], 1);
    let labels = format!("upstream=\"app\",endpoint=\"{}\"", sick.address());
    check_metric(&gateway, &format!("tidegate_endpoint_state{{{labels},state=\"unhealthy\"}} 1"));

    let before = gateway.log_length();
    sick.health.store(204, Ordering::SeqCst);
    wait_until(&gateway, before, "endpoint healthy", sick.address());
    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!((sick.served(), well.served()), (5, 15));
    assert_eq!(endpoint(&gateway, sick.address())["state"], "healthy");
}

#[test]
fn spares_serve_while_too_few_are_well() {
    let (first, second, spare) = (Endpoint::start(), Endpoint::start(), Endpoint::start());
    let (one, other) = (first.address(), second.address());
    let listed = format!("\"{one}\", \"{other}\", {{ address: \"{}\", tier: 1 }}", spare.address());
    let gateway = Gateway::start(BINARY, &config(&listed, &format!("panic_threshold: 60%, {CHECK}")));
    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!((first.served(), second.served(), spare.served()), (5, 5, 0));

    // One of two is less than 60%.
    second.health.store(500, Ordering::SeqCst);
    wait_until(&gateway, 0, "endpoint unhealthy", other);
    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!((first.served(), second.served(), spare.served()), (5, 5, 10));

    let before = gateway.log_length();
    second.health.store(200, Ordering::SeqCst);
    wait_until(&gateway, before, "endpoint healthy", other);
    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!((first.served(), second.served(), spare.served()), (10, 10, 10));
}

#[test]
fn a_client_leaves_its_endpoint_while_that_is_not_well() {
    let endpoints = [Endpoint::start(), Endpoint::start()];
    let addresses = endpoints.each_ref().map(Endpoint::address);
    let gateway = start(&addresses, &format!("balance: {{ sticky_cookie: {{ name: at }} }}, {CHECK}"));
    let mut client = RawClient::connect(gateway.address(0));
    let mut ask = |cookie: &str| {
        let answer = client.exchange(format!("GET / HTTP/1.1\r\nHost: honest.test\r\nCookie: {cookie}\r\n\r\n"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let set = answer.fields.all("set-cookie").next().map(str::to_owned);
        set.map(|set| set.split(';').next().unwrap_or_default().to_owned())
    };
    let cookie = ask("a=b").expect("a cookie");
    let home = usize::from(endpoints[1].served() == 1);
    let before = gateway.log_length();
    endpoints[home].health.store(500, Ordering::SeqCst);
    wait_until(&gateway, before, "endpoint unhealthy", addresses[home]);
    let other = ask(&cookie).expect("another cookie");
    assert_ne!(other, cookie);
    assert_eq!(ask(&other), None);
    assert_eq!((endpoints[home].served(), endpoints[1 - home].served()), (1, 2));

    // Who still has the first cookie comes home.
    let before = gateway.log_length();
    endpoints[home].health.store(200, Ordering::SeqCst);
    wait_until(&gateway, before, "endpoint healthy", addresses[home]);
    assert_eq!(ask(&cookie), None);
    assert_eq!(endpoints[home].served(), 2);
}

#[test]
fn where_every_endpoint_fails_its_probes_requests_are_sent_all_the_same() {
    let endpoints = [Endpoint::start(), Endpoint::start()];
    endpoints.iter().for_each(|endpoint| endpoint.health.store(500, Ordering::SeqCst));
    let addresses = endpoints.each_ref().map(Endpoint::address);
    let gateway = start(&addresses, CHECK);
    addresses.iter().for_each(|address| drop(wait_until(&gateway, 0, "endpoint unhealthy", *address)));
    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!(endpoints.iter().map(Endpoint::served).sum::<usize>(), 10);
}

#[test]
fn probes_over_tcp_see_who_refuses() {
    let (nobody, well) = (RefusingPort::reserve(), Endpoint::start());
    let check = "health_check: { tcp: {}, interval: 20ms, timeout: 5s }";
    let gateway = start(&[nobody.address(), well.address()], check);
    let line = wait_until(&gateway, 0, "endpoint unhealthy", nobody.address());
    assert!(line.text_of("reason").is_some_and(|reason| reason.starts_with("cannot connect")), "{line:?}");
    assert_eq!(send(&gateway, 5), [200; 5]);
    assert_eq!(endpoint(&gateway, nobody.address())["failed"], 0, "no request had to find out");
}

/// The answer of a gRPC health service: 1 is serving.
fn serving(status: u8) -> Vec<Http2Step> {
    let fields = vec![("content-type", "application/grpc".to_owned())];
    let message = vec![0, 0, 0, 0, 2, 8, status];
    let trailers = vec![("grpc-status", "0".to_owned())];
    vec![Http2Step::AwaitRequest, Http2Step::Head(200, fields), Http2Step::Data(message), Http2Step::Trailers(trailers)]
}

#[test]
fn a_grpc_service_is_asked_whether_it_serves() {
    let status = Arc::new(AtomicU8::new(1));
    let told = Arc::clone(&status);
    let service = Http2Recorder::with(None, move |_| serving(told.load(Ordering::SeqCst)));
    let check = "protocol: http2, health_check: { grpc: { service: a.B }, interval: 20ms, timeout: 5s }";
    let gateway = start(&[service.address()], check);
    let asked = service.wait_for("a probe", |seen| seen.iter().find(|seen| seen.complete).cloned());
    assert_eq!((&*asked.method, &*asked.target), ("POST", "/grpc.health.v1.Health/Check"));
    assert_eq!(asked.body, b"\0\0\0\0\x05\x0a\x03a.B");
    status.store(2, Ordering::SeqCst);
    let line = wait_until(&gateway, 0, "endpoint unhealthy", service.address());
    assert_eq!(line.text_of("reason").as_deref(), Some("NOT_SERVING"));
    let before = gateway.log_length();
    status.store(1, Ordering::SeqCst);
    wait_until(&gateway, before, "endpoint healthy", service.address());
}

#[test]
fn probes_speak_what_the_upstream_speaks() {
    let (authority, place) = (Authority::new("probe test"), folder());
    let ca = authority.write(place.path());
    let issued = authority.issue(place.path(), "app", &["app.test"]);
    let tls = authority.server_config(&issued, &["h2"]);
    let service = Http2Recorder::with(Some(tls), |seen| match &*seen.target {
        "/deep?x=1" => vec![Http2Step::Head(404, Vec::new()), Http2Step::End],
        _ => vec![Http2Step::AwaitRequest, Http2Step::Answer],
    });
    let upstream = format!(
        "protocol: auto, tls: {{ ca: \"{}\", server_name: app.test }}, \
         health_check: {{ path: \"/deep?x=1\", host: probes.test, method: HEAD, expect: [404], interval: 20ms }}",
        ca.display()
    );
    let gateway = start(&[service.address()], &upstream);
    // The second probe begins when the first one has been judged.
    let seen = service.wait_for("two probes", |seen| (seen.len() >= 2).then(|| seen[0].clone()));
    assert_eq!((&*seen.method, seen.scheme.as_deref()), ("HEAD", Some("https")));
    assert_eq!(seen.authority.as_deref(), Some("probes.test"));
    let state = endpoint(&gateway, service.address());
    assert_eq!((&state["state"], &state["last_probe"]["detail"]), (&"healthy".into(), &"status 404".into()));
}

#[test]
fn five_failures_in_a_row_eject_an_endpoint() {
    let (sick, well) = (Endpoint::start(), Endpoint::start());
    sick.requests.store(503, Ordering::SeqCst);
    let gateway = start(&[sick.address(), well.address()], "outlier: { base_ejection: 1h }");
    let statuses = send(&gateway, 8);
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 4);
    assert_eq!(endpoint(&gateway, sick.address())["failures_in_a_row"], 4);
    send(&gateway, 2);
    let line = wait_until(&gateway, 0, "endpoint ejected", sick.address());
    assert_eq!(line.text_of("reason").as_deref(), Some("consecutive_failures"));

    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!(sick.served(), 5);
    let state = endpoint(&gateway, sick.address());
    assert_eq!((&state["state"], &state["reason"]), (&"ejected".into(), &"consecutive_failures".into()));
    assert!(state["returns_in_seconds"].as_u64().is_some_and(|seconds| (1..=3600).contains(&seconds)), "{state}");
    let labels = format!("upstream=\"app\",endpoint=\"{}\"", sick.address());
    check_metric(&gateway, &format!("tidegate_endpoint_ejections_total{{{labels},reason=\"consecutive_failures\"}} 1"));
    check_metric(&gateway, &format!("tidegate_endpoint_attempts_total{{{labels},result=\"failed\"}} 5"));
}

#[test]
fn a_success_in_between_begins_the_count_anew() {
    let (shaky, well) = (Endpoint::start(), Endpoint::start());
    let gateway = start(&[shaky.address(), well.address()], "");
    for _ in 0..3 {
        shaky.requests.store(503, Ordering::SeqCst);
        send(&gateway, 8);
        shaky.requests.store(200, Ordering::SeqCst);
        send(&gateway, 2);
    }
    assert_eq!(endpoint(&gateway, shaky.address())["failures_in_a_row"], 0);
    let ended = gateway.terminate();
    assert!(!ended.log.contains("ejected"), "{}", ended.log);
}

#[test]
fn an_ejected_endpoint_returns_after_its_time() {
    let (sick, well) = (Endpoint::start(), Endpoint::start());
    sick.requests.store(502, Ordering::SeqCst);
    let gateway = start(&[sick.address(), well.address()], "outlier: { base_ejection: 300ms }");
    send(&gateway, 10);
    wait_until(&gateway, 0, "endpoint ejected", sick.address());
    sick.requests.store(200, Ordering::SeqCst);
    wait_until(&gateway, 0, "endpoint returned", sick.address());
    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!(sick.served(), 10);
}

#[test]
fn a_probe_that_passes_ends_an_ejection() {
    let (sick, well) = (Endpoint::start(), Endpoint::start());
    sick.requests.store(503, Ordering::SeqCst);
    let upstream = format!("outlier: {{ base_ejection: 1h }}, {CHECK}");
    let gateway = start(&[sick.address(), well.address()], &upstream);
    send(&gateway, 10);
    wait_until(&gateway, 0, "endpoint ejected", sick.address());
    wait_until(&gateway, 0, "endpoint returned: a probe passed", sick.address());
}

#[test]
fn an_endpoint_that_refuses_connections_is_ejected_before_a_client_notices() {
    let (nobody, well) = (RefusingPort::reserve(), Endpoint::start());
    let gateway = start(&[nobody.address(), well.address()], "outlier: { base_ejection: 1h }, pool: { max_idle: 0 }");
    assert_eq!(send(&gateway, 10), [200; 10]);
    wait_until(&gateway, 0, "endpoint ejected", nobody.address());
    let failed = endpoint(&gateway, nobody.address())["failed"].clone();
    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!(endpoint(&gateway, nobody.address())["failed"], failed);
}

#[test]
fn the_only_endpoint_is_never_ejected() {
    let only = Endpoint::start();
    only.requests.store(503, Ordering::SeqCst);
    let gateway = start(&[only.address()], "outlier: { max_ejected: 100% }");
    assert_eq!(send(&gateway, 20), [503; 20]);
    let state = endpoint(&gateway, only.address());
    assert_eq!((&state["state"], &state["failures_in_a_row"]), (&"unchecked".into(), &20.into()));
    let ended = gateway.terminate();
    assert!(!ended.log.contains("ejected"), "{}", ended.log);
}

#[test]
fn an_endpoint_that_fails_more_often_than_the_others_is_ejected() {
    let [sick, one, two] = [Endpoint::start(), Endpoint::start(), Endpoint::start()];
    sick.requests.store(503, Ordering::SeqCst);
    let rate = "success_rate: { interval: 100ms, min_hosts: 3, min_requests: 3, stdev_factor: 1 }";
    let outlier = format!("outlier: {{ consecutive_failures: off, base_ejection: 1h, {rate} }}");
    let gateway = start(&[sick.address(), one.address(), two.address()], &outlier);
    let deadline = Instant::now() + PATIENCE;
    while endpoint(&gateway, sick.address())["state"] != "ejected" {
        assert!(Instant::now() < deadline, "never ejected:\n{}", gateway.log());
        send(&gateway, 12);
    }
    assert_eq!(endpoint(&gateway, sick.address())["reason"], "success_rate");
    assert_eq!(send(&gateway, 6), [200; 6]);
}

#[test]
fn an_endpoint_that_never_answers_is_ejected() {
    let silent = Recorder::with(|_| vec![Step::AwaitClose]);
    let well = Endpoint::start();
    let upstream = "timeouts: { response: 50ms }, outlier: { base_ejection: 1h, consecutive_failures: 2 }";
    let gateway = start(&[silent.address(), well.address()], upstream);
    let statuses = send(&gateway, 4);
    assert_eq!(statuses.iter().filter(|status| **status == 504).count(), 2, "{statuses:?}");
    wait_until(&gateway, 0, "endpoint ejected", silent.address());
    assert_eq!(send(&gateway, 4), [200; 4]);
}

#[test]
fn nobody_is_ejected_where_that_is_off() {
    let (sick, well) = (Endpoint::start(), Endpoint::start());
    sick.requests.store(503, Ordering::SeqCst);
    let gateway = start(&[sick.address(), well.address()], "outlier: off");
    send(&gateway, 40);
    assert_eq!((sick.served(), well.served()), (20, 20));
}

#[test]
fn an_endpoint_that_drains_finishes_its_requests_and_gets_no_more() {
    let gate = Gate::new();
    let held = gate.clone();
    let leaving = Recorder::with(move |_| {
        let answer = Step::Send(response("200 OK", &[], "finished"));
        vec![Step::AwaitRequest, Step::AwaitGate(held.clone()), answer]
    });
    let staying = Endpoint::start();
    let gateway = start(&[leaving.address()], "");
    let mut slow = RawClient::connect(gateway.address(0));
    slow.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    leaving.wait_for_target("/slow");

    let drained = format!("{{ address: \"{}\", drain: true }}, \"{}\"", leaving.address(), staying.address());
    gateway.rewrite_config(&config(&drained, ""));
    reload(&gateway, is_reloaded);
    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!((leaving.requests().len(), staying.served()), (1, 10));
    let state = endpoint(&gateway, leaving.address());
    assert_eq!((&state["state"], &state["requests_in_flight"]), (&"draining".into(), &1.into()));

    gate.open();
    let answer = slow.read_response("GET").expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "finished"));
    leaving.wait_until_all_ended();
}

#[test]
fn the_others_keep_their_connections_while_one_drains() {
    let (leaving, staying) = (Endpoint::start(), Endpoint::start());
    let both = config_of(&[leaving.address(), staying.address()], "");
    let drained = both.replacen(
        &format!("\"{}\"", leaving.address()),
        &format!("{{ address: \"{}\", drain: true }}", leaving.address()),
        1,
    );
    let gateway = Gateway::start(BINARY, &both);
    send(&gateway, 2);
    gateway.rewrite_config(&drained);
    reload(&gateway, is_reloaded);
    leaving.recorder.wait_until_all_ended();
    send(&gateway, 2);
    gateway.rewrite_config(&both);
    reload(&gateway, is_reloaded);
    send(&gateway, 2);
    assert_eq!((leaving.recorder.connections(), staying.recorder.connections()), (2, 1));
}

#[test]
fn an_endpoint_that_drains_gets_nothing_even_when_the_others_fail() {
    let (leaving, nobody) = (Endpoint::start(), RefusingPort::reserve());
    let endpoints = format!("{{ address: \"{}\", drain: true }}, \"{}\"", leaving.address(), nobody.address());
    let gateway = Gateway::start(BINARY, &config(&endpoints, ""));
    assert_eq!(send(&gateway, 5), [502; 5]);
    assert_eq!(leaving.served(), 0);
}

#[test]
fn what_is_known_of_an_endpoint_outlives_a_reload() {
    let [sick, well, new] = [Endpoint::start(), Endpoint::start(), Endpoint::start()];
    sick.requests.store(503, Ordering::SeqCst);
    let outlier = "outlier: { base_ejection: 1h }";
    let gateway = start(&[sick.address(), well.address()], outlier);
    send(&gateway, 10);
    wait_until(&gateway, 0, "endpoint ejected", sick.address());
    let before = endpoint(&gateway, sick.address());

    let changed = format!("{outlier}, balance: least_requests");
    gateway.rewrite_config(&config_of(&[new.address(), sick.address(), well.address()], &changed));
    reload(&gateway, is_reloaded);
    let after = endpoint(&gateway, sick.address());
    for key in ["state", "since", "ejections", "failed"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(send(&gateway, 10), [200; 10]);
    assert_eq!(sick.served(), 5);

    gateway.rewrite_config(&config_of(&[sick.address(), well.address()], "outlier: off"));
    let from = gateway.log_length();
    reload(&gateway, is_reloaded);
    wait_until(&gateway, from, "endpoint returned", sick.address());
}

#[test]
fn probes_of_an_endpoint_that_is_gone_end() {
    let (gone, stays) = (Endpoint::start(), Endpoint::start());
    let gateway = start(&[gone.address(), stays.address()], CHECK);
    gone.recorder.wait_for_requests(2);
    gateway.rewrite_config(&config_of(&[stays.address()], CHECK));
    reload(&gateway, is_reloaded);
    // Whoever stays is probed a few times more; by then the probe that was under way has ended, too.
    let probes = stays.recorder.requests().len();
    stays.recorder.wait_for_requests(probes + 3);
    let last = gone.recorder.requests().len();
    stays.recorder.wait_for_requests(probes + 8);
    assert_eq!(gone.recorder.requests().len(), last);
}
