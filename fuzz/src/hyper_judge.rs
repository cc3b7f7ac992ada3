//! hyper as a second reader of the same bytes, without a socket and without a runtime.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};

/// More fields than ours allows, so that hyper never refuses for their number.
const MAX_FIELDS: usize = 512;

/// Everything is in memory and every poll moves something, so a future that is not ready after so
/// many polls, and one more for each byte, never will be.
const POLLS: usize = 64;

/// What hyper made of a request.
#[derive(Debug)]
pub(crate) struct SeenRequest {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) fields: HeaderMap,
    /// The announced length, where there is one; a chunked body has none.
    pub(crate) length: Option<u64>,
    /// The body, where it came in full.
    pub(crate) body: Option<Vec<u8>>,
}

/// What hyper made of a response.
#[derive(Debug)]
pub(crate) struct SeenResponse {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    /// The announced length, where there is one.
    pub(crate) length: Option<u64>,
}

/// The first request in `bytes` as hyper's server reads it; nothing when it refuses.
pub(crate) fn request(bytes: &[u8]) -> Option<SeenRequest> {
    let seen = Rc::new(RefCell::new(None));
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let is_first = seen.borrow().is_none();
        let (parts, body) = request.into_parts();
        let (fields, length) = (parts.headers, exact(&body));
        let request = SeenRequest { method: parts.method, uri: parts.uri, fields, length, body: None };
        seen.borrow_mut().get_or_insert(request);
        let seen = Rc::clone(&seen);
        async move {
            let body = whole(body).await;
            if let Some(first) = seen.borrow_mut().as_mut().filter(|_| is_first) {
                first.body = body;
            }
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    let connection = server.max_headers(MAX_FIELDS).serve_connection(Script::new(bytes, true), service);
    // How the connection ends is not asked: what follows the first request is its own affair.
    _ = finish(pin!(connection), bytes.len());
    seen.take()
}

/// The final response in `bytes` to a request with `method` as hyper's client reads it; nothing
/// when it refuses.
pub(crate) fn response(bytes: &[u8], method: Method) -> Option<SeenResponse> {
    let mut client = hyper::client::conn::http1::Builder::new();
    let handshake = client.max_headers(MAX_FIELDS).handshake(Script::new(bytes, false));
    let (mut sender, connection) = finish(pin!(handshake), 0)?.ok()?;
    let request = Request::builder().method(method).uri("/").header("host", "judge").body(String::new()).ok()?;
    let (mut connection, mut response) = (pin!(connection), pin!(sender.send_request(request)));
    let both = std::future::poll_fn(|cx| {
        // An error of the connection arrives at the response too.
        _ = connection.as_mut().poll(cx);
        response.as_mut().poll(cx)
    });
    let (parts, body) = finish(pin!(both), bytes.len())?.ok()?.into_parts();
    Some(SeenResponse { status: parts.status, fields: parts.headers, length: exact(&body) })
}

fn exact(body: &Incoming) -> Option<u64> {
    SizeHint::exact(&body.size_hint())
}

async fn whole(body: Incoming) -> Option<Vec<u8>> {
    let mut body = pin!(body);
    let mut data = Vec::new();
    loop {
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => return Some(data),
            Some(frame) => data.extend_from_slice(&frame.ok()?.into_data().unwrap_or_default()),
        }
    }
}

/// Polls until ready; nothing when it never becomes so.
fn finish<F: Future>(mut future: Pin<&mut F>, bytes: usize) -> Option<F::Output> {
    let mut cx = Context::from_waker(Waker::noop());
    (0..POLLS + bytes).find_map(|_| match future.as_mut().poll(&mut cx) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// A peer that says what it has to say and then is silent.
struct Script {
    bytes: Vec<u8>,
    taken: usize,
    /// A server speaks only once it has been spoken to.
    may_speak: bool,
}

impl Script {
    fn new(bytes: &[u8], may_speak: bool) -> Self {
        Self { bytes: bytes.to_vec(), taken: 0, may_speak }
    }
}

impl Read for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut room: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let count = room.remaining().min(self.bytes.len() - self.taken);
        if count == 0 || !self.may_speak {
            return Poll::Pending;
        }
        room.put_slice(&self.bytes[self.taken..self.taken + count]);
        self.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.may_speak = true;
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_body() {
        let bytes = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        let seen = request(bytes).expect("a good request");
        assert_eq!((seen.method, seen.uri.path(), seen.length), (Method::POST, "/a", None));
        assert_eq!(seen.body.as_deref(), Some(&b"ab"[..]));
        let seen = request(b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nab").expect("a good head");
        assert_eq!((seen.length, seen.body), (Some(3), None));
    }

    #[test]
    fn a_response() {
        let seen = response(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\nA: b\r\n\r\nno", Method::GET);
        let seen = seen.expect("a good response");
        assert_eq!((seen.status, seen.length), (StatusCode::NOT_FOUND, Some(2)));
        assert_eq!(seen.fields["a"], "b");
        let seen = response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Method::HEAD).expect("a good response");
        assert_eq!(seen.length, Some(0));
    }

    #[test]
    fn what_it_refuses() {
        assert!(request(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n").is_none());
        assert!(request(b"GET / HTTP/1.1\r\nHost: x\r\n").is_none());
        assert!(response(b"HTTP/1.1 2x0 OK\r\n\r\n", Method::GET).is_none());
    }
}
