//! Finding a circuit breaker by its name, among 100. A handle that is kept need not be found.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use tidegate_resilience::{CircuitBreakerOptions, Document, Environment, PolicyOptions, Registry};

use super::keys::key;
use crate::contest::{Bar, Contender, Operation, Policy, plain};

const POLICIES: u64 = 100;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            name: "registry",
            about: "look-up among 100 in a registry that may change, for a handle to keep",
            bar: Bar::Nanos(7.0),
            contenders: vec![
                Contender::new("ours", || {
                    let name = key(POLICIES / 2);
                    plain((registry(), name), |(registry, name)| registry.circuit_breaker(name).is_some())
                }),
                Contender::new("std HashMap of Arc in RwLock", locked),
            ],
        },
        Operation {
            name: "registry-view",
            about: "look-up among 100 in a view of a registry, for the next call",
            bar: Bar::Nanos(7.0),
            contenders: vec![
                Contender::new("ours", || {
                    let name = key(POLICIES / 2);
                    plain((registry().view(), name), |(view, name)| view.circuit_breaker(name).is_some())
                }),
                Contender::new("std HashMap", || {
                    let name = key(POLICIES / 2);
                    plain((map(), name), |(map, name)| map.get(name).is_some())
                }),
            ],
        },
    ]
}

fn registry() -> Registry {
    let breaker = PolicyOptions::CircuitBreaker(CircuitBreakerOptions::default());
    let policies = (0..POLICIES).map(|number| (key(number), breaker.clone())).collect();
    let document = Document { policies, ..Default::default() };
    Registry::new(&document, &Environment::default()).expect("valid options")
}

fn map() -> HashMap<String, Arc<u64>> {
    (0..POLICIES).map(|number| (key(number), Arc::new(number))).collect()
}

fn locked() -> Policy {
    let name = key(POLICIES / 2);
    plain((RwLock::new(map()), name), |(map, name)| map.read().is_ok_and(|map| map.get(name).cloned().is_some()))
}
