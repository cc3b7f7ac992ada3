//! The exchanges that ended last, kept in memory so that an operator can ask what became of one.
//!
//! Each worker writes into a ring of its own when an exchange has ended; whoever wants to know reads all of them. A
//! worker never waits here: entries that are being read keep their places, and the worker writes behind them.
//! Nothing is formatted before somebody asks. Values of header fields and query strings are never kept.
//!
//! Bound: for each worker as many entries as the configuration says, at most 65,536 of less than 2 KiB each; the
//! memory for an entry is taken when it is first used.

mod clipped;
mod decisions;
mod entry;
mod names;
mod ring;
mod slot;
mod texts;
mod trail;

pub use clipped::Clipped;
pub use decisions::{Decision, StandIn};
pub use entry::{Attempt, Entry};
pub(crate) use names::{Names, UpstreamNames};
pub(crate) use ring::Writer;
pub(crate) use slot::Ended;
pub use trail::PassedOver;
pub(crate) use trail::Trail;

use ring::Ring;
use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};

/// What all workers remember. The default is the memory of no worker, and always empty.
#[derive(Debug, Default)]
pub struct Recent {
    /// The ring of each worker; a worker puts another one here when the configuration wants another size.
    rings: Box<[Mutex<Arc<Ring>>]>,
}

impl Recent {
    /// Room for `entries` of each of `workers`.
    pub(crate) fn new(workers: usize, entries: usize) -> Self {
        Self { rings: (0..workers).map(|_| Mutex::new(Arc::new(Ring::new(entries)))).collect() }
    }

    /// The exchanges that are `wanted`, the one that ended last first; at most `limit` of them.
    ///
    /// Looks at every entry, a page at a time, and holds twice `limit` of them meanwhile.
    pub fn latest(&self, limit: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut found = Vec::new();
        for worker in 0..self.rings.len() {
            self.ring(worker).visit(|entry| {
                if wanted(&entry) {
                    found.push(entry);
                }
                if found.len() > limit.saturating_mul(2) {
                    keep_newest(&mut found, limit);
                }
            });
        }
        keep_newest(&mut found, limit);
        found
    }

    /// How many entries each worker keeps; 0 when the memory is off.
    pub fn entries(&self) -> usize {
        self.rings.first().map_or(0, |_| self.ring(0).entries())
    }

    fn ring(&self, worker: usize) -> Arc<Ring> {
        Arc::clone(&self.rings[worker].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces what a worker remembers by a new ring.
    fn renew(&self, worker: usize, entries: usize) -> Arc<Ring> {
        let ring = Arc::new(Ring::new(entries));
        *self.rings[worker].lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ring);
        ring
    }
}

fn keep_newest(entries: &mut Vec<Entry>, limit: usize) {
    entries.sort_by_key(|entry| Reverse(entry.ended()));
    entries.truncate(limit);
}

#[cfg(test)]
mod tests;
