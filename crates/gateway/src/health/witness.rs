//! What one worker tells about one endpoint, and is told.

use super::alarm::Alarm;
use super::endpoint::Endpoint;
use super::upstream::Health;
use crate::config::units::Statuses;
use crate::stats::{self, EndpointMeter, Held};
use std::sync::Arc;
use std::time::Instant;

/// One worker's handle on the health of one endpoint.
pub(crate) struct Witness {
    endpoint: Arc<Endpoint>,
    drains: bool,
    meter: EndpointMeter,
    failure_statuses: Vec<Statuses>,
    /// With so many failures in a row, the thread that decides is woken.
    alarming: Option<u32>,
    alarm: Arc<Alarm>,
}

impl Witness {
    /// Of the endpoint at `place` in the plan, for worker number `worker`.
    pub(crate) fn new(health: &Health, place: usize, worker: usize) -> Self {
        let member = health.member_at(place);
        let outlier = health.outlier.as_ref();
        Self {
            endpoint: Arc::clone(&member.endpoint),
            drains: member.drains.is_some(),
            meter: member.endpoint.series.meter(worker),
            failure_statuses: outlier.map(|outlier| outlier.failure_statuses.clone()).unwrap_or_default(),
            alarming: outlier.and_then(|outlier| outlier.consecutive_failures),
            alarm: Arc::clone(&health.alarm),
        }
    }

    /// Whether new requests are welcome.
    #[inline]
    pub(crate) fn is_usable(&self) -> bool {
        !self.drains && self.endpoint.is_usable()
    }

    /// Since when they are; `None` where they were from the start.
    #[inline]
    pub(crate) fn usable_since(&self) -> Option<Instant> {
        self.endpoint.usable_since()
    }

    /// Whether what fails there is its own matter: it gets no requests for that, or has failed often enough to get none
    /// in a moment.
    pub(crate) fn is_suspect(&self) -> bool {
        let failures = self.endpoint.failures_in_a_row();
        !self.endpoint.is_usable() || self.alarming.is_some_and(|limit| failures >= limit)
    }

    /// Whether it gets requests and nothing has failed there since the last success.
    pub(crate) fn is_well(&self) -> bool {
        self.is_usable() && self.endpoint.failures_in_a_row() == 0
    }

    /// Whether it gets no new request even when there is no other endpoint.
    pub(crate) fn drains(&self) -> bool {
        self.drains
    }

    /// A request has a connection until the answer is dropped.
    pub(crate) fn leased(&self) -> Held<stats::Endpoint> {
        self.meter.leased()
    }

    /// An attempt was answered with this status.
    #[inline]
    pub(crate) fn answered(&self, status: u16) {
        if self.failure_statuses.iter().any(|range| range.contains(status)) {
            self.failed();
            return;
        }
        self.meter.succeeded();
        self.endpoint.succeeded();
    }

    /// An attempt failed because of the endpoint: no connection, no answer, or none that is HTTP.
    pub(crate) fn failed(&self) {
        self.meter.failed();
        let failures = self.endpoint.failed();
        if self.alarming == Some(failures) {
            self.alarm.ring();
        }
    }
}
