//! What requests met at one endpoint of an upstream.

use std::sync::Arc;

use super::cell::{Counter, Gauge};
use super::series::{Held, Kind, Meter, Series};

/// Series about endpoints.
#[derive(Debug)]
pub enum Endpoint {}

/// The numbers of one endpoint.
pub type EndpointSeries = Series<Endpoint>;

/// One worker's handle on the numbers of one endpoint.
pub type EndpointMeter = Meter<Endpoint>;

/// What tells one endpoint apart from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointLabels {
    /// The name of its upstream.
    pub upstream: Arc<str>,
    /// Its host and port.
    pub endpoint: Arc<str>,
}

impl Kind for Endpoint {
    type Labels = EndpointLabels;
    type Stripe = EndpointStripe;
}

/// One worker's numbers for one endpoint.
#[derive(Debug, Default)]
pub struct EndpointStripe {
    succeeded: Counter,
    failed: Counter,
    in_flight: Gauge,
}

impl EndpointMeter {
    /// A request has a connection until the answer is dropped.
    #[inline]
    pub fn leased(&self) -> Held<Endpoint> {
        self.hold(|stripe| &stripe.in_flight)
    }

    /// Counts an attempt that the endpoint answered as it should.
    #[inline]
    pub fn succeeded(&self) {
        self.stripe().succeeded.add(1);
    }

    /// Counts an attempt that failed because of the endpoint.
    pub fn failed(&self) {
        self.stripe().failed.add(1);
    }
}

/// The numbers of one endpoint, summed over the workers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct EndpointTotals {
    /// Attempts that were answered as they should be.
    pub succeeded: u64,
    /// Attempts that failed because of the endpoint.
    pub failed: u64,
    /// Requests that have a connection now.
    pub in_flight: u64,
}

impl EndpointSeries {
    /// The sum over the workers.
    pub fn totals(&self) -> EndpointTotals {
        let mut totals = EndpointTotals::default();
        for stripe in self.stripes() {
            totals.succeeded = totals.succeeded.wrapping_add(stripe.succeeded.read());
            totals.failed = totals.failed.wrapping_add(stripe.failed.read());
            totals.in_flight += stripe.in_flight.read();
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    #[test]
    fn totals_are_summed_over_workers() {
        let series = Registry::new(2).endpoint("app", "app:80");
        let (first, second) = (series.meter(0), series.meter(1));
        first.succeeded();
        second.succeeded();
        second.failed();
        let held = (first.leased(), second.leased());
        assert_eq!(series.totals(), EndpointTotals { succeeded: 2, failed: 1, in_flight: 2 });
        drop(held);
        assert_eq!(series.totals().in_flight, 0);
    }
}
