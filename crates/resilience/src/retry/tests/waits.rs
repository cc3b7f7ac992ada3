//! How long a retry waits.

use proptest::prelude::*;

use super::*;
use crate::outcome::RetryAdvice;

fn exponential(base: Duration, factor: f64, cap: Duration) -> Backoff {
    Backoff::Exponential { base, factor, cap }
}

fn with(backoff: Backoff, jitter: Jitter) -> RetryOptions {
    RetryOptions { backoff, jitter, ..exact(100) }
}

#[test]
fn the_defaults_wait_as_documented() {
    assert_eq!(waits(&retry(&exact(9)))[..3], [millis(100), millis(200), millis(400)]);
    assert_eq!(waits(&retry(&exact(9)))[6..], [millis(6400), millis(10_000)]);
    assert_eq!(RetryOptions::default().attempts, 3);
    assert_eq!(RetryOptions::default().jitter, Jitter::Full);
}

#[test]
fn linear_and_constant_waits() {
    let linear = Backoff::Linear { base: millis(10), step: millis(5), cap: millis(22) };
    assert_eq!(waits(&retry(&with(linear, Jitter::None)))[..5], [10, 15, 20, 22, 22].map(millis));
    let constant = Backoff::Constant { delay: millis(7) };
    assert_eq!(waits(&retry(&with(constant, Jitter::None))), [millis(7); 99]);
}

#[test]
fn growth_saturates() {
    let (day, nanosecond) = (Duration::from_secs(86_400), Duration::from_nanos(1));
    assert_eq!(waits(&retry(&with(exponential(nanosecond, 100.0, day), Jitter::None))).last(), Some(&day));
    assert_eq!(waits(&retry(&with(exponential(day, 100.0, day), Jitter::Equal))).len(), 99);
    assert_eq!(waits(&retry(&with(exponential(Duration::ZERO, 100.0, day), Jitter::None))), [Duration::ZERO; 99]);
    let linear = Backoff::Linear { base: day, step: day, cap: day };
    assert_eq!(waits(&retry(&with(linear, Jitter::Decorrelated))), [day; 99]);
    assert_eq!(Backoff::default().delay(u32::MAX), Duration::from_secs(10));
    assert_eq!(exponential(Duration::ZERO, 2.0, day).delay(u32::MAX), Duration::ZERO);
}

#[test]
fn jitter_keeps_fractions_of_a_second() {
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
        let waits = waits(&retry(&with(exponential(millis(1), 1.0, millis(3)), jitter)));
        assert!(waits.iter().all(|wait| *wait <= millis(3)));
        let distinct: std::collections::HashSet<_> = waits.iter().collect();
        // Half of the decorrelated ones are at the cap.
        assert!(distinct.len() > 25, "{jitter:?}: {waits:?}");
    }
}

#[test]
fn waits_of_your_own_are_taken_as_they_are() {
    let squares = retry(&RetryOptions { jitter: Jitter::Full, ..exact(4) })
        .with_delays(|failed| millis(u64::from(failed * failed)));
    assert_eq!(waits(&squares), [1, 4, 9].map(millis));
    assert_eq!(squares.longest_wait(), None);
}

#[test]
fn an_endless_wait_is_the_end_of_the_call() {
    assert_eq!(waits(&retry(&exact(4)).with_delays(|_| Duration::MAX)), []);
}

#[test]
fn those_who_were_told_the_same_time_do_not_come_back_together() {
    let told = Verdict::overload(Some(millis(250)));
    let waits: Vec<_> = (0..50)
        .filter_map(|seed| {
            let environment = Environment { random: Random::seeded(seed), ..Environment::default() };
            let retry = Retry::in_environment("orders", &RetryOptions::default(), &environment).expect("defaults");
            first_answer(&retry, told, &Call::new(), Moment::NEVER)
        })
        .collect();
    assert!(waits.iter().all(|wait| (millis(250)..millis(350)).contains(wait)));
    assert!(waits.iter().max() > waits.iter().min().map(|least| *least + millis(50)).as_ref());
}

#[test]
fn the_longest_wait_is_the_sum_of_the_longest_ones() {
    assert_eq!(retry(&exact(4)).longest_wait(), Some(millis(700)));
    assert_eq!(retry(&RetryOptions::default()).longest_wait(), Some(millis(300)));
    let decorrelated = with(exponential(millis(10), 2.0, millis(50)), Jitter::Decorrelated);
    assert_eq!(
        retry(&RetryOptions { attempts: 4, ..decorrelated }).longest_wait(),
        Some(millis(30 + 50 + 50)),
        "thrice as long each time, up to the cap"
    );
    assert_eq!(retry(&exact(1)).longest_wait(), Some(Duration::ZERO));
}

prop_compose! {
    fn shapes()(
        strategy in 0..3, base in 0_u64..10_000_000_000, more in 0_u64..80_000_000_000_000, factor in 1.0..100.0_f64,
        step in 0_u64..100_000_000_000,
    ) -> Backoff {
        let (base, cap) = (Duration::from_nanos(base), Duration::from_nanos(base + more));
        match strategy {
            0 => Backoff::Exponential { base, factor, cap },
            1 => Backoff::Linear { base, step: Duration::from_nanos(step), cap },
            _ => Backoff::Constant { delay: base },
        }
    }
}

/// The wait after so many attempts in nanoseconds, one retry at a time.
fn naive(backoff: &Backoff, attempts: u32) -> f64 {
    let nanos = |duration: Duration| duration.as_nanos() as f64;
    match *backoff {
        Backoff::Exponential { base, factor, cap } => {
            (1..attempts).fold(nanos(base), |wait, _| (wait * factor).min(nanos(cap)))
        }
        Backoff::Linear { base, step, cap } => {
            (1..attempts).fold(nanos(base), |wait, _| (wait + nanos(step)).min(nanos(cap)))
        }
        Backoff::Constant { delay } => nanos(delay),
    }
}

fn close(duration: Duration, nanos: f64) -> bool {
    (duration.as_nanos() as f64 - nanos).abs() <= 2.0 + nanos * 1e-9
}

proptest! {
    #[test]
    fn waits_are_those_of_the_article(
        backoff in shapes(), jitter in 0_usize..4, attempts in 1_u32..=100, last in 0.0..1.0_f64, chance in 0.0..1.0_f64,
        asked in 0_u64..20_000_000_000,
    ) {
        let jitter = [Jitter::Full, Jitter::Equal, Jitter::None, Jitter::Decorrelated][jitter];
        prop_assume!(jitter != Jitter::Decorrelated || !matches!(backoff, Backoff::Constant { .. }));
        let settings = options::Settings::try_from(&with(backoff.clone(), jitter)).expect("in range");
        let (base, cap) = (naive(&backoff, 1), naive(&backoff, 100));
        let cap = match backoff { Backoff::Exponential { cap, .. } | Backoff::Linear { cap, .. } => cap.as_nanos() as f64, _ => cap };
        let last = Duration::from_secs_f64((base + (cap - base) * last) / 1e9);

        let full = naive(&backoff, attempts);
        let (least, most) = match jitter {
            Jitter::Full => (0.0, full),
            Jitter::Equal => (full / 2.0, full),
            Jitter::None => (full, full),
            Jitter::Decorrelated => (base, (last.as_nanos() as f64 * 3.0).max(base * 3.0)),
        };
        let expected = (least + (most - least) * chance).min(if jitter == Jitter::Decorrelated { cap } else { f64::MAX });
        let wait = settings.wait(attempts, last, chance);
        prop_assert!(close(wait.total(), expected), "{:?} is not {expected}", wait.total());

        // What the other side asks for comes first, and what is random on top of it.
        let asked = Duration::from_nanos(asked);
        let heeded = settings.heed(wait, RetryAdvice::After(asked)).expect("less than the cap");
        let random = expected - least;
        prop_assert!(close(heeded, least.max(asked.as_nanos() as f64) + random));
        prop_assert_eq!(settings.heed(wait, RetryAdvice::Backoff), Some(wait.total()));
    }
}
