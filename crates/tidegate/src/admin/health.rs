//! `/healthz`: the state of the process as JSON.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_gateway::health::{self, EndpointReport, Report};
use tidegate_gateway::stats::{LastReload, Registry};

use super::{AdminState, Phase, policies};

/// 200 when requests are welcome, else 503. A refused reload is shown but does not count: the configuration before
/// it serves on.
pub(super) async fn healthz(
    State(state): State<Arc<AdminState>>,
    RawQuery(query): RawQuery,
) -> (StatusCode, Json<Value>) {
    let phase = state.readiness.phase();
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        Phase::Starting | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut body = summary(phase, &state.registry);
    if is_verbose(query.as_deref()) {
        body["details"] = details(&state);
    }
    (status, Json(body))
}

fn is_verbose(query: Option<&str>) -> bool {
    let mut parameters = query.unwrap_or_default().split('&');
    parameters.any(|parameter| matches!(parameter, "verbose" | "verbose=" | "verbose=1" | "verbose=true"))
}

fn summary(phase: Phase, registry: &Registry) -> Value {
    let process = registry.process();
    json!({
        "status": phase.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": process.uptime().as_secs(),
        "config": {
            "generation": process.generation(),
            "last_reload": process.last_reload().map(last_reload),
        },
    })
}

fn last_reload(last: LastReload) -> Value {
    let at = Timestamp::try_from(last.at).map(|at| format!("{at:.0}")).ok();
    match last.error {
        None => json!({ "result": "success", "at": at }),
        Some(error) => json!({ "result": "failure", "at": at, "error": error }),
    }
}

/// As many entries as the configuration has listeners, upstreams, endpoints and policies.
fn details(state: &AdminState) -> Value {
    let registry = &*state.registry;
    let (succeeded, failed) = registry.process().reloads();
    let access_log = registry.process().access_log();
    json!({
        "workers": registry.workers(),
        "routes": registry.routes().len(),
        "reloads": { "succeeded": succeeded, "failed": failed },
        "access_log": {
            "written": access_log.written(),
            "dropped": access_log.dropped(),
            "failed": access_log.failed(),
        },
        "listeners": listeners(registry),
        "upstreams": upstreams(registry, &state.health.reports()),
        "policies": policies::all(&state.policies),
    })
}

fn listeners(registry: &Registry) -> Vec<Value> {
    let describe = |series: &Arc<tidegate_gateway::stats::ListenerSeries>| {
        let totals = series.totals();
        json!({
            "name": &**series.labels(),
            "open_connections": totals.open,
            "connections": totals.accepted,
            "delayed_connections": totals.delayed,
        })
    };
    registry.listeners().iter().map(describe).collect()
}

fn upstreams(registry: &Registry, reports: &[Report]) -> Vec<Value> {
    let describe = |series: &Arc<tidegate_gateway::stats::UpstreamSeries>| {
        let totals = series.totals();
        // None for an upstream that only requests on an earlier configuration still use.
        let report = reports.iter().find(|report| report.upstream == *series.labels());
        let endpoints = report.map(|report| &*report.endpoints).unwrap_or_default();
        json!({
            "name": &**series.labels(),
            "requests_in_flight": totals.in_flight,
            "open_connections": totals.open,
            "idle_connections": totals.idle,
            "waiting_requests": totals.waiting,
            "usable_endpoints": endpoints.iter().filter(|endpoint| endpoint.state.is_usable()).count(),
            "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        })
    };
    registry.upstreams().iter().map(describe).collect()
}

fn endpoint(endpoint: &EndpointReport) -> Value {
    let last_probe = endpoint.last_probe.as_ref().map(|probe| {
        json!({
            "result": if probe.passed { "passed" } else { "failed" },
            "detail": probe.detail,
            "at": instant(probe.at),
            "took_ms": u64::try_from(probe.took.as_millis()).unwrap_or(u64::MAX),
        })
    });
    json!({
        "address": &*endpoint.address,
        "state": endpoint.state.as_str(),
        "reason": reason(endpoint),
        "since": instant(endpoint.since),
        "returns_in_seconds": endpoint.ejected.map(|(_, remaining)| remaining.as_secs()),
        "requests_in_flight": endpoint.totals.in_flight,
        "succeeded": endpoint.totals.succeeded,
        "failed": endpoint.totals.failed,
        "failures_in_a_row": endpoint.failures_in_a_row,
        "ejections": endpoint.ejections.iter().sum::<u64>(),
        "probes": { "passed": endpoint.probes_passed, "failed": endpoint.probes_failed },
        "last_probe": last_probe,
    })
}

/// Why an endpoint gets no requests.
fn reason(endpoint: &EndpointReport) -> Option<String> {
    match endpoint.state {
        health::State::Unchecked | health::State::Healthy => None,
        health::State::Draining => Some("the configuration says so".to_owned()),
        health::State::Ejected => endpoint.ejected.map(|(reason, _)| reason.as_str().to_owned()),
        health::State::Unhealthy => Some("its probes fail".to_owned()),
    }
}

/// A moment in UTC, to the millisecond.
pub(super) fn instant(at: SystemTime) -> Option<String> {
    Timestamp::try_from(at).map(|at| format!("{at:.3}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbose_may_be_written_in_several_ways() {
        for query in ["verbose", "verbose=1", "verbose=true", "x=y&verbose"] {
            assert!(is_verbose(Some(query)), "{query}");
        }
        for query in [None, Some(""), Some("verbose=0"), Some("verbose=false"), Some("nonverbose")] {
            assert!(!is_verbose(query), "{query:?}");
        }
    }
}
