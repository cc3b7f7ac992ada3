//! The entries of one worker, and the worker's end of them.
//!
//! They lie in pages. Each page has a lock, which the worker only tries and a reader holds while it copies the page; two
//! locks are never held at once. A worker stays on a page for some entries, so that its lock is near, and entries lie one
//! behind the other, so that the next one is too: memory that comes from afar costs more than all that is done here.

use super::Recent;
use super::entry::Entry;
use super::names::Names;
use super::slot::{Ended, Slot};
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};

/// The most entries of a page.
const PAGE: usize = 16;

/// Entries one behind the other.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// What numbers mean in most of them.
    names: Arc<Names>,
    /// In memory that is taken when it is first used.
    slots: Vec<Slot>,
}

/// The entries of one worker.
#[derive(Debug)]
pub(super) struct Ring {
    pages: Box<[Mutex<Page>]>,
    entries: usize,
    /// Entries of each page but the last, which may have fewer.
    page: usize,
}

impl Ring {
    pub(super) fn new(entries: usize) -> Self {
        let page = (entries / PAGE).clamp(1, PAGE);
        Self { pages: (0..entries.div_ceil(page)).map(|_| Mutex::default()).collect(), entries, page }
    }

    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// How many entries a page has room for.
    fn room(&self, page: usize) -> usize {
        self.page.min(self.entries - page * self.page)
    }

    /// Shows every entry, in no order.
    pub(super) fn visit(&self, mut visitor: impl FnMut(Entry)) {
        for page in &self.pages {
            let (names, slots) = {
                let page = page.lock().unwrap_or_else(PoisonError::into_inner);
                (Arc::clone(&page.names), page.slots.clone())
            };
            slots.iter().for_each(|slot| visitor(slot.show(&names)));
        }
    }

    /// Reads a page until what is returned is dropped.
    #[cfg(test)]
    pub(super) fn read(&self, page: usize) -> std::sync::MutexGuard<'_, Page> {
        self.pages[page].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker's end: the only one that writes into its ring.
#[derive(Debug)]
pub(crate) struct Writer {
    recent: Arc<Recent>,
    worker: usize,
    ring: RefCell<Arc<Ring>>,
    /// The page and the place in it of the next entry.
    next: Cell<(usize, usize)>,
}

impl Writer {
    pub(crate) fn new(recent: Arc<Recent>, worker: usize) -> Self {
        let ring = RefCell::new(recent.ring(worker));
        Self { recent, worker, ring, next: Cell::new((0, 0)) }
    }

    /// Keeps another number of entries from here on. Where that is a change, those so far are forgotten.
    pub(crate) fn resize(&self, entries: usize) {
        if self.ring.borrow().entries() != entries {
            self.ring.replace(self.recent.renew(self.worker, entries));
            self.next.set((0, 0));
        }
    }

    /// Whether anything is kept.
    pub(crate) fn is_on(&self) -> bool {
        self.ring.borrow().entries() > 0
    }

    /// Keeps an exchange in place of the oldest one, and leaves the trail of that one to its own. Where somebody reads
    /// that page at this moment, the next one is begun; an entry is lost only where that is read too.
    pub(crate) fn record(&self, ended: &mut Ended<'_>, names: &Arc<Names>) {
        let ring = self.ring.borrow();
        let (mut page, mut place) = self.next.get();
        for _ in 0..2 {
            let Some(lock) = ring.pages.get(page) else { return };
            let after = (page + 1) % ring.pages.len();
            if let Ok(mut held) = lock.try_lock() {
                held.write(place, ended, names);
                self.next.set(if place + 1 < ring.room(page) { (page, place + 1) } else { (after, 0) });
                return;
            }
            (page, place) = (after, 0);
        }
        self.next.set((page, place));
    }
}

impl Page {
    fn write(&mut self, place: usize, ended: &mut Ended<'_>, names: &Arc<Names>) {
        // Those of an older configuration mean something else. From here on the page has the names of this one.
        if place == 0 && !Arc::ptr_eq(&self.names, names) {
            self.slots.clear();
            self.names = Arc::clone(names);
        }
        let own = (!Arc::ptr_eq(&self.names, names)).then(|| Arc::clone(names));
        if self.slots.len() == place {
            self.slots.push(Slot::blank());
        }
        self.slots[place].write(ended, own);
    }
}
