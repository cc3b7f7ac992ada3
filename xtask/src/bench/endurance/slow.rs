//! `cargo xtask bench slow`: what an honest client notices of a crowd that is slow on purpose.
//!
//! Calm and crowded spells take turns, so that a machine that slows down does so in both.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::client::Client;
use super::hostile::{Crowd, Ended, Kind, Target};
use super::options::{Number, parse};
use super::{Rig, allow_connections};
use crate::Outcome;

/// How much slower the 99th percentile may become.
const BAR: f64 = 2.0;

/// Every so many requests on the kept connection, one is made on a new one.
const KEPT_PER_NEW: usize = 10;

const OPTIONS: &[Number] = &[
    ("--clients", 2000, "hostile connections at a time"),
    ("--rounds", 5, "rounds of a calm and a crowded spell each"),
    ("--seconds", 4, "length of a spell"),
];

/// Times of honest requests in one spell.
#[derive(Default)]
struct Times {
    /// On a connection that is kept.
    kept: Vec<Duration>,
    /// On a new connection each, with the time to connect.
    new: Vec<Duration>,
}

pub(in super::super) fn run(words: &[String]) -> Outcome {
    let Some(options) = parse("slow", OPTIONS, words)? else { return Ok(()) };
    let [clients, rounds, seconds] = options.numbers[..] else { return Err("three numbers".into()) };
    // The service is in this process too, with a connection for every request that does not end.
    allow_connections(2 * clients)?;
    let rig = Rig::start(&options.program, "slow.yaml")?;
    let spell = Duration::from_secs(seconds);
    let target = Target { http: rig.ports.http, https: rig.ports.https };
    println!("| round | spell | kept p50 µs | kept p99 µs | new p50 µs | new p99 µs | requests | core % |");
    println!("|---:|---|---:|---:|---:|---:|---:|---:|");
    let mut ratios = Vec::new();
    let mut ended = BTreeMap::<Kind, Ended>::new();
    for round in 1..=rounds {
        let calm = rig.spell(round, "calm", spell)?;
        let crowd = Crowd::send(target, usize::try_from(clients)?);
        // Those that were ended come back within a turn; nearly all are there at any time.
        rig.wait_for_open(|open| open >= clients * 9 / 10)?;
        let crowded = rig.spell(round, "crowded", spell)?;
        for (kind, of_round) in crowd.wait_for_end()? {
            let account = ended.entry(kind).or_default();
            account.count += of_round.count;
            account.longest = account.longest.max(of_round.longest);
        }
        rig.wait_for_open(|open| open == 0)?;
        ratios.push(
            [(&crowded.kept, &calm.kept), (&crowded.new, &calm.new)]
                .map(|(with, without)| percentile(with, 99).as_secs_f64() / percentile(without, 99).as_secs_f64()),
        );
    }
    report(&ratios, &ended);
    Ok(())
}

impl Rig {
    /// Honest requests for some time, one after another.
    fn spell(&self, round: u64, name: &str, time: Duration) -> Outcome<Times> {
        let cpu = self.gateway.cpu();
        let begun = Instant::now();
        let mut times = Times::default();
        let mut kept = Client::connect(self.ports.http)?;
        while begun.elapsed() < time {
            for _ in 0..KEPT_PER_NEW {
                let asked = Instant::now();
                kept.exchange("/")?;
                times.kept.push(asked.elapsed());
            }
            let asked = Instant::now();
            Client::connect(self.ports.http)?.exchange("/")?;
            times.new.push(asked.elapsed());
        }
        let core = 100.0 * (self.gateway.cpu() - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
        times.kept.sort_unstable();
        times.new.sort_unstable();
        let [a, b, c, d] = [(&times.kept, 50), (&times.kept, 99), (&times.new, 50), (&times.new, 99)]
            .map(|(times, rank)| percentile(times, rank).as_micros());
        let count = times.kept.len() + times.new.len();
        println!("| {round} | {name} | {a} | {b} | {c} | {d} | {count} | {core:.0} |");
        Ok(times)
    }
}

fn report(ratios: &[[f64; 2]], ended: &BTreeMap<Kind, Ended>) {
    for (place, what) in ["kept connection", "new connections"].into_iter().enumerate() {
        let mut ratios: Vec<f64> = ratios.iter().map(|round| round[place]).collect();
        ratios.sort_by(f64::total_cmp);
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        let middle = ratios[ratios.len() / 2];
        println!("{what}: p99 crowded over calm {middle:.2} ({low:.2} to {high:.2}), bar {BAR}");
    }
    println!("\nhostile connections, all ended by the gateway:");
    for (kind, Ended { count, longest }) in ended {
        println!(
            "  {:<10} {count:>7}, the longest after {:.1} s",
            format!("{kind:?}").to_lowercase(),
            longest.as_secs_f64()
        );
    }
}

/// Of times in order; there is at least one.
pub(super) fn percentile(sorted: &[Duration], rank: usize) -> Duration {
    sorted[(sorted.len() * rank / 100).min(sorted.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!([50, 99].map(|rank| percentile(&times, rank)), [51, 100].map(Duration::from_millis));
        assert_eq!(percentile(&times[..1], 99), Duration::from_millis(1));
    }
}
