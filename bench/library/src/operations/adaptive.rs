//! Adaptive limits with room.

use tidegate_resilience::{Adaptive, AdaptiveOptions};
use tower::{Layer, service_fn};
use tower_resilience::adaptive::{AdaptiveLimiterLayer, Vegas};

use super::succeeds;
use crate::contest::{Bar, Contender, Operation, answer, plain, service};

pub(super) fn operations() -> Vec<Operation> {
    vec![Operation {
        name: "adaptive",
        about: "adaptive limit with room: acquire and record a latency",
        bar: Bar::Open,
        contenders: vec![
            Contender::new("ours", || {
                let limit = Adaptive::new("bench", &AdaptiveOptions::default());
                plain(limit.expect("the defaults are valid"), succeeds)
            }),
            Contender::new("tower-resilience (service)", || {
                let vegas = Vegas::builder().initial_limit(20).build().expect("valid options");
                service(AdaptiveLimiterLayer::new(vegas).layer(service_fn(answer)), Result::is_ok)
            }),
        ],
    }]
}
