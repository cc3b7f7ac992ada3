//! When copies start, and who pays for them.

use std::time::Duration;

use super::*;
use crate::budget::{RetryBudget, RetryBudgetOptions};
use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::event::{Events, Happening};
use crate::policy::{Environment, Mode};
use crate::units::Ratio;

const NOW: Moment = Moment::ORIGIN;

fn call() -> Call<'static> {
    Call::new().idempotent()
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn fixed(max: u32, budget: Option<RetryBudgetOptions>) -> HedgeOptions {
    HedgeOptions { delay: millis(50), percentile: None, max, budget, ..HedgeOptions::default() }
}

fn share(percent: u8) -> RetryBudgetOptions {
    RetryBudgetOptions { ratio: Ratio::percent(percent), min_per_second: 0, ..RetryBudgetOptions::default() }
}

/// Time stands still, so that nothing leaves a budget's window.
fn stopped() -> Environment {
    Environment { clock: Clock::manual().clock(), ..Environment::default() }
}

fn hedge(options: &HedgeOptions) -> Hedge {
    Hedge::in_environment("search", options, &stopped()).expect("options within their ranges")
}

/// How many copies a call gets that never answers.
fn copies(hedge: &Hedge, call: &Call<'_>) -> u32 {
    let now = Reading::taken(NOW);
    let mut progress = hedge.begin(call, &now);
    while progress.delay().is_some() {
        hedge.start(&mut progress, &now);
    }
    assert!(!hedge.start(&mut progress, &now), "there is no other");
    progress.started()
}

#[test]
fn there_are_no_more_copies_than_asked_for() {
    for max in [1, 3, 10] {
        assert_eq!(copies(&hedge(&fixed(max, None)), &call()), max);
    }
    assert_eq!(copies(&hedge(&HedgeOptions::default()), &call()), 1);
}

#[test]
fn a_call_that_is_not_idempotent_is_never_copied() {
    let hedge = hedge(&fixed(3, Some(share(100))));
    assert_eq!(copies(&hedge, &Call::new()), 0);
    assert_eq!(hedge.stats().budget.calls, 0, "nor does it pay for copies of others");
}

#[test]
fn copies_are_charged_to_the_budget() {
    let hedge = hedge(&fixed(10, Some(share(20))));
    let started: u32 = (0..100).map(|_| copies(&hedge, &call())).sum();
    assert_eq!(started, 20);
    let stats = hedge.stats();
    assert_eq!((stats.started, stats.refused, stats.budget.calls), (20, 100, 100));
}

#[test]
fn retries_and_copies_together_stay_within_one_budget() {
    let budget = RetryBudget::in_environment(&share(20), &stopped()).expect("in range");
    let hedge = hedge(&fixed(1, Some(share(100)))).with_budget(budget.clone());
    let mut repeated = 0;
    for _ in 0..1000 {
        // The retry around it counts the call, and withdraws as well.
        budget.deposit(NOW);
        repeated += copies(&hedge, &call()) + u32::from(budget.try_withdraw(NOW));
    }
    assert_eq!(repeated, 200);
    assert_eq!(hedge.stats().budget, budget.stats());
    assert_eq!(budget.stats().calls, 1000, "each call is counted once");
}

#[test]
fn the_delay_follows_the_latency() {
    let hedge = hedge(&HedgeOptions { delay: millis(700), ..HedgeOptions::default() });
    let delay = || hedge.begin(&call(), &Reading::taken(NOW)).delay().expect("a copy is allowed");
    (0..99).for_each(|_| hedge.record(millis(10)));
    assert_eq!(delay(), millis(700), "not enough is known");
    hedge.record(millis(10));
    assert!((millis(10)..=millis(12)).contains(&delay()));
    // One call in ten is slow: the 95th of a hundred is among them.
    (0..2000).for_each(|call| hedge.record(millis(if call % 10 == 0 { 300 } else { 10 })));
    assert!((millis(300)..=millis(338)).contains(&delay()));

    hedge.reconfigure(&HedgeOptions { percentile: Some(Ratio::percent(80)), ..hedge.options() }).expect("in range");
    assert!(delay() <= millis(12), "at once, from what is known");
    hedge.reconfigure(&HedgeOptions { percentile: None, ..hedge.options() }).expect("in range");
    assert_eq!((delay(), hedge.stats().delay), (millis(700), millis(700)));
    (0..2000).for_each(|_| hedge.record(millis(900)));
    hedge.reconfigure(&HedgeOptions { percentile: Some(Ratio::percent(80)), ..hedge.options() }).expect("in range");
    assert!(delay() <= millis(12), "nothing was learnt while it was off");
}

#[test]
fn a_delay_of_zero_starts_the_copy_with_the_original() {
    let hedge = hedge(&HedgeOptions { delay: Duration::ZERO, ..fixed(1, None) });
    assert_eq!(hedge.begin(&call(), &Reading::taken(NOW)).delay(), Some(Duration::ZERO));
}

#[test]
fn a_disabled_hedge_does_nothing_and_counts_nothing() {
    let hedge = hedge(&HedgeOptions { mode: Mode::Disabled, ..fixed(1, Some(share(20))) });
    assert_eq!(copies(&hedge, &call()), 0);
    assert_eq!((hedge.stats().started, hedge.stats().budget.calls), (0, 0));
}

#[test]
fn a_hedge_that_is_disabled_starts_no_copy_of_calls_under_way() {
    let hedge = hedge(&fixed(1, None));
    let now = Reading::taken(NOW);
    let mut progress = hedge.begin(&call(), &now);
    hedge.reconfigure(&HedgeOptions { mode: Mode::Disabled, ..fixed(1, None) }).expect("in range");
    assert!(!hedge.start(&mut progress, &now));
    assert_eq!((progress.delay(), hedge.stats().started), (None, 0));
}

#[test]
fn metrics_only_tells_of_the_copy_and_starts_none() {
    let events = Events::default();
    let environment = Environment { events: events.clone(), ..Environment::default() };
    let options = HedgeOptions { mode: Mode::MetricsOnly, ..fixed(2, None) };
    let hedge = Hedge::in_environment("search", &options, &environment).expect("in range");
    let listener = events.subscribe(4);
    assert_eq!(copies(&hedge, &call()), 0);
    assert_eq!(hedge.stats().started, 1);
    assert_eq!(listener.try_next().map(|event| event.happening), Some(Happening::HedgeStarted { copy: 1 }));
    assert!(listener.try_next().is_none());
}

#[test]
fn events_tell_which_copy_was_started_and_which_was_first() {
    let events = Events::default();
    let environment = Environment { events: events.clone(), ..Environment::default() };
    let hedge = Hedge::in_environment("search", &fixed(2, None), &environment).expect("in range");
    let listener = events.subscribe(4);
    copies(&hedge, &call());
    hedge.won(2, &Reading::taken(NOW));
    hedge.won(0, &Reading::taken(NOW));
    let told: Vec<_> = std::iter::from_fn(|| listener.try_next()).map(|event| event.happening).collect();
    let started = |copy| Happening::HedgeStarted { copy };
    assert_eq!(told, [started(1), started(2), Happening::HedgeWon { copy: 2 }]);
    assert_eq!(hedge.stats().won, 1, "the original wins nothing");
}

#[test]
fn options_out_of_range_change_nothing() {
    let hedge = hedge(&fixed(1, None));
    let percentile = |share| HedgeOptions { percentile: Ratio::new(share), ..HedgeOptions::default() };
    let short = RetryBudgetOptions { window: Duration::ZERO, ..RetryBudgetOptions::default() };
    for (option, wrong) in [
        ("max", fixed(0, None)),
        ("max", fixed(11, None)),
        ("delay", HedgeOptions { delay: Duration::from_secs(3601), ..fixed(1, None) }),
        ("percentile", percentile(0.0)),
        ("percentile", percentile(0.9991)),
        ("budget.window", fixed(1, Some(short))),
    ] {
        assert_eq!(hedge.reconfigure(&wrong).expect_err("out of range").option, option);
        assert_eq!(Hedge::new("search", &wrong).expect_err("out of range").option, option);
    }
    assert_eq!(hedge.options(), fixed(1, None));
    for right in
        [percentile(0.01), percentile(0.999), HedgeOptions { delay: Duration::from_secs(3600), ..fixed(10, None) }]
    {
        hedge.reconfigure(&right).expect("the ends of the ranges");
    }
}

#[cfg(feature = "serde")]
#[test]
fn options_are_written_as_documented() {
    let read = |text: &str| serde_json::from_str::<HedgeOptions>(text).map_err(|error| error.to_string());
    assert_eq!(read("{}"), Ok(HedgeOptions::default()));
    assert_eq!(
        read(
            r#"{ "delay": "50ms", "percentile": "off", "max": 2, "budget": { "ratio": "10%", "min_per_second": 0 } }"#
        ),
        Ok(fixed(2, Some(share(10))))
    );
    assert_eq!(read(r#"{ "percentile": 0.5 }"#).map(|options| options.percentile), Ok(Some(Ratio::percent(50))));
    assert!(read(r#"{ "percentile": 50 }"#).expect_err("a guess").contains("a share from 0% to 100%"));
    let text = serde_json::to_string(&fixed(2, None)).expect("options can be written");
    assert_eq!(read(&text), Ok(fixed(2, None)));
}
