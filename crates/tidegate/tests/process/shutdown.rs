//! The end of the process: readiness first, then requests in flight, then nothing.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;
use tidegate_testkit::PATIENCE;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::recorder::{Recorder, Step};

use crate::reload::admin;
use crate::rig::BINARY;

fn config(recorder: &Recorder, more: &str) -> String {
    let upstream = recorder.address();
    format!(
        "log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
         upstreams: {{ app: {{ endpoints: [ \"{upstream}\" ] }} }}\n\
         routes: [ {{ name: all, match: {{ prefix: / }}, upstream: app }} ]\n\
         {more}\n"
    )
}

/// A request that waits at its upstream for the gate.
fn begin(gateway: &Gateway, recorder: &Recorder, target: &str, gate: &Gate) -> RawClient {
    recorder.on(target, vec![Step::AwaitGate(gate.clone()), Step::AwaitRequest, Step::Answer]);
    let mut client = RawClient::connect(gateway.address(0));
    client.send(format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n\r\n"));
    recorder.wait_for_target(target);
    client
}

fn ask_to_end(gateway: &Gateway) {
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("the beginning of the end", |line| line.says("shutting down"));
}

#[test]
fn readiness_is_lowered_before_anything_else_and_a_second_signal_ends_it_all() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(BINARY, &config(&recorder, "shutdown: { readiness_delay: 1h }"));
    assert_eq!(admin(&gateway, "/readyz").0, 200);
    ask_to_end(&gateway);
    let (status, text) = admin(&gateway, "/readyz");
    assert_eq!((status, text.contains("draining")), (503, true), "{text}");
    assert_eq!(admin(&gateway, "/livez").0, 200);
    let answer = RawClient::connect(gateway.address(0)).get("/meanwhile");
    assert_eq!(answer.json()["target"], "/meanwhile", "load balancers have not noticed yet");
    let ended = gateway.terminate();
    assert!(ended.status.success() && ended.log.contains("shut down at once"), "{}", ended.log);
}

#[test]
fn requests_in_flight_are_finished() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(BINARY, &config(&recorder, "access_log: { to: access.log }"));
    let gate = Gate::new();
    let mut in_flight = begin(&gateway, &recorder, "/long", &gate);
    let mut idle = RawClient::connect(gateway.address(0));
    assert_eq!(idle.get("/idle").status, 200);
    ask_to_end(&gateway);
    wait_until_refused(gateway.address(0));
    assert_eq!(admin(&gateway, "/readyz").0, 503);
    gate.open();
    let answer = in_flight.read_response("GET").expect("the answer is finished");
    assert!(answer.is_complete());
    assert_eq!(answer.json()["target"], "/long");
    assert_eq!(answer.fields.first("connection"), Some("close"));
    assert_eq!(idle.read_to_end().0, b"", "an idle connection is closed");
    let log = gateway.folder().join("access.log");
    assert!(gateway.wait_for_exit().success());
    let lines = std::fs::read_to_string(&log).expect("it is there");
    assert!(lines.contains("\"path\":\"/long\""), "the last records are written: {lines}");
}

/// Connects until nobody accepts; each attempt is what makes time pass.
pub(crate) fn wait_until_refused(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "new connections are still accepted");
    }
}

#[test]
fn the_drain_is_bounded() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(BINARY, &config(&recorder, "shutdown: { drain: 100ms }"));
    let gate = Gate::new();
    let mut stuck = begin(&gateway, &recorder, "/stuck", &gate);
    let ended = gateway.terminate();
    assert!(ended.status.success() && ended.log.contains("still open at the end of the drain"), "{}", ended.log);
    assert!(stuck.read_response("GET").is_err(), "nothing that looks complete");
    gate.open();
}

#[test]
fn an_interrupt_ends_the_process_too() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(BINARY, &config(&recorder, ""));
    gateway.signal(Signal::INT);
    assert!(gateway.wait_for_exit().success());
}

#[test]
fn the_access_log_can_be_rotated() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(BINARY, &config(&recorder, "access_log: { to: access.log }"));
    let (log, rotated) = (gateway.folder().join("access.log"), gateway.folder().join("access.log.1"));
    ask_until_logged(&gateway, "/before", &log);
    std::fs::rename(&log, &rotated).expect("writable");
    gateway.signal(Signal::USR1);
    ask_until_logged(&gateway, "/after", &log);
    let lines = std::fs::read_to_string(&rotated).expect("it is there");
    assert!(lines.contains("/before"), "{lines}");
}

/// Asks for `target` until `log` has it; requests are what makes time pass.
fn ask_until_logged(gateway: &Gateway, target: &str, log: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(log).is_ok_and(|lines| lines.contains(target)) {
        assert!(Instant::now() < deadline, "{target} is not logged");
        assert_eq!(RawClient::connect(gateway.address(0)).get(target).status, 200);
    }
}

#[test]
fn a_start_that_fails_says_why_by_its_status_and_in_words() {
    let recorder = Recorder::start();
    let invalid = Gateway::fail_to_start(BINARY, "listeners: []\nbogus: 1\n");
    assert_eq!(invalid.status.code(), Some(1));
    assert!(invalid.log.contains("unknown key `bogus`") && invalid.log.contains("gateway.yaml:2:1"), "{}", invalid.log);

    let taken = recorder.address();
    for (name, config) in [
        (
            "listen",
            config(&recorder, "")
                .replace("listeners: [ { address: \"127.0.0.1:0\"", &format!("listeners: [ {{ address: \"{taken}\"")),
        ),
        (
            "admin",
            config(&recorder, "")
                .replace("admin: { address: \"127.0.0.1:0\"", &format!("admin: {{ address: \"{taken}\"")),
        ),
    ] {
        let ended = Gateway::fail_to_start(BINARY, &config);
        assert_eq!(ended.status.code(), Some(3), "{}", ended.log);
        assert!(ended.log.contains(name) && ended.log.contains(&taken.to_string()), "{}", ended.log);
        assert!(ended.log.contains("Address already in use"), "{}", ended.log);
    }
}
