//! Which keys have been used, and what came of each. Pure: the time comes in.
//!
//! A key is under way from its first request until that has ended; then it is finished, and stays so until its time is
//! over. Both bounds, on keys and on memory, hold at any time: where they are reached, the keys that finished first go
//! early, and one that is under way never does.
//!
//! Invariant: every finished entry has exactly one line in `finished`, in the order of time. A line may outlive its entry;
//! its number then fits no other.

use super::KeyFault;
use super::answer::Answer;
use super::key::Id;
use crate::config::plan::KeyBounds;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a key takes besides its answer, with its share of the tables.
pub(super) const ENTRY: usize = 384;

/// The most keys that one request removes because their time is over. It adds one, so that they do not pile up, and none
/// pays for all of a quiet night.
const SWEEP: usize = 64;

/// The keys of one route.
#[derive(Debug, Default)]
pub(crate) struct Store {
    entries: HashMap<Id, Entry>,
    /// The one that finished first in front.
    finished: VecDeque<Finished>,
    /// What all answers take.
    answers: usize,
    /// The number of the next entry.
    next: u64,
}

#[derive(Debug)]
struct Entry {
    /// Tells it from others that the same key has had.
    number: u64,
    /// What the first request was.
    fingerprint: Id,
    state: State,
}

#[derive(Debug)]
enum State {
    UnderWay,
    Finished(Instant, Ending),
}

#[derive(Debug)]
struct Finished {
    at: Instant,
    key: Id,
    number: u64,
}

/// What came of the first request with a key.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// This answer.
    Kept(Arc<Answer>),
    /// An answer that is not kept.
    NotKept,
    /// Nobody knows: it was sent, and there was no answer.
    Unknown,
}

impl Ending {
    fn size(&self) -> usize {
        match self {
            Self::Kept(answer) => answer.size(),
            Self::NotKept | Self::Unknown => 0,
        }
    }
}

/// What a request is to do.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// It is the first: to be sent on, and its entry has this number.
    First(u64),
    /// It is to be answered with this.
    Again(Arc<Answer>),
}

impl Store {
    /// A request with this key, of this content.
    pub(crate) fn claim(
        &mut self,
        key: Id,
        fingerprint: Id,
        now: Instant,
        bounds: &KeyBounds,
    ) -> Result<Claimed, KeyFault> {
        self.sweep(now, bounds.keep);
        if let Some(entry) = self.entries.get(&key).filter(|entry| !entry.is_over(now, bounds.keep)) {
            return entry.answer(fingerprint);
        }
        // Over, but not yet swept away.
        self.remove(&key);
        if !self.make_room(ENTRY, bounds, 1) {
            return Err(KeyFault::Full);
        }
        let number = self.next;
        self.next += 1;
        self.entries.insert(key, Entry { number, fingerprint, state: State::UnderWay });
        Ok(Claimed::First(number))
    }

    /// The first request with this key has ended, with nothing that would bar another one.
    pub(crate) fn release(&mut self, key: &Id, number: u64) {
        if self.is_under_way(key, number) {
            self.entries.remove(key);
        }
    }

    /// The first request with this key has ended. Returns what is kept of it: there may be no room for an answer.
    pub(crate) fn finish(
        &mut self,
        key: Id,
        number: u64,
        ending: Ending,
        now: Instant,
        bounds: &KeyBounds,
    ) -> Option<Ending> {
        if !self.is_under_way(&key, number) {
            return None;
        }
        let ending = if self.make_room(ending.size(), bounds, 0) { ending } else { Ending::NotKept };
        let entry = self.entries.get_mut(&key)?;
        entry.state = State::Finished(now, ending.clone());
        self.answers += ending.size();
        self.finished.push_back(Finished { at: now, key, number });
        Some(ending)
    }

    fn is_under_way(&self, key: &Id, number: u64) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.number == number && matches!(entry.state, State::UnderWay))
    }

    /// Makes room for so many bytes and keys; false where what is under way needs it.
    fn make_room(&mut self, bytes: usize, bounds: &KeyBounds, keys: usize) -> bool {
        while self.entries.len() + keys > bounds.max_keys || self.size().saturating_add(bytes) > bounds.max_memory {
            if !self.forget_oldest() {
                return false;
            }
        }
        true
    }

    fn size(&self) -> usize {
        self.entries.len() * ENTRY + self.answers
    }

    fn sweep(&mut self, now: Instant, keep: Duration) {
        for _ in 0..SWEEP {
            match self.finished.front() {
                Some(first) if now.saturating_duration_since(first.at) >= keep => self.strike(),
                _ => return,
            };
        }
    }

    /// Removes the key that finished first; false where there is none.
    fn forget_oldest(&mut self) -> bool {
        loop {
            match self.strike() {
                Some(true) => return true,
                Some(false) => {}
                None => return false,
            }
        }
    }

    /// Strikes out the first line of those that are finished, and says whether that has removed a key.
    fn strike(&mut self) -> Option<bool> {
        let Finished { key, number, .. } = self.finished.pop_front()?;
        let current = self.entries.get(&key).is_some_and(|entry| entry.number == number);
        if current {
            self.remove(&key);
        }
        Some(current)
    }

    fn remove(&mut self, key: &Id) {
        if let Some(Entry { state: State::Finished(_, ending), .. }) = self.entries.remove(key) {
            self.answers -= ending.size();
        }
    }
}

impl Entry {
    fn is_over(&self, now: Instant, keep: Duration) -> bool {
        matches!(self.state, State::Finished(at, _) if now.saturating_duration_since(at) >= keep)
    }

    /// What a later request with the same key gets.
    fn answer(&self, fingerprint: Id) -> Result<Claimed, KeyFault> {
        if self.fingerprint != fingerprint {
            return Err(KeyFault::Reused);
        }
        match &self.state {
            State::UnderWay => Err(KeyFault::UnderWay),
            State::Finished(_, Ending::Kept(answer)) => Ok(Claimed::Again(Arc::clone(answer))),
            State::Finished(_, Ending::NotKept) => Err(KeyFault::NotKept),
            State::Finished(_, Ending::Unknown) => Err(KeyFault::Unknown),
        }
    }
}

#[cfg(test)]
mod tests;
