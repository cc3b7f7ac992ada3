//! Reads the registry and encodes it, family by family, as the encoder demands.

use std::array;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use tidegate_gateway::health::{Directory, Reason, Report, State};
use tidegate_gateway::stats::{
    BUCKETS, CodeClass, HistogramTotals, ListenerTotals, Registry, RouteLabels, RouteTotals, UpstreamTotals,
    bucket_bounds,
};

use super::catalogue::{self, Metric};

/// Where the encoder gets its numbers from.
#[derive(Debug)]
pub(super) struct Source {
    registry: Arc<Registry>,
    health: Arc<Directory>,
}

impl Source {
    pub(super) fn new(registry: Arc<Registry>, health: Arc<Directory>) -> Self {
        Self { registry, health }
    }
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        process(&mut encoder, &self.registry)?;
        let series = self.registry.listeners();
        let totals: Vec<_> = series.iter().map(|series| (&**series.labels(), series.totals())).collect();
        listeners(&mut encoder, &totals)?;
        let series = self.registry.routes();
        let totals: Vec<_> = series.iter().map(|series| (series.labels(), series.totals())).collect();
        routes(&mut encoder, &totals)?;
        let series = self.registry.upstreams();
        let totals: Vec<_> = series.iter().map(|series| (&**series.labels(), series.totals())).collect();
        upstreams(&mut encoder, &totals)?;
        endpoints(&mut encoder, &self.health.reports())
    }
}

fn process(encoder: &mut DescriptorEncoder<'_>, registry: &Registry) -> fmt::Result {
    let process = registry.process();
    open(encoder, &catalogue::BUILD)?.info([env!("CARGO_PKG_VERSION")])?;
    open(encoder, &catalogue::START_TIME)?.value(unix_seconds(process.started_at()))?;
    open(encoder, &catalogue::UPTIME)?.value(process.uptime().as_secs_f64())?;
    open(encoder, &catalogue::WORKERS)?.gauge([], registry.workers() as u64)?;
    reloads(encoder, registry)?;
    let access_log = process.access_log();
    let mut family = open(encoder, &catalogue::ACCESS_LOG_RECORDS)?;
    family.counter(["written"], access_log.written())?;
    family.counter(["dropped"], access_log.dropped())?;
    family.counter(["failed"], access_log.failed())
}

fn reloads(encoder: &mut DescriptorEncoder<'_>, registry: &Registry) -> fmt::Result {
    let process = registry.process();
    open(encoder, &catalogue::CONFIG_GENERATION)?.gauge([], process.generation())?;
    let (succeeded, failed) = process.reloads();
    let mut family = open(encoder, &catalogue::CONFIG_RELOADS)?;
    family.counter(["success"], succeeded)?;
    family.counter(["failure"], failed)?;
    let mut family = open(encoder, &catalogue::CONFIG_LAST_SUCCESSFUL)?;
    if let Some(last) = process.last_reload() {
        family.gauge([], u64::from(last.error.is_none()))?;
    }
    let mut family = open(encoder, &catalogue::CONFIG_LAST_SUCCESS_TIME)?;
    process.last_success().map_or(Ok(()), |at| family.value(unix_seconds(at)))
}

/// The names and totals of all series of one kind.
type Read<L, T> = [(L, T)];

fn listeners(encoder: &mut DescriptorEncoder<'_>, all: &Read<&str, ListenerTotals>) -> fmt::Result {
    counters(encoder, &catalogue::LISTENER_CONNECTIONS, all, |totals| totals.accepted)?;
    gauges(encoder, &catalogue::LISTENER_OPEN_CONNECTIONS, all, |totals| totals.open)?;
    counters(encoder, &catalogue::LISTENER_DELAYED_CONNECTIONS, all, |totals| totals.delayed)?;
    counters(encoder, &catalogue::LISTENER_HANDSHAKE_FAILURES, all, |totals| totals.handshake_failures)?;
    counters(encoder, &catalogue::LISTENER_PROTOCOL_ERRORS, all, |totals| totals.protocol_errors)?;
    let mut family = open(encoder, &catalogue::LISTENER_REQUESTS)?;
    for (name, totals) in all {
        for (protocol, count) in totals.requests() {
            family.counter([name, protocol.as_str()], count)?;
        }
    }
    Ok(())
}

fn routes(encoder: &mut DescriptorEncoder<'_>, all: &Read<&RouteLabels, RouteTotals>) -> fmt::Result {
    let mut family = open(encoder, &catalogue::REQUESTS)?;
    for (labels, totals) in all {
        for class in CodeClass::ALL {
            family.counter([&labels.route, &labels.upstream, class.as_str()], totals.durations(class).count())?;
        }
    }
    let mut family = open(encoder, &catalogue::REQUEST_DURATION)?;
    for (labels, totals) in all {
        for class in CodeClass::ALL {
            let durations = totals.durations(class);
            // Twenty lines for each class that a route never answers with would be most of the text.
            if durations.count() > 0 {
                family.histogram([&labels.route, &labels.upstream, class.as_str()], durations)?;
            }
        }
    }
    let mut family = open(encoder, &catalogue::REQUEST_BODY)?;
    for (labels, totals) in all {
        family.counter([&labels.route, &labels.upstream], totals.request_bytes)?;
    }
    let mut family = open(encoder, &catalogue::RESPONSE_BODY)?;
    for (labels, totals) in all {
        family.counter([&labels.route, &labels.upstream], totals.response_bytes)?;
    }
    let mut family = open(encoder, &catalogue::IDEMPOTENT_REQUESTS)?;
    for (labels, totals) in all.iter().filter(|(_, totals)| totals.keys().any(|(_, count)| count > 0)) {
        for (result, count) in totals.keys() {
            family.counter([&labels.route, &labels.upstream, result.as_str()], count)?;
        }
    }
    let mut family = open(encoder, &catalogue::FALLBACK_ANSWERS)?;
    for (labels, totals) in all.iter().filter(|(_, totals)| totals.fallbacks().any(|(_, count)| count > 0)) {
        for (kind, count) in totals.fallbacks() {
            family.counter([&labels.route, &labels.upstream, kind.as_str()], count)?;
        }
    }
    Ok(())
}

fn upstreams(encoder: &mut DescriptorEncoder<'_>, all: &Read<&str, UpstreamTotals>) -> fmt::Result {
    let mut family = open(encoder, &catalogue::UPSTREAM_REQUESTS)?;
    for (name, totals) in all {
        for (class, count) in totals.answers() {
            family.counter([name, class.as_str()], count)?;
        }
    }
    let mut family = open(encoder, &catalogue::UPSTREAM_FAILURES)?;
    for (name, totals) in all {
        for (kind, count) in totals.failures() {
            family.counter([name, kind.as_str()], count)?;
        }
    }
    counters(encoder, &catalogue::UPSTREAM_RESENDS, all, |totals| totals.resends)?;
    counters(encoder, &catalogue::UPSTREAM_CONNECTS, all, |totals| totals.connects)?;
    let mut family = open(encoder, &catalogue::UPSTREAM_TO_HEAD)?;
    for (name, totals) in all {
        family.histogram([name], &totals.to_head)?;
    }
    gauges(encoder, &catalogue::UPSTREAM_IN_FLIGHT, all, |totals| totals.in_flight)?;
    gauges(encoder, &catalogue::UPSTREAM_OPEN_CONNECTIONS, all, |totals| totals.open)?;
    gauges(encoder, &catalogue::UPSTREAM_IDLE_CONNECTIONS, all, |totals| totals.idle)?;
    gauges(encoder, &catalogue::UPSTREAM_WAITING_REQUESTS, all, |totals| totals.waiting)
}

fn endpoints(encoder: &mut DescriptorEncoder<'_>, reports: &[Report]) -> fmt::Result {
    let all = || reports.iter().flat_map(|report| report.endpoints.iter().map(|it| (&*report.upstream, it)));
    let mut family = open(encoder, &catalogue::ENDPOINT_STATE)?;
    for (upstream, endpoint) in all() {
        for state in State::ALL {
            let is = u64::from(state == endpoint.state);
            family.gauge([upstream, &endpoint.address, state.as_str()], is)?;
        }
    }
    let mut family = open(encoder, &catalogue::ENDPOINT_ATTEMPTS)?;
    for (upstream, endpoint) in all() {
        family.counter([upstream, &endpoint.address, "succeeded"], endpoint.totals.succeeded)?;
        family.counter([upstream, &endpoint.address, "failed"], endpoint.totals.failed)?;
    }
    let mut family = open(encoder, &catalogue::ENDPOINT_IN_FLIGHT)?;
    for (upstream, endpoint) in all() {
        family.gauge([upstream, &endpoint.address], endpoint.totals.in_flight)?;
    }
    let mut family = open(encoder, &catalogue::ENDPOINT_EJECTIONS)?;
    for (upstream, endpoint) in all() {
        for (reason, count) in Reason::ALL.into_iter().zip(endpoint.ejections) {
            family.counter([upstream, &endpoint.address, reason.as_str()], count)?;
        }
    }
    let mut family = open(encoder, &catalogue::ENDPOINT_PROBES)?;
    for (upstream, endpoint) in all() {
        family.counter([upstream, &endpoint.address, "passed"], endpoint.probes_passed)?;
        family.counter([upstream, &endpoint.address, "failed"], endpoint.probes_failed)?;
    }
    Ok(())
}

/// A family of counters with the series' name as its only label.
fn counters<T>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &'static Metric,
    all: &Read<&str, T>,
    read: fn(&T) -> u64,
) -> fmt::Result {
    let mut family = open(encoder, metric)?;
    all.iter().try_for_each(|(name, totals)| family.counter([name], read(totals)))
}

/// A family of gauges with the series' name as its only label.
fn gauges<T>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &'static Metric,
    all: &Read<&str, T>,
    read: fn(&T) -> u64,
) -> fmt::Result {
    let mut family = open(encoder, metric)?;
    all.iter().try_for_each(|(name, totals)| family.gauge([name], read(totals)))
}

fn open<'a>(encoder: &'a mut DescriptorEncoder<'_>, metric: &'static Metric) -> Result<Family<'a>, fmt::Error> {
    let encoder = encoder.encode_descriptor(metric.name, metric.help, metric.unit.as_ref(), metric.kind)?;
    Ok(Family { metric, encoder })
}

/// All samples of one metric.
struct Family<'a> {
    metric: &'static Metric,
    encoder: MetricEncoder<'a>,
}

impl Family<'_> {
    /// The labels of one sample: the names from the catalogue, in its order, with these values.
    fn labels<'v, const N: usize>(&self, values: [&'v str; N]) -> [(&'static str, &'v str); N] {
        debug_assert_eq!(self.metric.labels.len(), N, "{}", self.metric.name);
        array::from_fn(|index| (self.metric.labels[index], values[index]))
    }

    fn counter<const N: usize>(&mut self, values: [&str; N], count: u64) -> fmt::Result {
        let labels = self.labels(values);
        self.encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)
    }

    fn gauge<const N: usize>(&mut self, values: [&str; N], value: u64) -> fmt::Result {
        if N == 0 {
            return self.encoder.encode_gauge(&value);
        }
        let labels = self.labels(values);
        self.encoder.encode_family(&labels)?.encode_gauge(&value)
    }

    fn value(&mut self, value: f64) -> fmt::Result {
        self.encoder.encode_gauge(&value)
    }

    fn info<const N: usize>(&mut self, values: [&str; N]) -> fmt::Result {
        let labels = self.labels(values);
        self.encoder.encode_info(&labels)
    }

    fn histogram<const N: usize>(&mut self, values: [&str; N], totals: &HistogramTotals) -> fmt::Result {
        let labels = self.labels(values);
        let bounds = bucket_bounds();
        let buckets: [_; BUCKETS] = array::from_fn(|index| (bounds[index], totals.buckets()[index]));
        self.encoder.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
            totals.sum_seconds(),
            totals.count(),
            &buckets,
            None,
        )
    }
}

/// Seconds since 1970; 0 for a clock that stands before that.
fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
