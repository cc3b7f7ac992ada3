//! The state machine of a circuit breaker: moments and chance in, decisions out. No clock, no lock, no atomics.
//!
//! Successes that cannot change anything are counted outside, in a [tally](crate::window::Tally), and handed in before
//! whatever comes next. [`Circuit::is_watchful`] says when there are none such: when the next success may matter.

use crate::clock::Moment;
use crate::event::{CircuitReason, CircuitState};
use crate::outcome::Outcome;
use crate::window::{Counts, Mark, Window};

use super::conditions::{open_time, ramp_share, trips};
use super::options::{BreakerWindow, CircuitBreakerOptions};

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: CircuitState,
    pub(super) to: CircuitState,
    pub(super) reason: CircuitReason,
}

/// What the circuit says to a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Answer {
    /// It goes through, and what comes of it counts.
    Watch,
    /// It goes through as a probe.
    Probe,
    /// The circuit is open until then.
    Open(Moment),
    ForcedOpen,
    /// All probes are under way.
    Probing,
    /// Chance is against it while traffic ramps up.
    Ramping,
}

/// Traffic grows from the first moment to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ramp {
    pub(super) from: Moment,
    pub(super) until: Moment,
}

impl Ramp {
    /// The share of calls that go through at `now`.
    pub(super) fn share(self, now: Moment) -> f64 {
        ramp_share(self.until.since(self.from), now.since(self.from))
    }
}

/// The state with what belongs to it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Closed { ramp: Option<Ramp> },
    Open { until: Moment },
    HalfOpen { under_way: u32, succeeded: u32, until: Moment },
    ForcedOpen,
    ForcedClosed,
}

/// What came of calls since the circuit was made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
    pub(super) last_failure: Option<Moment>,
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// The generation that admitted it.
    pub(super) generation: u32,
    pub(super) outcome: Outcome,
    pub(super) slow: bool,
}

impl Ended {
    /// Whether it says anything about what was called.
    fn counts(self) -> bool {
        matches!(self.outcome, Outcome::Success | Outcome::Failure | Outcome::Overload)
    }

    fn mark(self) -> Mark {
        Mark { failed: matches!(self.outcome, Outcome::Failure | Outcome::Overload), slow: self.slow && self.counts() }
    }
}

/// A circuit.
#[derive(Debug)]
pub(super) struct Circuit {
    options: CircuitBreakerOptions,
    phase: Phase,
    generation: u32,
    /// How often it has opened since it was last closed for good.
    reopenings: u32,
    consecutive: u64,
    window: Window,
    /// Whether the options have changed since a call was last recorded.
    changed: bool,
    totals: Totals,
    change: Option<Change>,
}

impl Circuit {
    /// A closed circuit by checked options.
    pub(super) fn new(options: CircuitBreakerOptions) -> Self {
        Self {
            window: window(&options),
            options,
            phase: Phase::Closed { ramp: None },
            generation: 0,
            reopenings: 0,
            consecutive: 0,
            changed: false,
            totals: Totals::default(),
            change: None,
        }
    }

    pub(super) fn options(&self) -> &CircuitBreakerOptions {
        &self.options
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn consecutive(&self) -> u64 {
        self.consecutive
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// When the window has to slide before a success is recorded.
    pub(super) fn turn(&self) -> Moment {
        self.window.turn()
    }

    pub(super) fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed { .. } => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
            Phase::ForcedOpen => CircuitState::ForcedOpen,
            Phase::ForcedClosed => CircuitState::ForcedClosed,
        }
    }

    /// The change of state that was made since the last time this was asked. No operation makes more than one.
    pub(super) fn take_change(&mut self) -> Option<Change> {
        self.change.take()
    }

    /// What the window holds at `now`. Once the circuit has opened, it stays as it was when that happened.
    pub(super) fn counts(&mut self, now: Moment) -> Counts {
        self.slide(now);
        self.window.counts()
    }

    fn slide(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Closed { .. } | Phase::ForcedClosed) {
            self.window.advance(now);
        }
    }

    /// Whether a success has to be settled here even though it was quick: it begins the count of failures in a row
    /// anew, or completes the calls without which a rate means nothing, or is the first by other options.
    pub(super) fn is_watchful(&self) -> bool {
        let counts = self.window.counts();
        self.changed || self.consecutive > 0 || (counts.has_marks() && counts.calls < u64::from(self.options.min_calls))
    }

    /// Whether no more probes can be handed out for now.
    pub(super) fn is_full(&self) -> bool {
        match self.phase {
            Phase::HalfOpen { under_way, succeeded, .. } => under_way >= self.places(succeeded),
            _ => false,
        }
    }

    /// How many probes there may be at a time: not more than are needed, and one at least.
    fn places(&self, succeeded: u32) -> u32 {
        self.options.probes.min(self.options.success_threshold.saturating_sub(succeeded)).max(1)
    }

    /// Takes in successes that were counted outside, for the state in force.
    pub(super) fn note_successes(&mut self, number: u64) {
        self.window.record_successes(number);
        self.note_late_successes(number);
    }

    /// Takes in successes that were counted outside, for a state that is over.
    pub(super) fn note_late_successes(&mut self, number: u64) {
        self.totals.succeeded += number;
    }

    /// Decides on a call, with all changes of state that are due.
    pub(super) fn admit(&mut self, now: Moment, chance: impl FnOnce() -> f64) -> Answer {
        match self.phase {
            Phase::Closed { ramp: Some(ramp) } if now < ramp.until => {
                if chance() < ramp.share(now) {
                    Answer::Watch
                } else {
                    Answer::Ramping
                }
            }
            Phase::Closed { .. } => {
                self.end_ramp();
                Answer::Watch
            }
            Phase::ForcedClosed => Answer::Watch,
            Phase::ForcedOpen => Answer::ForcedOpen,
            Phase::Open { until } if now < until => Answer::Open(until),
            Phase::Open { .. } => {
                let half_open = Phase::HalfOpen { under_way: 0, succeeded: 0, until: self.probes_end(now) };
                self.enter(half_open, CircuitReason::TimeToProbe);
                self.probe(now, chance)
            }
            Phase::HalfOpen { .. } => self.probe(now, chance),
        }
    }

    fn end_ramp(&mut self) {
        self.phase = Phase::Closed { ramp: None };
        self.reopenings = 0;
    }

    fn probes_end(&self, now: Moment) -> Moment {
        now.after(self.options.half_open_for)
    }

    fn probe(&mut self, now: Moment, chance: impl FnOnce() -> f64) -> Answer {
        let full = self.is_full();
        let end = self.probes_end(now);
        match &mut self.phase {
            Phase::HalfOpen { under_way: 1.., until, .. } if now >= *until => {
                Answer::Open(self.open(CircuitReason::ProbesTimedOut, now, chance))
            }
            Phase::HalfOpen { under_way, until, .. } if !full => {
                if *under_way == 0 {
                    *until = end;
                }
                *under_way += 1;
                Answer::Probe
            }
            _ => Answer::Probing,
        }
    }

    /// Takes in what came of a call that was admitted. One of an earlier generation counts in the totals alone.
    pub(super) fn settle(&mut self, ended: Ended, now: Moment, chance: impl FnOnce() -> f64) {
        if ended.counts() {
            self.total(ended, now);
        }
        if ended.generation != self.generation {
            return;
        }
        match self.phase {
            Phase::Closed { .. } | Phase::ForcedClosed if ended.counts() => self.record(ended, now, chance),
            Phase::HalfOpen { .. } => self.end_probe(ended, now, chance),
            _ => {}
        }
    }

    fn total(&mut self, ended: Ended, now: Moment) {
        let mark = ended.mark();
        self.totals.slow += u64::from(mark.slow);
        if mark.failed {
            self.totals.failed += 1;
            self.totals.last_failure = Some(now);
        } else {
            self.totals.succeeded += 1;
        }
    }

    fn record(&mut self, ended: Ended, now: Moment, chance: impl FnOnce() -> f64) {
        self.window.advance(now);
        self.window.record(ended.mark());
        self.changed = false;
        match ended.outcome {
            Outcome::Failure => self.consecutive += 1,
            Outcome::Success => self.consecutive = 0,
            _ => {}
        }
        if self.phase != Phase::ForcedClosed
            && let Some(reason) = trips(&self.options, self.consecutive, self.window.counts())
        {
            self.open(reason, now, chance);
        }
    }

    fn end_probe(&mut self, ended: Ended, now: Moment, chance: impl FnOnce() -> f64) {
        let end = self.probes_end(now);
        let Phase::HalfOpen { under_way, succeeded, until } = &mut self.phase else { return };
        *under_way = under_way.saturating_sub(1);
        if ended.mark() != Mark::default() {
            self.open(CircuitReason::ProbeFailed, now, chance);
        } else if ended.outcome == Outcome::Success {
            *succeeded += 1;
            *until = end;
            if *succeeded >= self.options.success_threshold {
                self.recover(now);
            }
        }
    }

    fn recover(&mut self, now: Moment) {
        let ramp = self.options.ramp.map(|ramp| Ramp { from: now, until: now.after(ramp) });
        if ramp.is_none() {
            self.reopenings = 0;
        }
        self.enter(Phase::Closed { ramp }, CircuitReason::Recovered);
    }

    fn open(&mut self, reason: CircuitReason, now: Moment, chance: impl FnOnce() -> f64) -> Moment {
        if matches!(self.phase, Phase::Closed { ramp: Some(ramp) } if now >= ramp.until) {
            self.end_ramp();
        }
        let until = now.after(open_time(&self.options, self.reopenings, chance()));
        self.reopenings = self.reopenings.saturating_add(1);
        self.enter(Phase::Open { until }, reason);
        until
    }

    /// Puts the circuit into a state by hand.
    pub(super) fn force(&mut self, phase: Phase, now: Moment) {
        if self.phase == phase && phase != (Phase::Closed { ramp: None }) {
            return;
        }
        self.slide(now);
        self.reopenings = 0;
        self.enter(phase, CircuitReason::Manual);
    }

    fn enter(&mut self, phase: Phase, reason: CircuitReason) {
        let from = self.state();
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
        self.consecutive = 0;
        let to = self.state();
        if matches!(to, CircuitState::Closed | CircuitState::ForcedClosed) {
            self.window.clear();
        }
        self.change = (from != to).then_some(Change { from, to, reason });
    }

    /// Puts other checked options in force.
    pub(super) fn reconfigure(&mut self, options: CircuitBreakerOptions) {
        if options.window != self.options.window {
            self.window = window(&options);
        }
        if options.ramp.is_none() && matches!(self.phase, Phase::Closed { ramp: Some(_) }) {
            self.end_ramp();
        }
        self.options = options;
        self.changed = true;
    }
}

fn window(options: &CircuitBreakerOptions) -> Window {
    match options.window {
        BreakerWindow::Calls(calls) => Window::of_calls(calls),
        BreakerWindow::Time(length) => Window::of_time(length),
    }
}
