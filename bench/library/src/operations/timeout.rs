//! Timeouts that are not reached.

use std::time::Duration;

use tidegate_resilience::{Pipeline, Timeout, TimeoutOptions};
use tower::timeout::TimeoutLayer;
use tower::{Layer, service_fn};
use tower_resilience::timelimiter::TimeLimiterLayer;

use crate::contest::{Bar, Contender, Operation, answer, future, service};

/// More than anything here takes.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn operations() -> Vec<Operation> {
    vec![Operation {
        name: "timeout",
        about: "timeout around a ready future",
        bar: Bar::Open,
        contenders: vec![
            Contender::new("ours", || {
                future(Pipeline::of(timeout()), async |pipeline| pipeline.execute(|| answer(1)).await.is_ok())
            }),
            Contender::new("tokio", || future((), async |()| tokio::time::timeout(LIMIT, answer(1)).await.is_ok())),
            Contender::new("tower", || service(TimeoutLayer::new(LIMIT).layer(service_fn(answer)), Result::is_ok)),
            Contender::new("tower-resilience", || {
                let layer = TimeLimiterLayer::builder().timeout_duration(LIMIT).build();
                service(layer.layer(service_fn(answer)), Result::is_ok)
            }),
        ],
    }]
}

pub(super) fn timeout() -> Timeout {
    let options = TimeoutOptions { total: Some(LIMIT), ..Default::default() };
    Timeout::new("bench", &options).expect("valid options")
}
