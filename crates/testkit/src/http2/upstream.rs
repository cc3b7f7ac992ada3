//! An HTTP/2 upstream that records requests and answers by a script.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::runtime;
use crate::gate::Gate;
use crate::shown;
use crate::watched::Watched;

/// A request as it arrives.
#[derive(Clone, Debug)]
pub struct Http2Seen {
    /// Which connection it came on, counted from zero.
    pub connection: usize,
    /// `:method`.
    pub method: String,
    /// `:path`.
    pub target: String,
    /// `:authority`.
    pub authority: Option<String>,
    /// `:scheme`.
    pub scheme: Option<String>,
    /// The header fields.
    pub fields: HeaderMap,
    /// The content that has arrived.
    pub body: Vec<u8>,
    /// The trailer fields.
    pub trailers: HeaderMap,
    /// Whether the end of the stream has arrived.
    pub complete: bool,
    /// The reason when the gateway reset the stream.
    pub reset: Option<Reason>,
}

/// One step of a script.
#[derive(Clone, Debug)]
pub enum Http2Step {
    /// Waits until the whole request is there.
    AwaitRequest,
    /// Waits until this much of the content is there, or all of it.
    AwaitContent(usize),
    /// Waits until the test opens the gate.
    AwaitGate(Gate),
    /// Waits until the gateway resets the stream.
    AwaitReset,
    /// An interim response.
    Interim(u16),
    /// The response head; the stream stays open.
    Head(u16, Vec<(&'static str, String)>),
    /// A piece of content.
    Data(Vec<u8>),
    /// The end, with trailers.
    Trailers(Vec<(&'static str, String)>),
    /// The end, without trailers.
    End,
    /// Answers 200 with a JSON object: `connection`, `method`, `target`, `authority`, `body_length`, `body`.
    Answer,
    /// Says each piece of content back as it arrives, then ends with the trailer `grpc-status: 0`.
    Echo,
    /// Resets the stream.
    Reset(Reason),
    /// Ends the connection abruptly with GOAWAY.
    GoAway(Reason),
}

type Script = dyn Fn(&Http2Seen) -> Vec<Http2Step> + Send + Sync;

/// The recording upstream.
#[derive(Debug)]
pub struct Http2Recorder {
    address: SocketAddr,
    seen: Arc<Watched<Vec<Http2Seen>>>,
    runtime: Option<Runtime>,
}

impl Http2Recorder {
    /// A plain-text upstream (prior knowledge) that answers every request with its echo.
    pub fn start() -> Self {
        Self::with(None, |_| vec![Http2Step::AwaitRequest, Http2Step::Answer])
    }

    /// An upstream that follows `script`, over TLS where a configuration is given.
    ///
    /// # Panics
    /// When the system has no port or thread left.
    pub fn with(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&Http2Seen) -> Vec<Http2Step> + Send + Sync + 'static,
    ) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let seen = Arc::new(Watched::default());
        runtime.spawn(accept(listener, tls.map(TlsAcceptor::from), Arc::new(script), Arc::clone(&seen)));
        Self { address, seen, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests seen so far.
    pub fn requests(&self) -> Vec<Http2Seen> {
        self.seen.lock().clone()
    }

    /// Waits until `look` finds something in the requests seen so far.
    ///
    /// # Panics
    /// When it does not within [`crate::PATIENCE`].
    pub fn wait_for<T>(&self, what: &str, look: impl Fn(&[Http2Seen]) -> Option<T>) -> T {
        let found = self.seen.wait(|seen| look(seen));
        found.unwrap_or_else(|| panic!("waited in vain for {what}; seen: {:#?}", self.requests()))
    }
}

impl Drop for Http2Recorder {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    script: Arc<Script>,
    seen: Arc<Watched<Vec<Http2Seen>>>,
) {
    for number in 0.. {
        let Ok((socket, _)) = listener.accept().await else { return };
        let _ = socket.set_nodelay(true);
        let (script, seen, tls) = (Arc::clone(&script), Arc::clone(&seen), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(socket, number, script, seen).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(socket).await {
                        serve(stream, number, script, seen).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    number: usize,
    script: Arc<Script>,
    seen: Arc<Watched<Vec<Http2Seen>>>,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let (end, mut ending) = tokio::sync::mpsc::channel::<Reason>(1);
    loop {
        let (request, respond) = tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok(accepted)) => accepted,
                _ => return,
            },
            Some(reason) = ending.recv() => {
                connection.abrupt_shutdown(reason);
                continue;
            }
        };
        let (parts, body) = request.into_parts();
        let request = note_request(number, &Request::from_parts(parts, ()));
        let steps = script(&request);
        let at = seen.change(|seen| {
            seen.push(request);
            seen.len() - 1
        });
        let turn = Turn { at, seen: Arc::clone(&seen), body, respond, sending: None, end: end.clone() };
        tokio::spawn(turn.run(steps));
    }
}

fn note_request(connection: usize, request: &Request<()>) -> Http2Seen {
    let uri = request.uri();
    Http2Seen {
        connection,
        method: request.method().to_string(),
        target: uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string),
        authority: uri.authority().map(ToString::to_string),
        scheme: uri.scheme_str().map(str::to_owned),
        fields: request.headers().clone(),
        body: Vec::new(),
        trailers: HeaderMap::new(),
        complete: false,
        reset: None,
    }
}

/// One stream being served.
struct Turn {
    at: usize,
    seen: Arc<Watched<Vec<Http2Seen>>>,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    sending: Option<SendStream<Bytes>>,
    end: tokio::sync::mpsc::Sender<Reason>,
}

impl Turn {
    async fn run(mut self, steps: Vec<Http2Step>) {
        for step in steps {
            if self.take(step).await.is_none() {
                return;
            }
        }
        while self.read_piece().await.is_some() {}
    }

    /// `None` when the stream is over.
    async fn take(&mut self, step: Http2Step) -> Option<()> {
        match step {
            Http2Step::AwaitRequest => while self.read_piece().await.is_some() {},
            Http2Step::AwaitContent(count) => {
                while self.seen.lock()[self.at].body.len() < count && self.read_piece().await.is_some() {}
            }
            Http2Step::AwaitGate(gate) => {
                tokio::task::spawn_blocking(move || gate.wait()).await.ok().filter(|&open| open)?;
            }
            Http2Step::AwaitReset => {
                let respond = &mut self.respond;
                let reason = match &mut self.sending {
                    Some(sending) => poll_fn(|context| sending.poll_reset(context)).await,
                    None => poll_fn(|context| respond.poll_reset(context)).await,
                };
                self.seen.change(|seen| seen[self.at].reset = Some(reason.unwrap_or(Reason::CANCEL)));
            }
            Http2Step::Interim(status) => {
                self.respond.send_informational(response(status, &[])).ok()?;
            }
            Http2Step::Head(status, fields) => {
                self.sending = Some(self.respond.send_response(response(status, &fields), false).ok()?);
            }
            Http2Step::Data(bytes) => self.send(bytes.into()).await?,
            Http2Step::Trailers(fields) => self.sending.as_mut()?.send_trailers(map(&fields)).ok()?,
            Http2Step::End => self.sending.as_mut()?.send_data(Bytes::new(), true).ok()?,
            Http2Step::Answer => self.answer()?,
            Http2Step::Echo => self.echo().await?,
            Http2Step::Reset(reason) => match &mut self.sending {
                Some(sending) => sending.send_reset(reason),
                None => self.respond.send_reset(reason),
            },
            Http2Step::GoAway(reason) => self.end.send(reason).await.ok()?,
        }
        Some(())
    }

    /// Reads and records a piece of content, `None` at the end of the stream.
    async fn read_piece(&mut self) -> Option<Bytes> {
        match self.body.data().await {
            Some(Ok(piece)) => {
                let _ = self.body.flow_control().release_capacity(piece.len());
                self.seen.change(|seen| seen[self.at].body.extend_from_slice(&piece));
                Some(piece)
            }
            Some(Err(error)) => {
                self.seen.change(|seen| seen[self.at].reset = error.reason());
                None
            }
            // Trailers come once; asked again, there are none.
            None if self.seen.lock()[self.at].complete => None,
            None => {
                let trailers = self.body.trailers().await;
                self.seen.change(|seen| match trailers {
                    Ok(trailers) => {
                        seen[self.at].trailers = trailers.unwrap_or_default();
                        seen[self.at].complete = true;
                    }
                    Err(error) => seen[self.at].reset = error.reason(),
                });
                None
            }
        }
    }

    async fn send(&mut self, mut bytes: Bytes) -> Option<()> {
        let sending = self.sending.as_mut()?;
        while !bytes.is_empty() {
            sending.reserve_capacity(bytes.len());
            let capacity = poll_fn(|context| sending.poll_capacity(context)).await?.ok()?;
            let piece = bytes.split_to(capacity.min(bytes.len()));
            sending.send_data(piece, false).ok()?;
        }
        Some(())
    }

    fn answer(&mut self) -> Option<()> {
        let seen = self.seen.lock()[self.at].clone();
        let description = serde_json::json!({
            "connection": seen.connection,
            "method": seen.method,
            "target": seen.target,
            "authority": seen.authority,
            "body_length": seen.body.len(),
            "body": shown(&seen.body),
        });
        let fields = [("content-type", "application/json".to_owned())];
        let mut sending = self.respond.send_response(response(200, &fields), false).ok()?;
        sending.send_data(description.to_string().into(), true).ok()
    }

    async fn echo(&mut self) -> Option<()> {
        let kind = self.seen.lock()[self.at].fields.get("content-type").cloned();
        let mut head = response(200, &[]);
        head.headers_mut().extend(kind.map(|kind| (http::header::CONTENT_TYPE, kind)));
        self.sending = Some(self.respond.send_response(head, false).ok()?);
        while let Some(piece) = self.read_piece().await {
            self.send(piece).await?;
        }
        self.sending.as_mut()?.send_trailers(map(&[("grpc-status", "0".to_owned())])).ok()
    }
}

fn response(status: u16, fields: &[(&'static str, String)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).expect("the script has valid status codes");
    *response.headers_mut() = map(fields);
    response
}

fn map(fields: &[(&'static str, String)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, String)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("the script has valid values"))
    };
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().map(pair) {
        map.append(name, value);
    }
    map
}
