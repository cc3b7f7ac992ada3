//! One probe: a new connection, a question, and whether the answer is as it should be.
//!
//! Always a new connection, because that is what an endpoint that is about to fail refuses first.

use super::grpc;
use crate::config::plan::{HealthCheck, Probe, ProbeMethod};
use crate::config::units::Statuses;
use crate::health::LastProbe;
use crate::upstream::{Connector, Spoken};
use bytes::Bytes;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Instant, SystemTime};
use tidegate_wire::framing::BodyLength;
use tidegate_wire::h1;
use tidegate_wire::h2::FrameIo;
use tidegate_wire::head::{RequestHead, ResponseHead};
use tidegate_wire::parse::HeadLimits;
use tidegate_wire::transport::Transport;

/// By what an endpoint knows a probe from a request.
const AGENT: &str = "tidegate-health-check";

/// Limits of a response head.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 256, target: 0 };

/// Interim answers before the one that counts.
const INTERIM: usize = 8;

/// Bytes of what is told about an answer.
const DETAIL: usize = 200;

/// What the answer was, where it was as it should be; else what it was, or why there was none.
type Found = Result<String, String>;

/// Probes an endpoint once.
pub(super) async fn probe(connector: &Connector, check: &HealthCheck) -> LastProbe {
    let begun = Instant::now();
    let found = match tokio::time::timeout(check.timeout, ask(connector, &check.probe)).await {
        Ok(found) => found,
        Err(_) => Err("timed out".to_owned()),
    };
    let passed = found.is_ok();
    let mut detail = found.unwrap_or_else(|why| why);
    // Part of it may be the endpoint's own words.
    detail.truncate(detail.floor_char_boundary(DETAIL));
    LastProbe { passed, detail, at: SystemTime::now(), took: begun.elapsed() }
}

async fn ask(connector: &Connector, probe: &Probe) -> Found {
    let (transport, spoken) = connector.open().await.map_err(|error| format!("cannot connect: {error}"))?;
    match (probe, spoken) {
        (Probe::Tcp, _) => Ok("connected".to_owned()),
        (Probe::Http { path, host, method, expect }, spoken) => {
            let host = host.as_ref().unwrap_or(connector.authority());
            let status = match spoken {
                Spoken::Http1 => http1(transport, method.into(), path, host).await?,
                Spoken::Http2 => {
                    let request = request(connector, method.into(), host, path)?;
                    converse(transport, async |sender| exchange(sender, request).await).await?
                }
            };
            judge(status, expect)
        }
        (Probe::Grpc { service }, Spoken::Http2) => {
            let mut request = request(connector, Method::POST, connector.authority(), grpc::METHOD)?;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
            let question = grpc::question(service);
            converse(transport, async |sender| call(sender, request, question).await).await
        }
        (Probe::Grpc { .. }, Spoken::Http1) => Err("the endpoint speaks no HTTP/2".to_owned()),
    }
}

impl From<&ProbeMethod> for Method {
    fn from(method: &ProbeMethod) -> Self {
        match method {
            ProbeMethod::Get => Self::GET,
            ProbeMethod::Head => Self::HEAD,
            ProbeMethod::Options => Self::OPTIONS,
        }
    }
}

fn judge(status: StatusCode, expect: &[Statuses]) -> Found {
    let text = format!("status {}", status.as_u16());
    if expect.iter().any(|range| range.contains(status.as_u16())) { Ok(text) } else { Err(text) }
}

async fn http1(transport: Transport, method: Method, path: &str, host: &str) -> Result<StatusCode, String> {
    let mut request = RequestHead { method, target: path.into(), ..RequestHead::default() };
    for (name, value) in [(HOST.as_str(), host), (USER_AGENT.as_str(), AGENT), ("connection", "close")] {
        request.fields.append(name, value.as_bytes());
    }
    let mut connection = h1::Connection::new(transport);
    connection.start_request(&request, BodyLength::None);
    poll_fn(|cx| connection.poll_flush(cx)).await.map_err(|error| format!("cannot send: {error}"))?;
    let mut response = ResponseHead::default();
    for _ in 0..=INTERIM {
        let came = poll_fn(|cx| connection.poll_response(cx, &LIMITS, &mut response)).await;
        match came {
            Ok(true) if response.is_interim() => {}
            Ok(true) => return Ok(response.status),
            Ok(false) => return Err("closed without an answer".to_owned()),
            Err(h1::HeadError::Refused(refusal)) => return Err(format!("not HTTP: {refusal}")),
            Err(_) => return Err("closed inside its answer".to_owned()),
        }
    }
    Err("too many interim answers".to_owned())
}

fn request(connector: &Connector, method: Method, host: &str, path: &str) -> Result<Request<()>, String> {
    let scheme = if connector.is_tls() { "https" } else { "http" };
    let request = Request::builder().method(method).uri(format!("{scheme}://{host}{path}")).header(USER_AGENT, AGENT);
    request.body(()).map_err(|error| error.to_string())
}

/// Speaks HTTP/2 on a new connection for as long as `talk` takes.
async fn converse<T>(
    transport: Transport,
    talk: impl AsyncFnOnce(SendRequest<Bytes>) -> Result<T, String>,
) -> Result<T, String> {
    let (frames, watch) = FrameIo::to_upstream(transport);
    let mut builder = h2::client::Builder::new();
    let handshake = builder.enable_push(false).handshake(frames).await;
    let (sender, mut connection) = handshake.map_err(|error| error.to_string())?;
    let mut talk = pin!(talk(sender));
    let mut drive = pin!(poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(ended.map_err(|error| error.to_string()));
        }
        match watch.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.to_string())),
            _ => Poll::Pending,
        }
    }));
    tokio::select! {
        biased;
        said = &mut talk => said,
        ended = &mut drive => {
            // What came before the end counts.
            match poll_fn(|cx| Poll::Ready(talk.as_mut().poll(cx))).await {
                Poll::Ready(said) => said,
                Poll::Pending => Err(ended.err().unwrap_or_else(|| "closed without an answer".to_owned())),
            }
        }
    }
}

async fn exchange(sender: SendRequest<Bytes>, request: Request<()>) -> Result<StatusCode, String> {
    let mut sender = sender.ready().await.map_err(|error| error.to_string())?;
    let (answer, _) = sender.send_request(request, true).map_err(|error| error.to_string())?;
    Ok(answer.await.map_err(|error| error.to_string())?.status())
}

async fn call(sender: SendRequest<Bytes>, request: Request<()>, question: Bytes) -> Found {
    let failed = |error: h2::Error| error.to_string();
    let mut sender = sender.ready().await.map_err(failed)?;
    let (answer, mut stream) = sender.send_request(request, false).map_err(failed)?;
    stream.send_data(question, true).map_err(failed)?;
    let answer = answer.await.map_err(failed)?;
    if answer.status() != StatusCode::OK {
        return Err(format!("status {}", answer.status().as_u16()));
    }
    grpc_status(answer.headers())?;
    let mut body = answer.into_body();
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(failed)?;
        // No more is taken than the first window has room for.
        if message.len() + piece.len() > grpc::LONGEST {
            return Err("an answer that is too long".to_owned());
        }
        message.extend_from_slice(&piece);
    }
    if let Some(trailers) = body.trailers().await.map_err(failed)? {
        grpc_status(&trailers)?;
    }
    match grpc::answer(&message) {
        Some(grpc::SERVING) => Ok(grpc::name(grpc::SERVING).to_owned()),
        Some(other) => Err(grpc::name(other).to_owned()),
        None => Err("not the answer of a health service".to_owned()),
    }
}

/// Whether these fields, where they say how the call ended, say that it ended well.
fn grpc_status(fields: &HeaderMap) -> Result<(), String> {
    match fields.get("grpc-status").map(HeaderValue::as_bytes) {
        None | Some(b"0") => Ok(()),
        Some(status) => Err(format!("gRPC status {}", status.escape_ascii())),
    }
}
