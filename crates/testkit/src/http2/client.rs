//! A correct HTTP/2 client with blocking calls.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use super::{patiently, runtime};

/// One HTTP/2 connection to the gateway.
#[derive(Debug)]
pub struct Http2Client {
    sender: SendRequest<Bytes>,
    runtime: Arc<Runtime>,
}

/// A response as the client sees it.
#[derive(Debug)]
pub struct Http2Response {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub fields: HeaderMap,
    /// The content.
    pub body: Vec<u8>,
    /// The trailer fields.
    pub trailers: HeaderMap,
    /// Whether the stream ended regularly, or how it was cut.
    pub end: Result<(), h2::Error>,
}

impl Http2Response {
    /// A field as text.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("status {}: {error}", self.status))
    }
}

impl Http2Client {
    /// Connects in plain text with prior knowledge.
    ///
    /// # Panics
    /// When there is no connection or no handshake.
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = Arc::new(runtime());
        let socket = patiently(&runtime, "a connection", TcpStream::connect(address)).expect("somebody accepts");
        Self::handshake(runtime, socket)
    }

    /// Connects with TLS; the configuration must offer `h2`.
    ///
    /// # Panics
    /// When there is no connection, no handshake, or `h2` was not chosen.
    pub fn connect_tls(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Self {
        let runtime = Arc::new(runtime());
        let name = ServerName::try_from(name.to_owned()).expect("a valid server name");
        let stream = patiently(&runtime, "a TLS connection", async {
            TlsConnector::from(config).connect(name, TcpStream::connect(address).await?).await
        });
        let stream = stream.expect("the handshake succeeds");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "ALPN");
        Self::handshake(runtime, stream)
    }

    fn handshake(runtime: Arc<Runtime>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) =
            patiently(&runtime, "an HTTP/2 handshake", h2::client::handshake(stream)).expect("the peer speaks HTTP/2");
        runtime.spawn(connection);
        Self { sender, runtime }
    }

    /// Begins a request; `ends` when it has no body.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn begin(&mut self, request: Request<()>, ends: bool) -> Result<Exchange, h2::Error> {
        let ready = patiently(&self.runtime, "room for a stream", self.sender.clone().ready())?;
        self.sender = ready;
        let (response, sending) = self.sender.send_request(request, ends)?;
        Ok(Exchange { runtime: Arc::clone(&self.runtime), response: Some(response), sending, receiving: None })
    }

    /// Sends a request with a body (an empty one means none) and reads the whole response.
    ///
    /// # Errors
    /// When the stream or the connection ends before the response head.
    pub fn exchange(&mut self, request: Request<()>, body: &[u8]) -> Result<Http2Response, h2::Error> {
        let mut exchange = self.begin(request, body.is_empty())?;
        if !body.is_empty() {
            // An early answer may stop the body; what counts is the answer.
            let _ = exchange.send(body, true);
        }
        exchange.finish()
    }

    /// A GET over `http` or `https`.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub fn get(&mut self, url: &str) -> Result<Http2Response, h2::Error> {
        self.exchange(Request::get(url).body(()).expect("a valid URL"), &[])
    }
}

/// One stream.
#[derive(Debug)]
pub struct Exchange {
    runtime: Arc<Runtime>,
    response: Option<ResponseFuture>,
    sending: SendStream<Bytes>,
    receiving: Option<RecvStream>,
}

impl Exchange {
    /// Sends a piece of the body as the window allows.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn send(&mut self, body: &[u8], ends: bool) -> Result<(), h2::Error> {
        let mut rest = Bytes::copy_from_slice(body);
        while !rest.is_empty() {
            self.sending.reserve_capacity(rest.len());
            let sending = &mut self.sending;
            let capacity = patiently(&self.runtime, "window", poll_fn(|context| sending.poll_capacity(context)));
            let capacity = capacity.unwrap_or(Err(h2::Reason::STREAM_CLOSED.into()))?;
            let piece = rest.split_to(capacity.min(rest.len()));
            self.sending.send_data(piece, ends && rest.is_empty())?;
        }
        if body.is_empty() && ends {
            self.sending.send_data(Bytes::new(), true)?;
        }
        Ok(())
    }

    /// Ends the request with trailers.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), h2::Error> {
        self.sending.send_trailers(trailers)
    }

    /// Gives the stream up.
    pub fn reset(&mut self, reason: h2::Reason) {
        self.sending.send_reset(reason);
    }

    /// Waits for the response head.
    ///
    /// # Errors
    /// When the stream ends before it.
    ///
    /// # Panics
    /// When called twice.
    pub fn head(&mut self) -> Result<Response<()>, h2::Error> {
        let response = self.response.take().expect("the head comes once");
        let (parts, body) = patiently(&self.runtime, "a response head", response)?.into_parts();
        self.receiving = Some(body);
        Ok(Response::from_parts(parts, ()))
    }

    /// The next piece of the response body, `None` at its end.
    ///
    /// # Errors
    /// When the stream was cut.
    ///
    /// # Panics
    /// When the head was not read before.
    pub fn read_some(&mut self) -> Result<Option<Bytes>, h2::Error> {
        let receiving = self.receiving.as_mut().expect("the head comes first");
        let piece = patiently(&self.runtime, "response data", receiving.data()).transpose()?;
        if let Some(piece) = &piece {
            receiving.flow_control().release_capacity(piece.len())?;
        }
        Ok(piece)
    }

    /// The trailers, after the body.
    ///
    /// # Errors
    /// When the stream was cut.
    ///
    /// # Panics
    /// When the head was not read before.
    pub fn trailers(&mut self) -> Result<HeaderMap, h2::Error> {
        let receiving = self.receiving.as_mut().expect("the head comes first");
        Ok(patiently(&self.runtime, "trailers", receiving.trailers())?.unwrap_or_default())
    }

    /// Reads everything that has not been read yet.
    ///
    /// # Errors
    /// When the stream ends before the response head.
    pub fn finish(mut self) -> Result<Http2Response, h2::Error> {
        let (parts, ()) = self.head()?.into_parts();
        let mut body = Vec::new();
        let end = loop {
            match self.read_some() {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break self.trailers(),
                Err(error) => break Err(error),
            }
        };
        let (trailers, end) = match end {
            Ok(trailers) => (trailers, Ok(())),
            Err(error) => (HeaderMap::new(), Err(error)),
        };
        Ok(Http2Response { status: parts.status.as_u16(), fields: parts.headers, body, trailers, end })
    }
}
