//! What a caller notices: who is let in, what is measured, modes, reconfiguration. The core has tests of its own
//! (`core.rs`), and a service that it protects (`overload.rs`).

#![allow(clippy::unwrap_used)]

mod core;
mod overload;

use std::time::Duration;

use proptest::prelude::*;

use crate::adaptive::{
    Adaptive, AdaptiveAlgorithm, AdaptiveOptions, AdaptiveStats, Aimd, Gradient, PriorityShares, Vegas,
};
use crate::call::{Call, Priority};
use crate::clock::{Clock, ManualClock, Reading};
use crate::error::{Code, Context, Rejection};
use crate::event::{Events, Happening};
use crate::outcome::Outcome;
use crate::policy::{Environment, Guard, Mode, Ticket};
use crate::random::Random;
use crate::units::Ratio;

const MS: Duration = Duration::from_millis(1);
const ALL: [Priority; 4] = [Priority::Background, Priority::Normal, Priority::High, Priority::Critical];

/// A limit whose time stands still.
struct Fixture {
    limit: Adaptive,
    time: ManualClock,
    events: Events,
}

fn fixture(options: &AdaptiveOptions) -> Fixture {
    let (time, events) = (Clock::manual(), Events::default());
    let environment = Environment { clock: time.clock(), events: events.clone(), random: Random::seeded(1) };
    Fixture { limit: Adaptive::in_environment("api", options, &environment).unwrap(), time, events }
}

impl Fixture {
    fn try_admit(&self, priority: Priority) -> Result<Ticket, Rejection> {
        self.limit.try_admit(&Call::new().priority(priority), &Reading::of(self.limit.clock()))
    }

    fn enter(&self) -> Ticket {
        self.try_admit(Priority::Critical).unwrap()
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.limit.settle(ticket, outcome, &Reading::of(self.limit.clock()));
    }

    /// So many calls at a time that take so long and end like this, for one window.
    fn window(&self, calls: usize, took: Duration, outcome: Outcome) {
        let tickets: Vec<_> = (0..calls).map(|_| self.enter()).collect();
        self.time.advance(took);
        tickets.into_iter().for_each(|ticket| self.settle(ticket, outcome));
    }

    fn stats(&self) -> AdaptiveStats {
        self.limit.stats()
    }
}

fn fixed(limit: u32) -> AdaptiveOptions {
    AdaptiveOptions { initial: limit, min: limit, max: limit, ..AdaptiveOptions::default() }
}

#[test]
fn the_least_important_are_shed_first() {
    let fixture = fixture(&fixed(20));
    for (priority, room) in ALL.into_iter().zip([14, 17, 19, 20]) {
        while let Ok(_ticket) = fixture.try_admit(priority) {}
        assert_eq!(fixture.stats().in_flight, room, "{priority:?}");
        let call = Call::new().priority(priority);
        let peeked = fixture.limit.peek(&call, &Reading::of(fixture.limit.clock())).unwrap_err();
        for rejection in [fixture.try_admit(priority).unwrap_err(), peeked] {
            let full = if room == 20 { Code::ConcurrencyLimited } else { Code::ConcurrencyShed };
            assert_eq!(rejection.code(), full);
            assert_eq!(rejection.context(), Some(Context::Used { used: room.into(), limit: room.into() }));
            assert_eq!(&**rejection.policy(), "api");
        }
    }
    assert_eq!(fixture.try_admit(Priority::Background).unwrap_err().code(), Code::ConcurrencyLimited);
    let stats = fixture.stats();
    assert_eq!((stats.rejected, stats.admitted, stats.limit), ([3, 2, 2, 2], 20, 20));
    assert_eq!(stats.rejected_of(Priority::Background), 3);
}

#[test]
fn a_call_in_flight_is_counted_until_it_ends_however_it_ends() {
    let fixture = fixture(&fixed(1));
    for outcome in
        [Outcome::Success, Outcome::Failure, Outcome::Overload, Outcome::Ignored, Outcome::Cancelled, Outcome::Rejected]
    {
        let permit = fixture.limit.try_acquire().unwrap();
        assert_eq!(fixture.limit.try_acquire().unwrap_err().code(), Code::ConcurrencyLimited);
        permit.complete(outcome);
        assert_eq!(fixture.stats().in_flight, 0, "{outcome:?}");
    }
    drop(fixture.limit.try_acquire().unwrap());
    let limit = fixture.limit.clone();
    let panicked = std::thread::spawn(move || {
        let _permit = limit.try_acquire().unwrap();
        panic!("on purpose");
    })
    .join();
    assert!(panicked.is_err());
    assert_eq!(fixture.stats().in_flight, 0);
}

#[test]
fn only_calls_that_say_something_are_measured() {
    let options = AdaptiveOptions { min_samples: 1, ..AdaptiveOptions::default() };
    for outcome in [Outcome::Ignored, Outcome::Cancelled, Outcome::Rejected, Outcome::Failure] {
        let fixture = fixture(&options);
        fixture.window(20, 200 * MS, outcome);
        assert_eq!((fixture.stats().latency, fixture.stats().limit), (None, 20), "{outcome:?}");
    }
    let fixture = fixture(&options);
    fixture.window(20, 200 * MS, Outcome::Success);
    assert_eq!(fixture.stats().latency, Some(200 * MS));
    assert_eq!(fixture.stats().no_load_latency, Some(200 * MS));
}

#[test]
fn quick_failures_do_not_make_a_service_look_quick_and_slow_ones_count() {
    let fixture = fixture(&AdaptiveOptions { min: 5, probe: None, ..AdaptiveOptions::default() });
    for _ in 0..10 {
        fixture.window(20, 200 * MS, Outcome::Success);
    }
    let before = fixture.stats();
    fixture.window(20, MS, Outcome::Failure);
    fixture.time.advance(Duration::from_secs(10));
    fixture.window(20, 300 * MS, Outcome::Failure);
    assert_eq!(fixture.stats(), AdaptiveStats { admitted: before.admitted + 40, ..before });
    // Timeouts: nothing else ends any more, and they do not teach the limit that this is how long calls take.
    for _ in 0..100 {
        fixture.window(5, Duration::from_secs(2), Outcome::Failure);
    }
    assert_eq!((fixture.stats().limit, fixture.stats().no_load_latency), (5, Some(200 * MS)));
}

#[test]
fn overload_answers_shrink_the_limit_whatever_the_algorithm() {
    let algorithms = [
        AdaptiveAlgorithm::Gradient(Gradient::default()),
        AdaptiveAlgorithm::Vegas(Vegas::default()),
        AdaptiveAlgorithm::Aimd(Aimd::default()),
    ];
    for algorithm in algorithms {
        let fixture = fixture(&AdaptiveOptions { initial: 100, algorithm, ..AdaptiveOptions::default() });
        for _ in 0..20 {
            fixture.window(10, 200 * MS, Outcome::Overload);
        }
        assert!(fixture.stats().limit < 70, "{:?} {:?}", fixture.limit.options().algorithm, fixture.stats());
    }
}

#[test]
fn an_idle_service_does_not_grow_the_limit() {
    let fixture = fixture(&AdaptiveOptions { min_samples: 1, ..AdaptiveOptions::default() });
    for _ in 0..100 {
        fixture.window(9, 200 * MS, Outcome::Success);
    }
    assert_eq!(fixture.stats().limit, 20);
    for _ in 0..100 {
        fixture.window(10, 200 * MS, Outcome::Success);
    }
    assert!(fixture.stats().limit >= 20);
    fixture.window(20, 200 * MS, Outcome::Success);
    for _ in 0..10 {
        let limit = fixture.stats().limit as usize;
        fixture.window(limit, 200 * MS, Outcome::Success);
    }
    assert!(fixture.stats().limit > 20);
}

#[test]
fn disabled_counts_nothing_and_keeps_the_limit() {
    let fixture = fixture(&AdaptiveOptions { mode: Mode::Disabled, ..fixed(2) });
    let uncounted: Vec<_> = (0..5).map(|_| fixture.enter()).collect();
    assert_eq!((fixture.stats().in_flight, fixture.stats().admitted), (0, 0));
    fixture.limit.reconfigure(&fixed(2)).unwrap();
    let inside = fixture.enter();
    uncounted.into_iter().for_each(|ticket| fixture.settle(ticket, Outcome::Success));
    assert_eq!(fixture.stats().in_flight, 1);
    fixture.limit.reconfigure(&AdaptiveOptions { mode: Mode::Disabled, ..fixed(2) }).unwrap();
    fixture.settle(inside, Outcome::Success);
    assert_eq!(fixture.stats().in_flight, 0);
}

#[test]
fn metrics_only_rejects_nobody_and_tells_whom_it_would_have() {
    let fixture = fixture(&AdaptiveOptions { mode: Mode::MetricsOnly, ..fixed(2) });
    let heard = fixture.events.subscribe(8);
    let tickets: Vec<_> = (0..3).map(|_| fixture.enter()).collect();
    let call = Call::new().priority(Priority::Critical);
    assert!(fixture.limit.peek(&call, &Reading::of(fixture.limit.clock())).is_ok());
    assert_eq!((fixture.stats().in_flight, fixture.stats().rejected), (3, [0, 0, 0, 1]));
    let told: Vec<_> = std::iter::from_fn(|| heard.try_next()).map(|event| event.happening).collect();
    assert_eq!(told, [Happening::ConcurrencyRejected]);
    tickets.into_iter().for_each(|ticket| fixture.settle(ticket, Outcome::Success));
    assert_eq!(fixture.stats().in_flight, 0);
}

#[test]
fn a_limit_that_changes_is_told() {
    let fixture = fixture(&AdaptiveOptions { probe: None, ..AdaptiveOptions::default() });
    let heard = fixture.events.subscribe(8);
    fixture.window(20, 200 * MS, Outcome::Success);
    fixture.time.advance(Duration::from_secs(1));
    fixture.window(20, 200 * MS, Outcome::Success);
    let told: Vec<_> = std::iter::from_fn(|| heard.try_next()).map(|event| event.happening).collect();
    assert_eq!(told, [Happening::ConcurrencyLimitChanged { from: 20, to: 21 }]);
}

#[test]
fn reconfigure_keeps_the_limit_where_it_may_be() {
    let fixture = fixture(&AdaptiveOptions { probe: None, initial: 50, ..AdaptiveOptions::default() });
    let heard = fixture.events.subscribe(8);
    for (min, max, kept) in [(1, 200, 50), (1, 30, 30), (1, 200, 30), (40, 200, 40)] {
        let options = AdaptiveOptions { initial: min, min, max, probe: None, ..AdaptiveOptions::default() };
        fixture.limit.reconfigure(&options).unwrap();
        assert_eq!(fixture.stats().limit, kept);
        assert_eq!(fixture.limit.options(), options);
    }
    let told: Vec<_> = std::iter::from_fn(|| heard.try_next()).map(|event| event.happening).collect();
    let changed = |from, to| Happening::ConcurrencyLimitChanged { from, to };
    assert_eq!(told, [changed(50, 30), changed(30, 40)]);
    for _ in 0..2 {
        fixture.window(40, 200 * MS, Outcome::Success);
    }
    let learnt = fixture.stats().no_load_latency;
    let vegas = AdaptiveAlgorithm::Vegas(Vegas::default());
    fixture.limit.reconfigure(&AdaptiveOptions { algorithm: vegas, ..AdaptiveOptions::default() }).unwrap();
    assert_eq!(fixture.stats().no_load_latency, learnt);
    assert_eq!(fixture.limit.name(), &crate::name::Name::from("api"));
}

#[test]
fn a_wrong_option_changes_nothing() {
    let good = AdaptiveOptions::default();
    let gradient = |change: fn(&mut Gradient)| {
        let mut gradient = Gradient::default();
        change(&mut gradient);
        AdaptiveOptions { algorithm: AdaptiveAlgorithm::Gradient(gradient), ..AdaptiveOptions::default() }
    };
    let vegas = |alpha, beta| AdaptiveOptions {
        algorithm: AdaptiveAlgorithm::Vegas(Vegas { alpha, beta }),
        ..AdaptiveOptions::default()
    };
    let aimd = |backoff, too_long| AdaptiveOptions {
        algorithm: AdaptiveAlgorithm::Aimd(Aimd { backoff: Ratio::percent(backoff), too_long }),
        ..AdaptiveOptions::default()
    };
    let shares = |background, normal, high| AdaptiveOptions {
        shares: PriorityShares {
            background: Ratio::percent(background),
            normal: Ratio::percent(normal),
            high: Ratio::percent(high),
        },
        ..AdaptiveOptions::default()
    };
    let wrong = [
        (AdaptiveOptions { min: 0, ..good.clone() }, "min"),
        (AdaptiveOptions { min: 201, initial: 201, ..good.clone() }, "min"),
        (AdaptiveOptions { initial: 201, ..good.clone() }, "initial"),
        (AdaptiveOptions { initial: 1, min: 2, ..good.clone() }, "initial"),
        (AdaptiveOptions { max: 0, ..good.clone() }, "max"),
        (AdaptiveOptions { max: 1_000_001, ..good.clone() }, "max"),
        (AdaptiveOptions { window: Duration::ZERO, ..good.clone() }, "window"),
        (AdaptiveOptions { window: Duration::MAX, ..good.clone() }, "window"),
        (AdaptiveOptions { min_samples: 0, ..good.clone() }, "min_samples"),
        (AdaptiveOptions { min_samples: 10_001, ..good.clone() }, "min_samples"),
        (AdaptiveOptions { probe: Some(Duration::ZERO), ..good.clone() }, "probe"),
        (AdaptiveOptions { probe: Some(Duration::MAX), ..good.clone() }, "probe"),
        (gradient(|gradient| gradient.tolerance = 0.9), "algorithm.tolerance"),
        (gradient(|gradient| gradient.tolerance = f64::NAN), "algorithm.tolerance"),
        (gradient(|gradient| gradient.smoothing = Ratio::ZERO), "algorithm.smoothing"),
        (gradient(|gradient| gradient.queue_size = 1_001), "algorithm.queue_size"),
        (vegas(0, 6), "algorithm.alpha"),
        (vegas(1_001, 1_001), "algorithm.alpha"),
        (vegas(3, 2), "algorithm.beta"),
        (vegas(3, 1_001), "algorithm.beta"),
        (aimd(49, MS), "algorithm.backoff"),
        (aimd(100, MS), "algorithm.backoff"),
        (aimd(90, Duration::ZERO), "algorithm.too_long"),
        (aimd(90, Duration::from_secs(61)), "algorithm.too_long"),
        (shares(80, 79, 90), "shares.normal"),
        (shares(70, 80, 79), "shares.high"),
    ];
    let fixture = fixture(&good);
    for (options, name) in wrong {
        assert_eq!(Adaptive::new("x", &options).unwrap_err().option, name);
        assert_eq!(fixture.limit.reconfigure(&options).unwrap_err().option, name);
        assert_eq!(fixture.limit.options(), good);
    }
    for ends in [
        AdaptiveOptions { window: MS, min_samples: 1, probe: Some(Duration::from_secs(1)), ..vegas(1, 1) },
        AdaptiveOptions { window: 60_000 * MS, min_samples: 10_000, ..vegas(1_000, 1_000) },
        AdaptiveOptions { initial: 1_000_000, min: 1_000_000, max: 1_000_000, ..aimd(50, MS) },
        AdaptiveOptions { probe: Some(Duration::from_secs(3600)), ..aimd(99, 60_000 * MS) },
        AdaptiveOptions { ..shares(0, 0, 0) },
        gradient(|gradient| *gradient = Gradient { tolerance: 1.0, smoothing: Ratio::ONE, queue_size: 0 }),
        gradient(|gradient| (gradient.tolerance, gradient.queue_size) = (100.0, 1_000)),
    ] {
        fixture.limit.reconfigure(&ends).unwrap();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Enter(Priority),
    Settle(usize, Outcome),
    Mode(Mode),
    Advance(Duration),
}

fn steps() -> impl Strategy<Value = Step> {
    let outcomes = prop::sample::select(vec![
        Outcome::Success,
        Outcome::Failure,
        Outcome::Overload,
        Outcome::Ignored,
        Outcome::Cancelled,
        Outcome::Rejected,
    ]);
    let times = prop_oneof![3 => (0..500u64).prop_map(Duration::from_millis), 1 => Just(Duration::MAX)];
    prop_oneof![
        6 => prop::sample::select(ALL.to_vec()).prop_map(Step::Enter),
        5 => (any::<usize>(), outcomes).prop_map(|(index, outcome)| Step::Settle(index, outcome)),
        1 => prop::sample::select(vec![Mode::Enabled, Mode::Disabled, Mode::MetricsOnly]).prop_map(Step::Mode),
        2 => times.prop_map(Step::Advance),
    ]
}

proptest! {
    /// What is let in follows from the limit and from how many are in, and from nothing else.
    #[test]
    fn every_decision_follows_from_the_limit(steps in prop::collection::vec(steps(), 1..200)) {
        let options = AdaptiveOptions { initial: 8, min: 3, max: 12, min_samples: 1, ..AdaptiveOptions::default() };
        let fixture = fixture(&options);
        let (mut mode, mut inside, mut admitted, mut rejected) = (Mode::Enabled, 0, 0, [0; 4]);
        let mut tickets = Vec::new();
        for step in steps {
            match step {
                Step::Enter(priority) => {
                    let percent = [70, 85, 95, 100][priority as usize];
                    let has_room = inside < (fixture.stats().limit * percent / 100).max(1);
                    let entered = fixture.try_admit(priority);
                    prop_assert_eq!(entered.is_ok(), has_room || mode != Mode::Enabled);
                    let counts = entered.is_ok() && mode != Mode::Disabled;
                    inside += u32::from(counts);
                    admitted += u64::from(counts);
                    rejected[priority as usize] += u64::from(!has_room && mode != Mode::Disabled);
                    tickets.extend(entered.map(|ticket| (ticket, counts)));
                }
                Step::Settle(index, outcome) if !tickets.is_empty() => {
                    let (ticket, counts) = tickets.swap_remove(index % tickets.len());
                    fixture.settle(ticket, outcome);
                    inside -= u32::from(counts);
                }
                Step::Settle(..) => {}
                Step::Mode(next) => {
                    mode = next;
                    fixture.limit.reconfigure(&AdaptiveOptions { mode, ..options.clone() }).unwrap();
                }
                Step::Advance(time) => fixture.time.advance(time),
            }
            let stats = fixture.stats();
            prop_assert_eq!((stats.in_flight, stats.admitted, stats.rejected), (inside, admitted, rejected));
            prop_assert!((3..=12).contains(&stats.limit));
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn options_are_written_as_they_are_read() {
    let text = r#"{"algorithm":{"kind":"vegas","beta":8},"max":50,"probe":"off","shares":{"background":"50%"}}"#;
    let options: AdaptiveOptions = serde_json::from_str(text).unwrap();
    let expected = AdaptiveOptions {
        algorithm: AdaptiveAlgorithm::Vegas(Vegas { alpha: 3, beta: 8 }),
        max: 50,
        probe: None,
        shares: PriorityShares { background: Ratio::percent(50), ..PriorityShares::default() },
        ..AdaptiveOptions::default()
    };
    assert_eq!(options, expected);
    let written = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<AdaptiveOptions>(&written).unwrap(), options);
    for wrong in [r#"{"algorithm":{"kind":"vegas","gamma":1}}"#, r#"{"algorithm":{"kind":"aimd","too_long":"1"}}"#] {
        assert!(serde_json::from_str::<AdaptiveOptions>(wrong).is_err(), "{wrong}");
    }
}
