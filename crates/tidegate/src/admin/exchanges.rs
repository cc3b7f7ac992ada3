//! `/exchanges`: the requests that ended last, and what became of each, as JSON.
//!
//! What is shown has the same names as in the access log where that has it too, and is left out where there is none.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidegate_gateway::fault::Fault;
use tidegate_gateway::recent::{Attempt, Decision, Entry, Recent, StandIn};

use super::AdminState;
use super::health::instant;
use super::pages::problem;

/// How many exchanges are listed at most.
const LIMIT: usize = 1_000;

/// How many are listed where nobody says.
const USUAL: usize = 50;

/// What of it somebody wants to see.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    limit: Option<usize>,
    status: Option<Statuses>,
    route: Option<String>,
}

/// One status, as `404`, or a class of them, as `5xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum Statuses {
    One(u16),
    Class(u16),
}

impl TryFrom<String> for Statuses {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let class = text.strip_suffix("xx").and_then(|class| class.parse().ok());
        match (class, text.parse()) {
            (Some(class @ 1..=5), _) => Ok(Self::Class(class)),
            (None, Ok(status @ 100..=599)) => Ok(Self::One(status)),
            _ => Err("a status is written like `404` or `5xx`"),
        }
    }
}

impl Filter {
    fn is_met_by(&self, entry: &Entry) -> bool {
        let status = entry.status.map(|status| status.as_u16());
        let of_status = match self.status {
            None => true,
            Some(Statuses::One(wanted)) => status == Some(wanted),
            Some(Statuses::Class(wanted)) => status.is_some_and(|status| status / 100 == wanted),
        };
        of_status && self.route.as_deref().is_none_or(|wanted| entry.route.as_deref() == Some(wanted))
    }
}

/// The exchanges that ended last, the newest first.
pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Response {
    let Query(filter) = match filter {
        Ok(filter) => filter,
        Err(rejection) => return problem(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let limit = filter.limit.unwrap_or(USUAL);
    if !(1..=LIMIT).contains(&limit) {
        return problem(StatusCode::BAD_REQUEST, &format!("`limit` is a number from 1 to {LIMIT}"));
    }
    page(&state.recent, &state.recent.latest(limit, |entry| filter.is_met_by(entry)))
}

/// The exchanges with this id; several where a client chose it, or where a request passed the gateway more than once.
pub(super) async fn named(State(state): State<Arc<AdminState>>, Path(request_id): Path<String>) -> Response {
    let found = state.recent.latest(LIMIT, |entry| entry.request_id.is(request_id.as_bytes()));
    if !found.is_empty() {
        return page(&state.recent, &found);
    }
    let detail = match state.recent.entries() {
        0 => "no exchange is remembered: `recent` is off".to_owned(),
        kept => format!("no exchange of that id is among the last {kept} of each worker"),
    };
    problem(StatusCode::NOT_FOUND, &detail)
}

fn page(recent: &Recent, entries: &[Entry]) -> Response {
    let exchanges = entries.iter().map(Exchange::from).collect();
    Json(Page { kept_per_worker: recent.entries(), exchanges }).into_response()
}

#[derive(Serialize)]
struct Page<'a> {
    kept_per_worker: usize,
    exchanges: Vec<Exchange<'a>>,
}

#[derive(Serialize)]
struct Exchange<'a> {
    time: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    client: IpAddr,
    listener: SocketAddr,
    protocol: &'static str,
    method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    host: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Reason>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<Decided<'a>>,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_ms: Option<f64>,
    request_bytes: u64,
    response_bytes: u64,
    attempts: Vec<Tried<'a>>,
    /// Attempts that are missing before the last one.
    #[serde(skip_serializing_if = "is_zero")]
    attempts_left_out: u32,
}

/// What was decided, by whom and why.
#[derive(Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
enum Decided<'a> {
    Waited {
        wait_ms: f64,
    },
    Refused {
        policy: &'a str,
        code: &'static str,
    },
    Ended {
        policy: &'a str,
        code: &'static str,
    },
    Fallback {
        /// `answer`, or `upstream`, which has a name.
        to: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        upstream: Option<&'a str>,
    },
    Replayed,
}

/// A fault, by its code and in words.
#[derive(Serialize)]
struct Reason {
    code: &'static str,
    detail: String,
}

/// One attempt; `began_ms` counts from the start of the request, the other times from there.
#[derive(Serialize)]
struct Tried<'a> {
    endpoint: &'a str,
    endpoints: Considered,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Reason>,
    reused_connection: bool,
    began_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<f64>,
}

/// Of how many endpoints one was chosen, and how many of those were no choice, where that was counted.
#[derive(Serialize)]
struct Considered {
    of: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    unfit: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tried: Option<u8>,
}

impl<'a> From<&'a Entry> for Exchange<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            time: instant(entry.started()),
            request_id: entry.request_id.text(),
            trace_id: entry.trace_id.map(|id| String::from_utf8_lossy(&id).into_owned()),
            client: entry.client,
            listener: entry.listener,
            protocol: entry.version.text(),
            method: entry.method.text(),
            host: entry.host.text(),
            path: entry.path.text(),
            route: entry.route.as_deref(),
            upstream: entry.upstream.as_deref(),
            status: entry.status.map(|status| status.as_u16()),
            complete: entry.complete,
            fault: entry.fault.map(Reason::from),
            decisions: entry.decisions.iter().map(Decided::from).collect(),
            duration_ms: milliseconds(entry.took),
            upstream_ms: entry.attempts.last().and_then(until_head).map(milliseconds),
            request_bytes: entry.request_bytes,
            response_bytes: entry.response_bytes,
            attempts: entry.attempts.iter().map(Tried::from).collect(),
            attempts_left_out: entry.attempts_left_out,
        }
    }
}

impl<'a> From<&'a Decision> for Decided<'a> {
    fn from(decision: &'a Decision) -> Self {
        match decision {
            Decision::Waited(time) => Self::Waited { wait_ms: milliseconds(*time) },
            Decision::Refused { policy, code } => Self::Refused { policy, code: code.name() },
            Decision::Ended { policy, code } => Self::Ended { policy, code: code.name() },
            Decision::FellBack(StandIn::Answer) => Self::Fallback { to: "answer", upstream: None },
            Decision::FellBack(StandIn::Upstream(name)) => Self::Fallback { to: "upstream", upstream: Some(name) },
            Decision::Replayed => Self::Replayed,
        }
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        Self { code: fault.code(), detail: fault.detail() }
    }
}

impl Reason {
    /// In words that fit one endpoint, where those of the fault speak of all of them.
    fn of_attempt(fault: Fault) -> Self {
        let detail = match fault {
            Fault::PoolExhausted => "no connection to the endpoint was free in time",
            Fault::Connect => "the endpoint could not be connected to",
            Fault::ConnectTimeout => "the endpoint could not be connected to in time",
            fault => return Self::from(fault),
        };
        Self { code: fault.code(), detail: detail.to_owned() }
    }
}

impl<'a> From<&'a Attempt> for Tried<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        let since = |at: Duration| milliseconds(at.saturating_sub(attempt.began));
        let end = attempt.ended.map(|(_, end)| end);
        Self {
            endpoint: &attempt.endpoint,
            endpoints: Considered::from(attempt),
            status: end.and_then(Result::ok).map(|status| status.as_u16()),
            fault: end.and_then(Result::err).map(Reason::of_attempt),
            reused_connection: attempt.reused,
            began_ms: milliseconds(attempt.began),
            connected_ms: attempt.connected.map(since),
            took_ms: attempt.ended.map(|(at, _)| since(at)),
        }
    }
}

impl From<&Attempt> for Considered {
    fn from(attempt: &Attempt) -> Self {
        let (unfit, tried) = attempt.passed_over.map(|passed| (passed.unfit, passed.tried)).unzip();
        Self { of: attempt.endpoints, unfit, tried }
    }
}

/// From the request's first byte sent to its response head, where there was one.
fn until_head(attempt: &Attempt) -> Option<Duration> {
    match attempt.ended {
        Some((at, Ok(_))) => Some(at.saturating_sub(attempt.connected?)),
        _ => None,
    }
}

/// With three decimals at most.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_or_a_class() {
        let read = |text: &str| Statuses::try_from(text.to_owned());
        assert_eq!(read("404"), Ok(Statuses::One(404)));
        assert_eq!(read("5xx"), Ok(Statuses::Class(5)));
        for wrong in ["", "xx", "6xx", "0xx", "50x", "404xx", "99", "600", "-5", "ok"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
