//! What one key has used: one word, or a log of the last calls.

use parking_lot::Mutex;

use crate::sync::atomic::{AtomicU64, Ordering};

use super::state::{Rule, Taken};

/// The largest sliding window that keeps a log: above that, a count is near enough and takes less.
const LARGEST_LOG: u32 = 64;

/// What one key has used, by one rule.
#[derive(Debug)]
pub(super) enum Meter {
    Word(AtomicU64),
    Log(Box<Mutex<Log>>),
}

/// The moments of the last calls, in nanoseconds plus one; a ring of as many as the limit.
#[derive(Debug)]
pub(super) struct Log {
    moments: Box<[u64]>,
    /// Where the oldest stands.
    oldest: usize,
}

impl Meter {
    /// A meter for this rule that has `used` in use.
    pub(super) fn new(rule: &Rule, used: u32, now: u64) -> Self {
        match *rule {
            Rule::Sliding { limit, .. } if limit <= LARGEST_LOG => {
                let mut log = Log { moments: vec![0; limit as usize].into(), oldest: 0 };
                (0..used.min(limit)).for_each(|_| log.push(now));
                Self::Log(Box::new(Mutex::new(log)))
            }
            rule => Self::Word(AtomicU64::new(rule.with_used(used, now))),
        }
    }

    /// Takes `cost`, waiting where the rule lets calls wait and `patient` is set.
    #[inline]
    pub(super) fn take(&self, rule: &Rule, now: u64, cost: u32, patient: bool) -> Taken {
        let word = match self {
            Self::Word(word) => word,
            Self::Log(log) => return log.lock().take(rule, now, cost),
        };
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let taken = rule.take(seen, now, cost, patient);
            let Taken::Admitted { word: next, .. } = taken else { return taken };
            // Relaxed, here and below: the word is all there is, and nothing else is read by it.
            match word.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return taken,
                Err(newer) => seen = newer,
            }
        }
    }

    /// What [`Meter::take`] would say.
    pub(super) fn peek(&self, rule: &Rule, now: u64, cost: u32, patient: bool) -> Taken {
        match self {
            Self::Word(word) => rule.take(word.load(Ordering::Relaxed), now, cost, patient),
            Self::Log(log) => log.lock().peek(rule, now, cost),
        }
    }

    /// Gives `cost` back.
    pub(super) fn give(&self, rule: &Rule, now: u64, cost: u32) {
        match self {
            Self::Word(word) => {
                let give = |word| Some(rule.give(word, now, cost));
                _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
            }
            Self::Log(log) => log.lock().give(cost),
        }
    }

    /// How much is in use, rounded up.
    pub(super) fn used(&self, rule: &Rule, now: u64) -> u32 {
        match self {
            Self::Word(word) => rule.used(word.load(Ordering::Relaxed), now),
            Self::Log(log) => log.lock().used(rule, now),
        }
    }

    /// How long it takes, in nanoseconds, until nothing is in use if nothing is taken.
    pub(super) fn rest(&self, rule: &Rule, now: u64) -> u64 {
        match self {
            Self::Word(word) => rule.rest(word.load(Ordering::Relaxed), now),
            Self::Log(log) => log.lock().rest(rule, now),
        }
    }

    /// Forgets what was used.
    pub(super) fn reset(&self) {
        match self {
            Self::Word(word) => word.store(0, Ordering::Relaxed),
            Self::Log(log) => log.lock().moments.fill(0),
        }
    }
}

impl Log {
    fn push(&mut self, now: u64) {
        self.moments[self.oldest] = now.saturating_add(1);
        self.oldest = (self.oldest + 1) % self.moments.len();
    }

    /// The moment, plus one, of the call that has to be out of the window for `cost` more.
    fn blocking(&self, cost: u32) -> u64 {
        match cost as usize {
            0 => 0,
            cost => self.moments[(self.oldest + cost - 1) % self.moments.len()],
        }
    }

    fn peek(&self, rule: &Rule, now: u64, cost: u32) -> Taken {
        let Rule::Sliding { limit, window } = *rule else { return Taken::TooLarge };
        if cost > limit {
            return Taken::TooLarge;
        }
        // A window holds its beginning and not its end: a call is out of it `window` after it was made.
        match self.blocking(cost) {
            0 => Taken::Admitted { word: 0, after: 0 },
            moment => match (moment - 1).saturating_add(window).saturating_sub(now) {
                0 => Taken::Admitted { word: 0, after: 0 },
                retry_after => Taken::Denied { retry_after },
            },
        }
    }

    fn take(&mut self, rule: &Rule, now: u64, cost: u32) -> Taken {
        let taken = self.peek(rule, now, cost);
        if let Taken::Admitted { .. } = taken {
            // In order even where a reading is late, so that the oldest is the first to be out.
            let last = self.moments[(self.oldest + self.moments.len() - 1) % self.moments.len()];
            (0..cost).for_each(|_| self.push(now.max(last.saturating_sub(1))));
        }
        taken
    }

    fn give(&mut self, cost: u32) {
        for _ in 0..cost {
            self.oldest = (self.oldest + self.moments.len() - 1) % self.moments.len();
            self.moments[self.oldest] = 0;
        }
        // What was given back is older than everything now.
    }

    fn used(&self, rule: &Rule, now: u64) -> u32 {
        let Rule::Sliding { window, .. } = *rule else { return 0 };
        let inside = |moment: &&u64| **moment > 0 && (**moment - 1).saturating_add(window) > now;
        u32::try_from(self.moments.iter().filter(inside).count()).unwrap_or(u32::MAX)
    }

    fn rest(&self, rule: &Rule, now: u64) -> u64 {
        let Rule::Sliding { window, .. } = *rule else { return 0 };
        let newest = self.moments.iter().max().copied().unwrap_or(0);
        if newest == 0 { 0 } else { (newest - 1).saturating_add(window).saturating_sub(now) }
    }
}
