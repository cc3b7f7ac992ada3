//! The connections of one worker to one endpoint.
//!
//! HTTP/1 connections are lent to one exchange at a time, the most recently used first, so that the
//! surplus grows old and is closed. HTTP/2 connections are shared. A connection about which there is
//! any doubt (bytes or an end seen while idle, a message not finished on both sides) is not lent.

use super::connect::{Connector, Spoken};
use super::lease::Lease;
use super::{ConnectError, LeaseError};
use crate::config::plan;
use crate::stats::{Held, Upstream as Gauge, UpstreamMeter};
use bytes::Bytes;
use h2::client::SendRequest;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_wire::h1;
use tokio::sync::Notify;

/// Streams on one HTTP/2 connection before another is opened, where the peer allows more.
const STREAMS: usize = 100;

/// The connections to one endpoint.
pub(crate) struct Pool {
    connector: Connector,
    limits: plan::Pool,
    meter: UpstreamMeter,
    idle: RefCell<Vec<Idle>>,
    links: RefCell<Vec<Rc<Link>>>,
    /// HTTP/1 connections that are lent, HTTP/2 connections that are open, and those being opened.
    busy: Cell<usize>,
    in_flight: Cell<usize>,
    waiting: Cell<usize>,
    released: Notify,
}

struct Idle {
    connection: h1::Connection,
    opened: Opened,
    since: Instant,
    _idle: Held<Gauge>,
}

/// When a connection was opened; counted as open until dropped.
pub(crate) struct Opened {
    pub(crate) at: Instant,
    _open: Held<Gauge>,
}

/// An HTTP/2 connection that exchanges share.
pub(crate) struct Link {
    pub(crate) sender: RefCell<SendRequest<Bytes>>,
    pub(crate) streams: Cell<usize>,
    pub(crate) broken: Cell<bool>,
    opened: Opened,
}

impl Pool {
    pub(crate) fn new(connector: Connector, limits: plan::Pool, meter: UpstreamMeter) -> Self {
        Self {
            connector,
            limits,
            meter,
            idle: RefCell::default(),
            links: RefCell::default(),
            busy: Cell::new(0),
            in_flight: Cell::new(0),
            waiting: Cell::new(0),
            released: Notify::new(),
        }
    }

    pub(crate) fn endpoint(&self) -> &plan::Endpoint {
        self.connector.endpoint()
    }

    /// The endpoint as it is written, for logs.
    pub(crate) fn name(&self) -> &Arc<str> {
        self.connector.name()
    }

    pub(crate) fn authority(&self) -> &Arc<str> {
        self.connector.authority()
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.connector.is_tls()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    pub(crate) fn enter(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
    }

    /// A connection: an idle one, a shared one, or a new one, in that order; `fresh` insists on new.
    ///
    /// `careful` asks the kernel whether an idle connection still stands, for requests that must
    /// not be lost to one that was closed a moment ago.
    pub(crate) async fn lease(self: &Rc<Self>, fresh: bool, careful: bool) -> Result<Lease, LeaseError> {
        if !fresh && let Some(lease) = self.reuse(careful) {
            return Ok(lease);
        }
        self.slot().await?;
        // A waiter may find that an idle connection came back while it waited.
        if !fresh && let Some(lease) = self.reuse(careful) {
            self.free_slot();
            return Ok(lease);
        }
        let slot = SlotGuard(self);
        let (transport, spoken) = self.connector.connect().await.map_err(LeaseError::Connect)?;
        let opened = Opened { at: Instant::now(), _open: self.meter.connected() };
        match spoken {
            Spoken::Http1 => {
                slot.keep();
                Ok(Lease::exclusive(self, h1::Connection::new(transport), opened, false))
            }
            Spoken::Http2 => {
                let (sender, connection) = h2::client::Builder::new()
                    .initial_window_size(1 << 20)
                    .initial_connection_window_size(4 << 20)
                    .enable_push(false)
                    .handshake(transport)
                    .await
                    .map_err(|error| LeaseError::Connect(ConnectError::Io(std::io::Error::other(error))))?;
                slot.keep();
                let link = Rc::new(Link {
                    sender: RefCell::new(sender),
                    streams: Cell::new(0),
                    broken: Cell::new(false),
                    opened,
                });
                self.links.borrow_mut().push(Rc::clone(&link));
                self.drive(&link, connection);
                Ok(Lease::shared(self, link, false))
            }
        }
    }

    /// Runs an HTTP/2 connection until it ends, and then forgets it.
    fn drive(
        self: &Rc<Self>,
        link: &Rc<Link>,
        connection: h2::client::Connection<tidegate_wire::transport::Transport, Bytes>,
    ) {
        let (pool, link) = (Rc::clone(self), Rc::clone(link));
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(endpoint = %pool.endpoint(), %error, "HTTP/2 connection to an upstream ended");
            }
            link.broken.set(true);
            pool.links.borrow_mut().retain(|other| !Rc::ptr_eq(other, &link));
            pool.free_slot();
        });
    }

    fn reuse(self: &Rc<Self>, careful: bool) -> Option<Lease> {
        if let Some(link) = self.links.borrow().iter().find(|link| link.has_room(&self.limits)) {
            return Some(Lease::shared(self, Rc::clone(link), true));
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(candidate) = idle.pop() {
            if candidate.is_sound(careful) {
                self.busy.set(self.busy.get() + 1);
                return Some(Lease::exclusive(self, candidate.connection, candidate.opened, true));
            }
        }
        None
    }

    /// Waits until one more connection may be opened.
    async fn slot(&self) -> Result<(), LeaseError> {
        if self.try_slot(self.waiting.get() == 0) {
            return Ok(());
        }
        if self.waiting.get() >= self.limits.max_waiting || self.limits.max_wait.is_zero() {
            return Err(LeaseError::Exhausted);
        }
        let _waiting = Waiting::enter(self);
        let moved = async {
            loop {
                self.released.notified().await;
                if self.try_slot(true) {
                    return;
                }
            }
        };
        tokio::time::timeout(self.limits.max_wait, moved).await.map_err(|_| LeaseError::Exhausted)
    }

    fn try_slot(&self, may: bool) -> bool {
        let open = self.busy.get() + self.idle.borrow().len();
        if !may || self.busy.get() >= self.limits.max_connections {
            return false;
        }
        if open >= self.limits.max_connections {
            // The oldest idle connection makes room; it was found unfit or is not wanted.
            let mut idle = self.idle.borrow_mut();
            if !idle.is_empty() {
                idle.remove(0);
            }
        }
        self.busy.set(self.busy.get() + 1);
        true
    }

    pub(crate) fn free_slot(&self) {
        self.busy.set(self.busy.get() - 1);
        self.released.notify_one();
    }

    /// Takes an HTTP/1 connection back; it is closed where it is in doubt, old, or not needed.
    pub(crate) fn give_back(&self, mut connection: h1::Connection, opened: Opened) {
        let now = Instant::now();
        let young = self.limits.max_lifetime.is_none_or(|lifetime| now - opened.at < lifetime);
        let sound = connection.is_between_messages() && !connection.has_input();
        if young && sound && self.idle.borrow().len() < self.limits.max_idle {
            connection.rest();
            self.idle.borrow_mut().push(Idle { connection, opened, since: now, _idle: self.meter.idle() });
        }
        self.free_slot();
    }

    /// Closes what is too old, or what the endpoint has closed.
    pub(crate) fn sweep(&self, now: Instant) {
        let limits = &self.limits;
        self.idle.borrow_mut().retain(|idle| {
            now - idle.since < limits.idle_timeout
                && limits.max_lifetime.is_none_or(|lifetime| now - idle.opened.at < lifetime)
                && idle.is_sound(false)
        });
        self.links.borrow_mut().retain(|link| !link.is_over(limits, now));
    }
}

impl Idle {
    fn is_sound(&self, careful: bool) -> bool {
        let transport = self.connection.transport();
        // The reactor may still hold an old event; then the kernel knows.
        !(careful || transport.is_stirring()) || !transport.is_stirring_now()
    }
}

impl Link {
    fn has_room(&self, limits: &plan::Pool) -> bool {
        let allowed = self.sender.borrow().current_max_send_streams().min(STREAMS);
        !self.broken.get() && self.streams.get() < allowed && !self.is_over(limits, Instant::now())
    }

    /// A connection that is over is lent no more; it ends when its last stream does.
    fn is_over(&self, limits: &plan::Pool, now: Instant) -> bool {
        limits.max_lifetime.is_some_and(|lifetime: Duration| now - self.opened.at >= lifetime)
    }
}

/// Gives a slot back unless the connection it was for was opened.
struct SlotGuard<'a>(&'a Pool);

impl SlotGuard<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        self.0.free_slot();
    }
}

/// Counts a waiting request, also when it is cancelled.
struct Waiting<'a> {
    pool: &'a Pool,
    _gauge: Held<Gauge>,
}

impl<'a> Waiting<'a> {
    fn enter(pool: &'a Pool) -> Self {
        pool.waiting.set(pool.waiting.get() + 1);
        Self { pool, _gauge: pool.meter.waiting() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.waiting.set(self.pool.waiting.get() - 1);
    }
}
