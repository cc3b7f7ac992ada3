//! Request lines, targets, authorities, field syntax, sizes and counts.

use tidegate_testkit::client::RawClient;
use tidegate_testkit::http1::Closed;

use crate::rig::{Case, HIDDEN, Options, Rig, Want, check_echo, run};
use tidegate_testkit::recorder::Recorder;

const BAD: &[u16] = &[400];

/// Text with one character per byte, so that tables can hold any byte.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("tables are written in Latin-1")).collect()
}

fn refused(statuses: &'static [u16], text: &str) -> Case {
    Case::new(text.escape_debug().to_string(), bytes(&format!("{text}{HIDDEN}")), Want::Refused(statuses))
}

/// A request that can be told from what follows, so the connection may go on.
fn answered(statuses: &'static [u16], text: &str) -> Case {
    Case::new(text.escape_debug().to_string(), bytes(text), Want::Answered(statuses))
}

#[test]
fn targets_that_are_none_are_refused() {
    let rig = Rig::start();
    let targets = [
        "evil",
        "?evil",
        "#evil",
        "\\evil",
        "/evil#fragment",
        "http://user@honest.test/evil",
        "http://user:secret@honest.test/evil",
        "http://@honest.test/evil",
        "http:///evil",
        "http:/evil",
        "http:evil",
        "http://honest.test:99999/evil",
        "http://honest.test:x/evil",
        "http://[::1/evil",
        "http://honest.test\\@other.test/evil",
        "http://honest.test,other.test/evil",
        "://honest.test/evil",
        "ftp://honest.test/evil",
        "file:///evil",
        "gopher://honest.test:70/evil",
    ];
    let case =
        |target: &&str| answered(&[400, 404, 405, 421], &format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\n\r\n"));
    run(&rig, &targets.iter().map(case).collect::<Vec<_>>());
    rig.conclude();
}

#[test]
fn malformed_request_lines_are_refused() {
    let rig = Rig::start();
    let rest = "\r\nHost: honest.test\r\n\r\n";
    let lines = [
        " GET /evil HTTP/1.1",
        "\tGET /evil HTTP/1.1",
        "GET  /evil HTTP/1.1",
        "GET /evil  HTTP/1.1",
        "GET\t/evil HTTP/1.1",
        "GET /evil\tHTTP/1.1",
        "GET /evil HTTP/1.1 ",
        "GET /evil x HTTP/1.1",
        "GET /evil /x HTTP/1.1",
        "GET /evil\0 HTTP/1.1",
        "GET /ev\x7fil HTTP/1.1",
        "GET /evil\x0b HTTP/1.1",
        "GET\x0b/evil HTTP/1.1",
        "GET /evil\x0cHTTP/1.1",
        "GET\0/evil HTTP/1.1",
        "G ET /evil HTTP/1.1",
        "G\0ET /evil HTTP/1.1",
        "G@T /evil HTTP/1.1",
        "\"GET\" /evil HTTP/1.1",
        "GET: /evil HTTP/1.1",
        " /evil HTTP/1.1",
        "GET  HTTP/1.1",
        "GET HTTP/1.1",
        "GET /evil\r HTTP/1.1",
        "GET /evil\n HTTP/1.1",
        "GET /evil HTTP/1.1\r",
        "G\u{c9}T /evil HTTP/1.1",
        "GET\u{a0}/evil\u{a0}HTTP/1.1",
        "GET /evil\u{85} HTTP/1.1",
    ];
    let mut cases: Vec<Case> = lines.iter().map(|line| refused(BAD, &format!("{line}{rest}"))).collect();
    // Versions; 505 is as good an answer as 400.
    for version in [
        "HTTP/0.9",
        "HTTP/2.0",
        "HTTP/3.0",
        "HTTP/1.1x",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1.01",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/ 1.1",
        "http/1.1",
        "HTTP/1,1",
        "XTTP/1.1",
        "HTTP/1.a",
        "HTTPS/1.1",
        "1.1",
        "HTTP/-1.1",
        "HTTP/1.1/1.1",
    ] {
        cases.push(refused(&[400, 505], &format!("GET /evil {version}{rest}")));
    }
    cases.push(refused(&[400, 505], "GET /evil\r\n"));
    // Line ends.
    cases.push(refused(BAD, "GET /evil HTTP/1.1\nHost: honest.test\n\n"));
    cases.push(refused(BAD, "GET /evil HTTP/1.1\nHost: honest.test\r\n\r\n"));
    cases.push(refused(BAD, "GET /evil HTTP/1.1\r\nHost: honest.test\n\r\n"));
    cases.push(refused(BAD, "GET /evil HTTP/1.1\r\nHost: honest.test\r\n\n"));
    cases.push(refused(BAD, "GET /evil HTTP/1.1\rHost: honest.test\r\r"));
    cases.push(refused(BAD, "GET /evil HTTP/1.1\r\r\nHost: honest.test\r\n\r\n"));
    cases.push(refused(BAD, "\nGET /evil HTTP/1.1\r\nHost: honest.test\r\n\r\n"));
    cases.push(refused(BAD, "\rGET /evil HTTP/1.1\r\nHost: honest.test\r\n\r\n"));
    cases.push(refused(BAD, "junk\r\n\r\n"));
    cases.push(refused(BAD, "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n"));
    run(&rig, &cases);
    rig.conclude();
}

#[test]
fn unusual_request_lines_are_read_by_the_rfc_or_refused() {
    let rig = Rig::start();
    let either = |text: &str, target: &str| {
        Case::new(
            text.escape_debug().to_string(),
            bytes(text),
            Want::RefusedOrForwarded(&[400, 405, 421, 501, 505], target.into(), vec![]),
        )
    };
    let rest = "\r\nHost: honest.test\r\n\r\n";
    run(
        &rig,
        &[
            either(&format!("\r\nGET /odd HTTP/1.1{rest}"), "/odd"),
            either(&format!("\r\n\r\nGET /odd HTTP/1.1{rest}"), "/odd"),
            either(&format!("get /odd HTTP/1.1{rest}"), "/odd"),
            either(&format!("M-SEARCH /odd HTTP/1.1{rest}"), "/odd"),
            either(&format!("GET /odd HTTP/1.2{rest}"), "/odd"),
            either(&format!("GET /odd?a=b?c=/../d HTTP/1.1{rest}"), "/odd?a=b?c=/../d"),
            either(&format!("GET http://honest.test/odd HTTP/1.1{rest}"), "/odd"),
            either(&format!("GET http://honest.test HTTP/1.1{rest}"), "/"),
            either(&format!("GET http://honest.test?q HTTP/1.1{rest}"), "/?q"),
            either(&format!("GET HTTP://HONEST.test/odd HTTP/1.1{rest}"), "/odd"),
            either("GET /odd HTTP/1.0\r\n\r\n", "/odd"),
            either("GET /odd HTTP/1.1\r\nHost: honest.test.\r\n\r\n", "/odd"),
            either("GET /odd HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "/odd"),
        ],
    );
    rig.conclude();
}

#[test]
fn the_host_is_one_valid_authority() {
    let rig = Rig::start();
    let heads = [
        "",
        "Host: honest.test\r\nHost: honest.test\r\n",
        "Host: honest.test\r\nHost: other.test\r\n",
        "Host: honest.test\r\nhost: other.test\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a,b\r\n",
        "Host: a\\b\r\n",
        "Host: user@honest.test\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: [::1\r\n",
        "Host: ::1\r\n",
        "Host: a:port\r\n",
        "Host: a:99999\r\n",
        "Host: a:80:80\r\n",
        "Host: a:-1\r\n",
        "Host: a\0\r\n",
        "Host: a%00\r\n",
        "Host: a\r\n b\r\n",
        "Host : a\r\n",
        "Host\r\n",
        "Host: http://a\r\n",
        "Host: a;b\r\n",
        "Host: \"a\"\r\n",
        "Host: a\u{e9}\r\n",
    ];
    let cases: Vec<Case> =
        heads.iter().map(|host| answered(&[400, 421], &format!("GET /evil HTTP/1.1\r\n{host}\r\n"))).collect();
    run(&rig, &cases);
    rig.conclude();
}

#[test]
fn the_absolute_form_goes_before_host() {
    let rig = Rig::start();
    let mut client = rig.connect();
    client.send("GET http://other.test/absolute HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    let answer = client.read_response("GET").expect("an answer");
    if answer.status == 200 {
        let seen = rig.recorder.wait_for_target("/absolute");
        assert_eq!(seen.fields.all("host").collect::<Vec<_>>(), ["other.test"], "RFC 9112 section 3.2.2");
    } else {
        assert!(matches!(answer.status, 400 | 421), "{answer:?}");
        assert!(rig.recorder.requests().is_empty());
    }
    rig.conclude();
}

#[test]
fn a_gateway_is_no_forward_proxy() {
    let rig = Rig::start();
    let refused = |text: &str| refused(&[400, 403, 404, 405, 501], text);
    run(
        &rig,
        &[
            refused("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n"),
            refused("CONNECT /evil HTTP/1.1\r\nHost: honest.test\r\n\r\n"),
            refused("CONNECT evil.test HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
            refused("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\nContent-Length: 5\r\n\r\nhello"),
            refused("GET evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n"),
            refused("GET * HTTP/1.1\r\nHost: honest.test\r\n\r\n"),
        ],
    );
    let asterisk = "OPTIONS * HTTP/1.1\r\nHost: honest.test\r\n\r\n";
    run(&rig, &[Case::of(asterisk, Want::Answered(&[200, 204, 400, 404, 405, 501]))]);
    rig.conclude();
}

#[test]
fn malformed_fields_are_refused() {
    let rig = Rig::start();
    let fields = [
        "X-A : y",
        "X-A\t: y",
        ": y",
        " : y",
        " X-A: y",
        "\tX-A: y",
        "X-A: y\r\n folded",
        "X-A: y\r\n\tfolded",
        "X-A: y\r\n ",
        "X-A: a\0b",
        "X-A: \0",
        "X-A: a\rb",
        "X-A: a\nb",
        "X-A: a\nX-B: y",
        "X-A: a\n X-B: y",
        "X A: y",
        "X-A",
        "X-A y",
        "X(A): y",
        "X-A,B: y",
        "X\x7f: y",
        "X\0: y",
        "X-\u{e9}: y",
        "X-A: a\x01b",
        "X-A: a\x7fb",
        "X-A: a\x08",
        "X-A: \x1b[2J",
        "X-A\r: y",
        "X-A\r\n: y",
        "\"X\": y",
        "X/A: y",
        "X@A: y",
        "{X}: y",
        "X=A: y",
        "X-A: y\r\r\nX-B: z",
        "X-A: y\n\r\nX-B: z",
    ];
    let mut cases = Vec::new();
    for field in fields {
        // First, in the middle and last: folding and joining depend on what stands before.
        cases.push(refused(BAD, &format!("GET /evil HTTP/1.1\r\n{field}\r\nHost: honest.test\r\n\r\n")));
        cases.push(refused(BAD, &format!("GET /evil HTTP/1.1\r\nHost: honest.test\r\n{field}\r\nAccept: a\r\n\r\n")));
        cases.push(refused(BAD, &format!("GET /evil HTTP/1.1\r\nHost: honest.test\r\n{field}\r\n\r\n")));
    }
    run(&rig, &cases);
    rig.conclude();
}

#[test]
fn unusual_values_arrive_unchanged() {
    let rig = Rig::start();
    for (number, value) in [
        "",
        "caf\u{e9}",
        "a\tb",
        "a  b",
        "\"quo\\\"ted\"",
        "a:b",
        "a,b;c=d",
        "\u{80}\u{ff}",
        "~!@#$%^&*()_+`-={}|[]\\:\";'<>?,./",
    ]
    .iter()
    .enumerate()
    {
        let target = format!("/value/{number}");
        let answer = rig
            .connect()
            .exchange(bytes(&format!("GET {target} HTTP/1.1\r\nHost: honest.test\r\nX-Odd:\t {value} \t\r\n\r\n")));
        check_echo(&answer, &target);
        let seen = rig.recorder.wait_for_target(&target);
        assert_eq!(seen.fields.all("x-odd").collect::<Vec<_>>(), [*value]);
    }
    rig.conclude();
}

#[test]
fn what_is_too_large_or_too_many_is_refused() {
    let rig = Rig::start();
    let before = rig.gateway.resident_bytes();
    let megabyte = "x".repeat(1 << 20);
    let head = "GET /evil HTTP/1.1\r\nHost: honest.test\r\n";
    let fields = |count: usize, name: &str| (0..count).map(|at| format!("{name}{at}: y\r\n")).collect::<String>();
    let cookies = "Cookie: a=b\r\n".repeat(5000);
    let large = &[400, 414, 431];
    run(
        &rig,
        &[
            Case::new("1 MB value", format!("{head}X-A: {megabyte}\r\n\r\n"), Want::Refused(large)),
            Case::new("1 MB name", format!("{head}{megabyte}: y\r\n\r\n"), Want::Refused(large)),
            Case::new(
                "1 MB target",
                format!("GET /evil{megabyte} HTTP/1.1\r\nHost: honest.test\r\n\r\n"),
                Want::Refused(large),
            ),
            Case::new(
                "1 MB query",
                format!("GET /evil?{megabyte} HTTP/1.1\r\nHost: honest.test\r\n\r\n"),
                Want::Refused(large),
            ),
            Case::new(
                "1 MB method",
                format!("{megabyte} /evil HTTP/1.1\r\nHost: honest.test\r\n\r\n"),
                Want::Refused(&[400, 414, 431, 501]),
            ),
            Case::new("1 MB host", format!("GET /evil HTTP/1.1\r\nHost: {megabyte}\r\n\r\n"), Want::Refused(large)),
            Case::new("1 MB of nothing", "\r\n".repeat(1 << 19), Want::Cut(large)),
            Case::new("1 MB without a line end", megabyte.clone(), Want::Refused(large)),
            Case::new("20,000 fields", format!("{head}{}\r\n", fields(20_000, "X-")), Want::Refused(large)),
            Case::new("20,000 short fields", format!("{head}{}\r\n", "a:\r\n".repeat(20_000)), Want::Refused(large)),
            Case::new("5,000 cookies", format!("{head}{cookies}\r\n"), Want::Refused(large)),
            Case::new("129 fields", format!("{head}{}\r\n", fields(128, "X-")), Want::Refused(&[431])),
            Case::new(
                "a target of 17 KiB",
                format!("GET /evil{} HTTP/1.1\r\nHost: honest.test\r\n\r\n", "x".repeat(17 << 10)),
                Want::Refused(&[414]),
            ),
            Case::new(
                "a value of 65 KiB",
                format!("{head}X-A: {}\r\n\r\n", "x".repeat(65 << 10)),
                Want::Refused(&[431]),
            ),
        ],
    );
    let growth = rig.gateway.resident_bytes().saturating_sub(before);
    assert!(growth < 16 << 20, "the refused heads left {growth} bytes behind");
    rig.conclude();
}

#[test]
fn what_is_just_small_enough_is_forwarded() {
    let rig = Rig::start();
    let long_target = format!("/{}", "x".repeat((16 << 10) - 1));
    check_echo(&rig.connect().get(&long_target), &long_target);
    let value = "x".repeat(60 << 10);
    let answer = rig.connect().exchange(format!("GET /value HTTP/1.1\r\nHost: honest.test\r\nX-A: {value}\r\n\r\n"));
    assert_eq!(answer.status, 200);
    assert_eq!(rig.recorder.wait_for_target("/value").fields.first("x-a"), Some(&*value));
    let fields: String = (0..127).map(|at| format!("X-{at}: y\r\n")).collect();
    let answer = rig.connect().exchange(format!("GET /fields HTTP/1.1\r\nHost: honest.test\r\n{fields}\r\n"));
    assert_eq!(answer.status, 200);
    let seen = rig.recorder.wait_for_target("/fields");
    assert!((0..127).all(|at| seen.fields.first(&format!("x-{at}")) == Some("y")));
    rig.conclude();
}

#[test]
fn a_hundred_pipelined_requests_are_answered_in_order() {
    let rig = Rig::start();
    let mut client = rig.connect();
    let requests: String =
        (0..100).map(|at| format!("GET /pipelined/{at} HTTP/1.1\r\nHost: honest.test\r\n\r\n")).collect();
    client.send(requests);
    for at in 0..100 {
        let answer = client.read_response("GET").unwrap_or_else(|broken| panic!("answer {at}: {broken:?}"));
        check_echo(&answer, &format!("/pipelined/{at}"));
    }
    rig.conclude();
}

#[test]
fn pipelined_bodies_are_kept_apart() {
    let rig = Rig::start();
    let mut client = rig.connect();
    client.send(format!(
        "POST /one HTTP/1.1\r\nHost: honest.test\r\nContent-Length: {}\r\n\r\n{HIDDEN}\
         POST /two HTTP/1.1\r\nHost: honest.test\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{HIDDEN}\r\n0\r\n\r\n\
         HEAD /three HTTP/1.1\r\nHost: honest.test\r\n\r\n\
         GET /four HTTP/1.1\r\nHost: honest.test\r\nConnection: close\r\n\r\n{HIDDEN}",
        HIDDEN.len(),
        HIDDEN.len(),
    ));
    for target in ["/one", "/two"] {
        check_echo(&client.read_response("POST").expect("an answer"), target);
    }
    assert_eq!(client.read_response("HEAD").expect("an answer").status, 200);
    check_echo(&client.read_response("GET").expect("an answer"), "/four");
    assert_eq!(client.read_to_end().0, b"", "nothing after Connection: close is served");
    let bodies: Vec<Vec<u8>> = rig.recorder.requests().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [HIDDEN.as_bytes(), HIDDEN.as_bytes(), b"", b""]);
    rig.conclude();
}

#[test]
fn heads_in_small_pieces_are_read_like_whole_ones() {
    let rig = Rig::start();
    let request = b"POST /pieces HTTP/1.1\r\nHost: honest.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nX: y\r\n\r\n";
    for size in [1, 2, 3, 7] {
        let mut client = rig.connect();
        client.send_pieces(request.chunks(size));
        check_echo(&client.read_response("POST").expect("an answer"), "/pieces");
    }
    assert!(rig.recorder.requests().iter().all(|seen| seen.body == b"abcde"));
    rig.conclude();
}

#[test]
fn a_client_that_leaves_early_disturbs_nobody() {
    let rig = Rig::start();
    for head in ["", "G", "GET /evil", "GET /evil HTTP/1.1\r\n", "GET /evil HTTP/1.1\r\nHost: honest.test\r\n"] {
        let mut leaving = rig.connect();
        leaving.send(head);
        leaving.half_close();
        let (said, closed) = leaving.read_to_end();
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400 "), "{said:?}");
        assert_ne!(closed, Closed::Truncated);
        let mut breaking = rig.connect();
        breaking.send(head);
        breaking.reset();
        rig.probe("/probe");
    }
    rig.conclude();
}

#[test]
fn connections_beyond_the_limit_wait() {
    let options = Options { listener: "limits: { connections: 4 }", ..Options::default() };
    let rig = Rig::with(Recorder::start(), &options);
    let mut clients: Vec<RawClient> = (0..4).map(|_| rig.connect()).collect();
    for client in &mut clients {
        check_echo(&client.get("/within"), "/within");
    }
    let mut waiting = rig.connect();
    waiting.send("GET /waiting HTTP/1.1\r\nHost: honest.test\r\n\r\n");
    for client in &mut clients {
        check_echo(&client.get("/still"), "/still");
    }
    assert!(rig.recorder.requests_for("/waiting").is_empty(), "the fifth connection is not served yet");
    drop(clients.pop());
    check_echo(&waiting.read_response("GET").expect("room was made"), "/waiting");
    rig.conclude();
}
