//! The ledger against a list of everything that happened, and the laws of a budget.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::units::Ratio;

const SECOND: u64 = 1_000_000_000;

fn options(percent: u8, min_per_second: u32, window: u64) -> RetryBudgetOptions {
    RetryBudgetOptions { ratio: Ratio::percent(percent), min_per_second, window: Duration::from_secs(window) }
}

fn budget(percent: u8, min_per_second: u32) -> RetryBudget {
    RetryBudget::new(&options(percent, min_per_second, 10)).expect("options within their ranges")
}

/// How many of so many withdrawals are granted.
fn granted(budget: &RetryBudget, asked: u64, now: Moment) -> u64 {
    (0..asked).map(|_| u64::from(budget.try_withdraw(now))).sum()
}

/// Everything that happened, judged from the beginning each time.
#[derive(Default)]
struct Everything {
    deposits: Vec<u64>,
    withdrawals: Vec<u64>,
}

impl Everything {
    fn withdraw(&mut self, half_second: u64, percent: u64, min_per_second: u64, window: u64) -> bool {
        let last = self.withdrawals.iter().copied().max().unwrap_or(0).max(half_second);
        let counts = |list: &[u64]| list.iter().filter(|at| **at <= last && **at + 2 * window > last).count() as u64;
        let allowed = counts(&self.deposits) * percent + min_per_second * window * 100;
        let granted = (counts(&self.withdrawals) + 1) * 100 <= allowed;
        if granted {
            self.withdrawals.push(last);
        }
        granted
    }
}

#[derive(Debug, Clone)]
enum Step {
    Deposit(u64),
    Withdraw,
    Wait(u64),
    /// A thread whose clock is a little behind.
    Back(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..20).prop_map(Step::Deposit),
        6 => Just(Step::Withdraw),
        2 => (0..3 * SECOND).prop_map(Step::Wait),
        1 => (0..40 * SECOND).prop_map(Step::Wait),
        1 => (0..SECOND).prop_map(Step::Back),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn every_decision_is_that_of_counting_everything(
        steps in steps(), percent in 0_u8..=100, min_per_second in 0_u32..4, window in 1_u64..=30,
    ) {
        let budget = RetryBudget::new(&options(percent, min_per_second, window)).expect("in range");
        let mut everything = Everything::default();
        let mut latest = 0;
        for step in steps {
            let now = match step { Step::Back(behind) => latest - behind.min(latest), _ => latest };
            match step {
                Step::Deposit(count) => for _ in 0..count {
                    budget.deposit(Moment::from_nanos(now));
                    everything.deposits.push(now / (SECOND / 2));
                },
                Step::Wait(time) => latest += time,
                Step::Withdraw | Step::Back(_) => prop_assert_eq!(
                    budget.try_withdraw(Moment::from_nanos(now)),
                    everything.withdraw(now / (SECOND / 2), u64::from(percent), u64::from(min_per_second), window)
                ),
            }
        }
    }
}

#[test]
fn a_budget_does_not_work_out_at_all_calls() {
    let (budget, calls) = (budget(20, 3), 100_000);
    let mut retries = 0;
    for call in 0..calls {
        let now = Moment::from_nanos(call * SECOND / 1000);
        budget.deposit(now);
        retries += granted(&budget, 3, now);
    }
    // 1000 calls per second for 100 s, and the floor of 3 per second.
    assert!((20_000..=20_330).contains(&retries), "{retries}");
}

#[test]
fn a_seldom_caller_has_the_floor() {
    let budget = budget(20, 3);
    assert_eq!(granted(&budget, 100, Moment::ORIGIN), 30);
    assert_eq!(granted(&budget, 100, Moment::from_nanos(9 * SECOND)), 0);
    assert_eq!(granted(&budget, 100, Moment::from_nanos(10 * SECOND)), 30);
}

#[test]
fn no_share_of_a_call_is_lost_to_rounding() {
    for percent in 1..=100 {
        let budget = budget(percent, 0);
        (0..100).for_each(|_| budget.deposit(Moment::ORIGIN));
        assert_eq!(granted(&budget, 200, Moment::ORIGIN), u64::from(percent));
    }
    let thin = RetryBudgetOptions { ratio: Ratio::new(0.001).expect("a share"), ..options(0, 0, 10) };
    let thin = RetryBudget::new(&thin).expect("in range");
    (0..999).for_each(|_| thin.deposit(Moment::ORIGIN));
    assert!(!thin.try_withdraw(Moment::ORIGIN));
    thin.deposit(Moment::ORIGIN);
    assert!(thin.try_withdraw(Moment::ORIGIN));
}

#[test]
fn calls_of_long_ago_pay_for_nothing() {
    let budget = budget(100, 0);
    (0..1000).for_each(|_| budget.deposit(Moment::ORIGIN));
    // Whole turns of the ring later, the same places are read.
    for later in [10, 32, 64, 320_000] {
        assert!(!budget.try_withdraw(Moment::from_nanos(later * SECOND)), "after {later} s");
    }
}

#[test]
fn the_ends_of_time_do_no_harm() {
    let budget = budget(50, 0);
    for now in [Moment::NEVER, Moment::ORIGIN, Moment::NEVER] {
        (0..4).for_each(|_| budget.deposit(now));
    }
    assert_eq!(granted(&budget, 10, Moment::NEVER), 4);
    // The gate stands at the end of time, and a clock before it is taken to be as far.
    assert_eq!(granted(&budget, 10, Moment::ORIGIN), 0);
}

#[test]
fn nothing_at_all_can_be_asked_for() {
    let budget = budget(0, 0);
    (0..1000).for_each(|_| budget.deposit(Moment::ORIGIN));
    assert!(!budget.try_withdraw(Moment::ORIGIN));
}

#[test]
fn the_largest_floor_does_not_overflow() {
    let budget = RetryBudget::new(&options(100, u32::MAX, 30)).expect("in range");
    (0..10).for_each(|_| budget.deposit(Moment::ORIGIN));
    assert_eq!(budget.inner.settings.load().allowance(10), u64::from(u32::MAX) * 30 + 10);
    assert!(budget.try_withdraw(Moment::ORIGIN));
}

#[test]
fn other_options_judge_what_happened_before() {
    let budget = budget(20, 0);
    (0..100).for_each(|_| budget.deposit(Moment::ORIGIN));
    assert_eq!(granted(&budget, 10, Moment::ORIGIN), 10);
    budget.reconfigure(&options(12, 0, 10)).expect("in range");
    assert_eq!(granted(&budget, 10, Moment::ORIGIN), 2);
    budget.reconfigure(&options(100, 0, 1)).expect("in range");
    assert_eq!(granted(&budget, 10, Moment::from_nanos(SECOND)), 0, "the window ends before them now");
}

#[test]
fn options_out_of_range_change_nothing() {
    let budget = budget(20, 3);
    for window in [Duration::ZERO, Duration::from_millis(999), Duration::from_millis(30_001), Duration::MAX] {
        let wrong = RetryBudgetOptions { window, ..RetryBudgetOptions::default() };
        assert_eq!(budget.reconfigure(&wrong).expect_err("out of range").option, "budget.window");
    }
    assert_eq!(budget.options(), options(20, 3, 10));
    let rounded = RetryBudgetOptions { window: Duration::from_millis(1001), ..options(0, 2, 1) };
    assert_eq!(granted(&RetryBudget::new(&rounded).expect("in range"), 10, Moment::ORIGIN), 3);
}

#[test]
fn without_options_there_is_no_limit() {
    let environment = Environment::default();
    let budget = RetryBudget::perhaps(None, &environment).expect("nothing to be wrong");
    assert_eq!(granted(&budget, 1000, Moment::ORIGIN), 1000);
    assert_eq!(budget.stats().available, u64::MAX);
    budget.reconfigure_perhaps(Some(&options(0, 0, 10))).expect("in range");
    assert_eq!(granted(&budget, 1000, Moment::ORIGIN), 0);
    budget.reconfigure_perhaps(None).expect("nothing to be wrong");
    assert!(budget.try_withdraw(Moment::ORIGIN));
}

#[test]
fn an_exhausted_budget_is_visible() {
    let manual = Clock::manual();
    let environment = Environment { clock: manual.clock(), ..Environment::default() };
    let budget = RetryBudget::in_environment(&options(20, 0, 10), &environment).expect("in range");
    (0..10).for_each(|_| budget.deposit(Moment::ORIGIN));
    assert_eq!(budget.stats(), RetryBudgetStats { calls: 10, withdrawn: 0, available: 2, refused: 0 });
    granted(&budget, 5, Moment::ORIGIN);
    assert_eq!(budget.stats(), RetryBudgetStats { calls: 10, withdrawn: 2, available: 0, refused: 3 });
    manual.advance(Duration::from_secs(10));
    assert_eq!(budget.stats(), RetryBudgetStats { calls: 0, withdrawn: 0, available: 0, refused: 3 });
}

#[test]
fn many_threads_get_exactly_what_is_allowed() {
    const THREADS: u64 = 8;
    let budget = budget(20, 3);
    let total = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (budget, total) = (&budget, &total);
            scope.spawn(move || {
                for call in 0..1000 {
                    // All within one window, in slots that differ from thread to thread.
                    let now = Moment::from_nanos((call * 9 * SECOND / 1000).saturating_sub(thread * SECOND / 4));
                    budget.deposit(now);
                    total.fetch_add(granted(budget, 1, now), Ordering::Relaxed);
                }
            });
        }
    });
    let now = Moment::from_nanos(9 * SECOND);
    let rest = granted(&budget, 10_000, now);
    assert_eq!(total.into_inner() + rest, THREADS * 1000 / 5 + 30);
}
