//! What it costs to be listened to: one event is told and received for each call.

use std::hint::black_box;

use tidegate_resilience::{CircuitBreaker, CircuitBreakerOptions, Environment, Listener};
use tower::service_fn;
use tower_resilience::circuitbreaker::CircuitBreakerLayer;

use super::breaker::{CALLS, closed, tower_resilience_closed};
use super::succeeds;
use crate::contest::{Bar, Contender, Operation, answer, plain, service};

pub(super) fn operations() -> Vec<Operation> {
    vec![Operation {
        name: "events",
        about: "circuit breaker, closed: permit, record a success, and somebody hears it",
        bar: Bar::Above(25.0),
        contenders: vec![
            Contender::new("ours", || {
                plain(heard(), |(breaker, listener)| {
                    let admitted = succeeds(breaker);
                    admitted & listener.try_next().is_some()
                })
            }),
            Contender::new("ours, nobody listens", closed),
            Contender::new("tower-resilience (service)", || {
                let layer = CircuitBreakerLayer::builder().on_success(|state| _ = black_box(state));
                let layer = layer.build().expect("valid options");
                service(layer.layer_fn(service_fn(answer)), Result::is_ok)
            }),
            Contender::new("tower-resilience (service), nobody listens", tower_resilience_closed),
        ],
    }]
}

fn heard() -> (CircuitBreaker, Listener) {
    let environment = Environment::default();
    let breaker = CircuitBreaker::in_environment(
        "bench",
        &CircuitBreakerOptions { window: CALLS, ..Default::default() },
        &environment,
    );
    (breaker.expect("valid options"), environment.events.subscribe(64))
}
