//! One endpoint, shared by all workers, the thread that decides about it and whoever looks at it.

use super::ejection::{Ejection, Reason};
use super::probing::{Probing, Verdict};
use super::report::LastProbe;
use crate::config::plan::HealthCheck;
use crate::stats::EndpointSeries;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// An endpoint and what is known about its health.
///
/// Workers read the flag and write the failures. The record behind the lock belongs to the thread that decides; besides
/// it only the admin pages look there. All orderings are relaxed and pair with nothing: a request that still sees the
/// flag as it was a moment ago is one that came a moment ago.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(super) address: Arc<str>,
    pub(super) series: Arc<EndpointSeries>,
    pub(super) tallies: Arc<Tallies>,
    usable: AtomicBool,
    /// A moment before anything else here, from which the next one is counted.
    born: Instant,
    /// When it last became usable, in nanoseconds; zero where it has been so from the start.
    returned: AtomicU64,
    failures: AtomicU32,
    record: Mutex<Record>,
}

/// What has happened to an endpoint; goes on also where the endpoint begins anew.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    /// By the number of the reason.
    pub(super) ejections: [AtomicU64; Reason::ALL.len()],
    pub(super) passed: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// What is known, and since when.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) probing: Probing,
    pub(super) ejection: Ejection,
    /// When one of the two last changed.
    pub(super) since: SystemTime,
    pub(super) last_probe: Option<LastProbe>,
    /// Successes and failures that have been compared with those of other endpoints.
    pub(super) compared: (u64, u64),
}

impl Endpoint {
    pub(super) fn new(address: Arc<str>, series: Arc<EndpointSeries>, tallies: Arc<Tallies>) -> Self {
        let totals = series.totals();
        let record = Record {
            probing: Probing::default(),
            ejection: Ejection::default(),
            since: SystemTime::now(),
            last_probe: None,
            compared: (totals.succeeded, totals.failed),
        };
        Self {
            address,
            series,
            tallies,
            usable: AtomicBool::new(true),
            born: Instant::now(),
            returned: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            record: Mutex::new(record),
        }
    }

    /// Whether requests are welcome.
    #[inline]
    pub(super) fn is_usable(&self) -> bool {
        self.usable.load(Relaxed)
    }

    /// Since when requests are welcome; `None` where they were from the start. Where they are not, it means nothing.
    #[inline]
    pub(super) fn usable_since(&self) -> Option<Instant> {
        match self.returned.load(Relaxed) {
            0 => None,
            after => self.born.checked_add(Duration::from_nanos(after)),
        }
    }

    /// Is usable since now, as far as those are told who ask.
    pub(super) fn begin(&self, now: Instant) {
        let after = now.saturating_duration_since(self.born).as_nanos();
        self.returned.store(u64::try_from(after).unwrap_or(u64::MAX).max(1), Relaxed);
    }

    /// Goes on as one that was known before.
    pub(super) fn succeed(&self, before: &Self) {
        if let Some(since) = before.usable_since() {
            self.begin(since);
        }
    }

    /// Failures since the last success.
    pub(super) fn failures_in_a_row(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// Notes a success. While all is well this only reads.
    #[inline]
    pub(super) fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// Notes a failure; returns how many there were in a row.
    pub(super) fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Begins to count failures anew.
    pub(super) fn forgive(&self) {
        self.failures.store(0, Relaxed);
    }

    /// No record is left half-done by a panic.
    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells workers what the record says now.
    pub(super) fn publish(&self, record: &mut Record, now: Instant) {
        let unhealthy = record.probing.verdict() == Verdict::Unhealthy;
        let usable = !unhealthy && record.ejection.current().is_none();
        if usable && !self.is_usable() {
            self.begin(now);
        }
        self.usable.store(usable, Relaxed);
        record.since = SystemTime::now();
    }

    /// Takes the outcome of a probe. One that passes ends an ejection. Returns how long to wait with the next one,
    /// given a number from 0 to 1, and whether the endpoint is another one now to those who choose.
    pub(crate) fn probed(
        &self,
        upstream: &str,
        check: &HealthCheck,
        probe: LastProbe,
        now: Instant,
        chance: f64,
    ) -> (Duration, bool) {
        let tally = if probe.passed { &self.tallies.passed } else { &self.tallies.failed };
        tally.fetch_add(1, Relaxed);
        let mut record = self.record();
        let before = record.probing.verdict();
        let verdict = record.probing.record(check, probe.passed);
        let returned = probe.passed && record.ejection.end(now);
        if returned {
            self.forgive();
        }
        let changed = returned || verdict.is_some();
        let reason = probe.detail.clone();
        record.last_probe = Some(probe);
        if changed {
            self.publish(&mut record, now);
        }
        let pause = record.probing.pause(check, chance);
        drop(record);
        // Said when it is so: whoever reads it may rely on it.
        if let Some(verdict) = verdict {
            self.tell(upstream, before, verdict, &reason);
        }
        if returned {
            tracing::info!(upstream, endpoint = %self.address, "endpoint returned: a probe passed");
        }
        (pause, changed)
    }

    fn tell(&self, upstream: &str, before: Verdict, verdict: Verdict, reason: &str) {
        let endpoint = &self.address;
        match (before, verdict) {
            (_, Verdict::Unhealthy) => tracing::warn!(upstream, %endpoint, reason, "endpoint unhealthy"),
            (Verdict::Unhealthy, _) => tracing::info!(upstream, %endpoint, "endpoint healthy"),
            // That all is well from the start is no news.
            _ => {}
        }
    }
}
