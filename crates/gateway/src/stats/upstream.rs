//! What the gateway gets from an upstream: answers, failures, how long the response head took, and the pool.

use std::sync::Arc;
use std::time::Duration;

use super::cell::{Counter, Gauge};
use super::histogram::{Histogram, HistogramTotals};
use super::route::CodeClass;
use super::series::{Held, Kind, Meter, Series};

/// Why an upstream gave no answer that could be relayed in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, unreachable, or its TLS handshake failed.
    Connect,
    /// The connection ended before the answer did.
    Reset,
    /// A time limit passed.
    Timeout,
    /// The answer broke the rules of HTTP.
    Protocol,
}

impl Failure {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Reset, Self::Timeout, Self::Protocol];

    /// The value of the label `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
        }
    }
}

/// Status classes that an upstream can answer with.
const CLASSES: usize = 5;

/// Series about upstreams.
#[derive(Debug)]
pub enum Upstream {}

/// The numbers of one upstream.
pub type UpstreamSeries = Series<Upstream>;

/// One worker's handle on the numbers of one upstream.
pub type UpstreamMeter = Meter<Upstream>;

impl Kind for Upstream {
    type Labels = Arc<str>;
    type Stripe = UpstreamStripe;
}

/// One worker's numbers for one upstream.
#[derive(Debug, Default)]
pub struct UpstreamStripe {
    answers: [Counter; CLASSES],
    failures: [Counter; Failure::ALL.len()],
    resends: Counter,
    connects: Counter,
    to_head: Histogram,
    in_flight: Gauge,
    open: Gauge,
    idle: Gauge,
    waiting: Gauge,
}

impl UpstreamMeter {
    /// An attempt has begun; it is in flight until the answer is dropped.
    #[inline]
    pub fn sent(&self) -> Held<Upstream> {
        self.hold(|stripe| &stripe.in_flight)
    }

    /// Counts an attempt that was answered: the status, and the time from the request head's first byte sent to the
    /// response head's last byte read.
    #[inline]
    pub fn answered(&self, status: u16, to_head: Duration) {
        let stripe = self.stripe();
        stripe.answers[CodeClass::of(status) as usize].add(1);
        stripe.to_head.record(to_head);
    }

    /// Counts an attempt that failed, before its response head or after.
    pub fn failed(&self, failure: Failure) {
        self.stripe().failures[failure as usize].add(1);
    }

    /// Counts a request that is sent once more after an attempt that surely had no effect.
    pub fn resent(&self) {
        self.stripe().resends.add(1);
    }

    /// Counts a new connection, which is open until the answer is dropped.
    pub fn connected(&self) -> Held<Upstream> {
        self.stripe().connects.add(1);
        self.hold(|stripe| &stripe.open)
    }

    /// A connection lies idle in the pool until the answer is dropped.
    #[inline]
    pub fn idle(&self) -> Held<Upstream> {
        self.hold(|stripe| &stripe.idle)
    }

    /// A request waits for a connection until the answer is dropped.
    pub fn waiting(&self) -> Held<Upstream> {
        self.hold(|stripe| &stripe.waiting)
    }
}

/// The numbers of one upstream, summed over the workers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct UpstreamTotals {
    answers: [u64; CLASSES],
    failures: [u64; Failure::ALL.len()],
    /// Requests that were sent once more.
    pub resends: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// From the request head sent to the response head read.
    pub to_head: HistogramTotals,
    /// Attempts that have begun and not ended.
    pub in_flight: u64,
    /// Connections that are open, busy or idle.
    pub open: u64,
    /// Connections that wait in the pool.
    pub idle: u64,
    /// Requests that wait for a connection.
    pub waiting: u64,
}

impl UpstreamTotals {
    /// Answers by status class; [`CodeClass::Aborted`] is never among them.
    pub fn answers(&self) -> impl Iterator<Item = (CodeClass, u64)> {
        CodeClass::ALL.into_iter().zip(self.answers)
    }

    /// Failures by kind.
    pub fn failures(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL.into_iter().zip(self.failures)
    }

    fn add(&mut self, stripe: &UpstreamStripe) {
        for (total, share) in self.answers.iter_mut().zip(&stripe.answers) {
            *total = total.wrapping_add(share.read());
        }
        for (total, share) in self.failures.iter_mut().zip(&stripe.failures) {
            *total = total.wrapping_add(share.read());
        }
        self.resends = self.resends.wrapping_add(stripe.resends.read());
        self.connects = self.connects.wrapping_add(stripe.connects.read());
        self.to_head.add(&stripe.to_head);
        self.in_flight += stripe.in_flight.read();
        self.open += stripe.open.read();
        self.idle += stripe.idle.read();
        self.waiting += stripe.waiting.read();
    }
}

impl UpstreamSeries {
    /// The sum over the workers.
    pub fn totals(&self) -> UpstreamTotals {
        let mut totals = UpstreamTotals::default();
        self.stripes().for_each(|stripe| totals.add(stripe));
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    #[test]
    fn answers_and_failures_are_counted_by_kind() {
        let series = Registry::new(2).upstream("app");
        let (first, second) = (series.meter(0), series.meter(1));
        first.answered(200, Duration::from_millis(1));
        second.answered(204, Duration::from_millis(1));
        second.answered(502, Duration::from_secs(1));
        first.failed(Failure::Timeout);
        second.failed(Failure::Timeout);
        second.failed(Failure::Connect);
        first.resent();
        let totals = series.totals();
        let answers: Vec<_> = totals.answers().map(|(class, count)| (class.as_str(), count)).collect();
        assert_eq!(answers, [("1xx", 0), ("2xx", 2), ("3xx", 0), ("4xx", 0), ("5xx", 1)]);
        let failures: Vec<_> = totals.failures().map(|(kind, count)| (kind.as_str(), count)).collect();
        assert_eq!(failures, [("connect", 1), ("reset", 0), ("timeout", 2), ("protocol", 0)]);
        assert_eq!((totals.to_head.count(), totals.resends), (3, 1));
    }

    #[test]
    fn gauges_follow_what_is_held() {
        let series = Registry::new(2).upstream("app");
        let (first, second) = (series.meter(0), series.meter(1));
        let request = first.sent();
        let connections = [first.connected(), second.connected()];
        let idle = second.idle();
        let waiting = second.waiting();
        let totals = series.totals();
        assert_eq!((totals.in_flight, totals.open, totals.idle, totals.waiting), (1, 2, 1, 1));
        drop((request, connections, idle, waiting));
        let totals = series.totals();
        assert_eq!((totals.in_flight, totals.open, totals.idle, totals.waiting), (0, 0, 0, 0));
        assert_eq!(totals.connects, 2);
    }
}
