//! The entries of one worker, and the worker's end of them.
//!
//! Each place has a lock of its own, which the worker only tries and a reader holds while it copies one entry. Two locks
//! are never held at once.

use super::Recent;
use super::entry::Entry;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};

/// A place for an entry; boxed, so that places which were never used are small.
type Place = Mutex<Option<Box<Entry>>>;

/// The entries of one worker.
#[derive(Debug)]
pub(super) struct Ring(Box<[Place]>);

impl Ring {
    pub(super) fn new(entries: usize) -> Self {
        Self((0..entries).map(|_| Place::default()).collect())
    }

    pub(super) fn entries(&self) -> usize {
        self.0.len()
    }

    /// Shows every entry, in no order; the worker cannot write into the one that is shown.
    pub(super) fn visit(&self, mut visitor: impl FnMut(&Entry)) {
        for place in &self.0 {
            if let Some(entry) = &*place.lock().unwrap_or_else(PoisonError::into_inner) {
                visitor(entry);
            }
        }
    }
}

/// A worker's end: the only one that writes into its ring.
#[derive(Debug)]
pub(crate) struct Writer {
    recent: Arc<Recent>,
    worker: usize,
    ring: RefCell<Arc<Ring>>,
    next: Cell<usize>,
}

impl Writer {
    pub(crate) fn new(recent: Arc<Recent>, worker: usize) -> Self {
        let ring = RefCell::new(recent.ring(worker));
        Self { recent, worker, ring, next: Cell::new(0) }
    }

    /// Keeps another number of entries from here on. Where that is a change, those so far are forgotten.
    pub(crate) fn resize(&self, entries: usize) {
        if self.ring.borrow().entries() != entries {
            self.ring.replace(self.recent.renew(self.worker, entries));
            self.next.set(0);
        }
    }

    /// Whether anything is kept.
    pub(crate) fn is_on(&self) -> bool {
        self.ring.borrow().entries() > 0
    }

    /// Keeps an entry in place of the oldest one: `write` overwrites all of it where it stands, since to build it elsewhere
    /// and move it costs more than all else here. Where somebody reads that one at this moment, the next oldest goes; an
    /// entry is lost only where that is read too.
    pub(crate) fn record(&self, write: impl FnOnce(&mut Entry)) {
        let ring = self.ring.borrow();
        for _ in 0..2 {
            let at = self.next.get();
            let Some(place) = ring.0.get(at) else { return };
            self.next.set((at + 1) % ring.entries());
            let Ok(mut place) = place.try_lock() else { continue };
            write(place.get_or_insert_with(|| Box::new(Entry::blank())));
            return;
        }
    }
}
