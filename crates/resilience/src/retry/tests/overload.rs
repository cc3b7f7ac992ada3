//! Retries and a service that has more to do than it can, in virtual time.
//!
//! The service answers so many calls per second, in the order they come. A call that waits for longer than its client
//! is answered in vain; a call that finds the queue full is refused. Demand is too high for a while and then, with
//! room to spare, below the capacity. Retries make that room disappear: without a budget the service does not recover.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

const SECOND: u64 = 1_000_000_000;

/// Calls per second that the service answers.
const CAPACITY: u64 = 200;

/// How long a client waits, and how long the queue of the service may become.
const PATIENCE: u64 = SECOND;
const QUEUE: u64 = 5 * SECOND;

/// Overload begins, ends; the end.
const PHASES: [u64; 3] = [10 * SECOND, 40 * SECOND, 120 * SECOND];

/// Something that happens: a call's attempt begins, or its failure is noticed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Attempt(usize),
    Failure(usize),
}

#[derive(Default)]
struct Report {
    calls: u64,
    attempts: u64,
    /// Calls that began in the last 20 seconds, and how many of them were answered in time.
    late_calls: u64,
    late_answers: u64,
}

impl Report {
    fn amplification(&self) -> f64 {
        self.attempts as f64 / self.calls as f64
    }

    fn late_goodput(&self) -> f64 {
        self.late_answers as f64 / self.late_calls as f64
    }
}

/// When the calls begin: at 70% of the capacity, but during the overload at `percent` of it.
fn demand(percent: u64) -> Vec<u64> {
    let mut at = 0;
    std::iter::from_fn(|| {
        let share = if (PHASES[0]..PHASES[1]).contains(&at) { percent } else { 70 };
        at += SECOND * 100 / (CAPACITY * share);
        (at < PHASES[2]).then_some(at)
    })
    .collect()
}

fn simulate(retry: &Retry, percent: u64) -> Report {
    let begins = demand(percent);
    let mut progress = vec![None; begins.len()];
    let mut events: BinaryHeap<_> =
        begins.iter().enumerate().map(|(call, at)| Reverse((*at, Event::Attempt(call)))).collect();
    let mut report = Report { calls: begins.len() as u64, ..Report::default() };
    let late = |call: usize| begins[call] >= PHASES[2] - 20 * SECOND;
    report.late_calls = (0..begins.len()).filter(|call| late(*call)).count() as u64;
    let mut free_at = 0;
    while let Some(Reverse((at, event))) = events.pop() {
        let now = Reading::taken(Moment::from_nanos(at));
        match event {
            Event::Attempt(call) => {
                report.attempts += 1;
                progress[call].get_or_insert_with(|| retry.begin(&now));
                let begins = free_at.max(at);
                if begins - at > QUEUE {
                    events.push(Reverse((at, Event::Failure(call))));
                    continue;
                }
                free_at = begins + SECOND / CAPACITY;
                if free_at - at > PATIENCE {
                    events.push(Reverse((at + PATIENCE, Event::Failure(call))));
                } else {
                    report.late_answers += u64::from(late(call));
                }
            }
            Event::Failure(call) => {
                let progress = progress[call].as_mut().expect("it has begun");
                let verdict = Verdict::TRANSIENT;
                if let Some(wait) = retry.next(progress, &verdict, &Call::new(), &now, Moment::NEVER) {
                    events.push(Reverse((at + crate::clock::nanos(wait), Event::Attempt(call))));
                }
            }
        }
    }
    report
}

#[test]
fn with_the_budget_load_grows_by_no_more_than_it_and_the_service_recovers() {
    for percent in [140, 200] {
        let report = simulate(&retry(&RetryOptions::default()), percent);
        // A fifth of the calls, the floor of 3 per second, and one window's floor at once.
        let most = report.calls + report.calls / 5 + 3 * PHASES[2] / SECOND + 30;
        assert!(report.attempts <= most, "{} attempts of {} calls", report.attempts, report.calls);
        assert!(report.amplification() > 1.05, "retries are made: {}", report.amplification());
        assert!(report.late_goodput() > 0.99, "at {percent}%: {}", report.late_goodput());
    }
}

#[test]
fn without_the_budget_retries_keep_the_service_overloaded() {
    for percent in [140, 200] {
        let report = simulate(&retry(&RetryOptions { budget: None, ..RetryOptions::default() }), percent);
        assert!(report.amplification() > 2.0, "{}", report.amplification());
        assert!(report.late_goodput() < 0.1, "at {percent}%: {}", report.late_goodput());
    }
}

#[test]
fn without_retries_the_service_recovers() {
    let report = simulate(&retry(&RetryOptions { attempts: 1, ..RetryOptions::default() }), 200);
    assert_eq!(report.attempts, report.calls);
    assert!(report.late_goodput() > 0.99);
}
