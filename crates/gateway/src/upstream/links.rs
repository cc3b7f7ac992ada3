//! The HTTP/2 connections of one worker to one endpoint, which exchanges share.

use super::pool::{Opened, Pool};
use crate::config::plan;
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tidegate_wire::transport::Transport;

/// Streams on one HTTP/2 connection before another is opened, where the peer allows more.
const STREAMS: usize = 100;

/// The HTTP/2 connections to one endpoint; the pool bounds how many there are.
#[derive(Default)]
pub(super) struct Links(RefCell<Vec<Rc<Link>>>);

/// An HTTP/2 connection that exchanges share.
pub(crate) struct Link {
    pub(super) sender: RefCell<SendRequest<Bytes>>,
    pub(super) streams: Cell<usize>,
    pub(super) broken: Cell<bool>,
    opened: Opened,
}

impl Links {
    /// A connection that takes one more stream.
    pub(super) fn with_room(&self, limits: &plan::Pool, now: Instant) -> Option<Rc<Link>> {
        self.0.borrow().iter().find(|link| link.has_room(limits, now)).map(Rc::clone)
    }

    /// Forgets what is too old; such a connection ends when its last stream does.
    pub(super) fn sweep(&self, limits: &plan::Pool, now: Instant) {
        self.0.borrow_mut().retain(|link| !link.is_over(limits, now));
    }

    fn forget(&self, link: &Rc<Link>) {
        self.0.borrow_mut().retain(|other| !Rc::ptr_eq(other, link));
    }
}

impl Link {
    /// Begins to speak HTTP/2 on a new connection, which holds a slot of the pool until it ends.
    pub(super) async fn open(pool: &Rc<Pool>, transport: Transport, opened: Opened) -> io::Result<Rc<Self>> {
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .enable_push(false)
            .handshake(transport)
            .await
            .map_err(io::Error::other)?;
        let link =
            Rc::new(Self { sender: RefCell::new(sender), streams: Cell::new(0), broken: Cell::new(false), opened });
        pool.links().0.borrow_mut().push(Rc::clone(&link));
        tokio::task::spawn_local(drive(Rc::clone(pool), Rc::clone(&link), connection));
        Ok(link)
    }

    fn has_room(&self, limits: &plan::Pool, now: Instant) -> bool {
        let allowed = self.sender.borrow().current_max_send_streams().min(STREAMS);
        !self.broken.get() && self.streams.get() < allowed && !self.is_over(limits, now)
    }

    /// A connection that is over is lent no more; it ends when its last stream does.
    fn is_over(&self, limits: &plan::Pool, now: Instant) -> bool {
        limits.max_lifetime.is_some_and(|lifetime: Duration| now - self.opened.at >= lifetime)
    }
}

/// Runs an HTTP/2 connection until it ends, and then forgets it.
async fn drive(pool: Rc<Pool>, link: Rc<Link>, connection: Connection<Transport, Bytes>) {
    if let Err(error) = connection.await {
        tracing::debug!(endpoint = %pool.endpoint(), %error, "HTTP/2 connection to an upstream ended");
    }
    link.broken.set(true);
    pool.links().forget(&link);
    pool.free_slot();
}
