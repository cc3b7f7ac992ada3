//! The guard that has a request with an `Idempotency-Key` take effect once
//! (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! The first request with a key is sent on and its answer kept; later ones with the same key and content get that answer.
//! Here is which request is which: `key` reads what clients write, `store` decides, and a [`Claim`] is the first request's
//! hold on its key. How bodies are read and answers kept is the exchange's.
//!
//! The promise is *at most once*. A key is free again only where its request surely had no effect; where nobody knows, it
//! stays taken, and its client is told so. All workers share the keys of a route: the lock is held for one look-up, and
//! only requests with a key come here.

mod answer;
mod key;
mod store;

pub(crate) use answer::Answer;
pub(crate) use key::{Id, read};
pub(crate) use store::Ending;

use crate::config::plan::{Idempotency, KeyBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use store::{Claimed, Store};

/// What tells a client that an answer was kept, as the field is called in practice: the draft has none.
pub(crate) const REPLAYED: &str = "idempotency-replayed";

/// Why a request with a key, or without one, is not sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFault {
    /// The route wants a key.
    Missing,
    /// It is no string, too long, or there are several.
    Malformed,
    /// The first request with it has not ended.
    UnderWay,
    /// It was used for another request.
    Reused,
    /// The first request was answered, and the answer is not kept.
    NotKept,
    /// The first request was sent, and its answer is lost.
    Unknown,
    /// There is no place for another key.
    Full,
}

/// The keys of one route, for as long as the route keeps its name.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<Store>);

/// A route's guard.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) options: Idempotency,
    pub(crate) keys: Arc<Keys>,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It is the first with its key.
    First(Claim),
    /// It is answered already.
    Again(Arc<Answer>),
}

impl Keys {
    /// Asks for a key, for a request of this content.
    pub(crate) fn claim(
        self: &Arc<Self>,
        key: Id,
        fingerprint: Id,
        now: Instant,
        bounds: &KeyBounds,
    ) -> Result<Turn, KeyFault> {
        Ok(match self.lock().claim(key, fingerprint, now, bounds)? {
            Claimed::First(number) => {
                Turn::First(Claim { keys: Arc::clone(self), key, number, bounds: *bounds, ended: false })
            }
            Claimed::Again(answer) => Turn::Again(answer),
        })
    }

    /// No operation is left half-done by a panic.
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first request's hold on its key. Dropped without a word, as where its task ends, nobody knows what came of the
/// request.
#[derive(Debug)]
pub(crate) struct Claim {
    keys: Arc<Keys>,
    key: Id,
    number: u64,
    bounds: KeyBounds,
    ended: bool,
}

impl Claim {
    /// The request surely had no effect: the next one is the first.
    pub(crate) fn release(mut self) {
        self.ended = true;
        self.keys.lock().release(&self.key, self.number);
    }

    /// The request has ended like this. Returns what is kept of that.
    pub(crate) fn finish(mut self, ending: Ending, now: Instant) -> Ending {
        self.end(ending, now).unwrap_or(Ending::NotKept)
    }

    fn end(&mut self, ending: Ending, now: Instant) -> Option<Ending> {
        self.ended = true;
        self.keys.lock().finish(self.key, self.number, ending, now, &self.bounds)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Ending::Unknown, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BOUNDS: KeyBounds = KeyBounds { keep: Duration::from_secs(60), max_keys: 10, max_memory: 1024 * 1024 };

    fn claim(keys: &Arc<Keys>) -> Result<Turn, KeyFault> {
        keys.claim(Id::of(&[b"key"]), Id::of(&[b"content"]), Instant::now(), &BOUNDS)
    }

    fn first(keys: &Arc<Keys>) -> Claim {
        match claim(keys) {
            Ok(Turn::First(claim)) => claim,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_claim_that_is_dropped_leaves_the_outcome_unknown() {
        let keys = Arc::new(Keys::default());
        let held = first(&keys);
        assert_eq!(claim(&keys).err(), Some(KeyFault::UnderWay));
        drop(held);
        assert_eq!(claim(&keys).err(), Some(KeyFault::Unknown));
    }

    #[test]
    fn a_claim_that_is_released_leaves_nothing() {
        let keys = Arc::new(Keys::default());
        first(&keys).release();
        let held = first(&keys);
        assert!(matches!(held.finish(Ending::NotKept, Instant::now()), Ending::NotKept));
        assert_eq!(claim(&keys).err(), Some(KeyFault::NotKept));
    }

    #[test]
    fn of_many_threads_one_is_first() {
        let keys = Arc::new(Keys::default());
        let claims = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| claim(&keys))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        let first = claims.iter().filter(|claim| matches!(claim, Ok(Turn::First(_)))).count();
        let waiting = claims.iter().filter(|claim| matches!(claim, Err(KeyFault::UnderWay))).count();
        assert_eq!((first, waiting), (1, 7));
    }
}
