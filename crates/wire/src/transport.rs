//! The bytes below HTTP: a TCP connection, with or without TLS.

use crate::socket::Socket;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A connection's byte stream.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<Socket>>),
}

impl Transport {
    /// The TCP connection below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0.tcp(),
        }
    }

    /// Whether the bytes are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The peer's address.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.tcp().peer_addr()
    }

    /// Reads into `room`; zero bytes mean the end of the stream.
    ///
    /// # Errors
    /// What the socket or TLS reports.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(room);
        ready!(Pin::new(self).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Whether there is surely nothing to read; wakes the task when that changes.
    #[must_use]
    pub fn poll_silent(&self, cx: &mut Context<'_>) -> bool {
        !self.holds_input() && self.tcp().poll_read_ready(cx).is_pending()
    }

    /// Whether bytes, or the end of the stream, have been read from the socket and not yet from here.
    fn holds_input(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Tls(stream) => {
                let (socket, session) = stream.get_ref();
                // TLS wants nothing more while decrypted bytes wait.
                socket.has_input() || !session.wants_read()
            }
        }
    }

    /// Whether a connection that should be silent has something to say: an end, an error or bytes.
    ///
    /// It asks the reactor and makes no system call.
    #[must_use]
    pub fn is_stirring(&self) -> bool {
        !self.poll_silent(&mut Context::from_waker(std::task::Waker::noop()))
    }

    /// Like [`Transport::is_stirring`], but asks the kernel, for requests that cannot be sent twice.
    #[must_use]
    pub fn is_stirring_now(&self) -> bool {
        if self.holds_input() {
            return true;
        }
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match socket2::SockRef::from(self.tcp()).peek(&mut byte) {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }

    /// Whether the peer has reset the connection; wakes the task when that may have changed.
    ///
    /// An end of the stream is not a reset: a client may close its side once it has sent its request.
    pub fn poll_lost(&self, cx: &mut Context<'_>) -> bool {
        let stream = self.tcp();
        if stream.poll_read_ready(cx).is_pending() {
            return false;
        }
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = stream.try_io(Interest::READABLE, || socket2::SockRef::from(stream).peek(&mut byte));
        peeked.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
    }

    /// Makes the coming drop reset the connection, so that a peer cannot take a cut message for a
    /// complete one (RFC 9112 §8).
    pub fn abort(&self) {
        // A socket that is already gone needs no reset.
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
