//! The pages that need no module of their own, and what all answers have in common.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;

use super::{AdminState, Phase};
use crate::metrics::Format;

/// The index. Its styles are inline, so that it looks the same without a network.
const INDEX: &str = include_str!("index.html");

pub(super) async fn index(State(state): State<Arc<AdminState>>) -> Html<String> {
    let process = state.registry.process();
    let page = INDEX
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{phase}}", state.readiness.phase().as_str())
        .replace("{{generation}}", &process.generation().to_string())
        .replace("{{uptime}}", &format!("{:#}", jiff::SignedDuration::from_secs(uptime_seconds(&state))));
    Html(page)
}

fn uptime_seconds(state: &AdminState) -> i64 {
    i64::try_from(state.registry.process().uptime().as_secs()).unwrap_or(i64::MAX)
}

pub(super) async fn livez() -> &'static str {
    "alive\n"
}

pub(super) async fn readyz(State(state): State<Arc<AdminState>>) -> (StatusCode, &'static str) {
    match state.readiness.phase() {
        Phase::Ready => (StatusCode::OK, "ready\n"),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting: no configuration is in force yet\n"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining: the process is about to end\n"),
    }
}

pub(super) async fn metrics(State(state): State<Arc<AdminState>>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|field| field.to_str().ok());
    let format = Format::accepted(accept);
    match state.exposition.render(format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be encoded"),
    }
}

pub(super) async fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "there is no such page; / lists those that there are")
}

pub(super) async fn method_not_allowed() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed here")
}

/// An error as JSON (RFC 9457).
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

/// Fields of every answer: never stored, never guessed at, never framed, and no script even if one slipped in.
pub(super) async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
    );
    response
}
