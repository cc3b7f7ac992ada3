//! How a route answers: by an upstream, by itself, or by sending the client elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::authority;
use crate::config::check::pattern::location;
use crate::config::check::values::field_name;
use crate::config::check::{Findings, Flaw, all};
use crate::config::document;
use crate::config::plan::{Action, Fallback, Redirect, Respond};
use crate::config::problem::{DocumentPath, Problem};

/// Fields that framing or the connection owns (RFC 9110 section 7.6.1, RFC 9112 section 6).
const OWNED: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The index of each upstream in the plan, by its name.
pub(super) type Upstreams<'a> = HashMap<&'a str, usize>;

pub(super) fn action(
    route: &document::Route,
    upstreams: &Upstreams<'_>,
    at: &DocumentPath,
    found: &mut Findings,
) -> Option<Action> {
    match (&route.upstream, &route.respond, &route.redirect) {
        (Some(name), None, None) => forward(name, upstreams, &at.key("upstream"), found),
        (None, Some(written), None) => respond(written, &at.key("respond"), found),
        (None, None, Some(written)) => redirect(written, &at.key("redirect"), found),
        (None, None, None) => {
            let problem = Problem::new(at.clone(), "says nothing about how to answer");
            found.error(problem.help("give it one of `upstream`, `respond` and `redirect`"));
            None
        }
        _ => {
            let message = "has more than one of `upstream`, `respond` and `redirect`";
            found.error(Problem::new(at.clone(), message));
            None
        }
    }
}

/// What stands in for the answer of an upstream; `Some(None)` where nothing does.
pub(super) fn fallback(
    route: &document::Route,
    upstreams: &Upstreams<'_>,
    at: &DocumentPath,
    found: &mut Findings,
) -> Option<Option<Fallback>> {
    let Some(written) = &route.fallback else { return Some(None) };
    if route.upstream.is_none() {
        let problem = Problem::new(at.clone(), "stands in for nothing: the route does not forward to an upstream");
        found.error(problem);
        return None;
    }
    let action = match (&written.respond, &written.upstream) {
        (Some(answer), None) => respond(answer, &at.key("respond"), found),
        (None, Some(name)) if Some(name) == route.upstream.as_ref() => {
            let problem = Problem::new(at.key("upstream"), "is the upstream that it is to stand in for");
            found.error(problem);
            None
        }
        (None, Some(name)) => forward(name, upstreams, &at.key("upstream"), found),
        (None, None) => {
            let problem = Problem::new(at.clone(), "says nothing about how to answer");
            found.error(problem.help("give it one of `respond` and `upstream`"));
            None
        }
        (Some(_), Some(_)) => {
            found.error(Problem::new(at.clone(), "has both `respond` and `upstream`"));
            None
        }
    };
    action.map(|action| Some(Fallback { action, statuses: written.statuses.clone() }))
}

fn forward(name: &str, upstreams: &Upstreams<'_>, at: &DocumentPath, found: &mut Findings) -> Option<Action> {
    let index = upstreams.get(name).copied();
    if index.is_none() {
        let problem = Problem::new(at.clone(), format!("there is no upstream `{name}`"));
        found.error(problem.refers_to(DocumentPath::root().key("upstreams")));
    }
    index.map(Action::Forward)
}

fn respond(written: &document::Respond, at: &DocumentPath, found: &mut Findings) -> Option<Action> {
    let status = u16::try_from(written.status.value()).ok();
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let fields = at.key("headers");
    let headers =
        all(written.headers.iter().map(|(name, value)| found.value(&fields.key(name), response_field(name, value))));
    let bodiless = matches!(written.status.value(), 204 | 205 | 304);
    if bodiless && !written.body.is_empty() {
        let message = format!("an answer with status {} has no body", written.status.value());
        found.error(Problem::new(at.key("body"), message));
        return None;
    }
    let mut headers = headers?;
    if !written.body.is_empty() && !headers.iter().any(|(name, _)| name == CONTENT_TYPE) {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.push((CONTENT_TYPE, text));
    }
    Some(Action::Respond(Respond { status: status?, headers, body: Bytes::copy_from_slice(written.body.as_bytes()) }))
}

fn response_field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Flaw> {
    let name = field_name(name)?;
    if OWNED.contains(&name.as_str()) {
        return Err(Flaw::new(format!("the gateway writes `{name}` by itself")));
    }
    let value = HeaderValue::from_str(value).map_err(|_| Flaw::new("a field's value has no control characters"))?;
    Ok((name, value))
}

fn redirect(written: &document::Redirect, at: &DocumentPath, found: &mut Findings) -> Option<Action> {
    let host = written.host.as_ref();
    let host = host.map(|text| found.value(&at.key("host"), new_authority(text)));
    let path = written.path.as_ref();
    let path = path.map(|text| found.value(&at.key("path"), location(text).map(Arc::from)));
    let status = found.value(&at.key("status"), redirect_status(written.status.value()));
    if written.scheme.is_none() && host.is_none() && path.is_none() {
        let message = "sends the client to where it already is";
        let problem = Problem::new(at.clone(), message);
        found.error(problem.help("give it one of `scheme`, `host` and `path`"));
        return None;
    }
    Some(Action::Redirect(Redirect {
        scheme: written.scheme,
        host: host.map_or(Some(None), |host| host.map(Some))?,
        path: path.map_or(Some(None), |path| path.map(Some))?,
        status: status?,
    }))
}

/// A host, with or without a port.
fn new_authority(text: &str) -> Result<Arc<str>, Flaw> {
    let parsed = authority::parse(text.as_bytes()).map_err(|fault| {
        let flaw = Flaw::new(format!("`{text}` is not a host: {fault}"));
        flaw.help("write it like `www.example.test` or `www.example.test:8443`")
    })?;
    Ok(match parsed.port {
        Some(port) => format!("{}:{port}", parsed.host).into(),
        None => parsed.host.into(),
    })
}

/// The codes that send a client elsewhere by `Location` (RFC 9110 section 15.4).
fn redirect_status(code: u32) -> Result<StatusCode, Flaw> {
    let code = u16::try_from(code).ok();
    let code = code.filter(|code| matches!(code, 301..=303 | 307 | 308));
    code.and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| Flaw::new("is not one of 301, 302, 303, 307 and 308"))
}
