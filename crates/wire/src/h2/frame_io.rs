//! The byte stream below an HTTP/2 connection.
//!
//! The `h2` crate hands each DATA frame to the stream on its own and flushes behind it. Here writes
//! are gathered, and leave when whoever drives the connection has nothing more to do in this wake-up
//! ([`FrameWatch::poll_flush`]): the answers of one wake-up share a system call and a TLS record.
//! While the bytes pass, the frames in them are looked at.

use super::conduct::{Conduct, Tolerance};
use super::frame::{FrameHead, FrameReader, kind};
use crate::buffer::ReadBuffer;
use crate::transport::Transport;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes are gathered at most before they must leave.
const GATHERED: usize = 64 * 1024;

/// What `h2` reads from and writes to.
#[derive(Debug)]
pub struct FrameIo(Rc<RefCell<Inner>>);

/// The same byte stream, for whoever drives the connection.
#[derive(Debug, Clone)]
pub struct FrameWatch(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    io: Transport,
    /// Read before HTTP/2 was recognised.
    ahead: ReadBuffer,
    gathered: ReadBuffer,
    /// Something was written and not flushed.
    unflushed: bool,
    /// Since when the peer takes nothing of what waits.
    stalled: Option<Instant>,
    reading: FrameReader,
    writing: FrameReader,
    received: u64,
    settings: bool,
    going_away: bool,
    /// Of a client; upstreams are trusted.
    conduct: Option<Conduct>,
}

impl FrameIo {
    /// Towards a client, of which `ahead` was read already.
    #[must_use]
    pub fn to_client(io: Transport, ahead: ReadBuffer, tolerance: Tolerance) -> (Self, FrameWatch) {
        let inner = Inner {
            ahead,
            reading: FrameReader::of_client(),
            writing: FrameReader::of_server(),
            conduct: Some(Conduct::new(tolerance, clock())),
            ..Inner::new(io)
        };
        Self::share(inner)
    }

    /// Towards an upstream.
    #[must_use]
    pub fn to_upstream(io: Transport) -> (Self, FrameWatch) {
        Self::share(Inner::new(io))
    }

    fn share(inner: Inner) -> (Self, FrameWatch) {
        let inner = Rc::new(RefCell::new(inner));
        (Self(Rc::clone(&inner)), FrameWatch(inner))
    }
}

impl FrameWatch {
    /// Writes what was gathered.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(cx)
    }

    /// How many bytes the peer has sent.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.0.borrow().received
    }

    /// Since when the peer takes nothing of what waits for it.
    #[must_use]
    pub fn stalled_since(&self) -> Option<Instant> {
        self.0.borrow().stalled
    }

    /// Whether the peer has said what it allows; before, its limits are not known.
    #[must_use]
    pub fn has_settings(&self) -> bool {
        self.0.borrow().settings
    }

    /// Whether the peer takes no more streams.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.0.borrow().going_away
    }

    /// Whether the client did more of what is of no use than is tolerated; nothing more is read then.
    #[must_use]
    pub fn misbehaves(&self) -> bool {
        self.0.borrow().misbehaves()
    }
}

impl Inner {
    fn new(io: Transport) -> Self {
        Self {
            io,
            ahead: ReadBuffer::default(),
            gathered: ReadBuffer::default(),
            unflushed: false,
            stalled: None,
            reading: FrameReader::of_server(),
            writing: FrameReader::of_client(),
            received: 0,
            settings: false,
            going_away: false,
            conduct: None,
        }
    }

    fn misbehaves(&self) -> bool {
        self.conduct.as_ref().is_some_and(Conduct::is_bad)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.bytes()[..count]);
            self.ahead.consume(count);
            self.ahead.release();
        }
        self.note_received(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }

    fn note_received(&mut self, bytes: &[u8]) {
        self.received = self.received.wrapping_add(bytes.len() as u64);
        let Self { reading, conduct, settings, going_away, .. } = self;
        reading.read(bytes, |head| {
            match conduct {
                Some(conduct) => conduct.received(head, clock),
                None => *going_away |= head.kind == kind::GOAWAY,
            }
            *settings |= is_settings(head);
        });
    }

    /// Takes as many bytes as there is room for; zero only of nothing.
    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if self.gathered.len() + total > GATHERED {
            ready!(self.poll_drain(cx))?;
        }
        let mut left = total.min(GATHERED - self.gathered.len());
        let taken = left;
        for part in parts {
            let count = left.min(part.len());
            self.gather(&part[..count]);
            left -= count;
        }
        Poll::Ready(Ok(taken))
    }

    fn gather(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(conduct) = &mut self.conduct {
            self.writing.read(bytes, |head| conduct.sent(head, clock));
        }
        while self.gathered.room().len() < bytes.len() {
            self.gathered.grow();
        }
        self.gathered.room()[..bytes.len()].copy_from_slice(bytes);
        self.gathered.filled(bytes.len());
        self.unflushed = true;
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, self.gathered.bytes());
            let count = ready!(self.judge(written))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.consume(count);
        }
        self.gathered.release();
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_drain(cx))?;
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        ready!(self.judge(flushed))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Notes since when the peer takes nothing.
    fn judge<T>(&mut self, progress: Poll<T>) -> Poll<T> {
        match (&progress, self.stalled) {
            (Poll::Ready(_), _) => self.stalled = None,
            (Poll::Pending, None) => self.stalled = Some(clock()),
            (Poll::Pending, Some(_)) => {}
        }
        progress
    }
}

fn is_settings(head: FrameHead) -> bool {
    head.kind == kind::SETTINGS && !head.is_ack()
}

fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl AsyncRead for FrameIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        // Whoever drives the connection asks about this in the same wake-up and ends it.
        if inner.misbehaves() { Poll::Pending } else { inner.poll_read(cx, buf) }
    }
}

impl AsyncWrite for FrameIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Ready at once: what was gathered is flushed by [`FrameWatch::poll_flush`].
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_flush(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}
