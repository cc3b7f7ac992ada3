//! Connections of clients: accepted, identified, and served until they end.

mod accept;
mod establish;
mod http1;
mod http2;
mod sockets;

pub(crate) use accept::accept;
pub use sockets::SocketGroup;

use crate::worker::{Door, Entry};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A connection's place under the limit of its listener; given back when dropped.
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// A place, if the listener has one left.
    fn take(door: &Door) -> Option<Self> {
        // Relaxed: the count orders nothing else; a limit may be judged a moment early or late.
        let taken = door.open.fetch_add(1, Ordering::Relaxed);
        let slot = Self(Arc::clone(&door.open));
        (taken < door.plan.limits.connections).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is held while a connection is open.
pub(crate) struct Presence {
    pub(crate) entry: Entry,
    _slot: Slot,
    _open: crate::stats::Held<crate::stats::Listener>,
}

impl Presence {
    fn new(worker: &Rc<crate::worker::Worker>, door: &Door, slot: Slot) -> Self {
        Self { entry: worker.enter(), _slot: slot, _open: door.meter.accepted() }
    }
}
