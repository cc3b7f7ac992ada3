//! Any sequence of calls, results, waits and hands, decided exactly as by a model that remembers every call.

use proptest::prelude::*;

use super::*;
use crate::clock::{Moment, Reading};
use crate::policy::Ticket;

#[derive(Debug, Clone)]
enum Action {
    Advance(u64),
    Begin,
    End { which: usize, outcome: Outcome },
    ForceOpen,
    ForceClose,
    Reset,
}

fn action() -> impl Strategy<Value = Action> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::Overload),
        1 => Just(Outcome::Ignored),
        1 => Just(Outcome::Cancelled),
        1 => Just(Outcome::Rejected),
    ];
    prop_oneof![
        3 => prop_oneof![Just(0), 0..3_000_u64, Just(10_000), Just(60_000)].prop_map(Action::Advance),
        8 => Just(Action::Begin),
        8 => (any::<prop::sample::Index>(), outcome).prop_map(|(which, outcome)| Action::End { which: which.index(64), outcome }),
        1 => Just(Action::ForceOpen),
        1 => Just(Action::ForceClose),
        2 => Just(Action::Reset),
    ]
}

/// Everything that matters, in the simplest form.
struct Model {
    options: CircuitBreakerOptions,
    state: CircuitState,
    generation: u32,
    until: u64,
    consecutive: u32,
    /// When each call was recorded, and whether it failed.
    calls: Vec<(u64, bool)>,
    probing: u32,
    succeeded: u32,
}

impl Model {
    fn change(&mut self, state: CircuitState, now: u64) {
        self.until = match state {
            CircuitState::Open => now + millis(self.options.open_for),
            CircuitState::HalfOpen => now + millis(self.options.half_open_for),
            _ => 0,
        };
        if state == CircuitState::Closed {
            self.calls.clear();
        }
        (self.state, self.consecutive, self.probing, self.succeeded) = (state, 0, 0, 0);
        self.generation += 1;
    }

    /// Whether a call is admitted, and as of which generation; nothing where its result is of no interest.
    fn begin(&mut self, now: u64) -> Option<Option<u32>> {
        if self.state == CircuitState::Open && now >= self.until {
            self.change(CircuitState::HalfOpen, now);
        }
        if self.state == CircuitState::HalfOpen && self.probing > 0 && now >= self.until {
            self.change(CircuitState::Open, now);
        }
        match self.state {
            CircuitState::Closed => Some(Some(self.generation)),
            CircuitState::ForcedClosed => Some(None),
            CircuitState::HalfOpen
                if self.probing < self.options.probes
                    && self.probing + self.succeeded < self.options.success_threshold =>
            {
                if self.probing == 0 {
                    self.until = now + millis(self.options.half_open_for);
                }
                self.probing += 1;
                Some(Some(self.generation))
            }
            _ => None,
        }
    }

    fn end(&mut self, generation: u32, outcome: Outcome, now: u64) {
        if generation != self.generation {
            return;
        }
        let failed = matches!(outcome, Outcome::Failure | Outcome::Overload);
        match self.state {
            CircuitState::HalfOpen => {
                self.probing -= 1;
                if outcome == Outcome::Success {
                    self.succeeded += 1;
                    self.until = now + millis(self.options.half_open_for);
                }
                if failed {
                    self.change(CircuitState::Open, now);
                } else if self.succeeded >= self.options.success_threshold {
                    self.change(CircuitState::Closed, now);
                }
            }
            CircuitState::Closed if failed || outcome == Outcome::Success => {
                match outcome {
                    Outcome::Failure => self.consecutive += 1,
                    Outcome::Success => self.consecutive = 0,
                    _ => {}
                }
                self.calls.push((now, failed));
                let inside = self.inside(now);
                let failures = inside.iter().filter(|failed| **failed).count() as f64;
                let rate = self.options.failure_rate.expect("set").get();
                let by_rate = inside.len() >= self.options.min_calls as usize && failures / inside.len() as f64 >= rate;
                if self.options.consecutive_failures.is_some_and(|most| self.consecutive >= most) || by_rate {
                    self.change(CircuitState::Open, now);
                }
            }
            _ => {}
        }
    }

    /// Which of the calls in the window failed.
    fn inside(&self, now: u64) -> Vec<bool> {
        let first = match self.options.window {
            BreakerWindow::Calls(calls) => self.calls.len().saturating_sub(calls as usize),
            BreakerWindow::Time(length) => {
                let slice = u64::try_from(length.as_millis()).expect("short") / 10;
                self.calls.iter().take_while(|(when, _)| when / slice + 10 <= now / slice).count()
            }
        };
        self.calls[first..].iter().map(|(_, failed)| *failed).collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("short")
}

proptest! {
    #[test]
    fn every_decision_is_that_of_the_model(
        actions in prop::collection::vec(action(), 1..400),
        timed in any::<bool>(),
        consecutive in prop::option::of(1..6_u32),
        min_calls in 1..8_u32,
        probes in 1..4_u32,
        success_threshold in 1..4_u32,
    ) {
        let window = if timed { BreakerWindow::Time(SECOND * 5) } else { BreakerWindow::Calls(10) };
        let options = CircuitBreakerOptions {
            consecutive_failures: consecutive, window, min_calls, probes, success_threshold,
            open_for: SECOND * 7, half_open_for: SECOND * 20, ..Default::default()
        };
        let bench = Bench::new(&options);
        let mut model = Model {
            options, state: CircuitState::Closed, generation: 0, until: 0, consecutive: 0, calls: Vec::new(), probing: 0,
            succeeded: 0,
        };
        let mut now = 0;
        let mut under_way: Vec<(Ticket, Option<u32>)> = Vec::new();
        for action in actions {
            match action {
                Action::Advance(millis) => {
                    now += millis;
                    bench.time.advance(Duration::from_millis(millis));
                }
                Action::Begin => {
                    let expected = model.begin(now);
                    let got = bench.breaker.try_acquire().ok();
                    prop_assert_eq!(got.is_some(), expected.is_some());
                    if let (Some(permit), Some(generation)) = (got, expected) {
                        under_way.push((permit.into_ticket(), generation));
                    }
                }
                Action::End { which, outcome } => {
                    if !under_way.is_empty() {
                        let (ticket, generation) = under_way.swap_remove(which % under_way.len());
                        let moment = Moment::ORIGIN.after(Duration::from_millis(now));
                        bench.breaker.settle(ticket, outcome, &Reading::taken(moment));
                        if let Some(generation) = generation {
                            model.end(generation, outcome, now);
                        }
                    }
                }
                Action::ForceOpen if model.state != CircuitState::ForcedOpen => {
                    bench.breaker.force_open();
                    model.change(CircuitState::ForcedOpen, now);
                }
                Action::ForceClose if model.state != CircuitState::ForcedClosed => {
                    bench.breaker.force_close();
                    model.change(CircuitState::ForcedClosed, now);
                }
                Action::ForceOpen | Action::ForceClose => {}
                Action::Reset => {
                    bench.breaker.reset();
                    model.change(CircuitState::Closed, now);
                }
            }
            prop_assert_eq!(bench.state(), model.state);
            prop_assert_eq!(bench.breaker.stats().generation, model.generation);
        }
    }
}
