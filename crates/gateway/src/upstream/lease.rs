//! A connection for the time of one exchange.

use super::admission::Admission;
use super::links::Link;
use super::pool::{Exclusive, Pool};
use crate::stats::{Endpoint, Held};
use http::uri::Scheme;
use std::io;
use std::rc::Rc;
use std::time::Instant;
use tidegate_resilience::Outcome;
use tidegate_wire::framing::BodyLength;
use tidegate_wire::h2::{RequestError, Stream};
use tidegate_wire::head::RequestHead;
use tidegate_wire::peer::Peer;

/// A connection, or a place on a shared one, lent to one exchange. Dropped, it is closed or given up.
pub(crate) struct Lease {
    pool: Rc<Pool>,
    carrier: Carrier,
    /// Whether it had carried requests before.
    pub(crate) reused: bool,
    _leased: Held<Endpoint>,
    /// Boxed, because few endpoints have breakers of their own.
    admission: Option<Box<Admission>>,
}

enum Carrier {
    Exclusive(Box<Exclusive>),
    Shared {
        link: Rc<Link>,
        /// Open once the request head was sent. Boxed, so that a lease is small: it is handed on half a dozen times.
        peer: Option<Box<Peer>>,
    },
    /// Given back.
    None,
}

impl Lease {
    pub(super) fn exclusive(pool: &Rc<Pool>, exclusive: Box<Exclusive>, reused: bool) -> Self {
        pool.enter();
        let carrier = Carrier::Exclusive(exclusive);
        Self { pool: Rc::clone(pool), carrier, reused, _leased: pool.witness().leased(), admission: None }
    }

    pub(super) fn shared(pool: &Rc<Pool>, link: Rc<Link>, reused: bool) -> Self {
        pool.enter();
        link.enter();
        let carrier = Carrier::Shared { link, peer: None };
        Self { pool: Rc::clone(pool), carrier, reused, _leased: pool.witness().leased(), admission: None }
    }

    /// Keeps leave of the endpoint's breaker for as long as it is needed.
    pub(super) fn keep(&mut self, admission: Option<Admission>) {
        self.admission = admission.map(Box::new);
    }

    /// Tells the endpoint's breaker, where it has one, what came of the request.
    pub(crate) fn complete(&mut self, outcome: Outcome) {
        if let Some(admission) = &mut self.admission {
            admission.complete(outcome);
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether HTTP/2 is spoken, where trailers need no announcement and protocols cannot change.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.carrier, Carrier::Shared { .. })
    }

    /// Sends a request head, or at least puts it first in line.
    ///
    /// # Errors
    /// The upstream has seen nothing of the request then.
    pub(crate) fn start(&mut self, head: &RequestHead, length: BodyLength) -> Result<(), RequestError> {
        match &mut self.carrier {
            Carrier::Exclusive(exclusive) => {
                let connection = exclusive.peer.as_h1().ok_or_else(not_connected)?;
                connection.start_request(head, length);
                Ok(())
            }
            Carrier::Shared { link, peer } => {
                let scheme = if self.pool.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
                let stream = Stream::request(&link.sender, &link.outbox, head, scheme, length)?;
                *peer = Some(Box::new(Peer::H2(Box::new(stream))));
                Ok(())
            }
            Carrier::None => Err(not_connected()),
        }
    }

    /// Lends the connection to nobody any more: it takes no new streams.
    pub(crate) fn retire(&self) {
        if let Carrier::Shared { link, .. } = &self.carrier {
            link.retire();
        }
    }

    /// The upstream, once a request was started.
    pub(crate) fn peer(&mut self) -> io::Result<&mut Peer> {
        match &mut self.carrier {
            Carrier::Exclusive(exclusive) => Ok(&mut exclusive.peer),
            Carrier::Shared { peer: Some(peer), .. } => Ok(peer),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Gives the connection back after a complete exchange, for another one.
    pub(crate) fn give_back(&mut self, now: Instant) {
        match std::mem::replace(&mut self.carrier, Carrier::None) {
            Carrier::Exclusive(exclusive) => self.pool.give_back(exclusive, now),
            other => self.carrier = other,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.leave();
        match &mut self.carrier {
            Carrier::Exclusive(_) => self.pool.free_slot(),
            Carrier::Shared { link, peer } => {
                // A stream that is not complete is reset when its handles go, before the next is opened.
                *peer = None;
                link.leave();
                self.pool.streams_released(1);
            }
            Carrier::None => {}
        }
    }
}

fn not_connected() -> RequestError {
    RequestError::Closed(io::ErrorKind::NotConnected.into())
}
