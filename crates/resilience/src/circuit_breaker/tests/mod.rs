//! A circuit breaker call by call, by a clock that only the test moves.

mod core;
mod model;
mod options;
mod recovery;
mod trips;

use std::time::Duration;

use crate::circuit_breaker::{BreakerWindow, CircuitBreaker, CircuitBreakerOptions, CircuitBreakerStats};
use crate::clock::{Clock, ManualClock};
use crate::error::Code;
use crate::event::{CircuitReason, CircuitState, Happening, Listener};
use crate::outcome::Outcome;
use crate::policy::{Environment, Guard};
use crate::random::Random;

const SECOND: Duration = Duration::from_secs(1);

/// A breaker, the time, and its events.
struct Bench {
    breaker: CircuitBreaker,
    time: ManualClock,
    listener: Listener,
}

impl Bench {
    fn new(options: &CircuitBreakerOptions) -> Self {
        let time = Clock::manual();
        let environment = Environment { clock: time.clock(), random: Random::seeded(7), ..Environment::default() };
        let listener = environment.events.subscribe(1000);
        let breaker = CircuitBreaker::in_environment("db", options, &environment).expect("valid options");
        Self { breaker, time, listener }
    }

    /// Makes a call that ends like this at once; whether it was admitted.
    fn call(&self, outcome: Outcome) -> bool {
        self.breaker.try_acquire().map(|permit| permit.complete(outcome)).is_ok()
    }

    fn calls(&self, count: u32, outcome: Outcome) {
        (0..count).for_each(|_| assert!(self.call(outcome), "admitted"));
    }

    fn state(&self) -> CircuitState {
        self.breaker.state()
    }

    fn rejected_as(&self) -> Option<Code> {
        self.breaker.try_acquire().err().map(|rejection| rejection.code())
    }

    /// The changes of state since the last time, with their reasons.
    fn changes(&self) -> Vec<(CircuitState, CircuitReason)> {
        std::iter::from_fn(|| self.listener.try_next())
            .filter_map(|event| match event.happening {
                Happening::CircuitStateChanged { to, reason, .. } => Some((to, reason)),
                _ => None,
            })
            .collect()
    }

    /// An open circuit by these options.
    fn open(mut options: CircuitBreakerOptions) -> Self {
        options.consecutive_failures = Some(1);
        let bench = Self::new(&options);
        bench.calls(1, Outcome::Failure);
        assert_eq!(bench.state(), CircuitState::Open);
        bench.changes();
        bench
    }
}
