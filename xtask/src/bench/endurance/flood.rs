//! `cargo xtask bench flood`: what an honest client notices of a flood of keys at limits by key, and what memory it takes.
//!
//! The measure is a flood at the same rate with one key, a quarter as long: only the keys differ. Calm spells and both
//! floods take turns, so that a machine that slows down does so in all.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread::{ScopedJoinHandle, scope, sleep};
use std::time::{Duration, Instant};

use super::Rig;
use super::client::Client;
use super::options::{Number, parse};
use super::slow::percentile;
use crate::Outcome;

/// How much slower the honest client may become by new keys.
const BAR: f64 = 1.1;

/// Connections of a flood.
const CONNECTIONS: u64 = 4;

/// Requests that a connection sends at once.
const BATCH: usize = 50;

/// Length of a spell without a flood.
const CALM: Duration = Duration::from_secs(2);

/// How long a flood waits for an answer.
const LOST: Duration = Duration::from_secs(10);

const OPTIONS: &[Number] = &[
    ("--keys", 10_000_000, "keys in all, none of them twice"),
    ("--rounds", 5, "rounds of a calm spell and both floods each"),
    ("--rate", 80_000, "requests of a flood per second"),
];

/// So many requests at a rate.
#[derive(Clone, Copy)]
struct Flood {
    keys: Keys,
    requests: u64,
    /// In a second.
    rate: u32,
}

/// Whose requests they are.
#[derive(Clone, Copy)]
enum Keys {
    One,
    /// A new one for each request, from this number on.
    From(u64),
}

/// What the honest client noticed in one spell.
struct Spell {
    p50: f64,
    p99: f64,
    /// Time of the gateway's threads for a request of the flood or the client, in microseconds.
    cpu: f64,
}

pub(in super::super) fn run(words: &[String]) -> Outcome {
    let Some(options) = parse("flood", OPTIONS, words)? else { return Ok(()) };
    let [keys, rounds, rate] = options.numbers[..] else { return Err("three numbers".into()) };
    let rig = Rig::start(&options.program, "flood.yaml")?;
    let (of_a_round, rate) = (keys / rounds.max(1), u32::try_from(rate.max(1))?);
    let flood = |keys, requests: u64| {
        let requests = requests.next_multiple_of(CONNECTIONS * BATCH as u64);
        Some(Flood { keys, requests, rate })
    };
    println!("| round | spell | flood requests/s | p50 µs | p99 µs | requests/s | CPU µs/request | resident KiB |");
    println!("|---:|---|---:|---:|---:|---:|---:|---:|");
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        rig.endure(round, "calm", None)?;
        let one = rig.endure(round, "one key", flood(Keys::One, of_a_round / 4))?;
        let many = rig.endure(round, "new keys", flood(Keys::From(round * keys), of_a_round))?;
        ratios.push([many.p50 / one.p50, many.p99 / one.p99, many.cpu / one.cpu]);
    }
    for (place, what) in ["p50", "p99", "CPU"].into_iter().enumerate() {
        let mut ratios: Vec<f64> = ratios.iter().map(|round| round[place]).collect();
        ratios.sort_by(f64::total_cmp);
        let Some((low, high)) = ratios.first().zip(ratios.last()) else { return Err("no rounds".into()) };
        println!("{what}, new keys over one key: {:.2} ({low:.2} to {high:.2}), bar {BAR}", ratios[ratios.len() / 2]);
    }
    println!("keys followed by both limits: {}", rig.metric("tidegate_keyed_rate_limiter_keys")?);
    println!("of at most: {}", rig.metric("tidegate_keyed_rate_limiter_max_keys")?);
    Ok(())
}

impl Rig {
    /// One spell, with a flood or without.
    fn endure(&self, round: u64, name: &str, flood: Option<Flood>) -> Outcome<Spell> {
        let (cpu, begun) = (self.gateway.cpu(), Instant::now());
        let mut times = match flood {
            None => self.honest(|| begun.elapsed() < CALM)?,
            Some(flood) => self.honest_beside(flood)?,
        };
        let took = begun.elapsed().as_secs_f64();
        let (flooded, honest) = (flood.map_or(0.0, |flood| flood.requests as f64), times.len() as f64);
        let cpu = (self.gateway.cpu() - cpu).as_secs_f64() * 1e6 / (flooded + honest);
        times.sort_unstable();
        let [p50, p99] = [50, 99].map(|rank| percentile(&times, rank).as_secs_f64() * 1e6);
        let resident = self.gateway.resident()? / 1024;
        let (flooded, honest) = (flooded / took, honest / took);
        println!("| {round} | {name} | {flooded:.0} | {p50:.0} | {p99:.0} | {honest:.0} | {cpu:.2} | {resident} |");
        Ok(Spell { p50, p99, cpu })
    }

    fn honest_beside(&self, flood: Flood) -> Outcome<Vec<Duration>> {
        scope(|scope| {
            let send = |place| scope.spawn(move || flood.send(self.ports.http, place));
            let connections: Vec<_> = (0..CONNECTIONS).map(send).collect();
            let times = self.honest(|| !connections.iter().any(ScopedJoinHandle::is_finished));
            for connection in connections {
                connection.join().map_err(|_| "the flood panicked")??;
            }
            Ok(times?)
        })
    }

    /// Times of a client with one key, that asks again as soon as it is answered.
    fn honest(&self, mut goes_on: impl FnMut() -> bool) -> io::Result<Vec<Duration>> {
        let mut client = Client::connect(self.ports.http)?;
        let (request, mut times) = (request("honest"), Vec::new());
        while times.is_empty() || goes_on() {
            let asked = Instant::now();
            client.say(&request)?;
            client.await_answer()?;
            times.push(asked.elapsed());
        }
        Ok(times)
    }
}

impl Flood {
    /// Sends the part of one connection, a batch at a time.
    fn send(self, port: u16, place: u64) -> io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOST))?;
        // All answers are as long as the first: they differ in their date only.
        let mut answers = vec![0; 64 * 1024];
        stream.write_all(request("flood").as_bytes())?;
        let length = stream.read(&mut answers)?;
        answers.resize(length * BATCH, 0);
        let interval = Duration::from_secs(CONNECTIONS * BATCH as u64) / self.rate;
        let share = self.requests / CONNECTIONS;
        let mut due = Instant::now();
        for first in (place * share..(place + 1) * share).step_by(BATCH) {
            sleep(due.saturating_duration_since(Instant::now()));
            due += interval;
            let batch: String = (first..first + BATCH as u64).map(|number| request(&self.keys.key(number))).collect();
            stream.write_all(batch.as_bytes())?;
            stream.read_exact(&mut answers)?;
            if !answers.chunks(length).all(|answer| answer.starts_with(b"HTTP/1.1 200 ")) {
                return Err(io::Error::other("the flood was not answered with 200"));
            }
        }
        Ok(())
    }
}

impl Keys {
    /// The key of a request; all keys are equally long.
    fn key(self, number: u64) -> String {
        match self {
            Self::One => format!("{:032x}", 0),
            Self::From(first) => format!("{:032x}", 1 + first + number),
        }
    }
}

fn request(key: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: bench.example.test\r\nX-Api-Key: {key}\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_comes_twice_but_the_one() {
        let keys: std::collections::BTreeSet<_> = (0..100).map(|number| Keys::From(200).key(number)).collect();
        assert_eq!(keys.len(), 100);
        assert!(!keys.contains(&Keys::One.key(0)) && keys.iter().all(|key| key.len() == Keys::One.key(7).len()));
        assert_eq!(Keys::One.key(1), Keys::One.key(2));
    }
}
