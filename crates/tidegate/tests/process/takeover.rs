//! A new process in the place of the old one, by SIGUSR2: nothing is lost, and if it fails nothing has happened.

use std::os::unix::fs::symlink;
use std::time::Instant;

use rustix::process::Signal;
use tidegate_testkit::PATIENCE;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::{Gateway, folder, signal_process};
use tidegate_testkit::log::LogLine;
use tidegate_testkit::recorder::{Recorder, Step};

use crate::load::Service;
use crate::reload::{admin, count};
use crate::rig::BINARY;

/// Take-overs under load; `TIDEGATE_TEST_TAKEOVERS` says otherwise.
const TAKEOVERS: usize = 3;

fn config(upstream: std::net::SocketAddr, more: &str) -> String {
    format!(
        "log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         upstreams: {{ app: {{ endpoints: [ \"{upstream}\" ] }} }}\n\
         routes: [ {{ name: all, match: {{ prefix: / }}, upstream: app }} ]\n\
         {more}\n"
    )
}

const LISTENERS: &str = "listeners: [ { address: \"127.0.0.1:0\" } ]";

/// Replaces the process `old`, and returns the new one once it serves.
fn replace(gateway: &Gateway, old: u32) -> u32 {
    let before = gateway.log_length();
    signal_process(old, Signal::USR2);
    let line = gateway.wait_for_log_after(before, "a replacement", |line| line.says("replaced"));
    let successor = line.text_of("successor").expect("its process id").parse().expect("a number");
    gateway.wait_for_log_after(before, "the replacement", |line| {
        line.says("ready") && line.text_of("pid") == Some(u32::to_string(&successor))
    });
    assert_ne!(successor, old);
    successor
}

/// As [`replace`], and waits for the end of the old process, which has nothing left to do.
fn replace_idle(gateway: &Gateway, old: u32) -> u32 {
    let before = gateway.log_length();
    let successor = replace(gateway, old);
    gateway.wait_for_log_after(before, "the end of the old process", |line| line.says("shut down"));
    successor
}

fn served(gateway: &Gateway, target: &str) {
    let answer = RawClient::connect(gateway.address(0)).get(target);
    assert!(answer.status == 200 && answer.is_complete(), "{answer:?}");
    assert_eq!(answer.json()["target"], target);
}

/// Asks for a replacement that cannot succeed, and returns why it did not.
fn fail_to_replace(gateway: &Gateway) -> String {
    let before = gateway.log_length();
    gateway.signal(Signal::USR2);
    let failed = |line: &LogLine| line.says("replacement failed, this process goes on");
    gateway.wait_for_log_after(before, "the failure", failed).text_of("error").expect("why")
}

/// Ends the last process in the row, and checks that the first has ended well too.
fn conclude(gateway: Gateway, last: u32) {
    signal_process(last, Signal::TERM);
    let ended = gateway.wait_for_end();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}\n{}", ended.status, ended.log);
}

#[test]
fn takeovers_under_load_lose_nothing() {
    let service = Service::start();
    let gateway = Gateway::start(BINARY, &config(service.address(), LISTENERS));
    let mut load = service.load(gateway.address(0));
    load.wait_until_busy();
    let mut process = gateway.pid();
    for _ in 0..count("TIDEGATE_TEST_TAKEOVERS", TAKEOVERS) {
        process = replace(&gateway, process);
        assert_eq!(admin(&gateway, "/readyz").0, 200);
        load.next_round();
    }
    load.stop();
    assert!(gateway.wait_for_exit().success(), "{}", gateway.log());
    conclude(gateway, process);
}

#[test]
fn a_replacement_that_fails_leaves_the_old_process_serving() {
    let recorder = Recorder::start();
    let good = config(recorder.address(), &format!("workers: 1\n{LISTENERS}\nreload: {{ watch: false }}"));
    let gateway = Gateway::start(BINARY, &good);
    let gate = Gate::new();
    recorder.on("/long", vec![Step::AwaitGate(gate.clone()), Step::AwaitRequest, Step::Answer]);
    let mut long = RawClient::connect(gateway.address(0));
    long.send("GET /long HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    recorder.wait_for_target("/long");
    let descriptors = gateway.descriptors();

    let taken = recorder.address();
    let busy = format!("listeners: [ {{ address: \"127.0.0.1:0\" }}, {{ address: \"{taken}\" }} ]");
    for (bad, status) in [("bogus: 1".to_owned(), 1), (busy, 3)] {
        gateway.rewrite_config(&config(recorder.address(), &bad));
        let error = fail_to_replace(&gateway);
        assert_eq!(error, format!("it ended before it was ready (exit status: {status})"));
        served(&gateway, "/still");
        assert_eq!(admin(&gateway, "/readyz").0, 200);
    }
    gate.open();
    let answer = long.read_response("GET").expect("an answer");
    assert_eq!(answer.json()["target"], "/long");
    drop(long);
    served(&gateway, "/after");
    assert!(gateway.descriptors() <= descriptors + 2, "descriptors are left behind");

    gateway.rewrite_config(&good);
    let successor = replace(&gateway, gateway.pid());
    served(&gateway, "/successor");
    conclude(gateway, successor);
}

#[test]
fn a_successor_may_have_another_configuration() {
    let recorder = Recorder::start();
    let two = "listeners: [ { address: \"127.0.0.1:0\" }, { address: \"127.0.0.2:0\" } ]\nreload: { watch: false }";
    let gateway = Gateway::start(BINARY, &config(recorder.address(), &format!("workers: 2\n{two}")));
    let gone = gateway.address(1);
    drop(RawClient::connect(gone));
    let mut process = gateway.pid();
    for (workers, listeners) in [(1, two), (3, LISTENERS)] {
        gateway.rewrite_config(&config(recorder.address(), &format!("workers: {workers}\n{listeners}")));
        process = replace_idle(&gateway, process);
        // Enough connections that every socket of the group gets some.
        for number in 0..50 {
            served(&gateway, &format!("/{workers}/{number}"));
        }
    }
    assert!(std::net::TcpStream::connect(gone).is_err(), "the removed listener still accepts");
    conclude(gateway, process);
}

#[test]
fn nothing_is_left_behind_from_process_to_process() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(BINARY, &config(recorder.address(), &format!("workers: 1\n{LISTENERS}")));
    let descriptors = |process| {
        // The worker has all that it needs once it has answered.
        served(&gateway, "/");
        std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count()
    };
    let mut process = replace_idle(&gateway, gateway.pid());
    let before = descriptors(process);
    for _ in 0..3 {
        process = replace_idle(&gateway, process);
    }
    // Connections that have just ended are noticed soon; requests are what makes time pass.
    let deadline = Instant::now() + PATIENCE;
    while descriptors(process) > before {
        assert!(Instant::now() < deadline, "{} descriptors instead of {before}", descriptors(process));
    }
    conclude(gateway, process);
}

#[test]
fn a_link_to_a_newer_program_is_followed() {
    let recorder = Recorder::start();
    let place = folder();
    let program = place.path().join("tidegate");
    symlink(BINARY, &program).expect("writable");
    let gateway =
        Gateway::start_in(program.to_str().expect("a plain path"), place, &config(recorder.address(), LISTENERS));
    std::fs::remove_file(&program).expect("it is there");
    assert_eq!(fail_to_replace(&gateway), format!("{}: No such file or directory (os error 2)", program.display()));
    symlink("/bin/false", &program).expect("writable");
    assert_eq!(fail_to_replace(&gateway), "it ended before it was ready (exit status: 1)");
    served(&gateway, "/still");
}
