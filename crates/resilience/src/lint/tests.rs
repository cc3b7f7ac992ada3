//! Every mistake in an order that makes it, and a neighbouring order that does not.

use super::*;
use crate::adaptive::{Adaptive, AdaptiveOptions};
use crate::bulkhead::{Bulkhead, BulkheadOptions};
use crate::chaos::{Chaos, ChaosOptions};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerOptions};
use crate::hedge::{Hedge, HedgeOptions};
use crate::policy::Mode;
use crate::rate_limit::{FixedWindow, KeyedRateLimiter, RateLimitOptions, RateLimiter};
use crate::retry::{Backoff, Jitter, RetryOptions};
use crate::timeout::TimeoutOptions;

const SECOND: Duration = Duration::from_secs(1);

fn timeout_options(name: &str, options: &TimeoutOptions) -> Step {
    Timeout::new(name, options).expect("valid").into()
}

/// Limits in seconds; 0 is off.
fn limits(name: &str, total: u32, attempt: u32) -> Step {
    let limit = |seconds: u32| (seconds > 0).then_some(SECOND * seconds);
    timeout_options(name, &TimeoutOptions { total: limit(total), attempt: limit(attempt), ..Default::default() })
}

fn total(seconds: u32) -> Step {
    limits("total", seconds, 0)
}

fn attempt(seconds: u32) -> Step {
    limits("attempt", 0, seconds)
}

/// So many attempts, a second apart.
fn attempts(name: &str, attempts: u32) -> Step {
    let backoff = Backoff::Constant { delay: SECOND };
    let options = RetryOptions { attempts, backoff, jitter: Jitter::None, ..Default::default() };
    Retry::new(name, &options).expect("valid").into()
}

fn retry() -> Step {
    attempts("retry", 3)
}

fn hedge(name: &str) -> Step {
    Hedge::new(name, &HedgeOptions::default()).expect("valid").into()
}

fn breaker() -> Step {
    CircuitBreaker::new("breaker", &CircuitBreakerOptions::default()).expect("valid").into()
}

fn bulkhead(name: &str) -> Step {
    Bulkhead::new(name, &BulkheadOptions::default()).expect("valid").into()
}

fn adaptive() -> Step {
    Adaptive::new("adaptive", &AdaptiveOptions::default()).expect("valid").into()
}

fn chaos() -> Step {
    Chaos::new("chaos", &ChaosOptions::default()).expect("valid").into()
}

fn window() -> RateLimitOptions {
    RateLimitOptions::fixed_window(FixedWindow { limit: 10, window: SECOND })
}

fn limit() -> Step {
    RateLimiter::new("limit", &window()).expect("valid").into()
}

fn keyed_limit() -> Step {
    KeyedRateLimiter::new("limit", &window()).expect("valid").into()
}

fn bulkheads(count: usize) -> Vec<Step> {
    (0..count).map(|number| bulkhead(&format!("bulkhead-{number}"))).collect()
}

/// The steps with the limit of each attempt as the last of them.
fn as_they_run(steps: &[Step]) -> Vec<Step> {
    let limits_attempts = |step: &&Step| matches!(step, Step::Timeout(timeout) if timeout.attempt().is_some());
    let behind = steps.iter().filter(limits_attempts).map(|step| match step {
        Step::Timeout(timeout) => Step::AttemptTimeout(timeout.clone()),
        other => other.clone(),
    });
    steps.iter().cloned().chain(behind).collect()
}

/// What is found, by the step as it is written.
fn found(steps: &[Step], idempotent: bool) -> Vec<(usize, Lint)> {
    let findings = check(&as_they_run(steps), idempotent);
    for finding in &findings {
        assert_eq!(finding.level, finding.code.level());
        assert!(finding.to_string().ends_with(&format!(" [{}]", finding.code.name())), "{finding}");
    }
    findings.into_iter().map(|finding| (finding.step, finding.code)).collect()
}

/// A mistake: the steps of idempotent calls that make it, at which of them it is found, and steps without a mistake.
struct Case {
    lint: Lint,
    mistake: Vec<Step>,
    at: usize,
    neighbour: Vec<Step>,
}

fn case(lint: Lint, mistake: impl Into<Vec<Step>>, at: usize, neighbour: impl Into<Vec<Step>>) -> Case {
    Case { lint, mistake: mistake.into(), at, neighbour: neighbour.into() }
}

fn cases() -> Vec<Case> {
    use Lint::*;
    vec![
        case(TooManySteps, bulkheads(MAX_STEPS + 1), MAX_STEPS, bulkheads(MAX_STEPS)),
        case(TooManySteps, bulkheads(MAX_STEPS + 3), MAX_STEPS, bulkheads(MAX_STEPS)),
        case(
            SamePolicyTwice,
            [breaker(), bulkhead("one"), bulkhead("one")],
            2,
            [breaker(), bulkhead("one"), bulkhead("two")],
        ),
        case(SamePolicyTwice, [limit(), keyed_limit()], 1, [limit(), bulkhead("limit")]),
        case(SamePolicyTwice, [limits("same", 9, 2), limits("same", 9, 2)], 1, [limits("same", 9, 2), total(9)]),
        case(NestedRetries, [total(60), attempts("outer", 2), attempts("inner", 2)], 2, [total(60), retry()]),
        case(NestedHedges, [hedge("outer"), breaker(), hedge("inner")], 2, [breaker(), hedge("inner")]),
        case(TotalInsideRetry, [attempt(1), retry(), total(5)], 2, [total(60), retry(), attempt(1)]),
        case(TotalInsideRetry, [hedge("hedge"), total(5)], 1, [total(5), hedge("hedge"), attempt(1)]),
        case(AttemptOutlivesTotal, [limits("both", 2, 3)], 0, [limits("both", 3, 2)]),
        case(AttemptOutlivesTotal, [limits("both", 2, 2)], 0, [limits("both", 2, 1)]),
        case(AttemptOutlivesTotal, [total(2), breaker(), attempt(2)], 2, [total(2), breaker(), attempt(1)]),
        case(AttemptOutlivesTotal, [attempt(2), breaker(), total(2)], 0, [attempt(1), breaker(), total(2)]),
        // Two waits of a second are between three attempts.
        case(BackoffOutlivesTotal, [total(2), retry()], 1, [total(3), retry()]),
        case(
            BackoffOutlivesTotal,
            [total(9), limits("short", 2, 0), retry()],
            2,
            [total(9), limits("long", 3, 0), retry()],
        ),
        case(AttemptsOutliveTotal, [limits("both", 10, 3), retry()], 1, [limits("both", 11, 3), retry()]),
        case(AttemptsOutliveTotal, [total(10), retry(), attempt(3)], 1, [total(11), retry(), attempt(3)]),
        case(BreakerOutsideRetry, [total(60), breaker(), retry()], 1, [total(60), retry(), breaker()]),
        case(BulkheadOutsideRetry, [total(60), bulkhead("b"), retry()], 1, [total(60), retry(), bulkhead("b")]),
        case(BulkheadOutsideRetry, [total(60), adaptive(), retry()], 1, [total(60), retry(), adaptive()]),
        case(HedgeOutsideRetry, [total(60), hedge("h"), retry()], 2, [total(60), retry(), hedge("h")]),
        case(LimitInsideRetry, [total(60), retry(), limit()], 2, [total(60), limit(), retry()]),
        case(LimitInsideRetry, [total(60), retry(), keyed_limit()], 2, [total(60), keyed_limit(), retry()]),
        case(RetryWithoutTimeout, [retry()], 0, [retry(), attempt(60)]),
        case(RetryWithoutTimeout, [retry(), breaker()], 0, [total(60), retry(), breaker()]),
        case(BreakerInsideBulkhead, [bulkhead("b"), breaker()], 0, [breaker(), bulkhead("b")]),
        // An adaptive limit has no queue.
        case(BreakerInsideBulkhead, [bulkhead("b"), chaos(), breaker()], 0, [adaptive(), chaos(), breaker()]),
    ]
}

#[test]
fn every_mistake_is_found_where_it_is_and_not_in_its_neighbour() {
    for Case { lint, mistake, at, neighbour } in cases() {
        assert_eq!(found(&mistake, true), [(at, lint)], "in {mistake:?}");
        assert_eq!(found(&neighbour, true), [], "in {neighbour:?}, without {lint:?}");
    }
}

#[test]
fn a_hedge_of_calls_that_are_not_idempotent_is_doubtful() {
    let steps = [total(60), hedge("hedge")];
    assert_eq!(found(&steps, false), [(1, Lint::HedgeNotIdempotent)]);
    assert_eq!(found(&steps, true), []);
    assert_eq!(found(&[total(60), retry()], false), [], "a retry does not mind");
}

#[test]
fn every_kind_of_mistake_has_a_case_and_a_name_of_its_own() {
    let covered: Vec<_> = cases().iter().map(|case| case.lint).chain([Lint::HedgeNotIdempotent]).collect();
    for lint in Lint::ALL {
        assert!(covered.contains(lint), "{lint:?}");
        assert_eq!(Lint::ALL.iter().filter(|other| other.name() == lint.name()).count(), 1, "{lint:?}");
    }
}

#[test]
fn the_usual_order_is_sound() {
    let usual = [limit(), limits("timeout", 20, 2), retry(), breaker(), hedge("hedge"), bulkhead("bulkhead")];
    assert_eq!(found(&usual, true), []);
}

#[test]
fn a_timeout_that_does_not_act_ends_nothing() {
    for mode in [Mode::Disabled, Mode::MetricsOnly] {
        let options = TimeoutOptions { mode, total: Some(SECOND), attempt: Some(SECOND * 2) };
        let idle = timeout_options("idle", &options);
        assert_eq!(found(&[idle, retry()], true), [(1, Lint::RetryWithoutTimeout)], "{mode:?}");
    }
}

#[test]
fn waits_of_ones_own_are_not_guessed() {
    let Step::Retry(retry) = retry() else { unreachable!("a retry is a retry") };
    let own = Step::Retry(retry.with_delays(|_| SECOND * 1000));
    assert_eq!(found(&[total(2), own.clone()], true), []);
    assert_eq!(found(&[limits("both", 2, 1), own], true), [(1, Lint::AttemptsOutliveTotal)], "attempts are known");
}

#[test]
fn the_limit_of_each_attempt_is_not_counted_as_a_step() {
    // It runs behind the retry, where the rate limit, the fourth step, is the fifth.
    let both = limits("both", 60, 1);
    let Step::Timeout(timeout) = &both else { unreachable!("a timeout is a timeout") };
    let runs = [both.clone(), chaos(), retry(), Step::AttemptTimeout(timeout.clone()), limit()];
    let findings: Vec<_> = check(&runs, true).iter().map(|finding| (finding.step, finding.code)).collect();
    assert_eq!(findings, [(3, Lint::LimitInsideRetry)]);

    let mut most = bulkheads(MAX_STEPS - 1);
    most.push(both);
    assert_eq!(found(&most, true), []);
}

#[test]
fn several_mistakes_are_told_outermost_first() {
    let steps = [bulkhead("b"), breaker(), retry(), retry(), total(1)];
    assert_eq!(
        found(&steps, true),
        [
            (0, Lint::BulkheadOutsideRetry),
            (0, Lint::BreakerInsideBulkhead),
            (1, Lint::BreakerOutsideRetry),
            (2, Lint::RetryWithoutTimeout),
            (3, Lint::SamePolicyTwice),
            (3, Lint::NestedRetries),
            (3, Lint::RetryWithoutTimeout),
            (4, Lint::TotalInsideRetry),
        ]
    );
}

#[test]
fn the_messages_have_the_figures() {
    let message = |steps: &[Step]| check(&as_they_run(steps), true).remove(0).message;
    assert_eq!(message(&bulkheads(19)), "there are 19 steps, and 16 at most");
    assert!(message(&[total(60), attempts("outer", 3), attempts("inner", 4)]).contains("up to 12 attempts"));
    assert!(message(&[total(2), retry()]).contains("3 attempts take up to 2s, and the whole call may take 2s"));
    assert!(message(&[limits("both", 10, 3), retry()]).contains("3 attempts of 3s and their delays take up to 11s"));
    assert!(message(&[limits("both", 2, 3)]).contains("an attempt may take 3s, and the whole call 2s"));
}
