//! The TCP connection below TLS.
//!
//! The TLS library reads 4 KiB at a time and writes even a single record as a vector. A read that was
//! not filled is passed on as it is; behind one that was, more is read ahead in one call and handed out
//! in the pieces that are asked for. A single part is sent by the plain call, which costs less.

use crate::buffer::ReadBuffer;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection that reads ahead while much arrives.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// Read and not yet asked for; without memory most of the time.
    ahead: ReadBuffer,
    /// Whether the last read of the stream left no room, so that more is likely to be there.
    was_full: bool,
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self { stream, ahead: ReadBuffer::default(), was_full: false }
    }
}

impl Socket {
    /// The TCP connection itself.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether bytes were read that nobody has asked for yet.
    #[must_use]
    pub fn has_input(&self) -> bool {
        !self.ahead.is_empty()
    }

    fn poll_direct(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.was_full = buf.remaining() == 0 && buf.filled().len() > before;
        Poll::Ready(Ok(()))
    }

    /// Zero at the end of the stream.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(self.ahead.room());
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        let (count, full) = (room.filled().len(), room.remaining() == 0);
        if !matches!(polled, Poll::Ready(Ok(())) if count > 0) {
            self.ahead.release();
        }
        ready!(polled)?;
        self.ahead.filled(count);
        self.was_full = full;
        Poll::Ready(Ok(count))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.has_input() {
            if !this.was_full {
                this.ahead.release();
                return this.poll_direct(cx, buf);
            }
            if ready!(this.poll_ahead(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let count = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead.bytes()[..count]);
        this.ahead.consume(count);
        if !this.was_full {
            this.ahead.release();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bufs {
            [single] => self.poll_write(cx, single),
            _ => Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (far, listener.accept().await.unwrap().0.into())
    }

    #[tokio::test]
    async fn bytes_arrive_in_order_whatever_is_read_ahead() {
        let (mut far, mut near) = pair().await;
        let sent: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move { far.write_all(&sent).await.unwrap() });
        let mut received = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match near.read(&mut piece).await.unwrap() {
                0 => break,
                count => received.extend_from_slice(&piece[..count]),
            }
        }
        writer.await.unwrap();
        assert!(received == expected);
        assert!(near.ahead.is_released(), "no memory is held at the end");
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_known_and_memory_goes_with_it() {
        let (mut far, mut near) = pair().await;
        far.write_all(&[b'x'; 6000]).await.unwrap();
        let mut piece = [0; 4096];
        near.read_exact(&mut piece).await.unwrap();
        assert!(!near.has_input(), "a read that is filled is passed on as it is");
        assert_eq!(near.read(&mut piece[..4]).await.unwrap(), 4);
        assert!(near.has_input());
        assert_eq!(near.read(&mut piece).await.unwrap(), 6000 - 4096 - 4);
        assert!(!near.has_input() && near.ahead.is_released());
    }
}
