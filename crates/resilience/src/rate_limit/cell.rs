//! A limit and what was used of it, shared by all threads without a lock.
//!
//! One word says what was used, and in its lowest eight bits which *edition* of the rule that is meant by. The rule stands
//! beside it, twice: that of an even edition, and that of an odd one. To change the rule is to write it to the place
//! that nobody looks at, and then to move the word on to the next edition together with what was used. So a call that
//! has read an older edition fails to swap the word and looks again. (It would not notice if 256 changes came in between.)
//!
//! The time is read before the loop. A reading that is outdated by the time the swap succeeds admits nothing that
//! would not have been admitted then: see `state.rs`.

use crossbeam_utils::CachePadded;

use crate::clock::Moment;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::bucket::Bucket;
use super::state::{Algorithm, Counted, Decision, Demand, Rule, USED_BITS, WORDS};

#[derive(Debug)]
pub(super) struct Cell {
    word: CachePadded<AtomicU64>,
    rules: CachePadded<[[AtomicU64; WORDS]; 2]>,
}

/// What was used, and the edition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word(u64);

impl Word {
    const EDITION_BITS: u32 = u64::BITS - USED_BITS;
    const EDITION: u64 = (1 << Self::EDITION_BITS) - 1;

    #[inline]
    const fn used(self) -> u64 {
        self.0 >> Self::EDITION_BITS
    }

    #[inline]
    const fn edition(self) -> u64 {
        self.0 & Self::EDITION
    }

    /// The same edition with something else used.
    #[inline]
    const fn with(self, used: u64) -> Self {
        Self(used << Self::EDITION_BITS | self.edition())
    }

    /// The next edition.
    const fn next(self, used: u64) -> Self {
        Self(used << Self::EDITION_BITS | self.edition().wrapping_add(1) & Self::EDITION)
    }

    /// Where the rule stands.
    #[inline]
    const fn place(self) -> usize {
        (self.0 & 1) as usize
    }
}

impl Cell {
    pub(super) fn new(rule: &Rule) -> Self {
        let place = || rule.words().map(AtomicU64::new);
        Self { word: CachePadded::new(AtomicU64::new(0)), rules: CachePadded::new([place(), place()]) }
    }

    /// The rule, and what was used by it.
    #[inline]
    pub(super) fn read(&self) -> (Rule, u64) {
        let (rule, word) = self.look();
        (rule, word.used())
    }

    #[inline]
    fn look(&self) -> (Rule, Word) {
        loop {
            // Acquire: pairs with the release in `replace`, so that the rule of this edition is there.
            let word = Word(self.word.load(Ordering::Acquire));
            // Acquire: pairs with the release of the same words in `replace`. Who sees a part of a rule that is written
            // for the edition after the next also sees, below, that this edition is over.
            let rule = Rule::of(std::array::from_fn(|part| self.rules[word.place()][part].load(Ordering::Acquire)));
            let again = Word(self.word.load(Ordering::Relaxed));
            if again.edition() == word.edition() {
                return (rule, again);
            }
        }
    }

    /// Takes what the call asks for the short way: from a token bucket that holds it, while nobody else takes. Returns the
    /// generation; nothing where [`Cell::take`] must be asked.
    #[inline]
    pub(super) fn take_at_once(&self, now: Moment, cost: u32) -> Option<u32> {
        // Both acquire as in `look`. That all parts are of one edition shows in the end, when the word is swapped.
        let word = Word(self.word.load(Ordering::Acquire));
        let rule = &self.rules[word.place()];
        let head = rule[0].load(Ordering::Acquire);
        let used =
            Bucket::at_once(Rule::AT_ONCE.map(|part| rule[part].load(Ordering::Acquire)), word.used(), now, cost)?;
        self.swap(word, word.with(used)).then_some(Rule::generation(head))
    }

    /// Takes what the call asks for, if the limit admits it; says by which generation. Nothing where that needs the lock:
    /// because the numbers are outgrown, or because what was used stands in a log.
    pub(super) fn take(&self, demand: &Demand) -> Option<(Decision, u32)> {
        loop {
            let (rule, word) = self.look();
            let Algorithm::Counted(counted) = &rule.algorithm else { return None };
            if counted.outgrown(demand.now) {
                return None;
            }
            let (decision, used) = counted.take(word.used(), demand);
            let takes = decision.starts(demand.now).is_some();
            if !takes || self.swap(word, word.with(used)) {
                return Some((decision, rule.generation));
            }
        }
    }

    /// Changes what was used, if the generation is this one (where one is asked for). Whether that is a number at all.
    pub(super) fn update(&self, generation: Option<u32>, change: impl Fn(&Counted, u64) -> u64) -> bool {
        loop {
            let (rule, word) = self.look();
            let Algorithm::Counted(counted) = &rule.algorithm else { return false };
            if generation.is_some_and(|generation| generation != rule.generation) {
                return true;
            }
            if self.swap(word, word.with(change(counted, word.used()))) {
                return true;
            }
        }
    }

    /// Puts another rule in force, and what is used by it in the place of what was. Returns what was used.
    ///
    /// Only one thread at a time may do so.
    pub(super) fn replace(&self, rule: &Rule, carry: impl Fn(u64) -> u64) -> u64 {
        let next = Word(self.word.load(Ordering::Relaxed)).next(0);
        for (part, word) in self.rules[next.place()].iter().zip(rule.words()) {
            // Release: pairs with the acquire in `look`; the edition before the present one is over.
            part.store(word, Ordering::Release);
        }
        loop {
            let word = Word(self.word.load(Ordering::Relaxed));
            let next = word.next(carry(word.used()));
            // Release: pairs with the acquire in `look`; the rule is written.
            if self.word.compare_exchange_weak(word.0, next.0, Ordering::Release, Ordering::Relaxed).is_ok() {
                return word.used();
            }
        }
    }

    #[inline]
    fn swap(&self, from: Word, to: Word) -> bool {
        // Relaxed: nothing but the word itself depends on it, and it carries on what `replace` has released.
        self.word.compare_exchange_weak(from.0, to.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
