use super::*;

fn post(fields: &str, rest: &str) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n{rest}").into_bytes()
}

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn clean_streams_are_read_alike_by_all() {
    let mut stream = post("Content-Length: 5\r\n", "hello");
    stream.extend(post("Transfer-Encoding: chunked\r\n", "5;x=1\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"));
    stream.extend(b"GET /b?c HTTP/1.1\r\nHost: h\r\nCookie: a=b; c=d\r\nX-Odd: \xff\r\n\r\n");
    let requests = agree(&stream).unwrap_or_else(|disagreement| panic!("{disagreement}"));
    let short: Vec<_> =
        requests.iter().map(|request| (request.target.as_str(), request.body.len(), request.complete)).collect();
    assert_eq!(short, [("/a", 5, true), ("/a", 5, true), ("/b?c", 0, true)]);
}

#[test]
fn a_cut_body_is_agreed_to_be_cut() {
    for stream in [
        post("Content-Length: 5\r\n", "hel"),
        post("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
        post("Transfer-Encoding: chunked\r\n", "3\r\nhel\r\n"),
    ] {
        let requests = agree(&stream).unwrap_or_else(|disagreement| panic!("{disagreement}"));
        assert_eq!((requests.len(), requests[0].complete, requests[0].body.len()), (1, false, 3));
    }
}

#[test]
fn a_cut_head_is_no_request() {
    let mut stream = post("Content-Length: 2\r\n", "hi");
    stream.extend(b"GET /b HTTP/1.1\r\nHos");
    assert_eq!(agree(&stream).map(|requests| requests.len()).unwrap_or_default(), 1);
}

#[test]
fn ambiguous_streams_are_not_agreed_on() {
    let streams = [
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n", HIDDEN),
        post("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"),
        post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        post("Content_Length: 5\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        post("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"),
        post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
        post("Content-Length: 5, 6\r\n", "hello!"),
        post("Content-Length: +5\r\n", "hello"),
        post("Content-Length: 4294967301\r\n", "hello"),
        post("Content-Length: 18446744073709551621\r\n", "hello"),
        post("X: y\nContent-Length: 5\r\n", "hello"),
        post("X: y\rContent-Length: 5\r\n", "hello"),
        post("X: y\0z\r\n", ""),
        post("Host: other\r\n", ""),
        post("Transfer-Encoding: chunked\r\n", "100000005\r\nhello\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n", "5_0\r\nhello\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n", "5;x\ny\r\nhello\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n", "5\r\nhello0\r\n\r\n"),
        b"GET /a HTTP/1.1 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        b"POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
    ];
    for stream in streams {
        if let Ok(requests) = agree(&stream) {
            panic!("all models agree on {requests:?} in {}", shown(&stream));
        }
    }
}

/// If a dialect reads every stream as another one does, it judges nothing.
#[test]
fn every_dialect_sees_something_that_the_strict_reader_refuses() {
    for dialect in DIALECTS {
        let streams = [
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            post("X: y\nZ: 5\r\n", ""),
            post("X : y\r\n", ""),
        ];
        assert!(streams.iter().any(|stream| read(stream, dialect).is_ok()), "{}", dialect.name);
    }
}
