//! A service with a known capacity, in virtual time: what the limit makes of it, and what becomes of it without one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::clock::Moment;

/// A service that does so much at a time, first come first served, for callers that give up after a while. It goes on
/// working for those who have given up, as services do.
struct Service {
    limit: Option<Adaptive>,
    /// How many calls it works on at a time.
    workers: usize,
    /// How long it works on one: on average, where chance has a part.
    work: Duration,
    /// Whether chance has one: the time is then distributed exponentially.
    chance: bool,
    patience: Duration,
    random: fastrand::Rng,
    now: Moment,
    events: BTreeSet<(Moment, u64, What)>,
    number: u64,
    waiting: VecDeque<u64>,
    working: usize,
    calls: BTreeMap<u64, (Moment, Option<Ticket>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrives(Priority),
    IsDone,
    GivesUp,
}

/// What callers saw in some time.
#[derive(Debug, Default)]
struct Seen {
    offered: [u32; 4],
    rejected: [u32; 4],
    /// How long the calls took that ended before anybody lost patience, in milliseconds.
    good: Vec<u128>,
    late: u32,
}

impl Seen {
    fn percentile(&self, percent: usize) -> u128 {
        let mut sorted = self.good.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
    }

    fn per_second(&self, seconds: u64) -> u64 {
        self.good.len() as u64 / seconds
    }
}

impl Service {
    /// A service of 20 workers that take 20 ms each: 1,000 calls per second.
    fn new(options: Option<&AdaptiveOptions>) -> Self {
        let environment =
            Environment { random: Random::seeded(7), clock: Clock::manual().clock(), ..Environment::default() };
        Self {
            limit: options.map(|options| Adaptive::in_environment("service", options, &environment).unwrap()),
            workers: 20,
            work: 20 * MS,
            chance: true,
            patience: 200 * MS,
            random: fastrand::Rng::with_seed(7),
            now: Moment::ORIGIN,
            events: BTreeSet::new(),
            number: 0,
            waiting: VecDeque::new(),
            working: 0,
            calls: BTreeMap::new(),
        }
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.random.f64()).ln())
    }

    /// So many calls per second arrive for so long, each as likely of one of these priorities.
    fn run(&mut self, per_second: u32, seconds: u64, priorities: &[Priority]) -> Seen {
        let end = self.now.after(Duration::from_secs(seconds));
        let mut at = self.now;
        let mut seen = Seen::default();
        loop {
            at = at.after(self.exponential(Duration::from_secs(1) / per_second));
            if at > end {
                break;
            }
            self.number += 1;
            let priority = priorities[self.random.usize(..priorities.len())];
            self.events.insert((at, self.number, What::Arrives(priority)));
        }
        while let Some(&(at, number, what)) = self.events.first()
            && at <= end
        {
            self.events.pop_first();
            self.now = at;
            match what {
                What::Arrives(priority) => self.arrives(number, priority, &mut seen),
                What::IsDone => self.is_done(number, &mut seen),
                What::GivesUp => self.gives_up(number, &mut seen),
            }
        }
        self.now = end;
        seen
    }

    fn arrives(&mut self, number: u64, priority: Priority, seen: &mut Seen) {
        seen.offered[priority as usize] += 1;
        let now = Reading::taken(self.now);
        let call = Call::new().priority(priority);
        let ticket = match self.limit.as_ref().map(|limit| limit.try_admit(&call, &now)) {
            Some(Err(_)) => {
                seen.rejected[priority as usize] += 1;
                return;
            }
            Some(Ok(ticket)) => Some(ticket),
            None => None,
        };
        self.calls.insert(number, (self.now, ticket));
        self.events.insert((self.now.after(self.patience), number, What::GivesUp));
        self.waiting.push_back(number);
        self.work_on_next();
    }

    fn work_on_next(&mut self) {
        while self.working < self.workers
            && let Some(number) = self.waiting.pop_front()
        {
            self.working += 1;
            let work = if self.chance { self.exponential(self.work) } else { self.work };
            self.events.insert((self.now.after(work), number, What::IsDone));
        }
    }

    fn is_done(&mut self, number: u64, seen: &mut Seen) {
        self.working -= 1;
        if let Some(began) = self.settle(number, Outcome::Success) {
            seen.good.push(self.now.since(began).as_millis());
        }
        self.work_on_next();
    }

    fn gives_up(&mut self, number: u64, seen: &mut Seen) {
        seen.late += u32::from(self.settle(number, Outcome::Failure).is_some());
    }

    /// When the call began, if nobody has given up on it before.
    fn settle(&mut self, number: u64, outcome: Outcome) -> Option<Moment> {
        let (began, ticket) = self.calls.remove(&number)?;
        if let (Some(limit), Some(ticket)) = (&self.limit, ticket) {
            limit.settle(ticket, outcome, &Reading::taken(self.now));
        }
        Some(began)
    }

    fn limit(&self) -> u32 {
        self.limit.as_ref().unwrap().stats().limit
    }
}

const NORMAL: &[Priority] = &[Priority::Normal];

fn gradient() -> AdaptiveOptions {
    AdaptiveOptions::default()
}

fn vegas() -> AdaptiveOptions {
    AdaptiveOptions { algorithm: AdaptiveAlgorithm::Vegas(Vegas::default()), ..AdaptiveOptions::default() }
}

fn aimd() -> AdaptiveOptions {
    let algorithm = AdaptiveAlgorithm::Aimd(Aimd { too_long: 160 * MS, ..Aimd::default() });
    AdaptiveOptions { algorithm, ..AdaptiveOptions::default() }
}

#[test]
fn without_a_limit_an_overloaded_service_works_for_nobody() {
    let mut service = Service::new(None);
    service.run(1400, 10, NORMAL);
    let seen = service.run(1400, 10, NORMAL);
    assert_eq!((seen.good.len(), seen.rejected), (0, [0; 4]));
}

#[test]
fn with_a_limit_an_overloaded_service_does_what_it_can() {
    for (options, least, longest) in [(gradient(), 950, 120), (vegas(), 850, 120), (aimd(), 900, 150)] {
        for demand in [1400, 2000, 4000] {
            let mut service = Service::new(Some(&options));
            service.run(demand, 20, NORMAL);
            let seen = service.run(demand, 20, NORMAL);
            let what = format!(
                "{:?} {demand} {} {} {:?}",
                options.algorithm,
                seen.per_second(20),
                seen.percentile(99),
                service.limit.as_ref().unwrap().stats()
            );
            assert!(seen.per_second(20) >= least, "{what}");
            assert!(seen.percentile(99) <= longest, "{what}");
            assert!((20..=70).contains(&service.limit()), "{what}");
        }
    }
}

#[test]
fn a_long_overload_does_not_teach_the_limit_that_calls_take_long() {
    for options in [gradient(), vegas()] {
        let mut service = Service::new(Some(&options));
        service.run(1500, 300, NORMAL);
        let seen = service.run(1500, 30, NORMAL);
        let what = format!(
            "{:?} {} {} {:?}",
            options.algorithm,
            seen.per_second(30),
            seen.percentile(99),
            service.limit.as_ref().unwrap().stats()
        );
        assert!(seen.percentile(99) <= 120, "{what}");
        assert!(seen.per_second(30) >= 850, "{what}");
    }
}

#[test]
fn a_service_with_little_to_do_is_left_alone() {
    for options in [gradient(), vegas(), aimd()] {
        let mut service = Service::new(Some(&options));
        service.run(600, 5, NORMAL);
        let seen = service.run(600, 30, NORMAL);
        let what = format!("{:?} {:?} {:?}", options.algorithm, seen.rejected, service.limit.as_ref().unwrap().stats());
        assert!(seen.rejected[1] * 100 < seen.offered[1], "{what}");
    }
}

#[test]
fn a_limit_follows_the_capacity_down_and_up_again() {
    for options in [gradient(), vegas(), aimd()] {
        let mut service = Service::new(Some(&options));
        service.run(2000, 20, NORMAL);
        let full = service.limit();
        service.workers = 5;
        service.run(2000, 20, NORMAL);
        let (low, less) = (service.limit(), service.run(2000, 10, NORMAL));
        service.workers = 20;
        service.run(2000, 20, NORMAL);
        let more = service.run(2000, 10, NORMAL);
        let what = format!(
            "{:?} {full} {low} {} {} {}",
            options.algorithm,
            service.limit(),
            less.per_second(10),
            more.per_second(10)
        );
        assert!(low * 5 < full * 3 && service.limit() * 4 > low * 5, "{what}");
        assert!(less.per_second(10) >= 200 && more.per_second(10) >= 850, "{what}");
        assert!(less.percentile(50) <= 100, "{what}");
    }
}

#[test]
fn a_service_that_has_become_slower_for_good_is_learnt_anew() {
    for options in [gradient(), vegas()] {
        let mut service = Service::new(Some(&options));
        service.patience = Duration::from_secs(1);
        service.run(250, 20, NORMAL);
        service.work = 60 * MS;
        service.run(250, 240, NORMAL);
        let seen = service.run(250, 30, NORMAL);
        let what = format!(
            "{:?} {} {:?} {:?}",
            options.algorithm,
            seen.per_second(30),
            seen.rejected,
            service.limit.as_ref().unwrap().stats()
        );
        assert!(seen.rejected[1] * 20 < seen.offered[1], "{what}");
    }
}

#[test]
fn background_calls_are_shed_before_normal_ones_and_critical_ones_last() {
    let mut service = Service::new(Some(&gradient()));
    service.run(2000, 20, &ALL);
    let seen = service.run(2000, 20, &ALL);
    let share = |index: usize| f64::from(seen.rejected[index]) / f64::from(seen.offered[index]);
    let shares: [f64; 4] = std::array::from_fn(share);
    assert!(shares.is_sorted_by(|lesser, greater| lesser > greater), "{shares:?}");
    assert!(shares[0] > 0.8 && shares[3] < 0.05, "{shares:?}");
}
