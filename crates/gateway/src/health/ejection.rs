//! Which endpoints of an upstream are ejected for what requests met there, and when they return.
//!
//! The rules are those of Envoy's outlier detection, with one bound more: the last endpoint in service is never ejected.

use crate::config::plan::{Outlier, SuccessRate};
use std::time::{Duration, Instant};

/// Why an endpoint was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It failed several times in a row.
    ConsecutiveFailures,
    /// It failed much more often than the others.
    SuccessRate,
}

impl Reason {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::ConsecutiveFailures, Self::SuccessRate];

    /// Its name in logs, metrics and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::SuccessRate => "success_rate",
        }
    }
}

/// The ejections of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ejection {
    /// Until when it is ejected, and why.
    current: Option<(Instant, Reason)>,
    /// How many times as long as the first one the last ejection was; goes down with time in service.
    times: u32,
    /// Since when it has been in service; what was counted off `times` lies before.
    calm_since: Option<Instant>,
}

impl Ejection {
    pub(crate) fn current(&self) -> Option<(Instant, Reason)> {
        self.current
    }

    fn begin(&mut self, options: &Outlier, reason: Reason, now: Instant) {
        self.relax(options.base_ejection, now);
        self.times = self.times.saturating_add(1);
        let length = options.base_ejection.saturating_mul(self.times).min(options.max_ejection);
        self.current = Some((now + length, reason));
        self.calm_since = None;
    }

    /// Ends an ejection before its time, or because that is over; false when there was none.
    pub(crate) fn end(&mut self, now: Instant) -> bool {
        let ended = self.current.take().is_some();
        if ended {
            self.calm_since = Some(now);
        }
        ended
    }

    /// Takes back one step for each `base` in service.
    fn relax(&mut self, base: Duration, now: Instant) {
        let Some(since) = self.calm_since else { return };
        let steps = now.saturating_duration_since(since).as_nanos() / base.as_nanos().max(1);
        let steps = u32::try_from(steps).unwrap_or(u32::MAX).min(self.times);
        self.times -= steps;
        self.calm_since = match self.times {
            0 => None,
            _ => Some(since + base.saturating_mul(steps)),
        };
    }
}

/// What was seen of one endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Failures since the last success.
    pub(crate) failures_in_a_row: u32,
    /// Successes and failures of the interval that has just ended, if one has.
    pub(crate) counted: Option<(u64, u64)>,
    /// It drains, so that it is none of those among whom is chosen.
    pub(crate) drains: bool,
    /// Probes keep requests from it already.
    pub(crate) unhealthy: bool,
}

/// What becomes of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Ejected(Reason),
    Returned,
}

/// Looks at all endpoints of an upstream; returns what changed, by their places in the list.
pub(crate) fn judge(
    options: Option<&Outlier>,
    now: Instant,
    ejections: &mut [Ejection],
    seen: &[Seen],
) -> Vec<(usize, Change)> {
    let mut changes = Vec::new();
    for (index, ejection) in ejections.iter_mut().enumerate() {
        let over = ejection.current.is_some_and(|(until, _)| until <= now || options.is_none());
        if over && ejection.end(now) {
            changes.push((index, Change::Returned));
        }
    }
    let Some(options) = options else { return changes };
    for (index, reason) in suspects(options, seen) {
        if ejections[index].current.is_none() && is_room(options, ejections, seen) {
            ejections[index].begin(options, reason, now);
            changes.push((index, Change::Ejected(reason)));
        }
    }
    changes
}

/// Who deserves to be ejected, the clearest case first.
fn suspects(options: &Outlier, seen: &[Seen]) -> Vec<(usize, Reason)> {
    let limit = options.consecutive_failures.unwrap_or(u32::MAX);
    let is_open = |seen: &Seen| !seen.drains && !seen.unhealthy;
    let open = || seen.iter().enumerate().filter(|(_, seen)| is_open(seen));
    let failing = open().filter(|(_, seen)| seen.failures_in_a_row >= limit);
    let mut suspects: Vec<_> = failing.map(|(index, _)| (index, Reason::ConsecutiveFailures)).collect();
    if let Some(options) = &options.success_rate {
        let counted: Vec<_> = open().filter_map(|(index, seen)| Some((index, seen.counted?))).collect();
        suspects.extend(far_below(options, &counted).into_iter().map(|index| (index, Reason::SuccessRate)));
    }
    suspects
}

/// Endpoints whose share of successes is too far below the mean, the worst first.
fn far_below(options: &SuccessRate, counted: &[(usize, (u64, u64))]) -> Vec<usize> {
    let enough = counted.iter().filter(|(_, (ok, failed))| ok + failed >= options.min_requests);
    #[expect(clippy::cast_precision_loss)]
    let mut rates: Vec<_> =
        enough.map(|(index, (ok, failed))| (*index, *ok as f64 / (ok + failed).max(1) as f64)).collect();
    if rates.len() < options.min_hosts {
        return Vec::new();
    }
    #[expect(clippy::cast_precision_loss)]
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    let least = mean - options.stdev_factor * variance.sqrt();
    rates.retain(|(_, rate)| *rate < least);
    rates.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    rates.into_iter().map(|(index, _)| index).collect()
}

/// Whether one more may be ejected: within the share, or the first one; and never the last in service.
fn is_room(options: &Outlier, ejections: &[Ejection], seen: &[Seen]) -> bool {
    let among = || ejections.iter().zip(seen).filter(|(_, seen)| !seen.drains);
    let ejected = among().filter(|(ejection, _)| ejection.current.is_some()).count();
    let serving = among().filter(|(ejection, seen)| ejection.current.is_none() && !seen.unhealthy).count();
    let allowed = (among().count() * options.max_ejected as usize / 100).max(1);
    ejected < allowed && serving > 1
}

#[cfg(test)]
mod tests;
