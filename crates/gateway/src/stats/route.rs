//! What clients get from a route: answers by status class, how long they took, and their bodies.

use std::sync::Arc;
use std::time::Duration;

use super::cell::Counter;
use super::histogram::{Histogram, HistogramTotals};
use super::series::{Kind, Meter, Series};

/// How a request ended, as metrics group it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeClass {
    /// 100 to 199; as a final answer only 101, a tunnel.
    Informational,
    /// 200 to 299.
    Success,
    /// 300 to 399.
    Redirection,
    /// 400 to 499.
    ClientError,
    /// 500 to 599, and what is no status code at all.
    ServerError,
    /// The client went away before its answer was complete.
    Aborted,
}

impl CodeClass {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Informational, Self::Success, Self::Redirection, Self::ClientError, Self::ServerError, Self::Aborted];

    /// The class of a status code.
    #[inline]
    pub fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// The value of the label `code_class`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Aborted => "aborted",
        }
    }
}

/// What came of a request with an idempotency key: of a first one, or of a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyResult {
    /// A first one, whose answer was kept.
    Kept,
    /// A first one, whose answer was not kept.
    NotKept,
    /// A first one that surely had no effect.
    Released,
    /// A first one whose answer was lost.
    Unknown,
    /// It was answered with what was kept.
    Replayed,
    /// The first one had not ended.
    UnderWay,
    /// The key was used for another request.
    Reused,
    /// The first one's answer was not kept, or lost.
    Refused,
    /// There was no place for its key.
    Full,
}

impl KeyResult {
    /// All results, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Kept,
        Self::NotKept,
        Self::Released,
        Self::Unknown,
        Self::Replayed,
        Self::UnderWay,
        Self::Reused,
        Self::Refused,
        Self::Full,
    ];

    /// The value of the label `result`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::NotKept => "not_kept",
            Self::Released => "released",
            Self::Unknown => "unknown",
            Self::Replayed => "replayed",
            Self::UnderWay => "under_way",
            Self::Reused => "reused",
            Self::Refused => "refused",
            Self::Full => "full",
        }
    }
}

/// What stood in where an upstream had no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallbackKind {
    /// An answer that is written in the configuration.
    Respond,
    /// Another upstream.
    Upstream,
}

impl FallbackKind {
    /// Both kinds, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Respond, Self::Upstream];

    /// The value of the label `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Respond => "respond",
            Self::Upstream => "upstream",
        }
    }
}

/// Series about routes.
#[derive(Debug)]
pub enum Route {}

/// The numbers of one route.
pub type RouteSeries = Series<Route>;

/// One worker's handle on the numbers of one route.
pub type RouteMeter = Meter<Route>;

/// What tells two route series apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteLabels {
    /// The route's name.
    pub route: Arc<str>,
    /// The upstream behind it; empty where the gateway answers by itself.
    pub upstream: Arc<str>,
}

impl Kind for Route {
    type Labels = RouteLabels;
    type Stripe = RouteStripe;
}

/// One worker's numbers for one route: about 1 KiB.
#[derive(Debug, Default)]
pub struct RouteStripe {
    /// By class. The count of a histogram is also the count of requests, so that no request writes it twice.
    durations: [Histogram; CodeClass::ALL.len()],
    request_bytes: Counter,
    response_bytes: Counter,
    keys: [Counter; KeyResult::ALL.len()],
    fallbacks: [Counter; FallbackKind::ALL.len()],
}

impl RouteMeter {
    /// Counts a request that was answered in full: its status, the time from its head's end to its answer's
    /// last byte, and the bytes of the bodies as relayed.
    #[inline]
    pub fn finished(&self, status: u16, elapsed: Duration, request_bytes: u64, response_bytes: u64) {
        self.record(CodeClass::of(status), elapsed, request_bytes, response_bytes);
    }

    /// Counts a request whose answer never got complete: the client went away, or the upstream failed in the middle.
    #[inline]
    pub fn aborted(&self, elapsed: Duration, request_bytes: u64, response_bytes: u64) {
        self.record(CodeClass::Aborted, elapsed, request_bytes, response_bytes);
    }

    /// Counts what came of a request with an idempotency key.
    pub fn key(&self, result: KeyResult) {
        self.stripe().keys[result as usize].add(1);
    }

    /// Counts a request that a fallback has answered.
    pub fn fell_back(&self, kind: FallbackKind) {
        self.stripe().fallbacks[kind as usize].add(1);
    }

    #[inline]
    fn record(&self, class: CodeClass, elapsed: Duration, request_bytes: u64, response_bytes: u64) {
        let stripe = self.stripe();
        stripe.durations[class as usize].record(elapsed);
        stripe.request_bytes.add(request_bytes);
        stripe.response_bytes.add(response_bytes);
    }
}

/// The numbers of one route, summed over the workers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RouteTotals {
    durations: [HistogramTotals; CodeClass::ALL.len()],
    /// Bytes of request bodies.
    pub request_bytes: u64,
    /// Bytes of response bodies.
    pub response_bytes: u64,
    keys: [u64; KeyResult::ALL.len()],
    fallbacks: [u64; FallbackKind::ALL.len()],
}

impl RouteTotals {
    /// How long requests of one class took; its count is the number of those requests.
    pub fn durations(&self, class: CodeClass) -> &HistogramTotals {
        &self.durations[class as usize]
    }

    /// Requests with an idempotency key, by what came of them.
    pub fn keys(&self) -> impl Iterator<Item = (KeyResult, u64)> {
        KeyResult::ALL.into_iter().zip(self.keys)
    }

    /// Requests that a fallback has answered, by its kind.
    pub fn fallbacks(&self) -> impl Iterator<Item = (FallbackKind, u64)> {
        FallbackKind::ALL.into_iter().zip(self.fallbacks)
    }

    /// How many requests there were in all.
    pub fn requests(&self) -> u64 {
        self.durations.iter().fold(0, |sum, class| sum.wrapping_add(class.count()))
    }
}

impl RouteSeries {
    /// The sum over the workers.
    pub fn totals(&self) -> RouteTotals {
        let mut totals = RouteTotals::default();
        for stripe in self.stripes() {
            for (total, share) in totals.durations.iter_mut().zip(&stripe.durations) {
                total.add(share);
            }
            for (total, share) in totals.keys.iter_mut().zip(&stripe.keys) {
                *total = total.wrapping_add(share.read());
            }
            for (total, share) in totals.fallbacks.iter_mut().zip(&stripe.fallbacks) {
                *total = total.wrapping_add(share.read());
            }
            totals.request_bytes = totals.request_bytes.wrapping_add(stripe.request_bytes.read());
            totals.response_bytes = totals.response_bytes.wrapping_add(stripe.response_bytes.read());
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::Registry;
    use super::*;

    #[test]
    fn classes_follow_the_first_digit() {
        for (class, statuses) in
            CodeClass::ALL.into_iter().zip([[100, 199], [200, 299], [300, 399], [400, 499], [500, 599]])
        {
            for status in statuses {
                assert_eq!(CodeClass::of(status), class, "{status}");
            }
        }
        assert_eq!([0, 99, 600, 999].map(CodeClass::of), [CodeClass::ServerError; 4]);
    }

    #[test]
    fn workers_write_at_once_and_nothing_is_lost() {
        const EACH: u64 = 20_000;
        let registry = Registry::new(4);
        let series = registry.route("users", Some("app"));
        thread::scope(|scope| {
            for worker in 0..4 {
                let series = &series;
                scope.spawn(move || {
                    let meter = series.meter(worker);
                    let clone = meter.clone();
                    for round in 0..EACH {
                        let status = if round % 4 == 0 { 503 } else { 200 };
                        meter.finished(status, Duration::from_micros(round), 1, 2);
                    }
                    clone.aborted(Duration::ZERO, 0, 1);
                });
            }
        });
        let totals = series.totals();
        assert_eq!(totals.requests(), 4 * EACH + 4);
        assert_eq!(totals.durations(CodeClass::ServerError).count(), EACH);
        assert_eq!(totals.durations(CodeClass::Success).count(), 3 * EACH);
        assert_eq!(totals.durations(CodeClass::Aborted).count(), 4);
        assert_eq!((totals.request_bytes, totals.response_bytes), (4 * EACH, 8 * EACH + 4));
    }

    #[test]
    fn a_silent_series_has_no_stripes() {
        let registry = Registry::new(8);
        let series = registry.route("users", None);
        let meter = series.meter(3);
        assert_eq!(series.stripes().count(), 0);
        meter.finished(204, Duration::ZERO, 0, 0);
        assert_eq!(series.stripes().count(), 1);
    }

    #[test]
    #[should_panic(expected = "worker 2 of 2")]
    fn a_worker_that_is_not_there_has_no_meter() {
        let _ = Registry::new(2).route("users", None).meter(2);
    }
}
