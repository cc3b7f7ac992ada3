//! Where a request body ends: everything that two readers could see differently is refused.

use crate::rig::{Case, HIDDEN, Rig, Want, run};

const BAD: &[u16] = &[400];
const BAD_OR_UNKNOWN: &[u16] = &[400, 501];
const BAD_OR_LARGE: &[u16] = &[400, 413];

/// A POST with these field lines and this body, and a hidden request after it.
fn post(lines: &str, body: &str) -> Vec<u8> {
    message("POST /evil HTTP/1.1", lines, body)
}

fn message(start: &str, lines: &str, body: &str) -> Vec<u8> {
    // Lines are written with one character per byte, so that tables can hold any byte.
    let text = format!("{start}\r\nHost: honest.test\r\n{lines}\r\n\r\n{body}{HIDDEN}");
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("tables are written in Latin-1")).collect()
}

fn refused(statuses: &'static [u16], lines: &str, body: &str) -> Case {
    Case::new(lines.escape_debug().to_string(), post(lines, body), Want::Refused(statuses))
}

#[test]
fn content_length_beside_transfer_encoding_is_refused() {
    let rig = Rig::start();
    let mut cases = Vec::new();
    for length in ["5", "0", "-1", "", "junk", "5, 5", "1000000"] {
        for coding in ["chunked", "Chunked", "identity", "xchunked", ""] {
            let (length, coding) = (format!("Content-Length: {length}"), format!("Transfer-Encoding: {coding}"));
            for lines in [format!("{length}\r\n{coding}"), format!("{coding}\r\n{length}")] {
                cases.push(refused(BAD_OR_UNKNOWN, &lines, "0\r\n\r\n"));
            }
        }
    }
    for lines in
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5", "Transfer-Encoding: identity"]
    {
        let send = message("POST /evil HTTP/1.0", lines, "0\r\n\r\n");
        cases.push(Case::new(format!("HTTP/1.0 {lines:?}"), send, Want::Refused(BAD_OR_UNKNOWN)));
    }
    run(&rig, &cases);
    rig.conclude();
}

#[test]
fn odd_transfer_encodings_are_refused() {
    let rig = Rig::start();
    let values = [
        "xchunked",
        "chunkedx",
        "chunke",
        "chunked, identity",
        "identity, chunked",
        "identity",
        "chunked, chunked",
        "chunked,chunked",
        "\"chunked\"",
        "'chunked'",
        "chunked;q=1",
        "chunked; a=b",
        "chunked;",
        "chunked,",
        ",chunked",
        ", chunked",
        "x, chunked",
        "cow, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "gzip",
        "deflate",
        "br",
        "chun ked",
        "chunked identity",
        "chunked\tidentity",
        "\x0bchunked",
        "chunked\x0b",
        "\x0cchunked",
        "chunked\x0c",
        "\0chunked",
        "chunked\0",
        "chu\0nked",
        "\u{a0}chunked",
        "chunked\u{a0}",
        "\u{85}chunked",
        "\\chunked",
        "chunked\\",
        "",
        "trailers",
        "\tchunked",
        "chunked\t",
        "\t chunked",
        "%63hunked",
        "chunked\u{ff}",
        "{chunked}",
        "chunked=1",
        "c",
        "1",
    ];
    let mut cases: Vec<Case> = values
        .iter()
        .map(|value| refused(BAD_OR_UNKNOWN, &format!("Transfer-Encoding: {value}"), "0\r\n\r\n"))
        .collect();
    let lines = [
        // Folded.
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: chunked\r\n , identity",
        "Transfer-Encoding: x\r\n\tchunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\r\n\tTransfer-Encoding: chunked\r\nContent-Length: 5",
        // Twice.
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip\r\ntransfer-encoding: chunked",
        "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
        // Names that some servers take for it.
        "Transfer_Encoding: chunked",
        "Transfer_Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked\r\nContent-Length: 5",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding\0: chunked",
        "\x0bTransfer-Encoding: chunked",
        "Transfer-Encoding\x0b: chunked",
        "Transfer Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding\u{a0}: chunked",
        "\u{ff}Transfer-Encoding: chunked",
        "Transfer.Encoding: chunked\r\nContent-Length: 5",
        "\"Transfer-Encoding\": chunked",
        "Transfer-Encoding",
        "Transfer-Encoding\r: chunked",
        // Behind a line end that only some servers see.
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\r\nTransfer-Encoding: chunked",
        "X: y\n\rTransfer-Encoding: chunked",
        "X: y\0\r\nTransfer-Encoding: chunked",
        "X: y\x0b\nTransfer-Encoding: chunked",
    ];
    cases.extend(lines.iter().map(|lines| refused(BAD_OR_UNKNOWN, lines, "0\r\n\r\n")));
    run(&rig, &cases);
    rig.conclude();
}

#[test]
fn plain_transfer_encodings_are_forwarded() {
    let rig = Rig::start();
    let lines = [
        "Transfer-Encoding: chunked",
        "transfer-encoding:chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding:   chunked  ",
    ];
    let cases: Vec<Case> = lines
        .iter()
        .map(|lines| {
            let send = format!(
                "POST /plain HTTP/1.1\r\nHost: honest.test\r\n{lines}\r\n\r\n5;a=\"b\"\r\nhello\r\n000\r\n\r\n"
            );
            Case::new(*lines, send, Want::Forwarded("/plain".into(), b"hello".to_vec()))
        })
        .collect();
    run(&rig, &cases);
    rig.conclude();
}

#[test]
fn odd_content_lengths_are_refused() {
    let rig = Rig::start();
    let values = [
        "+5",
        "-5",
        "-0",
        "0x5",
        "0X5",
        "5,5",
        "5, 5",
        "5,6",
        "6,5",
        "5;6",
        "",
        " ",
        "5 5",
        "5\t5",
        "5\x0b",
        "\x0b5",
        "\x0c5",
        "5\0",
        "\x005",
        "5;",
        "5.0",
        "5e0",
        "1_0",
        "\"5\"",
        "'5'",
        "five",
        "\u{b2}",
        "5\u{a0}",
        "5-",
        "=5",
        "5a",
        "a5",
        "%35",
        "NaN",
        "1e1",
        "18446744073709551616",
        "18446744073709551621",
        "-18446744073709551611",
        "36893488147419103237",
        "340282366920938463463374607431768211461",
        "99999999999999999999999999999999999999999999999999999999",
    ];
    let mut cases: Vec<Case> =
        values.iter().map(|value| refused(BAD, &format!("Content-Length: {value}"), "hello")).collect();
    // Numbers, but larger than any body may be: refused by the limit, and never by chance the 5 that
    // arithmetic in 32 or 63 bits would make of them.
    for value in ["4294967301", "9223372036854775813", "18446744073709551615"] {
        cases.push(refused(BAD_OR_LARGE, &format!("Content-Length: {value}"), "hello"));
    }
    let lines = [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 6\r\ncontent-length: 5",
        "Content-Length: 5\r\nX: y\r\nContent-Length: 0",
        "Content-Length:\r\nContent-Length: 5",
        "Content_Length: 5",
        "Content-Length: 0\r\nContent_Length: 5",
        "Content-Length : 5",
        "Content-Length\t: 5",
        "Content-Length\0: 5",
        "Content Length: 5",
        "Content-Length:\r\n 5",
        "Content-Length: 5\r\n 5",
        "X: y\r\n Content-Length: 5",
        "X: y\nContent-Length: 5",
        "X: y\rContent-Length: 5",
        "Content-Length: 0\nContent-Length: 5",
        "Content-Length\u{a0}: 5",
        "Content-Length",
        "Content.Length: 5",
    ];
    cases.extend(lines.iter().map(|lines| refused(BAD, lines, "hello")));
    run(&rig, &cases);
    rig.conclude();
}

#[test]
fn content_lengths_that_are_only_unusual_are_read_by_the_rfc() {
    let rig = Rig::start();
    let body = "0123456789";
    let cases: Vec<Case> = [
        ("POST", "10"),
        ("GET", "10"),
        ("DELETE", "10"),
        ("POST", " 10 "),
        ("POST", "010"),
        ("POST", "0000000000000000000000000000010"),
    ]
    .iter()
    .map(|(method, length)| {
        let send = format!("{method} /odd HTTP/1.1\r\nHost: honest.test\r\nContent-Length: {length}\r\n\r\n{body}");
        let want = Want::RefusedOrForwarded(BAD, "/odd".into(), body.into());
        Case::new(format!("{method} {length:?}"), send, want)
    })
    .collect();
    run(&rig, &cases);
    rig.conclude();
}

#[test]
fn a_malformed_chunked_body_is_cut() {
    let rig = Rig::start();
    let huge = "x".repeat(1 << 20);
    let many = "1;x=y\r\na\r\n".repeat(2) + &format!("1;{}\r\na\r\n0\r\n\r\n", "x=y;".repeat(50_000));
    let bodies = [
        // The size: overflow, signs, spaces, other digits.
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "100000005\r\nhello\r\n0\r\n\r\n",
        "8000000000000005\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "\t5\r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "5h\r\nhello\r\n0\r\n\r\n",
        "5,\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
        "\u{b2}\r\nhello\r\n0\r\n\r\n",
        "5 ;x\nhello\r\n0\r\n\r\n",
        // Line ends.
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "5\n\rhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        // Extensions.
        "5;x\nhello\r\n0\r\n\r\n",
        "5;x\rhello\r\n0\r\n\r\n",
        "5;x\ny\r\nhello\r\n0\r\n\r\n",
        "5;x\ry\r\nhello\r\n0\r\n\r\n",
        "5;x=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5;x=\"\r\n0\r\n\r\n",
        // The data is longer or shorter than its size.
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        // The last chunk and the trailers.
        "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n",
        "5\r\nhello\r\n0\r\n: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    ];
    let large = [format!("5;{huge}\r\nhello\r\n0\r\n\r\n"), format!("5\r\nhello\r\n0\r\nX: {huge}\r\n\r\n"), many];
    let bodies = bodies.iter().map(|&body| body.to_owned()).chain(large);
    let cases: Vec<Case> = bodies
        .map(|body| {
            let name: String = body.escape_debug().take(80).collect();
            Case::new(name, post("Transfer-Encoding: chunked", &body), Want::Cut(&[400, 413, 431]))
        })
        .collect();
    run(&rig, &cases);
    rig.conclude();
}

#[test]
fn a_body_that_ends_too_early_is_cut() {
    let rig = Rig::start();
    let mut cases = Vec::new();
    for body in [
        "",
        "5",
        "5\r",
        "5\r\n",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n",
    ] {
        let send = format!("POST /evil HTTP/1.1\r\nHost: honest.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        cases.push(Case::of(send, Want::Cut(&[400])).ending());
    }
    for body in ["", "hel", "hell"] {
        let send = format!("POST /evil HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 5\r\n\r\n{body}");
        cases.push(Case::of(send, Want::Cut(&[400])).ending());
    }
    run(&rig, &cases);
    rig.conclude();
}

#[test]
fn trailers_never_become_header_fields() {
    let rig = Rig::start();
    let names = [
        "Authorization",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "X-Forwarded-For",
        "Connection",
        "Cookie",
        "X-Request-Id",
        "Forwarded",
    ];
    for (number, name) in names.iter().enumerate() {
        let target = format!("/trailer/{number}");
        let mut client = rig.connect();
        let answer = client.exchange(format!(
            "POST {target} HTTP/1.1\r\nHost: honest.test\r\nTransfer-Encoding: chunked\r\nTrailer: {name}\r\n\r\n5\r\nhello\r\n0\r\n{name}: forged\r\nX-Fine: 1\r\n\r\n"
        ));
        if answer.status == 200 {
            let head = answer.json()["head"].to_string();
            assert!(!head.contains("forged"), "{name} moved from the trailers into the head: {head}");
            assert!(!head.contains("X-Fine"), "{head}");
            let seen = rig.recorder.wait_for_target(&target);
            assert_eq!(seen.fields.all("host").collect::<Vec<_>>(), ["honest.test"]);
            crate::rig::check_honest_or_ended(client, &format!("/after/{number}"));
        } else {
            assert_eq!(answer.status, 400, "{name}");
        }
    }
    rig.conclude();
}
