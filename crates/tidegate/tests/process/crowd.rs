//! More clients than are good for a gateway: slow ones by the hundred, and more than there are places or files for.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tidegate_testkit::PATIENCE;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::recorder::{Recorder, Step};

use crate::rig::{Options, Rig, check_echo};

/// Clients of a crowd.
const CROWD: usize = 200;

/// Bytes of an answer that no client here reads to its end.
const LARGE: usize = 1 << 30;

const TIMEOUTS: &str =
    "timeouts: { head: 1s, keep_alive: 1s, body: 1s, linger: 300ms, body_rate: { minimum: 1MiB, grace: 1s } }";

/// What clients of each slow kind say at once, and what they say again and again.
const KINDS: [(&str, &str); 6] = [
    ("", ""),
    ("GET /idle HTTP/1.1\r\nHost: honest.test\r\n\r\n", ""),
    ("GET /cut HTTP/1.1\r\nHost: honest.test\r\nX-Slow: ", "x"),
    ("POST /cut HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 1000000\r\n\r\n", "x"),
    ("POST /cut HTTP/1.1\r\nHost: honest.test\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
    ("GET /large HTTP/1.1\r\nHost: honest.test\r\n\r\n", ""),
];

#[test]
fn a_crowd_of_slow_clients_is_ended_and_others_are_served() {
    let rig = Rig::with(Recorder::start(), &Options { listener: TIMEOUTS, ..Options::default() });
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").into_bytes();
    let piece = vec![b'x'; 64 * 1024];
    rig.recorder.on("/large", vec![Step::AwaitRequest, Step::Send(head), Step::Repeat(piece, LARGE / (64 * 1024))]);
    let mut crowd: Vec<(RawClient, &str)> = KINDS.iter().cycle().take(CROWD).map(|kind| join(&rig, kind)).collect();
    drip(&rig, &mut crowd);
    for (client, _) in &mut crowd {
        let (said, _) = client.read_to_end();
        let (timed_out, cut) = (said.starts_with(b"HTTP/1.1 408 "), said.len() < LARGE);
        let answered = said.starts_with(b"HTTP/1.1 200 ") && cut;
        assert!(said.is_empty() || timed_out || answered, "{}", tidegate_testkit::shown(&said));
    }
    wait_for_open(&rig.gateway, |open| open == 0);
    rig.conclude();
}

fn join(rig: &Rig, (begin, drip): &(&str, &'static str)) -> (RawClient, &'static str) {
    let mut client = rig.connect();
    client.shrink_receive_buffer();
    client.send(begin);
    (client, drip)
}

/// Lets those that drip do so between honest requests, until the gateway has ended them all.
fn drip(rig: &Rig, crowd: &mut [(RawClient, &str)]) {
    let deadline = Instant::now() + PATIENCE;
    let mut dripping: Vec<_> = crowd.iter_mut().filter(|(_, drip)| !drip.is_empty()).collect();
    while !dripping.is_empty() {
        dripping.retain_mut(|(client, drip)| client.send(drip.as_bytes()));
        rig.probe("/honest");
        assert!(Instant::now() < deadline, "{} slow connections are still open", dripping.len());
    }
}

#[test]
fn idle_clients_give_way_where_all_places_are_taken() {
    let recorder = Recorder::start();
    let gate = Gate::new();
    recorder.on("/busy", vec![Step::AwaitRequest, Step::AwaitGate(gate.clone()), Step::Answer]);
    let rig = Rig::with(recorder, &Options { listener: "limits: { connections: 50 }", ..Options::default() });
    let mut busy = rig.connect();
    busy.send("GET /busy HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    rig.recorder.wait_for_target("/busy");
    let idle: Vec<RawClient> = (0..49)
        .map(|number| {
            let mut client = rig.connect();
            // Some have asked, and some have only come.
            if number % 2 == 0 {
                check_echo(&client.get("/idle"), "/idle");
            }
            client
        })
        .collect();
    wait_for_open(&rig.gateway, |open| open == 50);
    rig.probe("/late");
    assert_eq!(metric(&rig.gateway, "tidegate_listener_delayed_connections_total"), 1);
    gate.open();
    check_echo(&busy.read_response("GET").expect("those who are served are not asked to go"), "/busy");
    drop((idle, busy));
    wait_for_open(&rig.gateway, |open| open == 0);
    rig.conclude();
}

#[test]
fn a_gateway_without_files_neither_ends_nor_spins_and_recovers() {
    let rig = Rig::start();
    rig.probe("/before");
    limit_files(&rig.gateway, 64);
    let (since, cpu) = (Instant::now(), cpu_time(&rig.gateway));
    let mut crowd: Vec<RawClient> = (0..CROWD).map(|_| rig.connect()).collect();
    for client in &mut crowd {
        client.send("GET /many HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    }
    // They rest then, and are asked to go, so that all have their turn.
    for client in &mut crowd {
        let answer = client.read_response("GET").expect("an answer");
        // There may have been a file for the client and none for the upstream.
        assert!(matches!(answer.status, 200 | 502) && answer.is_complete(), "{answer:?}");
    }
    let (elapsed, used) = (since.elapsed(), cpu_time(&rig.gateway) - cpu);
    assert!(used < elapsed / 2, "{used:?} of processor time in {elapsed:?}");
    drop(crowd);
    wait_for_open(&rig.gateway, |open| open == 0);
    for _ in 0..10 {
        rig.probe("/after");
    }
    assert!(rig.gateway.log().contains("cannot accept"), "the files sufficed, and nothing was tested");
    rig.conclude();
}

fn limit_files(gateway: &Gateway, most: u64) {
    let process = i32::try_from(gateway.pid()).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    prlimit(process, Resource::Nofile, limit).expect("a process of ours");
}

/// The processor time of all threads of the process (proc_pid_stat(5), fields 14 and 15).
fn cpu_time(gateway: &Gateway) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).expect("the process runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a number"));
    // USER_HZ, which has been 100 on every architecture for long.
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// Waits until so many client connections are open.
fn wait_for_open(gateway: &Gateway, is_it: impl Fn(u64) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let open = metric(gateway, "tidegate_listener_open_connections");
        if is_it(open) {
            return;
        }
        assert!(Instant::now() < deadline, "{open} connections are open");
    }
}

/// The sum of a metric over its labels.
fn metric(gateway: &Gateway, name: &str) -> u64 {
    let mut admin = RawClient::connect(gateway.admin_address());
    let page = admin.exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = page.text();
    let samples = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    samples.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a count")).sum()
}
