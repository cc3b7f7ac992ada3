//! What arrives at a listener: connections, those that came to nothing, and requests by protocol.

use std::sync::Arc;

use super::cell::{Counter, Gauge};
use super::series::{Held, Kind, Meter, Series};

/// The protocol a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

impl Protocol {
    /// All protocols, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::H1, Self::H2];

    /// The value of the label `protocol`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2 => "h2",
        }
    }
}

/// Series about listeners.
#[derive(Debug)]
pub enum Listener {}

/// The numbers of one listener.
pub type ListenerSeries = Series<Listener>;

/// One worker's handle on the numbers of one listener.
pub type ListenerMeter = Meter<Listener>;

impl Kind for Listener {
    type Labels = Arc<str>;
    type Stripe = ListenerStripe;
}

/// One worker's numbers for one listener.
#[derive(Debug, Default)]
pub struct ListenerStripe {
    accepted: Counter,
    open: Gauge,
    delayed: Counter,
    handshake_failures: Counter,
    protocol_errors: Counter,
    requests: [Counter; Protocol::ALL.len()],
}

impl ListenerMeter {
    /// Counts a connection that was let in; it is open until the answer is dropped.
    pub fn accepted(&self) -> Held<Listener> {
        self.stripe().accepted.add(1);
        self.hold(|stripe| &stripe.open)
    }

    /// Counts a connection that had to wait because the limit was reached.
    pub fn delayed(&self) {
        self.stripe().delayed.add(1);
    }

    /// Counts a connection that never got to HTTP: its TLS handshake or PROXY header failed or took too long.
    pub fn handshake_failed(&self) {
        self.stripe().handshake_failures.add(1);
    }

    /// Counts a client that broke the rules of HTTP.
    pub fn protocol_error(&self) {
        self.stripe().protocol_errors.add(1);
    }

    /// Counts a request whose head was read.
    #[inline]
    pub fn request(&self, protocol: Protocol) {
        self.stripe().requests[protocol as usize].add(1);
    }
}

/// The numbers of one listener, summed over the workers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ListenerTotals {
    /// Connections let in.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections that had to wait because of the limit.
    pub delayed: u64,
    /// Connections that never got to HTTP.
    pub handshake_failures: u64,
    /// Violations of HTTP by clients.
    pub protocol_errors: u64,
    requests: [u64; Protocol::ALL.len()],
}

impl ListenerTotals {
    /// Requests by protocol.
    pub fn requests(&self) -> impl Iterator<Item = (Protocol, u64)> {
        Protocol::ALL.into_iter().zip(self.requests)
    }

    fn add(&mut self, stripe: &ListenerStripe) {
        self.accepted = self.accepted.wrapping_add(stripe.accepted.read());
        self.open += stripe.open.read();
        self.delayed = self.delayed.wrapping_add(stripe.delayed.read());
        self.handshake_failures = self.handshake_failures.wrapping_add(stripe.handshake_failures.read());
        self.protocol_errors = self.protocol_errors.wrapping_add(stripe.protocol_errors.read());
        for (total, share) in self.requests.iter_mut().zip(&stripe.requests) {
            *total = total.wrapping_add(share.read());
        }
    }
}

impl ListenerSeries {
    /// The sum over the workers.
    pub fn totals(&self) -> ListenerTotals {
        let mut totals = ListenerTotals::default();
        self.stripes().for_each(|stripe| totals.add(stripe));
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    #[test]
    fn connections_and_requests_are_counted() {
        let series = Registry::new(2).listener("127.0.0.1:80");
        let (first, second) = (series.meter(0), series.meter(1));
        let kept = first.accepted();
        drop(second.accepted());
        first.delayed();
        second.handshake_failed();
        second.protocol_error();
        first.request(Protocol::H1);
        second.request(Protocol::H2);
        second.request(Protocol::H2);
        let totals = series.totals();
        assert_eq!((totals.accepted, totals.open, totals.delayed), (2, 1, 1));
        assert_eq!((totals.handshake_failures, totals.protocol_errors), (1, 1));
        assert!(totals.requests().eq([(Protocol::H1, 1), (Protocol::H2, 2)]));
        drop(kept);
        assert_eq!(series.totals().open, 0);
    }
}
