//! Bulkheads with room.

use tidegate_resilience::{Bulkhead, BulkheadOptions, Pipeline};
use tokio::sync::Semaphore;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, service_fn};
use tower_resilience::bulkhead::BulkheadLayer;

use super::succeeds;
use crate::contest::{Bar, Contender, Operation, Policy, answer, future, plain, service};

/// How many calls may run: more than there are cores.
pub(super) const PLACES: u32 = 1000;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            name: "bulkhead",
            about: "bulkhead with room: acquire and release",
            bar: Bar::Nanos(15.0),
            contenders: vec![
                Contender::new("ours", free),
                Contender::new("tokio semaphore", semaphore),
                Contender::new("tower-resilience (service)", tower_resilience_free),
            ],
        },
        Operation {
            name: "bulkhead-future",
            about: "bulkhead with room, around a ready future",
            bar: Bar::Open,
            contenders: vec![
                Contender::new("ours", || {
                    future(Pipeline::of(bulkhead()), async |pipeline| pipeline.execute(|| answer(1)).await.is_ok())
                }),
                Contender::new("tower-resilience", tower_resilience_free),
                Contender::new("tower concurrency limit", || {
                    service(ConcurrencyLimit::new(service_fn(answer), PLACES as usize), Result::is_ok)
                }),
            ],
        },
    ]
}

pub(super) fn bulkhead() -> Bulkhead {
    let options = BulkheadOptions { max_concurrent: PLACES, ..Default::default() };
    Bulkhead::new("bench", &options).expect("valid options")
}

pub(super) fn free() -> Policy {
    plain(bulkhead(), succeeds)
}

pub(super) fn semaphore() -> Policy {
    plain(Semaphore::new(PLACES as usize), |semaphore| semaphore.try_acquire().is_ok())
}

pub(super) fn tower_resilience_layer() -> BulkheadLayer {
    BulkheadLayer::builder().max_concurrent_calls(PLACES as usize).reject_when_full().build().expect("valid options")
}

fn tower_resilience_free() -> Policy {
    service(tower_resilience_layer().layer(service_fn(answer)), Result::is_ok)
}
