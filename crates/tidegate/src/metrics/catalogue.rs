//! Every metric: its name, kind, unit, labels and help, in the order of exposition.
//!
//! Names follow the Prometheus conventions: base units, the unit as a suffix, `_total` for counters. Labels have
//! few values that the configuration bounds; nothing a client sends becomes a label.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    /// Without the suffixes for unit and kind, which the encoder adds.
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    pub(super) unit: Option<Unit>,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

#[cfg(test)]
impl Metric {
    /// The name that samples bear (for histograms with a further suffix).
    pub(super) fn exposed_name(&self) -> String {
        let unit = self.unit.as_ref().map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        };
        format!("{}{unit}{suffix}", self.name)
    }
}

macro_rules! catalogue {
    ($($constant:ident = $kind:ident $name:literal $unit:expr, $labels:expr, $help:literal;)*) => {
        $(pub(super) static $constant: Metric = Metric {
            name: concat!("tidegate_", $name),
            kind: MetricType::$kind,
            unit: $unit,
            labels: &$labels,
            help: $help,
        };)*

        /// All metrics.
        #[cfg(test)]
        pub(super) static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

const SECONDS: Option<Unit> = Some(Unit::Seconds);
const BYTES: Option<Unit> = Some(Unit::Bytes);

catalogue! {
    BUILD = Info "build" None, ["version"],
        "The version that runs; always 1.";
    START_TIME = Gauge "start_time" SECONDS, [],
        "When the process started, in Unix time.";
    UPTIME = Gauge "uptime" SECONDS, [],
        "How long the process has been running.";
    WORKERS = Gauge "workers" None, [],
        "Worker threads.";
    CONFIG_GENERATION = Gauge "config_generation" None, [],
        "Which configuration is in force, counted from 1 since the start.";
    CONFIG_RELOADS = Counter "config_reloads" None, ["result"],
        "Configurations that came into force (success, the first one included) or were refused (failure).";
    CONFIG_LAST_SUCCESSFUL = Gauge "config_last_reload_successful" None, [],
        "1 when the last reload came into force, 0 when it was refused.";
    CONFIG_LAST_SUCCESS_TIME = Gauge "config_last_reload_success_timestamp" SECONDS, [],
        "When the configuration in force came into force, in Unix time.";
    ACCESS_LOG_RECORDS = Counter "access_log_records" None, ["result"],
        "Access records that were written, dropped because the queue was full, or failed because the destination refused them.";

    LISTENER_CONNECTIONS = Counter "listener_connections" None, ["listener"],
        "Client connections that were let in.";
    LISTENER_OPEN_CONNECTIONS = Gauge "listener_open_connections" None, ["listener"],
        "Client connections open now.";
    LISTENER_DELAYED_CONNECTIONS = Counter "listener_delayed_connections" None, ["listener"],
        "Client connections that had to wait because the connection limit was reached.";
    LISTENER_HANDSHAKE_FAILURES = Counter "listener_handshake_failures" None, ["listener"],
        "Client connections that never got to HTTP because the TLS handshake or the PROXY header failed.";
    LISTENER_PROTOCOL_ERRORS = Counter "listener_protocol_errors" None, ["listener"],
        "Violations of HTTP by clients.";
    LISTENER_REQUESTS = Counter "listener_requests" None, ["listener", "protocol"],
        "Requests whose head was read, by protocol (h1, h2).";

    REQUESTS = Counter "requests" None, ["route", "upstream", "code_class"],
        "Requests that have ended, by the class of the status the client got (1xx to 5xx), or aborted when the answer was cut.";
    REQUEST_DURATION = Histogram "request_duration" SECONDS, ["route", "upstream", "code_class"],
        "From the end of a request's head to the last byte of its answer.";
    REQUEST_BODY = Counter "request_body" BYTES, ["route", "upstream"],
        "Bytes of request bodies, as relayed.";
    RESPONSE_BODY = Counter "response_body" BYTES, ["route", "upstream"],
        "Bytes of response bodies, as relayed.";
    IDEMPOTENT_REQUESTS = Counter "idempotent_requests" None, ["route", "upstream", "result"],
        "Requests with an idempotency key: first ones by what became of the key (kept, not_kept, released, unknown), later ones by their answer (replayed, under_way, reused, refused), and those without a place (full).";
    FALLBACK_ANSWERS = Counter "fallback_answers" None, ["route", "upstream", "kind"],
        "Requests that the fallback of a route has answered where its upstream had no answer: as the configuration says (respond), or from another upstream (upstream).";

    UPSTREAM_REQUESTS = Counter "upstream_requests" None, ["upstream", "code_class"],
        "Answers from an upstream, by status class; each attempt counts.";
    UPSTREAM_FAILURES = Counter "upstream_failures" None, ["upstream", "kind"],
        "Attempts that failed: no connection (connect), cut off (reset), too slow (timeout), broken HTTP (protocol).";
    UPSTREAM_RESENDS = Counter "upstream_resends" None, ["upstream"],
        "Requests sent once more after an attempt that surely had no effect.";
    UPSTREAM_CONNECTS = Counter "upstream_connects" None, ["upstream"],
        "Connections opened to an upstream.";
    UPSTREAM_TO_HEAD = Histogram "upstream_response_head_duration" SECONDS, ["upstream"],
        "From the first byte sent to an upstream to the end of its response head.";
    UPSTREAM_IN_FLIGHT = Gauge "upstream_requests_in_flight" None, ["upstream"],
        "Attempts that have begun and not ended.";
    UPSTREAM_OPEN_CONNECTIONS = Gauge "upstream_open_connections" None, ["upstream"],
        "Connections to an upstream open now, busy or idle.";
    UPSTREAM_IDLE_CONNECTIONS = Gauge "upstream_idle_connections" None, ["upstream"],
        "Connections that wait in the pool.";
    UPSTREAM_WAITING_REQUESTS = Gauge "upstream_waiting_requests" None, ["upstream"],
        "Requests that wait for a connection.";

    ENDPOINT_STATE = Gauge "endpoint_state" None, ["upstream", "endpoint", "state"],
        "1 for the state that an endpoint is in (unchecked, healthy, unhealthy, ejected or draining), 0 for the others.";
    ENDPOINT_ATTEMPTS = Counter "endpoint_attempts" None, ["upstream", "endpoint", "result"],
        "Attempts that an endpoint answered (succeeded), or that count as a failure for its ejection (failed).";
    ENDPOINT_IN_FLIGHT = Gauge "endpoint_requests_in_flight" None, ["upstream", "endpoint"],
        "Requests that have a connection to an endpoint.";
    ENDPOINT_EJECTIONS = Counter "endpoint_ejections" None, ["upstream", "endpoint", "reason"],
        "Ejections of an endpoint, for failures in a row (consecutive_failures) or for being worse than the others (success_rate).";
    ENDPOINT_PROBES = Counter "endpoint_probes" None, ["upstream", "endpoint", "result"],
        "Probes of an endpoint that passed or failed.";
}
