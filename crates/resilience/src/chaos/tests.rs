//! Whom chaos hits, when, and what then.

use std::time::Duration;

use super::*;
use crate::call::Call;
use crate::clock::{Clock, ManualClock, Moment, Reading};
use crate::error::Code;
use crate::event::{Events, Happening};
use crate::outcome::{Outcome, RetryAdvice};
use crate::policy::{Admission, Environment, Guard, Mode, Ticket};
use crate::random::Random;
use crate::units::Ratio;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn share(percent: u8) -> Option<ChaosFault> {
    Some(ChaosFault { percentage: Ratio::percent(percent) })
}

fn latency(percent: u8, delay: u64, jitter: u64) -> Option<ChaosLatency> {
    Some(ChaosLatency { percentage: Ratio::percent(percent), delay: millis(delay), jitter: millis(jitter) })
}

fn aborts(percent: u8) -> ChaosOptions {
    ChaosOptions { mode: Mode::Enabled, abort: share(percent), ..ChaosOptions::default() }
}

fn delays(percent: u8, delay: u64, jitter: u64) -> ChaosOptions {
    ChaosOptions { mode: Mode::Enabled, latency: latency(percent, delay, jitter), ..ChaosOptions::default() }
}

fn seeded(options: &ChaosOptions, seed: u64) -> (Chaos, ManualClock) {
    let manual = Clock::manual();
    let environment = Environment { random: Random::seeded(seed), clock: manual.clock(), ..Environment::default() };
    (Chaos::in_environment("chaos", options, &environment).expect("options within their ranges"), manual)
}

fn chaos(options: &ChaosOptions) -> Chaos {
    seeded(options, 1).0
}

/// Whether each of so many calls is aborted.
fn aborted(chaos: &Chaos, calls: usize) -> Vec<bool> {
    (0..calls).map(|_| chaos.try_acquire().map(crate::policy::Permit::success).is_err()).collect()
}

fn admit(chaos: &Chaos, call: &Call<'_>) -> Admission {
    chaos.admit(call, &Reading::of(chaos.clock()))
}

#[test]
fn it_is_off_unless_it_is_switched_on() {
    assert_eq!(ChaosOptions::default().mode, Mode::Disabled);
    let off = ChaosOptions { mode: Mode::Disabled, fault: share(100), latency: latency(100, 1, 0), ..aborts(100) };
    let chaos = chaos(&off);
    assert!(matches!(admit(&chaos, &Call::new()), Admission::Granted(Ticket::BLANK)));
    assert_eq!(chaos.fault(&Call::new(), || "broken"), Ok(()));
    assert_eq!(chaos.stats(), ChaosStats::default());
    chaos.reconfigure(&aborts(100)).expect("in range");
    assert!(chaos.try_acquire().is_err());
}

#[test]
fn it_hits_the_share_that_was_asked_for() {
    assert_eq!(aborted(&chaos(&aborts(0)), 1000), [false; 1000]);
    assert_eq!(aborted(&chaos(&aborts(100)), 1000), [true; 1000]);
    assert!(!state::hits(Some(Ratio::ZERO), || 0.0), "not even the smallest chance");
    let chaos = chaos(&aborts(30));
    let hits = aborted(&chaos, 10_000).into_iter().filter(|hit| *hit).count();
    assert!((2800..3200).contains(&hits), "{hits}");
    assert_eq!(chaos.stats().aborted, hits as u64);
}

#[test]
fn a_seed_hits_the_same_calls_every_time() {
    let hits = |seed| aborted(&seeded(&aborts(50), seed).0, 64);
    assert_eq!(hits(7), hits(7));
    assert_ne!(hits(7), hits(8));
}

#[test]
fn an_abort_counts_as_a_failure_that_may_be_tried_again() {
    let rejection = chaos(&aborts(100)).try_acquire().expect_err("all are aborted");
    assert_eq!(rejection.code(), Code::ChaosAborted);
    let verdict = rejection.verdict();
    assert_eq!((verdict.outcome, verdict.retry, verdict.unprocessed), (Outcome::Failure, RetryAdvice::Backoff, true));
}

#[test]
fn a_latency_lets_the_call_begin_later() {
    let (chaos, manual) = seeded(&delays(100, 20, 0), 1);
    manual.advance(millis(5));
    assert!(matches!(admit(&chaos, &Call::new()), Admission::Later(at, _) if at == Moment::ORIGIN.after(millis(25))));
    assert!(chaos.try_acquire().is_ok(), "who cannot wait is not made to");
    assert!(chaos.peek(&Call::new(), &Reading::of(chaos.clock())).is_ok());
    assert_eq!(chaos.stats(), ChaosStats { delayed: 1, ..ChaosStats::default() });
    chaos.reconfigure(&delays(0, 20, 0)).expect("in range");
    assert!(matches!(admit(&chaos, &Call::new()), Admission::Granted(_)));
}

#[test]
fn jitter_makes_latencies_longer_by_fractions() {
    let chaos = chaos(&delays(100, 20, 10));
    let begins: Vec<_> = (0..100)
        .map(|_| match admit(&chaos, &Call::new()) {
            Admission::Later(at, _) => at.since(Moment::ORIGIN),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(begins.iter().all(|begin| (millis(20)..millis(30)).contains(begin)));
    assert!(begins.iter().max() > Some(&millis(29)) && begins.iter().min() < Some(&millis(21)));
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_waited_for_comes_after_the_latency() {
    let environment = Environment { clock: Clock::runtime(), ..Environment::default() };
    let chaos = Chaos::in_environment("chaos", &delays(100, 500, 0), &environment).expect("in range");
    let before = environment.clock.now();
    chaos.acquire_for(&Call::new()).await.expect("it is only late").success();
    assert!(environment.clock.now().since(before) >= millis(500));
}

#[test]
fn a_call_that_is_aborted_is_not_delayed_too() {
    let chaos = chaos(&ChaosOptions { latency: latency(100, 1, 0), ..aborts(50) });
    let calls = (0..1000).map(|_| admit(&chaos, &Call::new()));
    let rejected = calls.filter(|admission| matches!(admission, Admission::Rejected(_))).count() as u64;
    assert_eq!(chaos.stats(), ChaosStats { aborted: rejected, delayed: 1000 - rejected, faulted: 0 });
}

#[test]
fn a_fault_is_where_the_call_asks_for_it() {
    let chaos = chaos(&ChaosOptions { abort: None, fault: share(50), ..aborts(0) });
    let failed = (0..1000).filter(|_| chaos.fault(&Call::new(), || "broken").is_err()).count() as u64;
    assert!((400..600).contains(&failed), "{failed}");
    assert_eq!(chaos.stats(), ChaosStats { faulted: failed, ..ChaosStats::default() });
    assert!(aborted(&chaos, 100).iter().all(|aborted| !aborted));
}

#[test]
fn only_the_calls_that_are_meant_are_hit() {
    let keyed = chaos(&ChaosOptions { key: Some("test-".to_owned()), ..aborts(100) });
    let hit = |chaos: &Chaos, call: &Call<'_>| chaos.try_acquire_for(call).is_err();
    assert!(hit(&keyed, &Call::new().key("test-7")));
    assert!(!hit(&keyed, &Call::new().key("tenant-7")) && !hit(&keyed, &Call::new()));
    let picky = keyed.matching(|call| call.weight() > 1);
    assert!(hit(&picky, &Call::new().key("test-7").cost(2)));
    assert!(!hit(&picky, &Call::new().key("test-7")) && !hit(&picky, &Call::new().cost(2)));
}

#[test]
fn it_begins_and_ends_in_time() {
    let window = ChaosOptions { start: millis(10), end: Some(millis(20)), ..aborts(100) };
    let (chaos, manual) = seeded(&window, 1);
    let hit = || chaos.try_acquire().is_err();
    let mut hits = Vec::new();
    for _ in 0..22 {
        hits.push(hit());
        manual.advance(millis(1));
    }
    assert_eq!(hits, [[false; 10], [true; 10]].concat().into_iter().chain([false; 2]).collect::<Vec<_>>());

    chaos.reconfigure(&ChaosOptions { key: None, abort: share(100), ..window.clone() }).expect("in range");
    manual.advance(millis(10));
    assert!(!hit(), "the same window is not begun again");
    chaos.reconfigure(&ChaosOptions { end: Some(millis(30)), ..window }).expect("in range");
    assert!(!hit());
    manual.advance(millis(10));
    assert!(hit(), "another one is");
}

#[test]
fn metrics_only_tells_whom_it_would_hit() {
    let events = Events::default();
    let environment = Environment { events: events.clone(), ..Environment::default() };
    let options = ChaosOptions { mode: Mode::MetricsOnly, latency: latency(100, 9, 0), fault: share(100), ..aborts(0) };
    let chaos = Chaos::in_environment("chaos", &options, &environment).expect("in range");
    let listener = events.subscribe(4);
    assert!(matches!(admit(&chaos, &Call::new()), Admission::Granted(_)));
    assert_eq!(chaos.fault(&Call::new(), || "broken"), Ok(()));
    chaos.reconfigure(&ChaosOptions { abort: share(100), ..options }).expect("in range");
    assert!(matches!(admit(&chaos, &Call::new()), Admission::Granted(_)));
    assert_eq!(chaos.stats(), ChaosStats { delayed: 1, aborted: 1, faulted: 1 });
    let told: Vec<_> = std::iter::from_fn(|| listener.try_next()).map(|event| event.happening).collect();
    let injected = |delay| Happening::ChaosInjected { delay };
    assert_eq!(told, [injected(Some(millis(9))), injected(None), injected(None)]);
}

#[test]
fn options_out_of_range_change_nothing() {
    let chaos = chaos(&aborts(50));
    let long = 3_600_001;
    for (option, wrong) in [
        ("latency.delay", delays(1, long, 0)),
        ("latency.jitter", delays(1, 0, long)),
        ("end", ChaosOptions { start: millis(5), end: Some(millis(5)), ..aborts(1) }),
    ] {
        assert_eq!(chaos.reconfigure(&wrong).expect_err("out of range").option, option);
        assert_eq!(Chaos::new("chaos", &wrong).expect_err("out of range").option, option);
    }
    assert_eq!(chaos.options(), aborts(50));
    let widest = ChaosOptions { start: Duration::MAX, ..delays(100, long - 1, long - 1) };
    chaos.reconfigure(&widest).expect("the ends of the ranges");
    assert!(chaos.try_acquire().is_ok(), "it never begins");
}

#[cfg(feature = "serde")]
#[test]
fn options_are_written_as_documented() {
    let read = |text: &str| serde_json::from_str::<ChaosOptions>(text).map_err(|error| error.to_string());
    assert_eq!(read("{}"), Ok(ChaosOptions::default()));
    assert_eq!(
        read(
            r#"{ "mode": "enabled", "latency": { "percentage": "10%", "delay": "20ms" }, "abort": { "percentage": 0.5 },
                 "key": "test-", "end": "1m" }"#
        ),
        Ok(ChaosOptions {
            latency: latency(10, 20, 0),
            key: Some("test-".to_owned()),
            end: Some(Duration::from_secs(60)),
            ..aborts(50)
        })
    );
    let text = serde_json::to_string(&ChaosOptions::default()).expect("options can be written");
    assert_eq!(read(&text), Ok(ChaosOptions::default()));
}
