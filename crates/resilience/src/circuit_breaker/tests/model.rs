//! Any sequence of calls, results, waits, hands and other options, decided and counted exactly as by a model that
//! remembers every call.

use proptest::prelude::*;

use super::*;
use crate::circuit_breaker::state::{Answer, Circuit, Ended, Phase};
use crate::clock::{Moment, Reading};
use crate::policy::Ticket;
use crate::units::Ratio;

/// From when on a call is slow.
const SLOW: u64 = 2_000;

#[derive(Debug, Clone)]
enum Action {
    Advance(u64),
    Begin,
    End {
        which: prop::sample::Index,
        outcome: Outcome,
    },
    ForceOpen,
    ForceClose,
    Reset,
    Reconfigure(Conditions),
    /// Compares all figures. To look at them makes a window slide, which must not matter.
    Look,
}

/// The options that change.
#[derive(Debug, Clone)]
struct Conditions {
    consecutive: Option<u32>,
    failure_rate: Option<u8>,
    slow_rate: Option<u8>,
    min_calls: u32,
    probes: u32,
    success_threshold: u32,
}

impl Conditions {
    fn options(&self, window: BreakerWindow) -> CircuitBreakerOptions {
        CircuitBreakerOptions {
            consecutive_failures: self.consecutive,
            failure_rate: self.failure_rate.map(Ratio::percent),
            slow_call_rate: self.slow_rate.map(Ratio::percent),
            slow_call: Duration::from_millis(SLOW),
            min_calls: self.min_calls,
            probes: self.probes,
            success_threshold: self.success_threshold,
            window,
            open_for: SECOND * 7,
            half_open_for: SECOND * 20,
            ..Default::default()
        }
    }
}

/// The pure core with nothing before it, which answers most calls of a breaker.
struct Core(Circuit);

impl Core {
    fn begin(&mut self, now: u64) -> Option<u32> {
        let answer = self.0.admit(moment(now), || 0.5);
        matches!(answer, Answer::Watch | Answer::Probe).then(|| self.0.generation())
    }

    fn end(&mut self, (generation, began): (u32, u64), outcome: Outcome, now: u64) {
        let slow = self.0.options().slow_call_rate.is_some() && now - began >= SLOW;
        self.0.settle(Ended { generation, outcome, slow }, moment(now), || 0.5);
    }

    /// What a breaker would show, but for the calls that it rejected.
    fn stats(&mut self, now: u64, rejected: u64) -> CircuitBreakerStats {
        let (counts, totals) = (self.0.counts(moment(now)), self.0.totals());
        CircuitBreakerStats {
            state: self.0.state(),
            generation: self.0.generation(),
            window_calls: counts.calls,
            failure_rate: share_of(counts.failed, counts.calls),
            slow_call_rate: share_of(counts.slow, counts.calls),
            consecutive_failures: self.0.consecutive(),
            succeeded: totals.succeeded,
            failed: totals.failed,
            slow: totals.slow,
            rejected,
            last_failure: totals.last_failure,
            time_until_probe: match self.0.phase() {
                Phase::Open { until } => Some(until.since(moment(now))),
                _ => None,
            },
        }
    }
}

/// Conditions that measure calls or do not, as they do from the beginning: no call is measured in part.
fn conditions(measuring: bool) -> impl Strategy<Value = Conditions> {
    let rates = (prop::option::of(20..=100_u8), 20..=100_u8);
    // One condition at least must be set.
    let consecutive = prop_oneof![1 => Just(None), 3 => (1..6_u32).prop_map(Some)];
    (consecutive, rates, 1..8_u32, 1..4_u32, 1..4_u32).prop_map(
        move |(consecutive, (failure_rate, share), min_calls, probes, success_threshold)| Conditions {
            consecutive: consecutive.or((failure_rate.is_none() && !measuring).then_some(3)),
            failure_rate,
            slow_rate: measuring.then_some(share),
            min_calls,
            probes,
            success_threshold,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        12 => Just(Outcome::Success),
        5 => Just(Outcome::Failure),
        1 => Just(Outcome::Overload),
        1 => Just(Outcome::Ignored),
        1 => Just(Outcome::Cancelled),
        1 => Just(Outcome::Rejected),
    ]
}

/// Hands are seldom at work: a window must have time to fill.
fn action(measuring: bool) -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => prop_oneof![4 => 0..600_u64, 2 => 0..3_000_u64, 1 => Just(10_000), 1 => Just(60_000)]
            .prop_map(Action::Advance),
        40 => Just(Action::Begin),
        40 => (any::<prop::sample::Index>(), outcome()).prop_map(|(which, outcome)| Action::End { which, outcome }),
        1 => Just(Action::ForceOpen),
        1 => Just(Action::ForceClose),
        1 => Just(Action::Reset),
        2 => conditions(measuring).prop_map(Action::Reconfigure),
        8 => Just(Action::Look),
    ]
}

/// A call that was counted in the window.
#[derive(Debug, Clone, Copy)]
struct Recorded {
    when: u64,
    failed: bool,
    slow: bool,
}

/// Everything that matters, in the simplest form.
struct Model {
    options: CircuitBreakerOptions,
    state: CircuitState,
    generation: u32,
    until: u64,
    consecutive: u64,
    calls: Vec<Recorded>,
    /// The moment as of which the window is seen, while it stands still.
    seen: u64,
    probing: u32,
    succeeded: u32,
    /// What came of calls since the beginning.
    successes: u64,
    failures: u64,
    slow: u64,
    rejected: u64,
    last_failure: Option<u64>,
}

impl Model {
    fn new(options: CircuitBreakerOptions) -> Self {
        Self {
            options,
            state: CircuitState::Closed,
            generation: 0,
            until: 0,
            consecutive: 0,
            calls: Vec::new(),
            seen: 0,
            probing: 0,
            succeeded: 0,
            successes: 0,
            failures: 0,
            slow: 0,
            rejected: 0,
            last_failure: None,
        }
    }

    fn counts_calls(&self) -> bool {
        matches!(self.state, CircuitState::Closed | CircuitState::ForcedClosed)
    }

    fn change(&mut self, state: CircuitState, now: u64) {
        if self.counts_calls() {
            self.seen = now;
        }
        self.until = match state {
            CircuitState::Open => now + millis(self.options.open_for),
            CircuitState::HalfOpen => now + millis(self.options.half_open_for),
            _ => 0,
        };
        (self.state, self.consecutive, self.probing, self.succeeded) = (state, 0, 0, 0);
        if self.counts_calls() {
            self.calls.clear();
        }
        self.generation += 1;
    }

    /// By hand; where it stands already, it stays.
    fn force(&mut self, state: CircuitState, now: u64) {
        if self.state != state {
            self.change(state, now);
        }
    }

    /// Whether a call is admitted, and as of which generation.
    fn begin(&mut self, now: u64) -> Option<u32> {
        if self.state == CircuitState::Open && now >= self.until {
            self.change(CircuitState::HalfOpen, now);
        }
        if self.state == CircuitState::HalfOpen && self.probing > 0 && now >= self.until {
            self.change(CircuitState::Open, now);
        }
        let needed = self.options.success_threshold.saturating_sub(self.succeeded);
        let admitted = match self.state {
            CircuitState::Closed | CircuitState::ForcedClosed => true,
            CircuitState::HalfOpen => self.probing < self.options.probes.min(needed).max(1),
            CircuitState::Open | CircuitState::ForcedOpen => false,
        };
        if !admitted {
            self.rejected += 1;
            return None;
        }
        if self.state == CircuitState::HalfOpen {
            if self.probing == 0 {
                self.until = now + millis(self.options.half_open_for);
            }
            self.probing += 1;
        }
        Some(self.generation)
    }

    fn end(&mut self, (generation, began): (u32, u64), outcome: Outcome, now: u64) {
        let failed = matches!(outcome, Outcome::Failure | Outcome::Overload);
        let counts = failed || outcome == Outcome::Success;
        let slow = counts && self.options.slow_call_rate.is_some() && now - began >= SLOW;
        self.successes += u64::from(outcome == Outcome::Success);
        self.failures += u64::from(failed);
        self.slow += u64::from(slow);
        if failed {
            self.last_failure = Some(now);
        }
        if generation != self.generation {
            return;
        }
        if self.state == CircuitState::HalfOpen {
            self.probing -= 1;
            if failed || slow {
                self.change(CircuitState::Open, now);
            } else if outcome == Outcome::Success {
                self.succeeded += 1;
                self.until = now + millis(self.options.half_open_for);
                if self.succeeded >= self.options.success_threshold {
                    self.change(CircuitState::Closed, now);
                }
            }
        } else if counts {
            match outcome {
                Outcome::Failure => self.consecutive += 1,
                Outcome::Success => self.consecutive = 0,
                _ => {}
            }
            self.calls.push(Recorded { when: now, failed, slow });
            if self.state == CircuitState::Closed && self.trips(now) {
                self.change(CircuitState::Open, now);
            }
        }
    }

    fn trips(&self, now: u64) -> bool {
        let (calls, failed, slow) = self.window(now);
        let reaches = |part: u64, share: Option<Ratio>| {
            share
                .is_some_and(|share| calls >= u64::from(self.options.min_calls) && share_of(part, calls) >= share.get())
        };
        self.options.consecutive_failures.is_some_and(|most| self.consecutive >= u64::from(most))
            || reaches(failed, self.options.failure_rate)
            || reaches(slow, self.options.slow_call_rate)
    }

    /// How many calls are in the window, how many of them failed, and how many were slow.
    fn window(&self, now: u64) -> (u64, u64, u64) {
        let now = if self.counts_calls() { now } else { self.seen };
        let first = match self.options.window {
            BreakerWindow::Calls(calls) => self.calls.len().saturating_sub(calls as usize),
            BreakerWindow::Time(length) => {
                let slice = millis(length) / 10;
                self.calls.iter().take_while(|call| call.when / slice + 10 <= now / slice).count()
            }
        };
        let inside = &self.calls[first..];
        let count = |like: fn(&&Recorded) -> bool| inside.iter().filter(like).count() as u64;
        (count(|_| true), count(|call| call.failed), count(|call| call.slow))
    }

    /// What the breaker should show.
    fn stats(&self, now: u64) -> CircuitBreakerStats {
        let (calls, failed, slow) = self.window(now);
        let until = self.until.saturating_sub(now);
        CircuitBreakerStats {
            state: self.state,
            generation: self.generation,
            window_calls: calls,
            failure_rate: share_of(failed, calls),
            slow_call_rate: share_of(slow, calls),
            consecutive_failures: self.consecutive,
            succeeded: self.successes,
            failed: self.failures,
            slow: self.slow,
            rejected: self.rejected,
            last_failure: self.last_failure.map(moment),
            time_until_probe: (self.state == CircuitState::Open).then_some(Duration::from_millis(until)),
        }
    }
}

fn share_of(part: u64, calls: u64) -> f64 {
    if calls == 0 { 0.0 } else { part as f64 / calls as f64 }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("short")
}

fn moment(millis: u64) -> Moment {
    Moment::ORIGIN.after(Duration::from_millis(millis))
}

fn runs() -> impl Strategy<Value = (Conditions, Vec<Action>)> {
    any::<bool>().prop_flat_map(|measuring| (conditions(measuring), prop::collection::vec(action(measuring), 1..400)))
}

proptest! {
    #[test]
    fn every_decision_and_every_figure_is_that_of_the_model((conditions, actions) in runs(), timed in any::<bool>()) {
        let window = if timed { BreakerWindow::Time(SECOND * 5) } else { BreakerWindow::Calls(10) };
        let options = conditions.options(window);
        let bench = Bench::new(&options);
        let mut core = Core(Circuit::new(options.clone()));
        let mut model = Model::new(options);
        let mut now = 0;
        let mut under_way: Vec<(Ticket, (u32, u64))> = Vec::new();
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
                    prop_assert_eq!(core.begin(now), expected);
                    if let (Some(permit), Some(generation)) = (got, expected) {
                        under_way.push((permit.into_ticket(), (generation, now)));
                    }
                }
                Action::End { which, outcome } => {
                    if !under_way.is_empty() {
                        let (ticket, begun) = under_way.swap_remove(which.index(under_way.len()));
                        bench.breaker.settle(ticket, outcome, &Reading::taken(moment(now)));
                        core.end(begun, outcome, now);
                        model.end(begun, outcome, now);
                    }
                }
                Action::ForceOpen => {
                    bench.breaker.force_open();
                    core.0.force(Phase::ForcedOpen, moment(now));
                    model.force(CircuitState::ForcedOpen, now);
                }
                Action::ForceClose => {
                    bench.breaker.force_close();
                    core.0.force(Phase::ForcedClosed, moment(now));
                    model.force(CircuitState::ForcedClosed, now);
                }
                Action::Reset => {
                    bench.breaker.reset();
                    core.0.force(Phase::Closed { ramp: None }, moment(now));
                    model.change(CircuitState::Closed, now);
                }
                Action::Reconfigure(conditions) => {
                    model.options = conditions.options(window);
                    bench.breaker.reconfigure(&model.options).expect("in range");
                    core.0.reconfigure(model.options.clone());
                }
                Action::Look => {
                    let expected = model.stats(now);
                    prop_assert_eq!(bench.breaker.stats(), expected);
                    prop_assert_eq!(core.stats(now, expected.rejected), expected);
                }
            }
            prop_assert_eq!((bench.state(), core.0.state()), (model.state, model.state));
        }
    }
}
