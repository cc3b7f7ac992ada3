//! What every call reads of a circuit: a few words that are written only when something about it has changed.
//!
//! They are a copy of the [`Circuit`], made under its lock. A call that reads them while they are being written sees
//! the circuit as it was or as it will be: each state has moments of its own, which stay as they were in all others.
//! Whatever a call decides by them, a change of state is only made under the lock, where the circuit is looked at again.

use std::time::Duration;

use crate::clock::{Moment, nanos};
use crate::event::CircuitState;
use crate::policy::Mode;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::state::{Answer, Circuit, Phase, Ramp};

const STATES: [CircuitState; 5] = [
    CircuitState::Closed,
    CircuitState::Open,
    CircuitState::HalfOpen,
    CircuitState::ForcedOpen,
    CircuitState::ForcedClosed,
];

/// The state, its generation, and what a call has to mind: in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gate(u64);

/// The bits below the generation. The lowest three are the state.
const STATE: u64 = 0b111;
/// The breaker is disabled.
const OFF: u64 = 1 << 3;
/// The breaker rejects nothing.
const LENIENT: u64 = 1 << 4;
/// Traffic ramps up.
const RAMPING: u64 = 1 << 5;
/// All probes are under way.
const FULL: u64 = 1 << 6;
/// A success has to be settled under the lock.
const WATCHFUL: u64 = 1 << 7;
/// It matters how long a call takes.
const MEASURING: u64 = 1 << 8;
/// It matters when a call ends.
const TIMED: u64 = 1 << 9;

impl Gate {
    /// What the circuit shows.
    pub(super) fn of(circuit: &Circuit) -> Self {
        let options = circuit.options();
        let bits = [
            (OFF, options.mode == Mode::Disabled),
            (LENIENT, options.mode == Mode::MetricsOnly),
            (RAMPING, matches!(circuit.phase(), Phase::Closed { ramp: Some(_) })),
            (FULL, circuit.is_full()),
            (WATCHFUL, circuit.is_watchful()),
            (MEASURING, options.slow_call_rate.is_some()),
            (TIMED, circuit.turn() != Moment::NEVER),
        ];
        let set = bits.into_iter().filter(|(_, holds)| *holds).map(|(bit, _)| bit).sum::<u64>();
        Self((u64::from(circuit.generation()) << 32) | set | circuit.state() as u64)
    }

    const fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    pub(super) fn state(self) -> CircuitState {
        STATES[usize::try_from(self.0 & STATE).unwrap_or(0) % STATES.len()]
    }

    pub(super) fn generation(self) -> u32 {
        u32::try_from(self.0 >> 32).expect("half of a word")
    }

    pub(super) fn is_off(self) -> bool {
        self.has(OFF)
    }

    pub(super) fn is_lenient(self) -> bool {
        self.has(LENIENT)
    }

    pub(super) fn is_measuring(self) -> bool {
        self.has(MEASURING)
    }

    /// Whether every call goes through.
    #[inline]
    pub(super) fn is_clear(self) -> bool {
        const CLOSED: u64 = CircuitState::Closed as u64;
        const FORCED_CLOSED: u64 = CircuitState::ForcedClosed as u64;
        matches!(self.0 & (STATE | OFF | RAMPING), CLOSED | FORCED_CLOSED)
    }
}

/// The words. Together they take one cache line.
#[derive(Debug)]
pub(super) struct Face {
    gate: AtomicU64,
    /// Until when it is open.
    open_until: AtomicU64,
    /// Until when it waits for its probes.
    probes_until: AtomicU64,
    /// From when until when traffic ramps up.
    ramp_from: AtomicU64,
    ramp_until: AtomicU64,
    /// When the window has to slide before a success is counted.
    turn: AtomicU64,
    /// From how many nanoseconds on a call is slow.
    slow: AtomicU64,
}

impl Face {
    pub(super) fn of(circuit: &Circuit) -> Self {
        let face = Self {
            gate: AtomicU64::new(0),
            open_until: AtomicU64::new(0),
            probes_until: AtomicU64::new(0),
            ramp_from: AtomicU64::new(0),
            ramp_until: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        };
        face.show(circuit);
        face
    }

    /// Shows the circuit as it is. Only whoever holds its lock may do so.
    pub(super) fn show(&self, circuit: &Circuit) {
        match circuit.phase() {
            Phase::Open { until } => write(&self.open_until, until.as_nanos()),
            Phase::HalfOpen { until, .. } => write(&self.probes_until, until.as_nanos()),
            Phase::Closed { ramp: Some(ramp) } => {
                write(&self.ramp_from, ramp.from.as_nanos());
                write(&self.ramp_until, ramp.until.as_nanos());
            }
            _ => {}
        }
        write(&self.turn, circuit.turn().as_nanos());
        write(&self.slow, nanos(circuit.options().slow_call));
        write(&self.gate, Gate::of(circuit).0);
    }

    #[inline]
    pub(super) fn gate(&self) -> Gate {
        // Acquire: pairs with the release in `write`, so that the other words are of this gate or a later one.
        Gate(self.gate.load(Ordering::Acquire))
    }

    fn moment(word: &AtomicU64) -> Moment {
        Moment::from_nanos(word.load(Ordering::Relaxed))
    }

    /// Whether a call that took so long was slow.
    pub(super) fn is_slow(&self, duration: Duration) -> bool {
        nanos(duration) >= self.slow.load(Ordering::Relaxed)
    }

    /// Whether a success that ends now is only one more, and needs no lock.
    #[inline]
    pub(super) fn is_routine(&self, gate: Gate, now: impl FnOnce() -> Moment) -> bool {
        !gate.has(WATCHFUL | OFF) && (!gate.has(TIMED) || now() < Self::moment(&self.turn))
    }

    /// What the circuit says to a call, where it can be said without its lock.
    #[inline]
    pub(super) fn answer(
        &self,
        gate: Gate,
        now: impl FnOnce() -> Moment,
        chance: impl FnOnce() -> f64,
    ) -> Option<Answer> {
        match gate.state() {
            CircuitState::ForcedOpen => Some(Answer::ForcedOpen),
            CircuitState::ForcedClosed => Some(Answer::Watch),
            CircuitState::Closed if !gate.has(RAMPING) => Some(Answer::Watch),
            CircuitState::Closed => {
                let ramp = Ramp { from: Self::moment(&self.ramp_from), until: Self::moment(&self.ramp_until) };
                let now = now();
                let answer = || if chance() < ramp.share(now) { Answer::Watch } else { Answer::Ramping };
                (now < ramp.until).then(answer)
            }
            CircuitState::Open => {
                let until = Self::moment(&self.open_until);
                (now() < until).then_some(Answer::Open(until))
            }
            CircuitState::HalfOpen => {
                (gate.has(FULL) && now() < Self::moment(&self.probes_until)).then_some(Answer::Probing)
            }
        }
    }
}

/// Writes a word if it says something else: what many threads read is best left alone.
fn write(word: &AtomicU64, value: u64) {
    if word.load(Ordering::Relaxed) != value {
        // Release: pairs with the acquire in `Face::gate`.
        word.store(value, Ordering::Release);
    }
}
