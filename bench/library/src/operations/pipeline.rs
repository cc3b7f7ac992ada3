//! Five policies around a ready future: rate limit, timeout, retry, circuit breaker, bulkhead.

use tidegate_resilience::{Pipeline, ProtectLayer};
use tower::limit::ConcurrencyLimitLayer;
use tower::retry::RetryLayer as PlainRetryLayer;
use tower::timeout::TimeoutLayer;
use tower::{Layer, ServiceBuilder, service_fn};
use tower_resilience::circuitbreaker::CircuitBreakerLayer;
use tower_resilience::retry::RetryLayer;
use tower_resilience::timelimiter::TimeLimiterLayer;

use super::retry::{Attempts, retry};
use super::timeout::{LIMIT, timeout};
use super::{breaker, bulkhead, rate_limit};
use crate::contest::{Bar, Contender, Operation, Policy, answer, future, service};

pub(super) fn operations() -> Vec<Operation> {
    vec![Operation {
        name: "pipeline",
        about: "rate limit, timeout, retry, circuit breaker and bulkhead around a ready future",
        bar: Bar::Nanos(80.0),
        contenders: vec![
            Contender::new("ours", five),
            Contender::new("tower-resilience", tower_resilience_five),
            Contender::new("ours, as a tower layer", || {
                service(ProtectLayer::new(policies()).cloning().layer(service_fn(answer)), Result::is_ok)
            }),
            Contender::new("tower (timeout, retry and concurrency limit only)", tower_three),
        ],
    }]
}

pub(super) fn five() -> Policy {
    future(policies(), async |pipeline| pipeline.execute(|| answer(1)).await.is_ok())
}

fn policies() -> Pipeline {
    Pipeline::builder("bench")
        .step(rate_limit::limiter())
        .step(timeout())
        .step(retry())
        .step(breaker::breaker(breaker::CALLS))
        .step(bulkhead::bulkhead())
        .build()
        .expect("the usual order")
}

pub(super) fn tower_resilience_five() -> Policy {
    let stack = ServiceBuilder::new()
        .layer(rate_limit::tower_resilience_layer())
        .layer(TimeLimiterLayer::builder().timeout_duration(LIMIT).build())
        .layer(RetryLayer::builder().max_attempts(3).build())
        .layer(CircuitBreakerLayer::builder().build().expect("the defaults are valid"))
        .layer(bulkhead::tower_resilience_layer())
        .service(service_fn(answer));
    service(stack, Result::is_ok)
}

fn tower_three() -> Policy {
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(LIMIT))
        .layer(PlainRetryLayer::new(Attempts(3)))
        .layer(ConcurrencyLimitLayer::new(bulkhead::PLACES as usize))
        .service(service_fn(answer));
    service(stack, Result::is_ok)
}
