//! Patterns of hosts and paths.

use std::collections::HashSet;

use super::Flaw;
use super::values::{Subject, address_of, regex};
use crate::authority;
use crate::config::document;
use crate::config::plan::{HostPattern, PathPattern, Test};
use crate::path::normalize;

/// Segments of the deepest path; the router's own bound is the same.
const MOST_SEGMENTS: usize = 128;

/// A host, or `*.` before a name for every host below it.
pub(super) fn host(text: &str) -> Result<HostPattern, Flaw> {
    let (name, wildcard) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let flaw = |why: &str| Flaw::new(format!("`{text}` is not a host: {why}"));
    let authority = match authority::parse(name.as_bytes()) {
        _ if text == "*" => return Err(flaw("`*` stands before a name").help("leave `host` out to match every host")),
        Ok(authority) => authority,
        Err(fault) => return Err(flaw(&fault.to_string())),
    };
    let host = authority.host.into_owned();
    if authority.port.is_some() {
        let star = if wildcard { "*." } else { "" };
        let help = format!("hosts are compared without their port: write `{star}{host}`");
        return Err(flaw("it has a port").help(help));
    }
    match wildcard {
        true if address_of(&host).is_some() => Err(flaw("there are no hosts below an address")),
        true => Ok(HostPattern::Suffix(format!(".{host}"))),
        false => Ok(HostPattern::Exact(host)),
    }
}

/// A whole path whose segments may be `{name}`, and the last one `{name*}` for all the rest.
pub(super) fn template(text: &str) -> Result<PathPattern, Flaw> {
    let segments = segments(text)?;
    let mut names = HashSet::new();
    for (index, segment) in segments.iter().enumerate() {
        if !segment.contains(['{', '}']) {
            normal_segment(segment)?;
            continue;
        }
        let name = parameter(segment, index + 1 == segments.len())?;
        if !names.insert(name) {
            return Err(Flaw::new(format!("`{{{name}}}` is in the path twice")));
        }
    }
    Ok(PathPattern::Template(text.to_owned()))
}

/// The name in a segment that is a parameter as a whole.
fn parameter(segment: &str, last: bool) -> Result<&str, Flaw> {
    let inner = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
    let name = inner.map(|name| name.strip_suffix('*').filter(|_| last).unwrap_or(name));
    let first = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    name.filter(|name| first(name) && rest(name)).ok_or_else(|| {
        Flaw::new(format!("`{segment}` is not a parameter"))
            .help("a parameter is a whole segment `{name}`, at the end also `{name*}`, of letters, digits and `_`")
    })
}

/// The beginning of a path, by whole segments.
pub(super) fn prefix(text: &str) -> Result<PathPattern, Flaw> {
    if text.contains(['{', '}']) {
        let flaw = Flaw::new("a prefix has no parameters");
        return Err(flaw.help("use `path` or `regex`, or write `%7B` and `%7D` for braces"));
    }
    segments(text)?.into_iter().try_for_each(|segment| normal_segment(segment).map(drop))?;
    let trimmed = match text.strip_suffix('/') {
        Some("") | None => text,
        Some(shorter) => shorter,
    };
    Ok(PathPattern::Prefix(trimmed.to_owned()))
}

/// A path that is sent to clients, in normal form.
pub(super) fn location(text: &str) -> Result<String, Flaw> {
    let segments = segments(text)?.into_iter().map(normal_segment);
    Ok(segments.collect::<Result<Vec<_>, _>>()?.concat())
}

/// The segments of a path. Only the last one may be empty: a final slash.
fn segments(text: &str) -> Result<Vec<&str>, Flaw> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err(Flaw::new(format!("`{text}` does not start with `/`")));
    };
    let segments: Vec<_> = rest.split('/').collect();
    match segments.split_last() {
        Some((_, before)) if before.contains(&"") => {
            Err(Flaw::new("a path has no empty segments: `//` is read as `/`"))
        }
        _ if segments.len() > MOST_SEGMENTS => Err(Flaw::new(format!("has more than {MOST_SEGMENTS} segments"))),
        _ => Ok(segments),
    }
}

/// A segment in the normal form that requests have, with its slash. It may be written with or without
/// encoding, but a route whose path no request can have would be dead.
fn normal_segment(segment: &str) -> Result<String, Flaw> {
    if matches!(segment, "." | "..") {
        return Err(Flaw::new("a path has no `.` or `..` segments"));
    }
    let encode = |byte: u8| match byte.is_ascii_graphic() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    let path: String = std::iter::once("/".to_owned()).chain(segment.bytes().map(encode)).collect();
    let normal = match normalize(&path) {
        Ok(normal) => normal.as_str(&path).to_owned(),
        Err(_) if segment.contains('?') => {
            return Err(Flaw::new("a path has no `?`").help("test parameters with `query`"));
        }
        Err(fault) => return Err(Flaw::new(format!("no request has this path: {fault}"))),
    };
    match normal == "/" && !segment.is_empty() {
        true => Err(Flaw::new("a path has no `.` or `..` segments, however they are encoded")),
        false => Ok(normal),
    }
}

/// A test on a field or parameter.
pub(super) fn test(written: &document::FieldTest) -> Result<Test, Flaw> {
    Ok(match written {
        document::FieldTest::Exact(value) => Test::Exact(value.clone()),
        document::FieldTest::Regex { regex: text } => Test::Regex(regex(text, Subject::Value)?),
        document::FieldTest::Present { present: true } => Test::Present,
        document::FieldTest::Present { present: false } => Test::Absent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_folded_and_told_apart() {
        let exact = |host: &str| Ok(HostPattern::Exact(host.to_owned()));
        assert_eq!(host("API.Example.Test"), exact("api.example.test"));
        assert_eq!(host("example.test."), exact("example.test"));
        assert_eq!(host("[0:0::1]"), exact("[::1]"));
        assert_eq!(host("10.0.0.1"), exact("10.0.0.1"));
        assert_eq!(host("*.Example.test"), Ok(HostPattern::Suffix(".example.test".to_owned())));
        for wrong in ["", "*", "*.", "a.*.test", "*a.test", "a b", "a/b", "a:80", "*.10.0.0.1"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_is_refused_with_the_host_that_was_meant() {
        for (written, meant) in [("Example.test:8080", "example.test"), ("*.Example.test:80", "*.example.test")] {
            let help = host(written).expect_err("a port").help;
            let expected = format!("hosts are compared without their port: write `{meant}`");
            assert_eq!(help, Some(expected));
        }
    }

    #[test]
    fn parameters_are_whole_segments() {
        for right in ["/", "/users/{id}", "/{a}/{b}/", "/a%2Fb", "/{a}/{rest*}", "/caf\u{e9} au lait", "/~%7Ea|b"] {
            assert!(template(right).is_ok(), "{right}");
        }
        for wrong in ["", "users", "/{id}x", "/{}", "/{1}", "/{a}/{a}", "/{a", "/a}", "/{a-b}", "/{a*}/b", "/{*}"] {
            assert!(template(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_that_no_request_has_are_refused() {
        for wrong in [
            "//",
            "/a//b",
            "/./a",
            "/a/..",
            "/%2e%2e/a",
            "/%2E",
            "/a/..;b",
            "/a?b",
            "/a#b",
            "/a\\b",
            "/a%0Ab",
            "/a%",
            "/%ff",
            "/a\nb",
        ] {
            assert!(prefix(wrong).is_err(), "{wrong}");
            assert!(template(wrong).is_err(), "{wrong}");
        }
        let deep = |segments: usize| template(&"/a".repeat(segments));
        assert!(deep(MOST_SEGMENTS).is_ok() && deep(MOST_SEGMENTS + 1).is_err());
    }

    #[test]
    fn a_prefix_loses_its_final_slash() {
        for (written, held) in [("/", "/"), ("/api", "/api"), ("/api/", "/api")] {
            assert_eq!(prefix(written), Ok(PathPattern::Prefix(held.to_owned())));
        }
    }

    #[test]
    fn locations_are_sent_in_normal_form() {
        assert_eq!(location("/caf\u{e9}/%7ea/"), Ok("/caf%C3%A9/~a/".to_owned()));
        assert_eq!(location("/"), Ok("/".to_owned()));
        assert!(location("//evil.test").is_err());
    }
}
