//! Three small services for the demo: a fast one, a slow one, and one that fails every now and then.
//!
//! They run on the control thread. They are there to be looked at, not to be measured.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::any;
use hyper::body::{Body, Frame};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

/// Ports of the loopback address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) fast: u16,
    pub(super) slow: u16,
    pub(super) flaky: u16,
}

/// Starts all three, until the runtime ends.
pub(super) async fn start() -> io::Result<Ports> {
    let (fast, slow, flaky) = (listen().await?, listen().await?, listen().await?);
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let ports = Ports { fast: port(&fast)?, slow: port(&slow)?, flaky: port(&flaky)? };
    tokio::spawn(axum::serve(fast, Router::new().fallback(fast_answer)).into_future());
    let slow_pages = Router::new().route("/slow/stream", any(stream)).fallback(slow_answer);
    tokio::spawn(axum::serve(slow, slow_pages).into_future());
    tokio::spawn(fail_in_turn(flaky));
    Ok(ports)
}

async fn listen() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// What the service sees of the request.
async fn fast_answer(request: Request) -> impl IntoResponse {
    pretty(&json!({
        "service": "fast",
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": fields(request.headers()),
    }))
}

/// JSON for the eyes of whoever tries the demo.
fn pretty(value: &Value) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value:#}\n"))
}

/// As an object; of a field that comes several times, the values with commas between them.
fn fields(headers: &HeaderMap) -> Value {
    let value = |name| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        Value::from(values.collect::<Vec<_>>().join(", "))
    };
    headers.keys().map(|name| (name.to_string(), value(name))).collect::<Map<_, _>>().into()
}

async fn slow_answer() -> impl IntoResponse {
    sleep(Duration::from_millis(1500)).await;
    pretty(&json!({ "service": "slow", "note": "good things take time" }))
}

/// A line every 300 ms, ten times.
async fn stream() -> impl IntoResponse {
    let lines = Lines { left: 10, next: Box::pin(sleep(Duration::ZERO)) };
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], axum::body::Body::new(lines))
}

struct Lines {
    left: u32,
    next: Pin<Box<Sleep>>,
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        ready!(self.next.as_mut().poll(cx));
        self.left -= 1;
        self.next = Box::pin(sleep(Duration::from_millis(300)));
        let line = format!("{} more\n", self.left);
        Poll::Ready(Some(Ok(Frame::data(line.into()))))
    }
}

/// Bytes of a request head that are read before the flaky service answers; the demo's are far shorter.
const HEAD: usize = 16 * 1024;

/// Answers the first of three requests, fails at the second, and breaks the connection at the third.
async fn fail_in_turn(listener: TcpListener) {
    let mut turn = 0_u32;
    while let Ok((stream, _)) = listener.accept().await {
        let answer = match turn % 3 {
            0 => Some(("200 OK", "All is well, this time.\n")),
            1 => Some(("503 Service Unavailable", "Not now: the service itself says so.\n")),
            _ => None,
        };
        turn += 1;
        tokio::spawn(async move {
            // Whoever asked has seen that it failed.
            let _ = answer_once(stream, answer).await;
        });
    }
}

/// Reads a head, answers it, and closes the connection.
async fn answer_once(mut stream: TcpStream, answer: Option<(&str, &str)>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let Some((status, body)) = answer else { return Ok(()) };
    let length = body.len();
    let fields = format!("content-type: text/plain\r\ncontent-length: {length}\r\nconnection: close");
    stream.write_all(format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n{body}").as_bytes()).await
}
