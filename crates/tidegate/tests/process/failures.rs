//! Upstreams that fail: one sick endpoint of three, then all of them. What clients and upstreams noticed is counted,
//! asserted, and printed as a table.
//!
//! Everything is counted in requests, not in seconds. `cargo xtask bench failures` does the same against the clock.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tidegate_testkit::PATIENCE;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::port::RefusingPort;
use tidegate_testkit::recorder::{Recorder, Step, response};

use crate::rig::BINARY;

/// Clients at work at a time, each on a connection that it keeps.
const CLIENTS: usize = 8;

/// Requests of each.
const REQUESTS: usize = 250;

/// What a flapping endpoint answers in one way before it changes its mind.
const FLAP: usize = 40;

/// What the retry of an upstream may do by default beyond its share: 3 a second, saved for 10 seconds.
const FLOOR: usize = 30;

/// How an endpoint is ill.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sickness {
    Dead,
    Slow,
    Flapping,
    Answering503,
    Resetting,
}

const SICKNESSES: [Sickness; 5] =
    [Sickness::Dead, Sickness::Slow, Sickness::Flapping, Sickness::Answering503, Sickness::Resetting];

/// What stands around requests: a name, and further keys of the upstream.
type Protection = (&'static str, &'static str);

/// As [`LISTED`], with a breaker that a test can wait for.
const BRIEF: Protection = (
    "listed",
    "protect: [ { timeout: { total: 2s, attempt: 250ms } }, { retry: { attempts: 3 } }, \
     { circuit_breaker: { failure_rate: 50%, min_calls: 20, consecutive_failures: 5, open_for: 500ms } }, \
     { bulkhead: { max_concurrent: 64, queue: 16, max_wait: 100ms } } ]",
);

/// Nothing is written but how long an answer may take, which is a minute otherwise.
const DEFAULT: Protection = ("default", "timeouts: { response: 250ms }");

const LISTED: Protection = (
    "listed",
    "protect: [ { timeout: { total: 2s, attempt: 250ms } }, { retry: { attempts: 3 } }, \
     { circuit_breaker: { failure_rate: 50%, min_calls: 20, consecutive_failures: 5, open_for: 60s } }, \
     { bulkhead: { max_concurrent: 64, queue: 16, max_wait: 100ms } } ]",
);

/// An endpoint that refuses, or one that follows a script.
enum Endpoint {
    Refusing(RefusingPort),
    Scripted(Recorder),
}

impl Endpoint {
    fn well() -> Self {
        Self::Scripted(Recorder::with(|_| good()))
    }

    fn sick(sickness: Sickness) -> Self {
        let asked = AtomicUsize::new(0);
        let script = move || {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            match sickness {
                Sickness::Slow => vec![Step::AwaitClose],
                Sickness::Resetting => vec![Step::AwaitRequest, Step::Reset],
                Sickness::Flapping if number / FLAP % 2 == 1 => bad(),
                Sickness::Answering503 if scattered(number) % 10 < 3 => bad(),
                _ => good(),
            }
        };
        match sickness {
            Sickness::Dead => Self::Refusing(RefusingPort::reserve()),
            _ => Self::Scripted(Recorder::with(move |_| script())),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Refusing(port) => port.address(),
            Self::Scripted(recorder) => recorder.address(),
        }
    }

    /// One that is well, until it is ill like the others.
    fn switched(sickness: Sickness, ill: &Arc<AtomicBool>) -> Self {
        let ill = Arc::clone(ill);
        Self::Scripted(Recorder::with(move |_| match ill.load(Ordering::SeqCst) {
            true if sickness == Sickness::Resetting => vec![Step::AwaitRequest, Step::Reset],
            true => bad(),
            false => good(),
        }))
    }

    /// The targets of the requests that came.
    fn asked(&self) -> Vec<String> {
        match self {
            Self::Refusing(_) => Vec::new(),
            Self::Scripted(recorder) => recorder.requests().into_iter().map(|seen| seen.target).collect(),
        }
    }
}

/// What came to the endpoints.
struct Asked {
    /// At each endpoint.
    each: Vec<usize>,
    /// Requests that came somewhere, each once.
    originals: usize,
}

impl Asked {
    fn of(endpoints: &[Endpoint]) -> Self {
        let targets: Vec<_> = endpoints.iter().map(Endpoint::asked).collect();
        let originals: HashSet<_> = targets.iter().flatten().collect();
        Self { each: targets.iter().map(Vec::len).collect(), originals: originals.len() }
    }

    fn repeated(&self) -> usize {
        self.each.iter().sum::<usize>() - self.originals
    }
}

fn good() -> Vec<Step> {
    vec![Step::AwaitRequest, Step::Send(response("200 OK", &[], "well"))]
}

fn bad() -> Vec<Step> {
    vec![Step::AwaitRequest, Step::Send(response("503 Service Unavailable", &[], "sick"))]
}

/// Numbers as if by chance, the same in every run: the finaliser of SplitMix64.
fn scattered(number: usize) -> u64 {
    let mut mixed = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn config(endpoints: &[Endpoint], upstream: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|endpoint| format!("\"{}\"", endpoint.address())).collect();
    format!(
        "workers: 2\n\
         log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         shutdown: {{ drain: 200ms }}\n\
         reload: {{ watch: false }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
         upstreams: {{ app: {{ endpoints: [ {} ], {upstream} }} }}\n\
         routes: [ {{ name: all, match: {{ prefix: / }}, upstream: app }} ]\n",
        endpoints.join(", ")
    )
}

fn end(gateway: Gateway) {
    let ended = gateway.terminate();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}

/// Sends so many requests on a connection that is kept, and counts those that were answered well.
fn succeed(address: SocketAddr, name: &str, requests: usize) -> usize {
    let mut client = RawClient::connect(address);
    (0..requests).filter(|number| client.get(&format!("/{name}/{number}")).status == 200).count()
}

/// All clients at once. What they do has a name, which nothing else has that the same endpoints see.
fn crowd(address: SocketAddr, name: &str) -> usize {
    let client = |number| {
        let name = format!("{name}-{number}");
        std::thread::spawn(move || succeed(address, &name, REQUESTS))
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    clients.into_iter().map(|client| client.join().expect("every request is answered")).sum()
}

#[test]
fn clients_do_not_notice_one_sick_endpoint_of_three() {
    let sent = CLIENTS * REQUESTS;
    println!("| endpoint | protection | success % | retries % | at each endpoint, the sick one first |");
    println!("|---|---|---:|---:|---|");
    let mut misses = Vec::new();
    for sickness in SICKNESSES {
        for (name, upstream) in [DEFAULT, LISTED] {
            let endpoints = [Endpoint::sick(sickness), Endpoint::well(), Endpoint::well()];
            let gateway = Gateway::start(BINARY, &config(&endpoints, upstream));
            let succeeded = crowd(gateway.address(0), "crowd");
            let asked = Asked::of(&endpoints);
            let (share, retries) = (percent(succeeded, sent), percent(asked.repeated(), sent));
            let row = format!("| {sickness:?} | {name} | {share} | {retries} | {:?} |", asked.each);
            println!("{row}");
            if succeeded * 1000 < sent * 999 || asked.repeated() * 10 > sent + 10 * FLOOR {
                misses.push(row);
            }
            end(gateway);
        }
    }
    assert!(misses.is_empty(), "{misses:#?}");
}

#[test]
fn an_outage_is_not_made_worse_and_ends_when_it_ends() {
    let sent = CLIENTS * REQUESTS;
    println!("| outage | protection | success % | reached an endpoint % | retries % | success after it % |");
    println!("|---|---|---:|---:|---:|---:|");
    for sickness in [Sickness::Answering503, Sickness::Resetting] {
        for (name, upstream) in [DEFAULT, BRIEF] {
            let ill = Arc::new(AtomicBool::new(true));
            let endpoints = [(); 3].map(|()| Endpoint::switched(sickness, &ill));
            let gateway = Gateway::start(BINARY, &config(&endpoints, upstream));
            let began = Instant::now();
            let succeeded = crowd(gateway.address(0), "during");
            let windows = usize::try_from(began.elapsed().as_secs()).expect("a short time") / 10 + 1;
            let asked = Asked::of(&endpoints);
            ill.store(false, Ordering::SeqCst);
            wait_until_well(&gateway);
            let after = crowd(gateway.address(0), "after");
            println!(
                "| {sickness:?} | {name} | {} | {} | {} | {} |",
                percent(succeeded, sent),
                percent(asked.originals, sent),
                percent(asked.repeated(), sent),
                percent(after, sent),
            );
            assert_eq!(succeeded, 0, "nobody can answer");
            assert!(asked.repeated() <= sent / 10 + windows * FLOOR, "{} retries", asked.repeated());
            assert!(after * 1000 >= sent * 999, "{after} of {sent}");
            if upstream == BRIEF.1 {
                assert!(asked.originals * 2 < sent, "{} reached endpoints past the breaker", asked.originals);
            }
            end(gateway);
        }
    }
}

/// Asks until a breaker that may be open has closed: after three successes, one after the other.
fn wait_until_well(gateway: &Gateway) {
    let mut client = RawClient::connect(gateway.address(0));
    let began = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 3 {
        assert!(began.elapsed() < PATIENCE, "the endpoints are well, and nobody is told");
        in_a_row = if client.get("/poll").status == 200 { in_a_row + 1 } else { 0 };
    }
}

fn percent(part: usize, whole: usize) -> String {
    #[expect(clippy::cast_precision_loss)]
    let share = 100.0 * part as f64 / whole as f64;
    format!("{share:.2}")
}
