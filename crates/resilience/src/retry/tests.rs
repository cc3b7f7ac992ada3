//! Waits, decisions, the mistakes of others, and overload.

mod decisions;
mod overload;
mod waits;

use std::time::Duration;

use super::*;
use crate::budget::RetryBudgetOptions;
use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::outcome::Verdict;
use crate::policy::Environment;
use crate::random::Random;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn retry(options: &RetryOptions) -> Retry {
    let environment =
        Environment { clock: Clock::manual().clock(), random: Random::seeded(7), ..Environment::default() };
    Retry::in_environment("orders", options, &environment).expect("options within their ranges")
}

/// Options without chance and without a budget.
fn exact(attempts: u32) -> RetryOptions {
    RetryOptions { attempts, jitter: Jitter::None, budget: None, ..RetryOptions::default() }
}

/// The answer after one failed attempt of a new call at the origin.
fn first_answer(retry: &Retry, verdict: Verdict, call: &Call<'_>, deadline: Moment) -> Option<Duration> {
    let now = Reading::taken(Moment::ORIGIN);
    let mut progress = retry.begin(&now);
    retry.next(&mut progress, &verdict, call, &now, deadline)
}

/// The waits of one call that always fails.
fn waits(retry: &Retry) -> Vec<Duration> {
    let now = Reading::taken(Moment::ORIGIN);
    let mut progress = retry.begin(&now);
    std::iter::from_fn(|| retry.next(&mut progress, &Verdict::TRANSIENT, &Call::new(), &now, Moment::NEVER)).collect()
}
