//! Answers of the gateway's own as problem documents (RFC 9457).

use crate::fault::Fault;
use serde::Serialize;

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: String,
    error_code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    timestamp: String,
}

/// The body of `application/problem+json` for `fault`.
#[must_use]
pub fn document(fault: Fault, request_id: &[u8], trace_id: Option<&[u8; 32]>) -> Vec<u8> {
    let status = fault.status();
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: fault.detail(),
        error_code: fault.code(),
        request_id: str::from_utf8(request_id).unwrap_or_default(),
        trace_id: trace_id.and_then(|id| str::from_utf8(id).ok()),
        timestamp: jiff::Timestamp::now().to_string(),
    };
    // Strings and numbers always serialise; an empty body would still be a valid answer.
    serde_json::to_vec(&problem).unwrap_or_default()
}
