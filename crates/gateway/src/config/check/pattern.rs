//! Patterns of hosts and paths.

use std::collections::HashSet;

use super::Flaw;
use super::values::{Host, is_name, regex};
use crate::config::document;
use crate::config::plan::{HostPattern, PathPattern, Test};

/// A host, or `*.` before a name for every host below it.
pub(super) fn host(text: &str) -> Result<HostPattern, Flaw> {
    if let Some(rest) = text.strip_prefix("*.") {
        let rest = rest.to_ascii_lowercase();
        if is_name(&rest) {
            return Ok(HostPattern::Suffix(format!(".{rest}")));
        }
    } else if let Some(host) = Host::parse(text) {
        return Ok(HostPattern::Exact(host.into_text()));
    }
    let flaw = Flaw::new(format!("`{text}` is not a host"));
    let without_port = text.rsplit_once(':').and_then(|(host, port)| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| Host::parse(host)).flatten()
    });
    Err(match without_port {
        Some(host) => flaw.help(format!("hosts are compared without their port: write `{}`", host.into_text())),
        None if text == "*" => flaw.help("leave `host` out to match every host"),
        None => flaw.help("write it like `api.example.test` or `*.example.test`"),
    })
}

/// A whole path whose segments may be `{name}`.
pub(super) fn template(text: &str) -> Result<PathPattern, Flaw> {
    absolute_path(text)?;
    let mut names = HashSet::new();
    for segment in text.split('/') {
        if !segment.contains(['{', '}']) {
            continue;
        }
        let name = parameter(segment)?;
        if !names.insert(name) {
            return Err(Flaw::new(format!("`{{{name}}}` is in the path twice")));
        }
    }
    Ok(PathPattern::Template(text.to_owned()))
}

/// The name in a segment that is a parameter as a whole.
fn parameter(segment: &str) -> Result<&str, Flaw> {
    let inner = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
    let first = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    inner.filter(|name| first(name) && rest(name)).ok_or_else(|| {
        Flaw::new(format!("`{segment}` is not a parameter"))
            .help("a parameter is a whole segment, `{name}`, of letters, digits and `_`")
    })
}

/// The beginning of a path, by whole segments.
pub(super) fn prefix(text: &str) -> Result<PathPattern, Flaw> {
    absolute_path(text)?;
    if text.contains(['{', '}']) {
        return Err(
            Flaw::new("a prefix has no parameters").help("use `path` or `regex`, or write `%7B` and `%7D` for braces")
        );
    }
    let trimmed = match text.strip_suffix('/') {
        Some("") | None => text,
        Some(shorter) => shorter,
    };
    Ok(PathPattern::Prefix(trimmed.to_owned()))
}

/// Refuses what no normalised path looks like, so that a route cannot be dead by its spelling.
pub(super) fn absolute_path(text: &str) -> Result<(), Flaw> {
    if !text.starts_with('/') {
        return Err(Flaw::new(format!("`{text}` does not start with `/`")));
    }
    if text.contains("//") {
        return Err(Flaw::new("a path has no empty segments: `//` is read as `/`"));
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(Flaw::new("a path has no `.` or `..` segments"));
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic() || "?#\\".contains(*c)) {
        let flaw = Flaw::new(format!("a path has no `{}`", odd.escape_debug()));
        return Err(match odd {
            '?' => flaw.help("test parameters with `query`"),
            _ => flaw.help(format!("write `{}`", encoded(odd))),
        });
    }
    Ok(())
}

/// A character percent-encoded (RFC 3986 section 2.1).
fn encoded(character: char) -> String {
    let mut buffer = [0; 4];
    let bytes = character.encode_utf8(&mut buffer).bytes();
    bytes.map(|byte| format!("%{byte:02X}")).collect()
}

/// A test on a field or parameter.
pub(super) fn test(written: &document::FieldTest) -> Result<Test, Flaw> {
    Ok(match written {
        document::FieldTest::Exact(value) => Test::Exact(value.clone()),
        document::FieldTest::Regex { regex: text } => Test::Regex(regex(text)?),
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
        let help = host("Example.test:8080").expect_err("a port").help;
        let meant = "hosts are compared without their port: write `example.test`";
        assert_eq!(help.as_deref(), Some(meant));
    }

    #[test]
    fn parameters_are_whole_segments() {
        for right in ["/", "/users/{id}", "/{a}/{b}/", "/a%2Fb"] {
            assert!(template(right).is_ok(), "{right}");
        }
        for wrong in ["", "users", "/{id}x", "/{}", "/{1}", "/{a}/{a}", "/{a", "/a}", "/{a-b}"] {
            assert!(template(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_that_no_request_has_are_refused() {
        for wrong in ["//", "/a//b", "/./a", "/a/..", "/a b", "/a?b", "/a#b", "/a\\b", "/ä"] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
        let help = prefix("/ä").expect_err("not ASCII").help;
        assert_eq!(help.as_deref(), Some("write `%C3%A4`"));
    }

    #[test]
    fn a_prefix_loses_its_final_slash() {
        for (written, held) in [("/", "/"), ("/api", "/api"), ("/api/", "/api")] {
            assert_eq!(prefix(written), Ok(PathPattern::Prefix(held.to_owned())));
        }
    }
}
