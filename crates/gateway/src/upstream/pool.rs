//! The connections of one worker to one endpoint.
//!
//! HTTP/1 connections are lent to one exchange at a time, the most recently used first, so that the
//! surplus grows old and is closed. HTTP/2 connections are shared. A connection about which there is
//! any doubt (bytes or an end seen while idle, a message not finished on both sides) is not lent.

use super::admission::Admission;
use super::connect::{Connector, Spoken};
use super::lease::Lease;
use super::links::{Link, Links};
use super::{ConnectError, LeaseError};
use crate::balance::latency::Latency;
use crate::config::plan;
use crate::health::Witness;
use crate::stats::{Held, Upstream as Gauge, UpstreamMeter};
use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_resilience::{Call, CircuitBreaker, Guard, Outcome, Reading, Rejection};
use tidegate_wire::h1;
use tidegate_wire::peer::Peer;
use tokio::sync::Notify;

/// After so long the kernel is asked about a connection before it carries a request that cannot be sent
/// twice: an idle timeout of the endpoint may have run out since the reactor was asked. One that was
/// in use a moment ago is closed, if at all, with its last answer, and that the reactor has told.
const RESTED: Duration = Duration::from_millis(100);

/// The connections to one endpoint.
pub(crate) struct Pool {
    connector: Connector,
    limits: plan::Pool,
    meter: UpstreamMeter,
    /// Of the configuration in force, which may be a later one than the pool began with.
    witness: RefCell<Witness>,
    breaker: RefCell<Option<CircuitBreaker>>,
    idle: RefCell<Vec<Idle>>,
    links: Links,
    /// HTTP/1 connections that are lent, HTTP/2 connections that are open, and those being opened.
    busy: Cell<usize>,
    in_flight: Cell<usize>,
    /// Requests that have chosen the endpoint and have no connection yet.
    pending: Cell<usize>,
    waiting: Cell<usize>,
    released: Notify,
    latency: Latency,
}

struct Idle {
    exclusive: Box<Exclusive>,
    since: Instant,
    _idle: Held<Gauge>,
}

/// An HTTP/1 connection; boxed, because it is lent and given back for every request.
pub(crate) struct Exclusive {
    pub(crate) peer: Peer,
    pub(crate) opened: Opened,
}

/// When a connection was opened; counted as open until dropped.
pub(crate) struct Opened {
    pub(crate) at: Instant,
    _open: Held<Gauge>,
}

impl Pool {
    pub(crate) fn new(
        connector: Connector,
        limits: plan::Pool,
        meter: UpstreamMeter,
        witness: Witness,
        breaker: Option<CircuitBreaker>,
    ) -> Self {
        Self {
            connector,
            limits,
            meter,
            witness: RefCell::new(witness),
            breaker: RefCell::new(breaker),
            idle: RefCell::default(),
            links: Links::default(),
            busy: Cell::new(0),
            in_flight: Cell::new(0),
            pending: Cell::new(0),
            waiting: Cell::new(0),
            released: Notify::new(),
            latency: Latency::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> &plan::Endpoint {
        self.connector.endpoint()
    }

    pub(crate) fn authority(&self) -> &Arc<str> {
        self.connector.authority()
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.connector.is_tls()
    }

    /// The health of the endpoint; not to be held across an `await`.
    pub(crate) fn witness(&self) -> Ref<'_, Witness> {
        self.witness.borrow()
    }

    /// Goes on under another configuration.
    pub(super) fn adopt(&self, witness: Witness, breaker: Option<CircuitBreaker>) {
        self.witness.replace(witness);
        self.breaker.replace(breaker);
    }

    /// Whether the endpoint's breaker, where it has one, is not open.
    pub(super) fn is_closed(&self) -> bool {
        match &*self.breaker.borrow() {
            Some(breaker) => breaker.peek(&Call::new(), &Reading::of(breaker.clock())).is_ok(),
            None => true,
        }
    }

    /// Leave of the endpoint's breaker, where it has one.
    fn admit(&self) -> Result<Option<Admission>, Rejection> {
        self.breaker.borrow().as_ref().map(Admission::ask).transpose()
    }

    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// Requests that are not answered yet, those that have no connection yet included: an endpoint that
    /// accepts none is busy, not idle.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get() + self.pending.get()
    }

    /// Connections that requests are on, and those being opened.
    pub(crate) fn in_use(&self) -> usize {
        self.busy.get()
    }

    /// How long the endpoint takes until it begins to answer.
    pub(crate) fn latency(&self) -> &Latency {
        &self.latency
    }

    pub(crate) fn enter(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
    }

    /// A connection: an idle one, a shared one, or a new one, in that order; `fresh` insists on new.
    ///
    /// `careful` asks the kernel whether a connection that has rested still stands, for requests that
    /// must not be lost to one that was closed a moment ago.
    pub(crate) async fn lease(self: &Rc<Self>, fresh: bool, careful: bool) -> Result<Lease, LeaseError> {
        let mut admission = self.admit().map_err(LeaseError::Open)?;
        let mut leased = self.find(fresh, careful).await;
        if let (Some(admission), Err(LeaseError::Connect(error))) = (&mut admission, &leased)
            && !error.is_local()
        {
            admission.complete(Outcome::Failure);
        }
        if let Ok(lease) = &mut leased {
            lease.keep(admission);
        }
        leased
    }

    async fn find(self: &Rc<Self>, fresh: bool, careful: bool) -> Result<Lease, LeaseError> {
        let _pending = Pending::enter(self);
        // Whoever comes while a connection is opened that many can share waits for that one.
        while !fresh && self.links.await_opening().await.map_err(LeaseError::Connect)? {
            if let Some(lease) = self.at_hand(careful, Instant::now()) {
                return Ok(lease);
            }
        }
        match self.wait_for_turn(fresh, careful).await? {
            Some(lease) => Ok(lease),
            None => self.open().await.map_err(LeaseError::Connect),
        }
    }

    /// Opens a connection in a slot that was taken for it.
    async fn open(self: &Rc<Self>) -> Result<Lease, ConnectError> {
        let slot = SlotGuard(self);
        let shared = self.connector.expects_http2(self.links.are_known());
        let opener = shared.then(|| self.links.announce());
        let opened = self.connect(slot).await;
        if let Err(error) = &opened
            && !error.is_local()
        {
            self.witness().failed();
        }
        if let (Some(opener), Err(error)) = (&opener, &opened) {
            opener.fail(error);
        }
        opened
    }

    async fn connect(self: &Rc<Self>, slot: SlotGuard<'_>) -> Result<Lease, ConnectError> {
        let (transport, spoken) = self.connector.connect().await?;
        let opened = Opened { at: Instant::now(), _open: self.meter.connected() };
        match spoken {
            Spoken::Http1 => {
                self.links.are_not_wanted();
                slot.keep();
                let peer = Peer::H1(h1::Connection::new(transport));
                Ok(Lease::exclusive(self, Box::new(Exclusive { peer, opened }), false))
            }
            Spoken::Http2 => {
                let link = tokio::time::timeout(self.connector.timeout(), Link::open(self, transport, opened)).await;
                let link = link.map_err(|_| ConnectError::Timeout)?.map_err(ConnectError::Io)?;
                slot.keep();
                Ok(Lease::shared(self, link, false))
            }
        }
    }

    /// An idle or shared connection, where there is a sound one and nobody waits for it.
    pub(crate) fn reuse(self: &Rc<Self>, careful: bool, now: Instant) -> Option<Lease> {
        let admission = self.admit().ok()?;
        let mut lease = self.at_hand(careful, now)?;
        lease.keep(admission);
        Some(lease)
    }

    fn at_hand(self: &Rc<Self>, careful: bool, now: Instant) -> Option<Lease> {
        if self.waiting.get() > 0 { None } else { self.lend(careful, now) }
    }

    fn lend(self: &Rc<Self>, careful: bool, now: Instant) -> Option<Lease> {
        if let Some(link) = self.links.with_room(&self.limits, now) {
            return Some(Lease::shared(self, link, true));
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(candidate) = idle.pop() {
            if candidate.is_sound(careful, now) {
                self.busy.set(self.busy.get() + 1);
                return Some(Lease::exclusive(self, candidate.exclusive, true));
            }
        }
        None
    }

    /// Waits for a connection that came back, or until one more may be opened: then none is returned
    /// and a slot is taken. Who comes later waits behind who came first.
    async fn wait_for_turn(self: &Rc<Self>, fresh: bool, careful: bool) -> Result<Option<Lease>, LeaseError> {
        if self.waiting.get() == 0
            && let Some(turn) = self.turn(fresh, careful)
        {
            return Ok(turn);
        }
        if self.waiting.get() >= self.limits.max_waiting || self.limits.max_wait.is_zero() {
            return Err(LeaseError::Exhausted);
        }
        let _waiting = Waiting::enter(self);
        let came = async {
            loop {
                self.released.notified().await;
                if let Some(turn) = self.turn(fresh, careful) {
                    return turn;
                }
            }
        };
        tokio::time::timeout(self.limits.max_wait, came).await.map_err(|_| LeaseError::Exhausted)
    }

    fn turn(self: &Rc<Self>, fresh: bool, careful: bool) -> Option<Option<Lease>> {
        if !fresh && let Some(lease) = self.lend(careful, Instant::now()) {
            return Some(Some(lease));
        }
        if self.busy.get() >= self.limits.max_connections {
            return None;
        }
        // Idle connections that are not wanted make room.
        let mut idle = self.idle.borrow_mut();
        if self.busy.get() + idle.len() >= self.limits.max_connections && !idle.is_empty() {
            idle.remove(0);
        }
        self.busy.set(self.busy.get() + 1);
        Some(None)
    }

    pub(crate) fn free_slot(&self) {
        self.busy.set(self.busy.get() - 1);
        self.released.notify_one();
    }

    /// Tells those who wait that HTTP/2 connections take so many more streams.
    pub(super) fn streams_released(&self, count: usize) {
        for _ in 0..count.min(self.waiting.get()) {
            self.released.notify_one();
        }
    }

    /// Takes an HTTP/1 connection back; it is closed where it is in doubt, old, or not needed.
    pub(crate) fn give_back(&self, mut exclusive: Box<Exclusive>, now: Instant) {
        let young = self.limits.max_lifetime.is_none_or(|lifetime| now - exclusive.opened.at < lifetime);
        if let Some(connection) = exclusive.peer.as_h1()
            && young
            && connection.is_between_messages()
            && !connection.has_input()
            && self.idle.borrow().len() < self.limits.max_idle
        {
            connection.rest();
            self.idle.borrow_mut().push(Idle { exclusive, since: now, _idle: self.meter.idle() });
        }
        self.free_slot();
    }

    /// Closes what is too old, or what the endpoint has closed.
    pub(crate) fn sweep(&self, now: Instant) {
        let limits = &self.limits;
        self.idle.borrow_mut().retain(|idle| {
            now - idle.since < limits.idle_timeout
                && limits.max_lifetime.is_none_or(|lifetime| now - idle.exclusive.opened.at < lifetime)
                && idle.is_sound(false, now)
        });
        self.links.sweep(limits, now);
    }
}

impl Idle {
    fn is_sound(&self, careful: bool, now: Instant) -> bool {
        let Peer::H1(connection) = &self.exclusive.peer else {
            return false;
        };
        let transport = connection.transport();
        let rested = now.saturating_duration_since(self.since) >= RESTED;
        // The reactor may still hold an old event; then the kernel knows.
        !(transport.is_stirring() || careful && rested) || !transport.is_stirring_now()
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

/// Counts a request that has no connection yet, also when it is cancelled.
struct Pending<'a>(&'a Pool);

impl<'a> Pending<'a> {
    fn enter(pool: &'a Pool) -> Self {
        pool.pending.set(pool.pending.get() + 1);
        Self(pool)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.set(self.0.pending.get() - 1);
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
