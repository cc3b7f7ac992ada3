//! Paths: normalised once, then routed, authorised and forwarded in that same form.

use tidegate_testkit::http2::frames::{get, headers, kind, opening, read_until, status};
use tidegate_testkit::judge::agree_on_path;
use tidegate_testkit::recorder::Recorder;

use crate::rig::{Options, Rig, check_end, check_problem};

const ROUTES: &str = "{ match: { path: /denied }, respond: { status: 403 } }, \
                      { match: { prefix: /private }, respond: { status: 403 } }, \
                      { match: { prefix: /files }, upstream: app, allow: [ encoded_slash ] }";

/// What may come of a target.
enum Right {
    /// 400, or 403 when it is read as something that is denied.
    RefusedOrDenied,
    /// 403: it plainly is what is denied.
    Denied,
    /// Forwarded in exactly this form.
    As(&'static str),
    /// Forwarded in one of these forms, or refused.
    AsOrRefused(&'static [&'static str]),
}
use Right::{As, AsOrRefused, Denied, RefusedOrDenied};

const TABLE: &[(&str, Right)] = &[
    // Dot segments, plain and encoded.
    ("/denied", Denied),
    ("/./denied", Denied),
    ("/a/../denied", Denied),
    ("/a/b/../../denied", Denied),
    ("/%64enied", Denied),
    ("/denie%64", Denied),
    ("/a/%2e%2e/denied", Denied),
    ("/a/.%2e/denied", Denied),
    ("/a/%2E./denied", Denied),
    ("/%2e/denied", Denied),
    ("/a/../private/x", Denied),
    ("/private", Denied),
    ("/private/../private/x", Denied),
    ("/denied?x=/../y", Denied),
    ("//denied", RefusedOrDenied),
    ("///denied", RefusedOrDenied),
    ("/a//../denied", RefusedOrDenied),
    ("//private//x", RefusedOrDenied),
    ("/../denied", RefusedOrDenied),
    ("/%2e%2e/denied", RefusedOrDenied),
    ("/a/../../denied", RefusedOrDenied),
    ("/denied/.", As("/denied/")),
    ("/private/", Denied),
    ("/x/../private", Denied),
    ("/a/./b", As("/a/b")),
    ("/a/b/..", As("/a/")),
    ("/a/b/.", As("/a/b/")),
    ("/private/../open", As("/open")),
    ("/denied/../open", As("/open")),
    ("/privately", As("/privately")),
    ("/.../x", As("/.../x")),
    ("/a/..b", As("/a/..b")),
    ("/a//b", AsOrRefused(&["/a/b"])),
    // Separators that only some servers see.
    ("/a%2fb", RefusedOrDenied),
    ("/a%2Fb", RefusedOrDenied),
    ("/%2fdenied", RefusedOrDenied),
    ("/a%2f..%2fdenied", RefusedOrDenied),
    ("/a/%2e%2e%2fdenied", RefusedOrDenied),
    ("/a/..%2fdenied", RefusedOrDenied),
    ("/%5cdenied", RefusedOrDenied),
    ("/a%5c..%5cdenied", RefusedOrDenied),
    ("/a/..%5cdenied", RefusedOrDenied),
    ("/a\\..\\denied", RefusedOrDenied),
    ("/\\denied", RefusedOrDenied),
    ("\\denied", RefusedOrDenied),
    ("/files/a%2fb", As("/files/a%2Fb")),
    ("/files/..%2fdenied", RefusedOrDenied),
    ("/files/a%2f..%2f..%2fdenied", RefusedOrDenied),
    ("/files/%2e%2e%2fdenied", RefusedOrDenied),
    ("/files/a%5cb", RefusedOrDenied),
    ("/files/../a%2fb", RefusedOrDenied),
    // Parameters.
    ("/a/..;/denied", RefusedOrDenied),
    ("/a/..;x=y/denied", RefusedOrDenied),
    ("/..;/denied", RefusedOrDenied),
    ("/a/%2e%2e;/denied", RefusedOrDenied),
    ("/a/..%3b/denied", RefusedOrDenied),
    ("/.;/denied", RefusedOrDenied),
    ("/a;v=1/b", As("/a;v=1/b")),
    ("/;x/a", AsOrRefused(&["/;x/a"])),
    // Control bytes.
    ("/denied%00", RefusedOrDenied),
    ("/a%00/../denied", RefusedOrDenied),
    ("/a%0d%0aX:%20y", RefusedOrDenied),
    ("/a%0a", RefusedOrDenied),
    ("/a%7f", RefusedOrDenied),
    // Escapes that are none, and bytes that are no UTF-8.
    ("/a%", RefusedOrDenied),
    ("/a%2", RefusedOrDenied),
    ("/a%zz", RefusedOrDenied),
    ("/a%u002e", RefusedOrDenied),
    ("/a%2%65", RefusedOrDenied),
    ("/%c0%ae%c0%ae/denied", RefusedOrDenied),
    ("/a/%c0%ae%c0%ae/denied", RefusedOrDenied),
    ("/a%c0%afdenied", RefusedOrDenied),
    ("/%e0%80%ae%e0%80%ae/denied", RefusedOrDenied),
    ("/%ff", RefusedOrDenied),
    ("/%ed%a0%80", RefusedOrDenied),
    // Encoded twice: decoded once at most, so it stays what it is.
    ("/%252e%252e/denied", AsOrRefused(&["/%252e%252e/denied", "/%252E%252E/denied"])),
    ("/a%252fb", AsOrRefused(&["/a%252fb", "/a%252Fb"])),
    ("/denied%2500", AsOrRefused(&["/denied%2500"])),
    ("/100%25", As("/100%25")),
    // Case and spelling.
    ("/DENIED", As("/DENIED")),
    ("/%7euser", As("/~user")),
    ("/caf%c3%a9", As("/caf%C3%A9")),
    ("/a%20b", As("/a%20b")),
    ("/a+b", As("/a+b")),
    ("/a%3fb", As("/a%3Fb")),
    ("/a%23b", As("/a%23B")),
    ("/?/../denied", As("/?/../denied")),
    ("/q?a=%2e%2e%2f&b=%00;%5c", AsOrRefused(&["/q?a=%2e%2e%2f&b=%00;%5c"])),
];

/// The status of the answer, and the target that the upstream received.
type Outcome = (u16, Option<String>);

#[test]
fn every_spelling_is_routed_and_forwarded_in_one_form() {
    check_table(over_http1);
}

#[test]
fn http2_has_no_other_spellings() {
    check_table(over_http2);
}

#[test]
fn the_absolute_form_has_no_other_spellings() {
    check_table(|rig, target| over_http1(rig, &format!("http://honest.test{target}")));
}

fn check_table(ask: impl Fn(&Rig, &str) -> Outcome) {
    let rig = Rig::with(Recorder::start(), &Options { routes: ROUTES, ..Options::default() });
    let mut failures = Vec::new();
    for (target, right) in TABLE {
        let outcome = ask(&rig, target);
        if !is_right(right, &outcome) {
            failures.push(format!("{target}: {outcome:?}"));
        }
    }
    assert!(failures.is_empty(), "{} targets go wrong:\n{}", failures.len(), failures.join("\n"));
    for seen in rig.recorder.requests() {
        let path = agree_on_path(&seen.target).unwrap_or_else(|disagreement| panic!("{disagreement:?}"));
        assert!(path != "/denied" && !path.starts_with("/private/"), "{} was forwarded", seen.target);
    }
    rig.conclude();
}

fn over_http1(rig: &Rig, target: &str) -> Outcome {
    let mut client = rig.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n\r\n"));
    let answer = client.read_response("GET").unwrap_or_else(|broken| panic!("{target}: {broken:?}"));
    if answer.status == 400 {
        check_problem(&answer);
        if answer.closes() {
            check_end(&mut client);
        }
    }
    let forwarded = (answer.status == 200).then(|| answer.json()["target"].as_str().map(str::to_owned));
    (answer.status, forwarded.flatten())
}

/// A stream that is reset counts as 400: a malformed message (RFC 9113 section 8.1.1).
fn over_http2(rig: &Rig, target: &str) -> Outcome {
    let mark = rig.recorder.mark();
    let mut client = rig.connect();
    client.send([opening(), headers(1, &get(target), true)].concat());
    let answer = read_until(&mut client, |frame| frame.stream == 1 || frame.is_goaway());
    let status = match answer {
        Ok(frame) if frame.kind == kind::HEADERS => status(&frame.payload).unwrap_or_default(),
        _ => 400,
    };
    (status, rig.recorder.requests_since(&mark).into_iter().next().map(|seen| seen.target))
}

fn is_right(right: &Right, (status, forwarded): &Outcome) -> bool {
    match (right, status, forwarded.as_deref()) {
        (RefusedOrDenied, 400 | 403, None) | (Denied, 403, None) | (AsOrRefused(_), 400, None) => true,
        (As(form), 200, Some(forwarded)) => forwarded.eq_ignore_ascii_case(form),
        (AsOrRefused(forms), 200, Some(forwarded)) => forms.contains(&forwarded),
        _ => false,
    }
}
