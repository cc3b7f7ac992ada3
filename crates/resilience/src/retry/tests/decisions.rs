//! Whether there is another attempt.

use proptest::prelude::*;

use super::*;
use crate::budget::RetryBudget;
use crate::error::{Code, Rejection};
use crate::event::{Events, Happening};
use crate::name::Name;
use crate::outcome::{Outcome, RetryAdvice};
use crate::policy::Mode;
use crate::units::Ratio;

fn always(budget: RetryBudgetOptions) -> RetryOptions {
    RetryOptions { attempts: 100, budget: Some(budget), ..exact(100) }
}

fn rejected(code: Code) -> Verdict {
    Rejection::new(code, &Name::from("inner")).with_retry_after(millis(5)).verdict()
}

#[test]
fn only_failures_that_may_pass_are_tried_again() {
    let answer = |verdict| first_answer(&retry(&exact(3)), verdict, &Call::new(), Moment::NEVER);
    assert_eq!(answer(Verdict::TRANSIENT), Some(millis(100)));
    assert_eq!(answer(Verdict::overload(None)), Some(millis(100)));
    for verdict in [Verdict::SUCCESS, Verdict::PERMANENT, Verdict::IGNORED] {
        assert_eq!(answer(verdict), None);
    }
}

#[test]
fn an_open_breaker_is_not_tried_again_and_a_full_bulkhead_is() {
    let answer = |code| first_answer(&retry(&exact(3)), rejected(code), &Call::new(), Moment::NEVER);
    for code in [Code::BreakerOpen, Code::BreakerForcedOpen, Code::BreakerProbing, Code::DeadlinePassed] {
        assert_eq!(answer(code), None, "{code}");
    }
    for code in [Code::BulkheadFull, Code::RateLimited, Code::AttemptTimeout] {
        assert_eq!(answer(code), Some(millis(100)), "{code}");
    }
}

#[test]
fn an_uncapped_retry_after_does_not_park_the_call_for_years() {
    let retry = retry(&exact(3));
    let answer = |asked| first_answer(&retry, Verdict::overload(Some(asked)), &Call::new(), Moment::NEVER);
    assert_eq!(answer(Duration::from_secs(30)), Some(Duration::from_secs(30)));
    assert_eq!(answer(Duration::from_secs(30) + Duration::from_nanos(1)), None);
    assert_eq!(answer(Duration::from_secs(1 << 33)), None);
    assert_eq!(answer(Duration::MAX), None);
    assert_eq!((retry.stats().retries, retry.stats().exhausted), (1, 3));
}

#[test]
fn no_attempt_begins_at_the_deadline_or_later() {
    let retry = retry(&always(RetryBudgetOptions::default()));
    let answer = |verdict, nanos| first_answer(&retry, verdict, &Call::new(), Moment::from_nanos(nanos));
    assert_eq!(answer(Verdict::TRANSIENT, 100_000_001), Some(millis(100)));
    assert_eq!(answer(Verdict::TRANSIENT, 100_000_000), None);
    assert_eq!(answer(Verdict::TRANSIENT, 0), None);
    // What the other side asks for may end after the deadline too: then it is not waited for in vain.
    assert_eq!(answer(Verdict::overload(Some(millis(500))), 500_000_000), None);
    assert_eq!(retry.stats().budget.withdrawn, 1, "and nothing is paid for it");
}

#[test]
fn retries_that_wait_in_backoff_are_paid_already() {
    let budget = RetryBudgetOptions { ratio: Ratio::percent(20), min_per_second: 0, ..RetryBudgetOptions::default() };
    let retry = retry(&always(budget));
    let now = Reading::taken(Moment::ORIGIN);
    let mut calls: Vec<_> = (0..100).map(|_| retry.begin(&now)).collect();
    // None of the retries has begun when the last of the calls fails.
    let answers = calls
        .iter_mut()
        .filter_map(|progress| retry.next(progress, &Verdict::TRANSIENT, &Call::new(), &now, Moment::NEVER));
    assert_eq!(answers.count(), 20);
    assert_eq!((retry.stats().retries, retry.stats().budget_exhausted), (20, 80));
}

#[test]
fn a_shared_budget_is_for_all_who_share_it() {
    let options = RetryBudgetOptions { ratio: Ratio::ZERO, min_per_second: 1, ..RetryBudgetOptions::default() };
    let shared = RetryBudget::new(&options).expect("in range");
    let retries = ["a", "b"].map(|name| Retry::new(name, &exact(9)).expect("in range").with_budget(shared.clone()));
    assert_eq!(retries.iter().map(|retry| waits(retry).len()).collect::<Vec<_>>(), [8, 2]);
    let own = RetryOptions { budget: Some(RetryBudgetOptions::default()), ..exact(9) };
    retries[1].reconfigure(&own).expect("in range");
    assert_eq!(waits(&retries[1]).len(), 0, "an own budget has no effect");
}

#[test]
fn what_may_have_had_an_effect_is_tried_again_only_where_that_does_no_harm() {
    let (careful, call) = (retry(&RetryOptions { only_idempotent: true, ..exact(3) }), Call::new());
    let again = |verdict, call: &Call<'_>| first_answer(&careful, verdict, call, Moment::NEVER).is_some();
    assert!(again(Verdict::TRANSIENT, &Call::new().idempotent()));
    assert!(!again(Verdict::TRANSIENT, &call));
    assert!(!again(Verdict::overload(Some(millis(1))), &call), "429 does not say that nothing happened");
    assert!(!again(rejected(Code::AttemptTimeout), &call), "it ran until its time was over");
    assert!(again(Verdict::TRANSIENT.unprocessed(), &call));
    assert!(again(rejected(Code::BulkheadFull), &call));
    assert!(again(rejected(Code::ChaosAborted), &call));
    assert!(again(Verdict::new(Outcome::Rejected, RetryAdvice::Backoff), &call));
    assert!(!again(Verdict::PERMANENT.unprocessed(), &call));
}

#[test]
fn a_condition_of_your_own_is_asked_too() {
    let patient = retry(&exact(9)).should_retry(|verdict, failed| verdict.outcome != Outcome::Overload && failed < 4);
    assert_eq!(waits(&patient).len(), 3);
    assert_eq!(first_answer(&patient, Verdict::overload(None), &Call::new(), Moment::NEVER), None);
}

#[test]
fn a_disabled_retry_does_nothing_and_counts_nothing() {
    let disabled = retry(&RetryOptions { mode: Mode::Disabled, ..RetryOptions::default() });
    assert_eq!(waits(&disabled), []);
    assert_eq!(disabled.stats(), RetryStats { budget: disabled.stats().budget, ..RetryStats::default() });
    assert_eq!(disabled.stats().budget.calls, 0);
}

#[test]
fn metrics_only_tells_of_retries_and_makes_none() {
    let events = Events::default();
    let environment = Environment { events: events.clone(), ..Environment::default() };
    let options = RetryOptions { mode: Mode::MetricsOnly, ..exact(3) };
    let shadow = Retry::in_environment("orders", &options, &environment).expect("in range");
    let listener = events.subscribe(8);
    assert_eq!(waits(&shadow), []);
    assert_eq!(shadow.stats().retries, 1);
    let told = listener.try_next().map(|event| event.happening);
    assert_eq!(told, Some(Happening::RetryAttempt { attempt: 2, delay: millis(100) }));
}

#[test]
fn events_tell_of_attempts_and_of_each_end() {
    let events = Events::default();
    let environment = Environment { events: events.clone(), ..Environment::default() };
    let nothing = RetryBudgetOptions { ratio: Ratio::ZERO, min_per_second: 0, ..RetryBudgetOptions::default() };
    let retry = Retry::in_environment("orders", &exact(2), &environment).expect("in range");
    let listener = events.subscribe(8);
    waits(&retry);
    retry.reconfigure(&RetryOptions { budget: Some(nothing), ..exact(2) }).expect("in range");
    waits(&retry);
    let told: Vec<_> = std::iter::from_fn(|| listener.try_next()).map(|event| event.happening).collect();
    let attempt = Happening::RetryAttempt { attempt: 2, delay: millis(100) };
    assert_eq!(told, [attempt, Happening::RetryExhausted { attempts: 2 }, Happening::RetryBudgetExhausted]);
}

#[test]
fn a_success_after_a_failure_is_a_recovery() {
    let (retry, now, call) = (retry(&exact(3)), Reading::taken(Moment::ORIGIN), Call::new());
    for failures in 0..2 {
        let mut progress = retry.begin(&now);
        (0..failures).for_each(|_| {
            retry.next(&mut progress, &Verdict::TRANSIENT, &call, &now, Moment::NEVER);
        });
        assert_eq!(retry.next(&mut progress, &Verdict::SUCCESS, &call, &now, Moment::NEVER), None);
        assert_eq!(progress.attempts(), failures + 1);
    }
    assert_eq!(retry.stats().recovered, 1);
}

#[test]
fn other_options_act_on_calls_under_way() {
    let (retry, now) = (retry(&exact(9)), Reading::taken(Moment::ORIGIN));
    let mut progress = retry.begin(&now);
    let mut next = || retry.next(&mut progress, &Verdict::TRANSIENT, &Call::new(), &now, Moment::NEVER);
    assert_eq!(next(), Some(millis(100)));
    retry.reconfigure(&RetryOptions { backoff: Backoff::Constant { delay: millis(1) }, ..exact(3) }).expect("in range");
    assert_eq!((next(), next()), (Some(millis(1)), None));
    retry.reconfigure(&RetryOptions { mode: Mode::Disabled, ..exact(9) }).expect("in range");
    assert_eq!((next(), waits(&retry)), (None, vec![]));
    assert_eq!((retry.stats().retries, retry.stats().exhausted), (2, 1), "a call under way is not counted any more");
    retry.reconfigure(&exact(2)).expect("in range");
    assert_eq!(waits(&retry).len(), 1);
}

#[test]
fn options_out_of_range_change_nothing() {
    let (day, more) = (Duration::from_secs(86_400), Duration::from_secs(86_401));
    let retry = retry(&exact(3));
    let exponential = |base, factor, cap| Backoff::Exponential { base, factor, cap };
    let with = |backoff| RetryOptions { backoff, budget: Some(RetryBudgetOptions::default()), ..exact(3) };
    let short = RetryBudgetOptions { window: Duration::ZERO, ..RetryBudgetOptions::default() };
    for (option, wrong) in [
        ("attempts", exact(0)),
        ("attempts", exact(101)),
        ("retry_after_cap", RetryOptions { retry_after_cap: more, ..exact(3) }),
        ("backoff.factor", with(exponential(millis(1), 0.99, day))),
        ("backoff.factor", with(exponential(millis(1), 100.1, day))),
        ("backoff.factor", with(exponential(millis(1), f64::NAN, day))),
        ("backoff.cap", with(exponential(millis(1), 2.0, more))),
        ("backoff.base", with(exponential(millis(2), 2.0, millis(1)))),
        ("backoff.step", with(Backoff::Linear { base: millis(1), step: more, cap: day })),
        ("backoff.base", with(Backoff::Linear { base: millis(2), step: day, cap: millis(1) })),
        ("backoff.delay", with(Backoff::Constant { delay: more })),
        ("jitter", RetryOptions { jitter: Jitter::Decorrelated, ..with(Backoff::Constant { delay: day }) }),
        ("budget.window", RetryOptions { budget: Some(short), ..exact(9) }),
    ] {
        assert_eq!(retry.reconfigure(&wrong).expect_err("out of range").option, option);
        assert_eq!(Retry::new("orders", &wrong).expect_err("out of range").option, option);
    }
    assert_eq!(retry.options(), exact(3));
    let widest = RetryOptions { retry_after_cap: day, ..with(exponential(day, 100.0, day)) };
    retry.reconfigure(&RetryOptions { attempts: 100, ..widest }).expect("the ends of the ranges");
}

/// What a call of the model does.
#[derive(Debug, Clone)]
enum Step {
    Begin,
    Fail { call: usize, verdict: Verdict, deadline: u64 },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let verdicts = prop_oneof![
        4 => Just(Verdict::TRANSIENT),
        1 => Just(Verdict::PERMANENT),
        1 => (0_u64..2000).prop_map(|after| Verdict::overload(Some(millis(after)))),
        1 => Just(Verdict::SUCCESS),
    ];
    let step = prop_oneof![
        2 => Just(Step::Begin),
        5 => (0_usize..40, verdicts, 0_u64..3000)
            .prop_map(|(call, verdict, deadline)| Step::Fail { call, verdict, deadline }),
        1 => (0_u64..4000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    /// Waits of 100, 200, 300 ms; 4 attempts; Retry-After up to a second; a budget of half the calls of 10 seconds.
    #[test]
    fn every_decision_is_that_of_the_rules(steps in steps()) {
        let retry = retry(&RetryOptions {
            backoff: Backoff::Linear { base: millis(100), step: millis(100), cap: millis(10_000) },
            retry_after_cap: millis(1000),
            ..always(RetryBudgetOptions {
                ratio: Ratio::percent(50), min_per_second: 0, window: Duration::from_secs(10),
            })
        });
        retry.reconfigure(&RetryOptions { attempts: 4, ..retry.options() }).expect("in range");
        let (mut now, mut begun, mut granted, mut calls) = (0_u64, Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            let reading = Reading::taken(Moment::from_nanos(now * 1_000_000));
            match step {
                Step::Wait(time) => now += time,
                Step::Begin => {
                    begun.push(now / 500);
                    calls.push((retry.begin(&reading), 1_u64));
                }
                Step::Fail { call, verdict, deadline } => {
                    let count = calls.len().max(1);
                    let Some((progress, attempts)) = calls.get_mut(call % count) else { continue };
                    let wait = match verdict.retry {
                        RetryAdvice::No => None,
                        RetryAdvice::After(asked) if asked > millis(1000) => None,
                        RetryAdvice::After(asked) => Some(asked.max(millis(*attempts * 100))),
                        RetryAdvice::Backoff => Some(millis(*attempts * 100)),
                    };
                    let recent = |list: &[u64]| list.iter().filter(|at| **at + 20 > now / 500).count();
                    let expected = wait
                        .filter(|wait| *attempts < 4 && *wait < millis(deadline))
                        .filter(|_| (recent(&granted) + 1) * 2 <= recent(&begun));
                    let ends = Moment::from_nanos((now + deadline) * 1_000_000);
                    prop_assert_eq!(retry.next(progress, &verdict, &Call::new(), &reading, ends), expected);
                    if expected.is_some() {
                        granted.push(now / 500);
                        *attempts += 1;
                    }
                }
            }
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn options_are_written_as_documented() {
    let read = |text: &str| serde_json::from_str::<RetryOptions>(text).map_err(|error| error.to_string());
    assert_eq!(read("{}"), Ok(RetryOptions::default()));
    assert_eq!(
        read(
            r#"{ "mode": "metrics_only", "attempts": 5, "jitter": "decorrelated", "budget": "off",
                 "retry_after_cap": "1m", "only_idempotent": true,
                 "backoff": { "strategy": "linear", "step": "50ms" } }"#
        ),
        Ok(RetryOptions {
            mode: Mode::MetricsOnly,
            attempts: 5,
            jitter: Jitter::Decorrelated,
            budget: None,
            retry_after_cap: Duration::from_secs(60),
            only_idempotent: true,
            backoff: Backoff::Linear { base: millis(100), step: millis(50), cap: Duration::from_secs(10) },
        })
    );
    for (text, problem) in [
        (r#"{ "attempt": 3 }"#, "unknown field `attempt`"),
        (r#"{ "backoff": { "strategy": "constant", "base": "1s" } }"#, "`base` is no option of `constant`"),
        (r#"{ "backoff": { "strategy": "linear", "bse": "1s" } }"#, "unknown field `bse`"),
        (r#"{ "backoff": { "strategy": "exponential", "base": "1" } }"#, "a duration such as"),
        (r#"{ "backoff": { "base": "1s" } }"#, "missing field `strategy`"),
        (r#"{ "budget": { "ratios": "20%" } }"#, "unknown field `ratios`, expected one of `ratio`"),
        (r#"{ "budget": { "ratio": "120%" } }"#, "a share from 0% to 100%"),
        (r#"{ "budget": "on" }"#, r#"invalid type: string "on", expected struct RetryBudgetOptions"#),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(problem), "{error}");
    }
    for options in [RetryOptions::default(), exact(7)] {
        let text = serde_json::to_string(&options).expect("options can be written");
        assert_eq!(read(&text), Ok(options));
    }
}
