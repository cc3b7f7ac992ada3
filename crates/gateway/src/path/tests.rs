//! The table of the module, case by case, and property tests against a model that works in whole passes.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 8 * 1024;

fn normal(path: &str) -> Result<String, TargetFault> {
    let target = RequestTarget::parse(path.as_bytes(), LIMIT)?;
    let normal = target.normalize()?;
    Ok(normal.as_str(target.path).to_owned())
}

fn assert_normal(cases: &[(&str, &str)]) {
    for (received, expected) in cases {
        assert_eq!(normal(received).as_deref(), Ok(*expected), "{received}");
    }
}

fn assert_refused(fault: TargetFault, paths: &[&str]) {
    for path in paths {
        assert_eq!(normal(path), Err(fault), "{path:?}");
    }
}

#[test]
fn copies_nothing_when_the_path_is_normal() {
    for path in [
        "/",
        "/a",
        "/a/",
        "/users/42/orders;v=1",
        "/a.b/c..d/e.",
        "/.well-known/acme-challenge/x",
        "/..a/...",
        "/caf%C3%A9/%20x",
        "/a%25b",
        "/a%252e%252e/b",
        "/a%252fb",
        "/!$&'()*+,;=:@-._~",
        "/a%21",
        "/%3Bx",
    ] {
        let target = RequestTarget::parse(path.as_bytes(), LIMIT).expect("it is valid");
        let expected = Ok(NormalPath::SAME);
        assert_eq!(target.normalize(), expected, "{path}");
        assert_eq!(normalize(path), expected, "{path}");
    }
}

#[test]
fn decodes_unreserved_and_raises_hex_digits() {
    assert_normal(&[
        ("/%41%7a%30%2d%5f%7e", "/Az0-_~"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/%e2%82%ac/%f0%9f%98%80", "/%E2%82%AC/%F0%9F%98%80"),
        ("/a%3ab%40", "/a%3Ab%40"),
        ("/%2541", "/%2541"),
        ("/a%3fb%23", "/a%3Fb%23"),
        ("/%2e%61dmin", "/.admin"),
    ]);
}

#[test]
fn encodes_what_has_no_place_in_a_path() {
    assert_normal(&[("/a|b", "/a%7Cb"), ("/\"<>[]^`{}", "/%22%3C%3E%5B%5D%5E%60%7B%7D"), ("/a%7cb", "/a%7Cb")]);
}

#[test]
fn merges_slashes() {
    assert_normal(&[("//", "/"), ("//evil.test/x", "/evil.test/x"), ("/a//b///c", "/a/b/c"), ("/a//", "/a/")]);
}

#[test]
fn removes_dot_segments() {
    assert_normal(&[
        ("/.", "/"),
        ("/./a", "/a"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a/../a/b", "/a/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e/b", "/a/b"),
        ("/a//../b", "/b"),
        ("/a/b/c/./../../g", "/a/g"),
        ("/a;x/../b", "/b"),
        ("/x/../x", "/x"),
    ]);
}

#[test]
fn refuses_to_leave_the_root() {
    assert_refused(TargetFault::AboveRoot, &["/..", "/../a", "/%2e%2e/a", "/a/../..", "/a/../../b", "//..", "/./../x"]);
}

#[test]
fn refuses_disguised_dot_segments() {
    assert_refused(
        TargetFault::DotSegment,
        &[
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/.;x/b",
            "/a/..;",
            "/a/..%3b/b",
            "/a/%2e%2e%3Bx/b",
            "/a/%2e;/b",
            "/a%2f..%2fb",
            "/a%2f%2e%2e",
            "/..%2fb",
            "/..%5cb",
            "/a%5c..;x",
            "/a%2F.%2Fb",
        ],
    );
}

#[test]
fn keeps_other_parameters() {
    assert_normal(&[
        ("/a;x=1/b", "/a;x=1/b"),
        ("/;x", "/;x"),
        ("/a%3bx", "/a%3Bx"),
        ("/...;x", "/...;x"),
        ("/a..;x", "/a..;x"),
    ]);
}

#[test]
fn reports_encoded_separators_for_the_route_to_judge() {
    let found = |path: &str| normalize(path).expect("it is valid").separators;
    let none = Separators::default();
    let slash = Separators { slash: true, ..none };
    let backslash = Separators { backslash: true, ..none };
    let both = Separators { slash: true, backslash: true };
    for (path, expected) in [
        ("/a/b", none),
        ("/a%252fb%255c", none),
        ("/a%2fb", slash),
        ("/a%2Fb", slash),
        ("/a%5cb", backslash),
        ("/%5C%2f", both),
        ("/a%2fb/../c", slash),
    ] {
        assert_eq!(found(path), expected, "{path}");
    }
    assert_normal(&[("/a%2fb%5cc", "/a%2Fb%5Cc")]);

    for (found, allowed, outcome) in [
        (none, none, Ok(())),
        (slash, slash, Ok(())),
        (slash, both, Ok(())),
        (slash, none, Err(TargetFault::Separator)),
        (slash, backslash, Err(TargetFault::Separator)),
        (backslash, slash, Err(TargetFault::Separator)),
        (both, slash, Err(TargetFault::Separator)),
        (both, both, Ok(())),
    ] {
        assert_eq!(found.within(allowed), outcome, "{found:?} {allowed:?}");
    }
}

#[test]
fn refuses_bad_escapes() {
    assert_refused(TargetFault::Escape, &["/%", "/%4", "/a%4/b", "/%zz", "/%4g", "/%%41", "/%+1"]);
    assert_refused(TargetFault::Control, &["/%00", "/a%00.txt", "/%0d%0aX", "/%1f", "/%7F", "/%09"]);
    assert_refused(
        TargetFault::Utf8,
        &[
            "/%c0%ae%c0%ae/",
            "/%c0%af",
            "/%e0%80%af",
            "/%f0%80%80%ae",
            "/%f8%80%80%80%ae",
            "/%ed%a0%80",
            "/%f4%90%80%80",
            "/%80",
            "/%ff",
            "/%c3",
            "/%c3/%a9",
            "/%c3a%a9",
            "/%c3%61",
            "/%e2%82",
        ],
    );
}

#[test]
fn refuses_bytes_outside_visible_ascii() {
    assert_refused(
        TargetFault::Byte,
        &["/a b", "/\0", "/a\t", "/\r\n", "/\x7f", "/é", "/a#b", "/#", "/a\\b", "/\\", "/?\0", "/?a b", "/?a#b", "/?é"],
    );
    assert_eq!(RequestTarget::parse(b"/\xff", LIMIT), Err(TargetFault::Byte));
    assert_eq!(normalize("/a?b"), Err(TargetFault::Byte));
    assert_eq!(normalize("a"), Err(TargetFault::Form));
    assert_eq!(normalize(""), Err(TargetFault::Form));
}

#[test]
fn keeps_the_query_as_it_is() {
    for (received, path, query) in [
        ("/a", "/a", None),
        ("/a?", "/a", Some("")),
        ("/a?b=%2e%2F..//\\&c=%zz", "/a", Some("b=%2e%2F..//\\&c=%zz")),
        ("/a?b?c", "/a", Some("b?c")),
        ("/?/../", "/", Some("/../")),
    ] {
        let target = RequestTarget::parse(received.as_bytes(), LIMIT).expect("it is valid");
        assert_eq!((target.path, target.query), (path, query), "{received}");
        assert_eq!(target.form, Target::Origin);
    }
}

#[test]
fn reads_the_absolute_form() {
    for (received, https, host, port, path, query) in [
        ("http://a.test/x?y", false, "a.test", None, "/x", Some("y")),
        ("HTTPS://A.test:8443", true, "a.test", Some(8443), "/", None),
        ("http://a.test?y", false, "a.test", None, "/", Some("y")),
        ("http://[::1]:80/", false, "[::1]", Some(80), "/", None),
        ("http://a.test//b/../c", false, "a.test", None, "//b/../c", None),
    ] {
        let target = RequestTarget::parse(received.as_bytes(), LIMIT).expect("it is valid");
        let authority = Authority { host: host.into(), port };
        assert_eq!(target.form, Target::Absolute { https, authority }, "{received}");
        assert_eq!((target.path, target.query), (path, query), "{received}");
    }
    assert_eq!(normal("http://a.test//b/../c").as_deref(), Ok("/c"));
    assert_eq!(normal("http://a.test/../c"), Err(TargetFault::AboveRoot));
}

#[test]
fn refuses_bad_absolute_forms() {
    assert_refused(TargetFault::Scheme, &["ftp://a/", "ws://a/", "://a/"]);
    assert_refused(
        TargetFault::Authority(AuthorityFault::Host),
        &["http://u@a/", "http://a b/", "http://a#b", "http://a\\b/"],
    );
    assert_refused(TargetFault::Authority(AuthorityFault::Port), &["http://u:p@a/", "http://a:/", "http://a:0/"]);
    assert_refused(
        TargetFault::Authority(AuthorityFault::Empty),
        &["http://", "http:///x", "https://?q", "http://:80/"],
    );
}

#[test]
fn recognises_the_other_forms() {
    let target = RequestTarget::parse(b"*", LIMIT).expect("it is valid");
    assert_eq!((target.form, target.path), (Target::Asterisk, "*"));

    let target = RequestTarget::parse(b"a.test:443", LIMIT).expect("it is valid");
    let authority = authority::parse(b"a.test:443").expect("it is valid");
    assert_eq!(target.form, Target::Authority(authority));

    assert_refused(
        TargetFault::Form,
        &["", "a", "a.test", "*/", "*?x", "?x", "a/b", "http:/a", "http:a", "u@a:80", " /a", "\\a"],
    );
}

#[test]
fn bounds_the_length() {
    let path = format!("/{}", "a".repeat(9));
    assert!(RequestTarget::parse(path.as_bytes(), 10).is_ok());
    assert_eq!(RequestTarget::parse(path.as_bytes(), 9), Err(TargetFault::TooLong));
}

/// The same rules in whole passes over owned values, in the order of the module's table. `Err` stands for
/// any fault: which of several faults is reported first is not promised.
fn model(path: &str) -> Result<String, ()> {
    let mut tokens = Vec::new();
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' | '#' | '?' => return Err(()),
            '%' => {
                let digits: String = chars.by_ref().take(2).collect();
                if digits.len() != 2 || !digits.chars().all(|d| d.is_ascii_hexdigit()) {
                    return Err(());
                }
                tokens.push((u8::from_str_radix(&digits, 16).map_err(drop)?, true));
            }
            c if c.is_ascii_graphic() => tokens.push((c as u8, false)),
            _ => return Err(()),
        }
    }
    String::from_utf8(tokens.iter().map(|token| token.0).collect()).map_err(drop)?;
    if tokens.iter().any(|token| token.0.is_ascii_control()) {
        return Err(());
    }
    let text: String = tokens
        .iter()
        .map(|&(byte, escaped)| {
            let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if unreserved || (!escaped && b"!$&'()*+,;=:@/".contains(&byte)) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();

    let mut stack = Vec::new();
    for segment in text.split('/').filter(|segment| !segment.is_empty()) {
        match segment {
            "." => {}
            ".." => drop(stack.pop().ok_or(())?),
            _ => {
                let decoded = segment.replace("%2F", "/").replace("%5C", "/");
                let decoded = decoded.replace("%3B", ";");
                let mut names = decoded.split('/').map(|part| part.split(';').next());
                if names.any(|name| matches!(name, Some("." | ".."))) {
                    return Err(());
                }
                stack.push(segment);
            }
        }
    }
    let open = ["/", "/.", "/.."].iter().any(|end| text.ends_with(end));
    let end = if open && !stack.is_empty() { "/" } else { "" };
    Ok(format!("/{}{end}", stack.join("/")))
}

/// Paths made of what matters, so that most cases meet a rule.
fn paths() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "/", "/", "/", "//", ".", "..", "/../", "/./", "a", "b", "Z9", "%2e", "%2E", "%2f", "%2F", "%5c", "%41", "%7e",
        ";", ";x", "%3b", "%3B", "%25", "%252e", "%c3%a9", "%C3%A9", "%c3", "%a9", "%c0%ae", "%00", "%20", "%7F",
        "%zz", "%4", "%", "|", "{", "\\", "#", " ", "=", "@",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn agrees_with_the_model(path in paths()) {
        prop_assert_eq!(normal(&path).map_err(drop), model(&path));
    }

    #[test]
    fn normal_paths_stay(path in paths()) {
        if let Ok(once) = normal(&path) {
            let again = normalize(&once).expect("what was accepted stays acceptable");
            prop_assert_eq!(again.form, Normal::Same);
        }
    }

    #[test]
    fn says_same_exactly_when_nothing_changed(path in paths()) {
        if let Ok(result) = normalize(&path)
            && let Normal::Changed(changed) = result.form
        {
            prop_assert_ne!(changed, path);
        }
    }

    #[test]
    fn never_panics(target in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(target) = RequestTarget::parse(&target, 50) {
            let _ = target.normalize();
        }
    }
}
