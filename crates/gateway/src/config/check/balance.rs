//! The choice of an endpoint.

use std::time::Duration;

use http::HeaderName;

use super::values::field_name;
use super::{Findings, Flaw};
use crate::config::document::{self, Algorithm, SameSite};
use crate::config::plan::{Balance, HashBy, StickyCookie};
use crate::config::problem::{DocumentPath, Problem};

/// Checks what is written; `upstream` names the upstream.
pub(super) fn balance(
    written: &document::Balance,
    upstream: &str,
    at: &DocumentPath,
    found: &mut Findings,
) -> Option<Balance> {
    let keyed = match written {
        document::Balance::Word(word) => return Some(by_word(*word)),
        document::Balance::Keyed(keyed) => keyed,
    };
    match (&keyed.maglev, &keyed.sticky_cookie) {
        (Some(maglev), None) => found.value(&at.key("maglev").key("by"), hash_by(&maglev.by)).map(Balance::Maglev),
        (None, Some(cookie)) => {
            sticky_cookie(cookie, upstream, &at.key("sticky_cookie"), found).map(Balance::StickyCookie)
        }
        (None, None) => {
            let help = "write `maglev` or `sticky_cookie` in it, or a word such as `round_robin`";
            found.error(Problem::new(at.clone(), "names no algorithm").help(help));
            None
        }
        (Some(_), Some(_)) => {
            found.error(Problem::new(at.clone(), "names two algorithms").help("leave one of them out"));
            None
        }
    }
}

fn by_word(word: Algorithm) -> Balance {
    match word {
        Algorithm::RoundRobin | Algorithm::Weighted => Balance::RoundRobin,
        Algorithm::LeastRequests => Balance::LeastRequests,
        Algorithm::LeastConnections => Balance::LeastConnections,
        Algorithm::PeakEwma => Balance::PeakEwma,
        Algorithm::IpHash => Balance::IpHash,
    }
}

fn hash_by(text: &str) -> Result<HashBy, Flaw> {
    match text.split_once(':') {
        None if text == "client_address" => Ok(HashBy::ClientAddress),
        None if text == "path" => Ok(HashBy::Path),
        Some(("header", name)) => key_field(name).map(HashBy::Header),
        Some(("cookie", name)) => cookie_name(name).map(HashBy::Cookie),
        _ => Err(Flaw::new(format!("`{}` is no part of a request", text.escape_debug()))
            .help("write `header:NAME`, `cookie:NAME`, `client_address` or `path`")),
    }
}

/// Fields that are removed before an endpoint is chosen: no request would have the key.
const REMOVED: [&str; 12] = [
    "connection",
    "forwarded",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// A field that a key can be made of.
pub(super) fn key_field(text: &str) -> Result<HeaderName, Flaw> {
    let name = field_name(text)?;
    if REMOVED.contains(&name.as_str()) {
        let flaw = Flaw::new(format!("the gateway removes `{name}` before it looks at keys"));
        return Err(flaw.help("take another field, or `client_address` for who asks"));
    }
    Ok(name)
}

fn sticky_cookie(
    written: &document::StickyCookie,
    upstream: &str,
    at: &DocumentPath,
    found: &mut Findings,
) -> Option<StickyCookie> {
    let name = found.value(&at.key("name"), cookie_name(&written.name));
    let path = found.value(&at.key("path"), cookie_path(&written.path));
    let anywhere = written.same_site == SameSite::None;
    if anywhere && written.secure == Some(false) {
        let problem = Problem::new(at.key("secure"), "clients refuse such a cookie with `same_site: none`");
        found.error(problem.help("leave `secure` out, or choose another `same_site`"));
    }
    if written.key.as_ref().is_some_and(String::is_empty) {
        found.error(Problem::new(at.key("key"), "an empty key hides nothing").help("leave it out, or write a secret"));
    }
    Some(StickyCookie {
        name: name?,
        key: written.key.as_deref().unwrap_or(upstream).into(),
        ttl: written.ttl.map(|ttl| Duration::from_secs(ttl.duration().as_secs())),
        path: path?,
        secure: if anywhere { Some(true) } else { written.secure },
        http_only: written.http_only,
        same_site: written.same_site,
    })
}

/// A token, as RFC 6265 §4.1.1 has it.
pub(super) fn cookie_name(text: &str) -> Result<Box<str>, Flaw> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        let flaw = Flaw::new(format!("`{}` is not the name of a cookie", text.escape_debug()));
        return Err(flaw.help("take letters, digits, `-` and `_`"));
    }
    Ok(text.into())
}

fn cookie_path(text: &str) -> Result<Box<str>, Flaw> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    if !text.starts_with('/') || !text.bytes().all(allowed) {
        let flaw = Flaw::new(format!("`{}` is not the path of a cookie", text.escape_debug()));
        return Err(flaw.help("begin it with `/`, and leave out spaces and `;`"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parts_of_requests() {
        assert_eq!(hash_by("header:X-User"), Ok(HashBy::Header(http::HeaderName::from_static("x-user"))));
        assert_eq!(hash_by("cookie:Sid"), Ok(HashBy::Cookie("Sid".into())));
        assert_eq!(hash_by("client_address"), Ok(HashBy::ClientAddress));
        assert_eq!(hash_by("path"), Ok(HashBy::Path));
        for text in [
            "",
            "header",
            "header:",
            "header:a b",
            "header:X-Forwarded-For",
            "cookie:",
            "cookie:a=b",
            "query:q",
            "path:/a",
            "Path",
        ] {
            assert!(hash_by(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_would_end_an_attribute_is_refused() {
        for text in ["", "a", "/a;b", "/a b", "/\u{e4}", "/\r\n"] {
            assert!(cookie_path(text).is_err(), "{text}");
        }
        assert_eq!(cookie_path("/shop/"), Ok("/shop/".into()));
    }
}
