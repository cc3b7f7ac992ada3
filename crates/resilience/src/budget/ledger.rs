//! The pure core of a budget: who deposited and withdrew how much in the last slots of time.
//!
//! Time is cut into slots of half a second, numbered from the clock's origin. A counter is one word: the number of its
//! slot and, below it, the count. Words only grow, so a compare-and-swap that succeeds proves that nothing happened in
//! between.
//!
//! Deposits are made for every call and are striped over the threads. Withdrawals are seldom and must never be more
//! than allowed: the count of the newest slot is in one word, the gate, that every withdrawal must swap. When the
//! first withdrawal of another slot comes, the gate's word goes into the ring of closed slots and the gate moves on.

use std::ops::Range;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::clock::Moment;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::options::Settings;

/// How long a slot is.
pub(super) const SLOT: Duration = Duration::from_millis(500);
const SLOT_NANOS: u64 = 500_000_000;

/// The longest window: it has fewer slots than a ring.
pub(super) const MAX_WINDOW: Duration = Duration::from_secs(30);

/// How many slots a ring holds. A model has fewer, since it keeps track of each.
const SLOTS: usize = if cfg!(tidegate_models) { 4 } else { 64 };

/// How many threads deposit without touching the same memory.
pub(super) const STRIPES: usize = if cfg!(tidegate_models) { 1 } else { 8 };

/// A slot and what was counted in it: 36 bits hold every slot of the 584 years of a clock, 28 bits 268 million calls in
/// half a second. More are not counted, which errs on the side of fewer retries.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

const COUNT_BITS: u32 = 28;
const MOST: u64 = (1 << COUNT_BITS) - 1;

impl Word {
    const fn new(slot: u64, count: u64) -> Self {
        Self(slot << COUNT_BITS | count)
    }

    const fn slot(self) -> u64 {
        self.0 >> COUNT_BITS
    }

    const fn count(self) -> u64 {
        self.0 & MOST
    }

    /// The word after one more was counted in `slot`; nothing where it cannot hold that.
    fn plus_one(self, slot: u64) -> Option<Self> {
        match self.slot().cmp(&slot) {
            std::cmp::Ordering::Less => Some(Self::new(slot, 1)),
            std::cmp::Ordering::Equal if self.count() < MOST => Some(Self(self.0 + 1)),
            _ => None,
        }
    }

    /// The count, if it is of this slot.
    const fn count_of(self, slot: u64) -> u64 {
        if self.slot() == slot { self.count() } else { 0 }
    }
}

/// The counts of the last [`SLOTS`] slots.
struct Ring([AtomicU64; SLOTS]);

impl Default for Ring {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Ring {
    fn place(&self, slot: u64) -> &AtomicU64 {
        &self.0[usize::try_from(slot % SLOTS as u64).expect("less than a ring")]
    }

    fn sum(&self, slots: Range<u64>) -> u64 {
        // Relaxed: deposits that are not seen yet allow nothing yet; closed slots were ordered by the gate.
        slots.map(|slot| Word(self.place(slot).load(Ordering::Relaxed)).count_of(slot)).sum()
    }
}

/// Deposits and withdrawals.
pub(super) struct Ledger {
    deposits: [CachePadded<Ring>; STRIPES],
    gate: CachePadded<AtomicU64>,
    closed: Ring,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            deposits: std::array::from_fn(|_| CachePadded::default()),
            gate: CachePadded::new(AtomicU64::new(0)),
            closed: Ring::default(),
        }
    }
}

impl Ledger {
    /// Counts a deposit. One that is older than everything in the ring has no effect.
    #[inline]
    pub(super) fn deposit(&self, stripe: usize, now: Moment) {
        let slot = now.as_nanos() / SLOT_NANOS;
        let place = self.deposits[stripe].place(slot);
        let mut seen = place.load(Ordering::Relaxed);
        while let Some(next) = Word(seen).plus_one(slot) {
            // Relaxed: the count itself is all there is to see.
            match place.compare_exchange_weak(seen, next.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => seen = changed,
            }
        }
    }

    /// Withdraws one, if the window that ends now allows it.
    pub(super) fn withdraw(&self, now: Moment, settings: &Settings) -> bool {
        // Acquire: pairs with the exchange below; who sees the gate in a slot sees all slots closed before it.
        let mut gate = Word(self.gate.load(Ordering::Acquire));
        loop {
            // A clock that is behind that of another thread is taken to be as far.
            let slot = (now.as_nanos() / SLOT_NANOS).max(gate.slot());
            let window = window(slot, settings.slots);
            if self.withdrawn(gate, &window) >= settings.allowance(self.deposited(&window)) {
                return false;
            }
            let Some(next) = gate.plus_one(slot) else { return false };
            if gate.slot() < slot {
                // Who is slower than others may close with a smaller count; the greatest one is the last one.
                self.closed.place(gate.slot()).fetch_max(gate.0, Ordering::Relaxed);
            }
            // AcqRel: pairs with the loads of the gate, here and above.
            match self.gate.compare_exchange(gate.0, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(changed) => gate = Word(changed),
            }
        }
    }

    /// Deposits and withdrawals of the last so many slots.
    pub(super) fn recent(&self, now: Moment, slots: u64) -> (u64, u64) {
        // Acquire: as in `withdraw`.
        let gate = Word(self.gate.load(Ordering::Acquire));
        let window = window((now.as_nanos() / SLOT_NANOS).max(gate.slot()), slots);
        (self.deposited(&window), self.withdrawn(gate, &window))
    }

    fn deposited(&self, window: &Range<u64>) -> u64 {
        self.deposits.iter().map(|ring| ring.sum(window.clone())).sum()
    }

    fn withdrawn(&self, gate: Word, window: &Range<u64>) -> u64 {
        let open = if window.contains(&gate.slot()) { gate.count() } else { 0 };
        // A thread that is about to close the gate's slot may have put it into the ring already: it counts once.
        open + self.closed.sum(window.start..gate.slot().min(window.end))
    }
}

/// The slots of a window of so many that ends with `last`.
fn window(last: u64, slots: u64) -> Range<u64> {
    (last + 1).saturating_sub(slots)..last + 1
}

#[cfg(all(test, not(tidegate_models)))]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_full_does_not_run_over_into_the_slot() {
        let full = Word::new(7, MOST);
        assert_eq!((full.slot(), full.count()), (7, MOST));
        assert!(full.plus_one(7).is_none(), "no more are counted in this slot");
        assert!(full.plus_one(8) == Some(Word::new(8, 1)));
        assert!(Word::new(7, MOST - 1).plus_one(7) == Some(full));
        assert!(full.plus_one(6).is_none(), "the slot has gone by");
        let last = Moment::NEVER.as_nanos() / SLOT_NANOS;
        assert_eq!(Word::new(last, MOST).slot(), last, "the end of time has a slot");
    }
}
