//! Time: contenders take turns, round by round.
//!
//! One thread is timed by the clock that runs only while it does, so that a turn is not longer because others had the
//! processor meanwhile. No operation sleeps; on a machine at rest this is the time on the wall. Several threads wait for
//! each other, and are timed by that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{hint, thread};

use rustix::time::{ClockId, clock_gettime};

use crate::contest::{Contender, Policy, Worker};

/// How long one operation of a contender takes, in nanoseconds; not a number where no turn counts.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The middle of all turns.
    pub median: f64,
    /// The quickest turn.
    pub least: f64,
}

/// How many turns each contender has, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// How many turns.
    pub rounds: usize,
    /// How long a turn takes, about. Short, so that most turns pass without the scheduler.
    pub turn: Duration,
}

/// How often a turn of several threads is taken until they run at the same time.
const TRIES: usize = 5;

/// Measures the contenders of one operation. Every other round goes backwards, so that nobody always follows the same
/// neighbour.
pub fn race(contenders: &[Contender], effort: Effort) -> Vec<Times> {
    let mut runners: Vec<Runner> = contenders.iter().map(|contender| Runner::new(contender, effort.turn)).collect();
    let mut turns = vec![Vec::with_capacity(effort.rounds); runners.len()];
    for round in 0..effort.rounds {
        let mut order: Vec<usize> = (0..runners.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            turns[index].extend(runners[index].turn());
        }
    }
    turns.into_iter().map(Times::of).collect()
}

impl Times {
    fn of(mut turns: Vec<f64>) -> Self {
        if turns.is_empty() {
            return Self { median: f64::NAN, least: f64::NAN };
        }
        turns.sort_by(f64::total_cmp);
        let (low, high) = (turns[(turns.len() - 1) / 2], turns[turns.len() / 2]);
        Self { median: f64::midpoint(low, high), least: turns[0] }
    }
}

struct Runner {
    track: Track,
    /// How many operations make a turn.
    times: u64,
}

enum Track {
    One(Worker),
    Many(Policy, usize),
}

impl Runner {
    /// Makes the policy and finds out how many operations make a turn.
    fn new(contender: &Contender, turn: Duration) -> Self {
        let policy = (contender.policy)();
        let mut worker = policy();
        let mut times = 64;
        while alone(&mut worker, times) < turn / 2 {
            times *= 2;
        }
        let track = match contender.threads {
            1 => Track::One(worker),
            threads => Track::Many(policy, threads),
        };
        Self { track, times }
    }

    /// Takes a turn: nanoseconds per operation, if it counts.
    fn turn(&mut self) -> Option<f64> {
        let elapsed = match &mut self.track {
            Track::One(worker) => alone(worker, self.times),
            Track::Many(policy, threads) => together(policy, *threads, self.times)?,
        };
        Some(elapsed.as_nanos() as f64 / self.times as f64)
    }
}

/// How long this thread runs for it.
fn alone(worker: &mut Worker, times: u64) -> Duration {
    let start = ran();
    worker(times);
    ran().saturating_sub(start)
}

/// How long this thread has run.
fn ran() -> Duration {
    // It is never negative, and always of this thread.
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// All threads do it at once; what counts is how long each took, on the average. On a busy machine the scheduler may
/// run one after the other: then nobody was in anybody's way, and the turn is taken again or does not count.
fn together(policy: &Policy, threads: usize, times: u64) -> Option<Duration> {
    let mut tries = (0..TRIES).map(|_| spells_of(policy, threads, times));
    let spells = tries.find(|spells| overlap(spells))?;
    let total: Duration = spells.iter().map(|(start, end)| *end - *start).sum();
    Some(total / u32::try_from(threads).expect("there are fewer cores than that"))
}

/// From when to when a thread did its operations.
type Spell = (Instant, Instant);

fn spells_of(policy: &Policy, threads: usize, times: u64) -> Vec<Spell> {
    let arrived = AtomicUsize::new(0);
    let run = || {
        let mut worker = policy();
        worker(64);
        // Spun, not slept: who is woken late would run when the others are done.
        arrived.fetch_add(1, Ordering::Relaxed);
        while arrived.load(Ordering::Relaxed) < threads {
            hint::spin_loop();
        }
        let start = Instant::now();
        worker(times);
        (start, Instant::now())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running.into_iter().map(|thread| thread.join().expect("no operation fails")).collect()
    })
}

/// Whether the threads were at it together for nine tenths of the time.
fn overlap(spells: &[Spell]) -> bool {
    let first = spells.iter().map(|(start, _)| start).min().zip(spells.iter().map(|(_, end)| end).max());
    let both = spells.iter().map(|(start, _)| start).max().zip(spells.iter().map(|(_, end)| end).min());
    first.zip(both).is_some_and(|((start, end), (from, to))| {
        to.saturating_duration_since(*from) * 10 >= end.duration_since(*start) * 9
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_take_turns_do_not_overlap() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!(overlap(&[(at(0), at(100)), (at(2), at(99))]));
        assert!(!overlap(&[(at(0), at(100)), (at(20), at(120))]));
        assert!(!overlap(&[(at(0), at(100)), (at(101), at(200))]));
    }

    #[test]
    fn the_middle_and_the_least() {
        let times = Times::of(vec![4.0, 1.0, 2.0, 3.0]);
        assert_eq!((times.median, times.least), (2.5, 1.0));
        assert_eq!(Times::of(vec![3.0, 9.0, 1.0]).median, 3.0);
        assert!(Times::of(vec![]).median.is_nan());
    }
}
