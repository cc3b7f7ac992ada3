//! One policy on all cores at once. The first rival is ours on one thread; a pipeline may take twice that.

use crate::contest::{Bar, Contender, Make, Operation};

use super::{breaker, bulkhead, pipeline, pool, rate_limit};

pub(super) fn operations() -> Vec<Operation> {
    let row = |name, about, bar, ours: Make, rivals: &[(&'static str, Make)]| {
        let mut contenders =
            vec![Contender::new("ours", ours).on_all_cores(), Contender::new("ours, one thread", ours)];
        contenders.extend(rivals.iter().map(|(name, policy)| Contender::new(name, *policy).on_all_cores()));
        Operation { name, about, bar, contenders }
    };
    vec![
        row(
            "threads-breaker",
            "one circuit breaker on all cores",
            Bar::Open,
            breaker::closed,
            &[
                ("recloser", breaker::recloser_closed),
                ("failsafe", breaker::failsafe_closed),
                ("tower-resilience (service)", breaker::tower_resilience_closed),
            ],
        ),
        row(
            "threads-rate-direct",
            "one rate limit on all cores",
            Bar::Open,
            rate_limit::direct,
            &[("governor", rate_limit::governor_direct)],
        ),
        row(
            "threads-rate-keyed",
            "10,000 rate limits on all cores",
            Bar::Open,
            rate_limit::keyed,
            &[("governor", rate_limit::governor_keyed)],
        ),
        row(
            "threads-bulkhead",
            "one bulkhead on all cores",
            Bar::Open,
            bulkhead::free,
            &[("tokio semaphore", bulkhead::semaphore)],
        ),
        row(
            "threads-pool",
            "one pool on all cores",
            Bar::Open,
            pool::ours,
            &[("deadpool", pool::deadpool), ("bb8", pool::bb8)],
        ),
        row(
            "threads-pipeline",
            "one pipeline of five policies on all cores",
            Bar::Times(2.0),
            pipeline::five,
            &[("tower-resilience", pipeline::tower_resilience_five)],
        ),
    ]
}
