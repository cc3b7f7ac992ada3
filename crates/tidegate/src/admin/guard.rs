//! Keeps out requests that a foreign web page makes through a visitor's browser.
//!
//! A page can point a host name of its own at this address (DNS rebinding) and then read the answers as its own; the
//! `Host` it must send gives it away. IP addresses and `localhost` cannot be rebound, so they are welcome, and so are
//! the names that the configuration lists. `Origin`, where a browser sends it, must be this very host.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AdminState;
use super::pages::problem;

/// Lets a request through, or answers it with 400 or 403.
pub(super) async fn admit(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    match check(&request, &state.host_names) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Why a request is not let through.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// No `Host`, several, or one that is no authority.
    BadHost,
    /// A host name that this listener does not answer to.
    ForeignHost,
    /// A page of another origin.
    ForeignOrigin,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::BadHost => (StatusCode::BAD_REQUEST, "exactly one valid Host is needed"),
            Self::ForeignHost => (StatusCode::FORBIDDEN, "this listener does not answer to that Host"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "pages of another Origin may not read this"),
        };
        problem(status, detail)
    }
}

fn check(request: &Request, host_names: &[String]) -> Result<(), Refusal> {
    let host = match host(request.uri(), request.headers())? {
        // Health checks of older load balancers speak HTTP/1.0 without Host; browsers do not.
        None if request.version() == Version::HTTP_10 => None,
        None => return Err(Refusal::BadHost),
        Some(host) if is_own(&host, host_names) => Some(host),
        Some(_) => return Err(Refusal::ForeignHost),
    };
    let same_origin = |origin: &_| host.as_ref().is_some_and(|host| is_origin_of(origin, host));
    let origins = request.headers().get_all(header::ORIGIN);
    if origins.iter().all(|origin| origin.to_str().is_ok_and(&same_origin)) {
        Ok(())
    } else {
        Err(Refusal::ForeignOrigin)
    }
}

/// The host that the request is for. An absolute request target wins over the field (RFC 9112 section 3.2.2).
fn host(target: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, Refusal> {
    let mut fields = headers.get_all(header::HOST).iter();
    let (first, second) = (fields.next(), fields.next());
    if second.is_some() {
        return Err(Refusal::BadHost);
    }
    let field = first.map(|field| Authority::try_from(field.as_bytes())).transpose().map_err(|_| Refusal::BadHost)?;
    let authority = target.authority().cloned().or(field);
    match &authority {
        Some(authority) if authority.as_str().contains('@') => Err(Refusal::BadHost),
        _ => Ok(authority),
    }
}

fn is_own(authority: &Authority, host_names: &[String]) -> bool {
    let host = authority.host();
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || host_names.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Whether `origin` (RFC 6454 section 6.1; `null` for pages without one) is a page from `host`.
fn is_origin_of(origin: &str, host: &Authority) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn verdict(target: &str, fields: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut request = Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        check(&request.body(Body::empty()).expect("a request"), &["gate.example".to_owned()])
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_welcome() {
        for host in [
            "127.0.0.1:9901",
            "127.0.0.1",
            "10.1.2.3:80",
            "[::1]:9901",
            "[fe80::1]",
            "localhost",
            "LocalHost:9901",
            "localhost.",
            "gate.example",
            "GATE.example.:9901",
        ] {
            assert_eq!(verdict("/", &[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_names_are_foreign() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil-localhost",
            "gate.example.evil",
            "2130706433",
            "0x7f.1",
            "localhost..",
            "[::1%25eth0]",
            "[v1.x]",
        ] {
            assert!(matches!(verdict("/", &[("host", host)]), Err(Refusal::ForeignHost | Refusal::BadHost)), "{host}");
        }
    }

    #[test]
    fn an_absolute_target_wins_over_the_field() {
        assert_eq!(verdict("http://evil.example/", &[("host", "localhost")]), Err(Refusal::ForeignHost));
        assert_eq!(verdict("http://localhost/", &[("host", "localhost")]), Ok(()));
    }

    #[test]
    fn hosts_that_are_unclear_are_refused() {
        for fields in [
            &[][..],
            &[("host", "localhost"), ("host", "localhost")],
            &[("host", "")],
            &[("host", "a b")],
            &[("host", "evil@localhost")],
            &[("host", "localhost/x")],
        ] {
            assert_eq!(verdict("/", fields), Err(Refusal::BadHost), "{fields:?}");
        }
    }

    #[test]
    fn an_origin_must_be_this_host() {
        let verdict = |host, origin| verdict("/metrics", &[("host", host), ("origin", origin)]);
        assert_eq!(verdict("localhost:9901", "http://localhost:9901"), Ok(()));
        assert_eq!(verdict("[::1]:9901", "http://[::1]:9901"), Ok(()));
        for origin in ["http://evil.example", "http://localhost", "http://localhost:1", "null", "localhost:9901", ""] {
            assert_eq!(verdict("localhost:9901", origin), Err(Refusal::ForeignOrigin), "{origin}");
        }
    }

    #[test]
    fn every_origin_counts() {
        let fields = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.example")];
        assert_eq!(verdict("/", &fields), Err(Refusal::ForeignOrigin));
    }
}
