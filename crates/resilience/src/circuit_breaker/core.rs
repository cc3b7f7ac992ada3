//! The state machine: one word that every call reads, and a mutex that only changes of state take.
//!
//! The word holds the state and its generation. A change is made by whoever holds the mutex and finds the generation
//! that it decided by still in force; so each change happens once, and a decision by an old state changes nothing.
//! Probes are counted in a second word together with their generation, so that they cannot be confused either.

use crate::clock::Moment;
use crate::event::CircuitState;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A change of state that has just been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: CircuitState,
    pub(super) to: CircuitState,
}

/// The state, its generation, and the probes of it.
#[derive(Debug)]
pub(super) struct Machine {
    /// Generation in the upper half, state in the lower.
    word: AtomicU64,
    /// When the state ends by itself: the open time, the half-open time, the ramp of a closed circuit.
    until: AtomicU64,
    /// Generation in the upper half; in the lower, 16 bits of probes under way and 16 bits of successes.
    probes: AtomicU64,
    /// How often the circuit has opened since it was last closed.
    reopenings: Mutex<u32>,
}

const STATES: [CircuitState; 5] = [
    CircuitState::Closed,
    CircuitState::Open,
    CircuitState::HalfOpen,
    CircuitState::ForcedOpen,
    CircuitState::ForcedClosed,
];

/// What a word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: CircuitState,
    pub(super) generation: u32,
}

impl Standing {
    fn of(word: u64) -> Self {
        Self { state: STATES[(word & 0b111) as usize % STATES.len()], generation: (word >> 32) as u32 }
    }

    fn word(self) -> u64 {
        (u64::from(self.generation) << 32) | self.state as u64
    }
}

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probed {
    /// It succeeded, and it was the last success that was needed.
    Enough,
    /// It succeeded, or said nothing.
    NotYet,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(Standing { state: CircuitState::Closed, generation: 0 }.word()),
            until: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            reopenings: Mutex::new(0),
        }
    }

    /// The state in force.
    #[inline]
    pub(super) fn standing(&self) -> Standing {
        // Acquire: pairs with the release in `change`, so that `until` and `probes` are of this state or a later one.
        Standing::of(self.word.load(Ordering::Acquire))
    }

    /// When the state in force ends by itself.
    pub(super) fn until(&self) -> Moment {
        Moment::from_nanos(self.until.load(Ordering::Relaxed))
    }

    /// Ends the ramp of a closed circuit, if it is still the same.
    pub(super) fn end_ramp(&self, until: Moment) {
        // A failure means that the state has changed meanwhile, and the moment is another one's.
        _ = self.until.compare_exchange(until.as_nanos(), 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Changes the state, if `seen` is in force. `until` is asked how long the new state lasts, with the number of times
    /// that the circuit has opened before without closing; `begin` runs before anybody sees the new state.
    pub(super) fn change(
        &self,
        seen: Standing,
        to: CircuitState,
        until: impl FnOnce(u32) -> Moment,
        begin: impl FnOnce(),
    ) -> Option<Change> {
        let mut reopenings = self.reopenings.lock();
        if self.standing() != seen {
            return None;
        }
        let generation = seen.generation.wrapping_add(1);
        self.until.store(until(*reopenings).as_nanos(), Ordering::Relaxed);
        // An exchange like all others of this word, so that each of them is before it or after it.
        self.probes.swap(u64::from(generation) << 32, Ordering::Relaxed);
        *reopenings = match to {
            CircuitState::Open => reopenings.saturating_add(1),
            CircuitState::HalfOpen => *reopenings,
            _ => 0,
        };
        begin();
        // Release: pairs with the acquire in `standing`.
        self.word.store(Standing { state: to, generation }.word(), Ordering::Release);
        Some(Change { from: seen.state, to })
    }

    /// Takes a place for a probe of this generation, if there are fewer than `most` under way and, with those that have
    /// succeeded, fewer than `needed`.
    pub(super) fn take_probe(&self, generation: u32, most: u32, needed: u32) -> bool {
        let take = |word: u64| {
            let (active, succeeded) = probes(word);
            (word >> 32 == u64::from(generation) && active < most && active + succeeded < needed)
                .then_some(word + ONE_ACTIVE)
        };
        // Relaxed: the word says by itself which generation it is of, and nothing else is read by it.
        self.probes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Gives the place of a probe back, with a success or without.
    pub(super) fn return_probe(&self, generation: u32, success: bool, needed: u32) -> Probed {
        let give = |word: u64| {
            let (active, _) = probes(word);
            (word >> 32 == u64::from(generation) && active > 0).then(|| word - ONE_ACTIVE + u64::from(success))
        };
        // Relaxed: as in `take_probe`.
        match self.probes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give) {
            Ok(before) if success && probes(before).1 + 1 >= needed => Probed::Enough,
            _ => Probed::NotYet,
        }
    }
}

/// One more probe under way.
const ONE_ACTIVE: u64 = 1 << 16;

/// The probes under way, and those that have succeeded.
fn probes(word: u64) -> (u32, u32) {
    (((word >> 16) & 0xffff) as u32, (word & 0xffff) as u32)
}
