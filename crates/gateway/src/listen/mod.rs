//! Connections of clients: accepted, identified, and served until they end.

mod accept;
mod establish;
mod http1;
mod http2;
mod sockets;

pub(crate) use accept::accept;
pub use sockets::SocketGroup;

use crate::places::Place;
use crate::worker::{Door, Entry};
use std::rc::Rc;

/// What is held while a connection is open.
pub(crate) struct Presence {
    pub(crate) entry: Entry,
    _place: Place,
    _open: crate::stats::Held<crate::stats::Listener>,
}

impl Presence {
    fn new(worker: &Rc<crate::worker::Worker>, door: &Door, place: Place) -> Self {
        Self { entry: worker.enter(), _place: place, _open: door.meter.accepted() }
    }
}
