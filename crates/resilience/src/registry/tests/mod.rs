#![allow(clippy::unwrap_used)]

mod documents;
mod keys;
mod random;
mod reload;

use std::time::Duration;

use super::*;
use crate::bulkhead::BulkheadOptions;
use crate::circuit_breaker::CircuitBreakerOptions;
use crate::clock::{Clock, ManualClock};
use crate::policy::Guard as _;
use crate::rate_limit::{FixedWindow, RateLimitOptions};
use crate::retry::RetryOptions;
use crate::timeout::TimeoutOptions;

const SECOND: Duration = Duration::from_secs(1);

fn environment() -> (ManualClock, Environment) {
    let clock = Clock::manual();
    let environment = Environment { clock: clock.clock(), ..Environment::default() };
    (clock, environment)
}

fn breaker(consecutive_failures: u32) -> PolicyOptions {
    let consecutive_failures = Some(consecutive_failures);
    PolicyOptions::CircuitBreaker(CircuitBreakerOptions { consecutive_failures, ..Default::default() })
}

fn bulkhead(max_concurrent: u32) -> PolicyOptions {
    PolicyOptions::Bulkhead(BulkheadOptions { max_concurrent, ..Default::default() })
}

fn rate_limit(limit: u32) -> PolicyOptions {
    PolicyOptions::RateLimit(RateLimitOptions::fixed_window(FixedWindow { limit, window: 60 * SECOND }))
}

fn retry(attempts: u32) -> PolicyOptions {
    PolicyOptions::Retry(RetryOptions { attempts, ..Default::default() })
}

fn timeout(total: Duration) -> PolicyOptions {
    PolicyOptions::Timeout(TimeoutOptions { total: Some(total), ..Default::default() })
}

fn used(name: &str) -> StepOptions {
    StepOptions::Use(name.to_owned())
}

/// A document of these policies and pipelines.
fn document<const N: usize, const M: usize>(
    policies: [(&str, PolicyOptions); N],
    pipelines: [(&str, PipelineOptions); M],
) -> Document {
    Document {
        policies: policies.map(|(name, options)| (name.to_owned(), options)).into(),
        pipelines: pipelines.map(|(name, options)| (name.to_owned(), options)).into(),
    }
}

/// A pipeline of these steps for each key.
fn per_key<const N: usize>(max_keys: u32, steps: [PolicyOptions; N]) -> PipelineOptions {
    PipelineOptions { per_key: Some(PerKeyOptions { max_keys }), ..PipelineOptions::from_iter(steps) }
}

fn registry(document: &Document) -> Registry {
    Registry::new(document, &environment().1).unwrap()
}

/// The policies of a pipeline, outermost first.
fn order<C>(pipeline: &Pipeline<C>) -> Vec<String> {
    pipeline.steps().iter().map(|step| format!("{step:?}")).collect()
}
