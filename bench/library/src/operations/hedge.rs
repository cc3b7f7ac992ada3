//! Hedges that are not needed.

use tidegate_resilience::{Call, Hedge, HedgeOptions, Pipeline};
use tower::{Layer, service_fn};
use tower_resilience::hedge::HedgeLayer;

use crate::contest::{Bar, Contender, Operation, answer, future, service};

pub(super) fn operations() -> Vec<Operation> {
    vec![Operation {
        name: "hedge",
        about: "hedge around a ready future: no copy is needed",
        bar: Bar::Open,
        contenders: vec![
            Contender::new("ours", || {
                let hedge = Hedge::new("bench", &HedgeOptions::default()).expect("the defaults are valid");
                future(Pipeline::of(hedge), async |pipeline| {
                    pipeline.execute_call(Call::new().idempotent(), |_| answer(1)).await.is_ok()
                })
            }),
            Contender::new("tower-resilience", || {
                service(HedgeLayer::standard().layer(service_fn(answer)), Result::is_ok)
            }),
        ],
    }]
}
