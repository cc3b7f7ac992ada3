//! New connections to one endpoint: name, TCP, TLS, protocol.

use crate::config::plan;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate_wire::socket::Socket;
use tidegate_wire::transport::Transport;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How to reach one endpoint.
pub(crate) struct Connector {
    endpoint: plan::Endpoint,
    /// The endpoint as an authority; without the port where that is the default of the scheme.
    authority: Arc<str>,
    protocol: plan::UpstreamProtocol,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

/// Why an endpoint could not be reached.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// Not in time.
    Timeout,
    /// The name has no address, the connection was refused, or the handshake failed.
    Io(io::Error),
}

/// Too many open files, in the system and in this process; the same on every Unix.
const OUT_OF_FILES: [i32; 2] = [23, 24];

impl ConnectError {
    /// Whether this process had no file, port or memory for a connection, so that it says nothing about the endpoint.
    pub(super) fn is_local(&self) -> bool {
        let Self::Io(error) = self else { return false };
        matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
            || error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code))
    }

    /// The same for another request that waited for the same connection.
    pub(super) fn share(&self) -> Self {
        match self {
            Self::Timeout => Self::Timeout,
            Self::Io(error) => Self::Io(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timed out"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// What is spoken on a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    Http2,
}

impl Connector {
    pub(crate) fn new(
        endpoint: &plan::Endpoint,
        upstream: &plan::Upstream,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Self {
        let wanted = upstream.tls.as_ref().and_then(|tls| tls.server_name.clone());
        let server_name = wanted.or_else(|| match &endpoint.host {
            plan::EndpointHost::Address(address) => Some(ServerName::IpAddress((*address).into())),
            plan::EndpointHost::Name(name) => ServerName::try_from(name.to_string()).ok(),
        });
        let default_port = if tls.is_some() { 443 } else { 80 };
        let text = endpoint.to_string();
        let authority = text.strip_suffix(&format!(":{default_port}")).unwrap_or(&text).into();
        Self {
            endpoint: endpoint.clone(),
            authority,
            protocol: upstream.protocol,
            tls: tls.map(TlsConnector::from).zip(server_name),
            timeout: upstream.timeouts.connect,
        }
    }

    pub(crate) fn endpoint(&self) -> &plan::Endpoint {
        &self.endpoint
    }

    pub(crate) fn authority(&self) -> &Arc<str> {
        &self.authority
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// How long a new connection may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether a new connection will be shared, as far as one can know; `known` tells that the last one
    /// was.
    pub(super) fn expects_http2(&self, known: bool) -> bool {
        match self.protocol {
            plan::UpstreamProtocol::Http2 => true,
            plan::UpstreamProtocol::Auto => known,
            plan::UpstreamProtocol::Http1 => false,
        }
    }

    /// Opens a connection, everything within the connect timeout.
    pub(crate) async fn connect(&self) -> Result<(Transport, Spoken), ConnectError> {
        match tokio::time::timeout(self.timeout, self.open()).await {
            Ok(opened) => opened.map_err(ConnectError::Io),
            Err(_) => Err(ConnectError::Timeout),
        }
    }

    /// The same without a bound on its time.
    pub(crate) async fn open(&self) -> io::Result<(Transport, Spoken)> {
        let stream = match &self.endpoint.host {
            plan::EndpointHost::Address(address) => {
                TcpStream::connect(SocketAddr::new(*address, self.endpoint.port)).await?
            }
            plan::EndpointHost::Name(name) => TcpStream::connect((&**name, self.endpoint.port)).await?,
        };
        stream.set_nodelay(true)?;
        let fixed = match self.protocol {
            plan::UpstreamProtocol::Http2 => Spoken::Http2,
            plan::UpstreamProtocol::Http1 | plan::UpstreamProtocol::Auto => Spoken::Http1,
        };
        let Some((connector, name)) = &self.tls else {
            return Ok((Transport::Tcp(stream), fixed));
        };
        let stream = connector.connect(name.clone(), Socket::from(stream)).await?;
        let spoken = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Spoken::Http2,
            Some(_) => Spoken::Http1,
            None => fixed,
        };
        Ok((Transport::Tls(Box::new(stream.into())), spoken))
    }
}
