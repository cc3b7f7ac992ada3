//! What an operator sees of endpoints.

use super::ejection::Reason;
use super::probing::Verdict;
use super::upstream::Member;
use crate::stats::EndpointTotals;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

/// The endpoints of one upstream.
#[derive(Debug, Clone)]
pub struct Report {
    /// The name of the upstream.
    pub upstream: Arc<str>,
    /// Every endpoint once, in written order.
    pub endpoints: Vec<EndpointReport>,
}

/// One endpoint.
#[derive(Debug, Clone)]
pub struct EndpointReport {
    /// Its host and port.
    pub address: Arc<str>,
    /// What it is to those who choose.
    pub state: State,
    /// Since when.
    pub since: SystemTime,
    /// Why it was ejected, and for how much longer.
    pub ejected: Option<(Reason, Duration)>,
    /// What requests met there.
    pub totals: EndpointTotals,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// How often it was ejected, by the number of the reason.
    pub ejections: [u64; Reason::ALL.len()],
    /// Probes that passed.
    pub probes_passed: u64,
    /// Probes that failed.
    pub probes_failed: u64,
    /// What came of the last probe.
    pub last_probe: Option<LastProbe>,
}

/// What an endpoint is to those who choose one for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Usable, and no probe has told anything yet, or there are none.
    Unchecked,
    /// Usable, and its probes pass.
    Healthy,
    /// Its probes fail.
    Unhealthy,
    /// It failed for requests and gets none for a while.
    Ejected,
    /// It is configured to get no new requests.
    Draining,
}

impl State {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Unchecked, Self::Healthy, Self::Unhealthy, Self::Ejected, Self::Draining];

    /// Its name in reports and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }

    /// Whether requests are sent there while there is a choice.
    #[must_use]
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Unchecked | Self::Healthy)
    }
}

/// What came of a probe.
#[derive(Debug, Clone)]
pub struct LastProbe {
    /// Whether the answer was as it should be.
    pub passed: bool,
    /// The answer, or why there was none, in a few words.
    pub detail: String,
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
}

impl EndpointReport {
    pub(super) fn of(member: &Member, now: Instant) -> Self {
        let endpoint = &member.endpoint;
        let record = endpoint.record();
        let ejected = record.ejection.current();
        let (state, since) = match (member.drains, record.probing.verdict()) {
            (Some(since), _) => (State::Draining, since),
            (None, Verdict::Unhealthy) => (State::Unhealthy, record.since),
            (None, _) if ejected.is_some() => (State::Ejected, record.since),
            (None, Verdict::Healthy) => (State::Healthy, record.since),
            (None, Verdict::Unchecked) => (State::Unchecked, record.since),
        };
        Self {
            address: Arc::clone(&endpoint.address),
            state,
            since,
            ejected: ejected.map(|(until, reason)| (reason, until.saturating_duration_since(now))),
            totals: endpoint.series.totals(),
            failures_in_a_row: endpoint.failures_in_a_row(),
            ejections: endpoint.tallies.ejections.each_ref().map(|count| count.load(Relaxed)),
            probes_passed: endpoint.tallies.passed.load(Relaxed),
            probes_failed: endpoint.tallies.failed.load(Relaxed),
            last_probe: record.last_probe.clone(),
        }
    }
}
