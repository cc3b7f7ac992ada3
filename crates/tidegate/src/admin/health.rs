//! `/healthz`: the state of the process as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_gateway::stats::{LastReload, Registry};

use super::{AdminState, Phase};

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
        body["details"] = details(&state.registry);
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

/// As many entries as the configuration has listeners and upstreams.
fn details(registry: &Registry) -> Value {
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
        "upstreams": upstreams(registry),
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

fn upstreams(registry: &Registry) -> Vec<Value> {
    let describe = |series: &Arc<tidegate_gateway::stats::UpstreamSeries>| {
        let totals = series.totals();
        json!({
            "name": &**series.labels(),
            "requests_in_flight": totals.in_flight,
            "open_connections": totals.open,
            "idle_connections": totals.idle,
            "waiting_requests": totals.waiting,
        })
    };
    registry.upstreams().iter().map(describe).collect()
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
