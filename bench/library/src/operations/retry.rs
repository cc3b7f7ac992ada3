//! Retries that are not needed.

use std::future::{Ready, ready};

use tidegate_resilience::{Pipeline, Retry, RetryOptions};
use tower::retry::Policy;
use tower::{Layer, service_fn};
use tower_resilience::retry::RetryLayer;

use crate::contest::{Bar, Contender, Operation, answer, future, service};

/// As in tower's documentation: so many attempts at once, whatever the error.
#[derive(Debug, Clone)]
pub(super) struct Attempts(pub(super) u32);

impl<R: Clone, T, E> Policy<R, T, E> for Attempts {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut R, result: &mut Result<T, E>) -> Option<Self::Future> {
        self.0 = self.0.checked_sub(u32::from(result.is_err()))?;
        result.is_err().then(|| ready(()))
    }

    fn clone_request(&mut self, request: &R) -> Option<R> {
        Some(request.clone())
    }
}

pub(super) fn operations() -> Vec<Operation> {
    vec![Operation {
        name: "retry",
        about: "retry with a budget around a future that succeeds at once",
        bar: Bar::Open,
        contenders: vec![
            Contender::new("ours", || {
                future(Pipeline::of(retry()), async |pipeline| pipeline.execute(|| answer(1)).await.is_ok())
            }),
            Contender::new("tower (without a budget)", || {
                service(tower::retry::RetryLayer::new(Attempts(3)).layer(service_fn(answer)), Result::is_ok)
            }),
            Contender::new("tower-resilience (without a budget)", || {
                let layer = RetryLayer::builder().max_attempts(3).build();
                service(layer.layer(service_fn(answer)), Result::is_ok)
            }),
        ],
    }]
}

pub(super) fn retry() -> Retry {
    Retry::new("bench", &RetryOptions::default()).expect("the defaults are valid")
}
