//! A service that has more to do than it can, with and without each guard before it, in virtual time.
//!
//! The service answers so many calls per second, in the order they come. A client waits for a second: what is answered
//! later is answered in vain, and is a failure to the guard. Demand is too high for a while and then falls below the
//! capacity. Without a guard the queue is soon so long that every answer comes too late, though the service never rests.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use tidegate_resilience::{
    Adaptive, AdaptiveOptions, Bulkhead, BulkheadOptions, Call, CircuitBreaker, CircuitBreakerOptions, Clock,
    Environment, Guard, Outcome, Random, RateLimitOptions, RateLimiter, Reading, Ticket, TokenBucket,
};

const MILLIS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLIS;

/// Calls per second that the service answers.
const CAPACITY: u64 = 200;

/// How long a client waits, and how long the queue of the service may become.
const PATIENCE: u64 = SECOND;
const QUEUE: u64 = 5 * SECOND;

/// Overload begins, ends; the end.
const PHASES: [u64; 3] = [10 * SECOND, 40 * SECOND, 80 * SECOND];

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The result of this call is known.
    End(u64, bool),
    Begin(u64),
}

/// Calls that were answered in time: during the overload, as a share of what the service can do; and in the last
/// twenty seconds, as a share of those that were made.
#[derive(Debug)]
struct Goodput {
    overload: f64,
    recovered: f64,
}

/// When calls begin: at 70% of the capacity, but during the overload at `percent` of it.
fn demand(percent: u64) -> impl Iterator<Item = u64> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let share = if (PHASES[0]..PHASES[1]).contains(&at) { percent } else { 70 };
        at += SECOND * 100 / (CAPACITY * share);
        (at < PHASES[2]).then_some(at)
    })
}

/// A service that knows when it will be free.
#[derive(Default)]
struct Service {
    free_at: u64,
}

impl Service {
    /// When the client knows the result of a call that begins now, and whether it is good.
    fn answer(&mut self, now: u64) -> (u64, bool) {
        if self.free_at > now + QUEUE {
            return (now, false);
        }
        self.free_at = self.free_at.max(now) + SECOND / CAPACITY;
        if self.free_at <= now + PATIENCE { (self.free_at, true) } else { (now + PATIENCE, false) }
    }
}

fn simulate(percent: u64, guard: impl FnOnce(&Environment) -> Option<Box<dyn Guard>>) -> Goodput {
    let time = Clock::manual();
    let environment = Environment { clock: time.clock(), random: Random::seeded(7), ..Environment::default() };
    let guard = guard(&environment);
    let mut events: BinaryHeap<_> = demand(percent).map(|at| Reverse((at, Event::Begin(at)))).collect();
    let (mut service, mut tickets, mut now) = (Service::default(), HashMap::<u64, Ticket>::new(), 0);
    let (mut in_overload, mut late, mut late_calls) = (0, 0, 0);
    let is_late = |begun: u64| begun >= PHASES[2] - 20 * SECOND;
    while let Some(Reverse((at, event))) = events.pop() {
        time.advance(Duration::from_nanos(at - now));
        now = at;
        let reading = Reading::of(&environment.clock);
        match event {
            Event::Begin(call) => {
                late_calls += u64::from(is_late(call));
                if let Some(guard) = &guard {
                    let Ok(ticket) = guard.try_admit(&Call::new(), &reading) else { continue };
                    tickets.insert(call, ticket);
                }
                let (known, good) = service.answer(now);
                events.push(Reverse((known, Event::End(call, good))));
            }
            Event::End(call, good) => {
                let outcome = if good { Outcome::Success } else { Outcome::Failure };
                if let (Some(guard), Some(ticket)) = (&guard, tickets.remove(&call)) {
                    guard.settle(ticket, outcome, &reading);
                }
                in_overload += u64::from(good && (PHASES[0]..PHASES[1]).contains(&now));
                late += u64::from(good && is_late(call));
            }
        }
    }
    let possible = CAPACITY * (PHASES[1] - PHASES[0]) / SECOND;
    Goodput { overload: in_overload as f64 / possible as f64, recovered: late as f64 / late_calls as f64 }
}

fn boxed(guard: impl Guard + 'static) -> Option<Box<dyn Guard>> {
    Some(Box::new(guard))
}

fn bulkhead(environment: &Environment) -> Option<Box<dyn Guard>> {
    let options = BulkheadOptions { max_concurrent: 100, ..Default::default() };
    boxed(Bulkhead::in_environment("bulkhead", &options, environment).expect("valid"))
}

fn rate_limit(environment: &Environment) -> Option<Box<dyn Guard>> {
    let bucket = TokenBucket { rate: 195, per: Duration::from_secs(1), burst: Some(50) };
    boxed(RateLimiter::in_environment("limit", &RateLimitOptions::token_bucket(bucket), environment).expect("valid"))
}

fn adaptive(environment: &Environment) -> Option<Box<dyn Guard>> {
    boxed(Adaptive::in_environment("adaptive", &AdaptiveOptions::default(), environment).expect("valid"))
}

fn breaker(environment: &Environment) -> Option<Box<dyn Guard>> {
    let options = CircuitBreakerOptions { open_for: Duration::from_secs(1), ..Default::default() };
    boxed(CircuitBreaker::in_environment("breaker", &options, environment).expect("valid"))
}

#[test]
fn without_a_guard_an_overloaded_service_works_for_nobody() {
    for percent in [140, 200] {
        let goodput = simulate(percent, |_| None);
        assert!(goodput.overload < 0.2, "{percent}%: {goodput:?}");
    }
}

#[test]
fn with_a_limit_an_overloaded_service_does_nearly_all_that_it_can() {
    for percent in [140, 200] {
        for (name, guard) in
            [("bulkhead", bulkhead as fn(&Environment) -> _), ("rate limit", rate_limit), ("adaptive", adaptive)]
        {
            let goodput = simulate(percent, guard);
            assert!(goodput.overload > 0.9 && goodput.recovered > 0.99, "{name} at {percent}%: {goodput:?}");
        }
    }
}

#[test]
fn with_a_breaker_an_overloaded_service_has_time_to_answer_some_in_time() {
    for percent in [140, 200] {
        let (with, without) = (simulate(percent, breaker), simulate(percent, |_| None));
        assert!(with.overload > 4.0 * without.overload, "{percent}%: {with:?}, {without:?}");
        assert!(with.recovered > 0.99, "{percent}%: {with:?}");
    }
}
