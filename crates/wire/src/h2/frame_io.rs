//! The byte stream below an HTTP/2 connection.
//!
//! The `h2` crate hands each DATA frame to the stream on its own and flushes behind it. Here writes
//! are gathered, and leave when whoever drives the connection has nothing more to do in this wake-up
//! ([`FrameWatch::poll_flush`]): the answers of one wake-up share a system call and a TLS record.
//! While the bytes pass, the frames in them are looked at.

use super::conduct::{Conduct, Tolerance};
use super::frame::{FrameHead, FrameReader, kind};
use super::refusals::Refusals;
use crate::buffer::ReadBuffer;
use crate::transport::Transport;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes are gathered at most before they must leave.
const GATHERED: usize = 64 * 1024;

/// What `h2` reads from and writes to.
#[derive(Debug)]
pub struct FrameIo(Rc<RefCell<Inner>>);

/// The same byte stream, for whoever drives the connection.
#[derive(Debug, Clone)]
pub struct FrameWatch(Rc<RefCell<Inner>>);

/// A peer that has not taken everything at once, until it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// When it took something last.
    pub since: Instant,
    /// How long it has been waited for before that.
    pub waited: Duration,
    /// How many bytes it has taken meanwhile.
    pub taken: u64,
}

#[derive(Debug)]
struct Inner {
    io: Transport,
    /// Read before HTTP/2 was recognised.
    ahead: ReadBuffer,
    gathered: ReadBuffer,
    /// Something was written and not flushed.
    unflushed: bool,
    stall: Option<Stall>,
    reading: FrameReader,
    writing: FrameReader,
    received: u64,
    /// RST_STREAM frames among what was received.
    resets: u64,
    settings: bool,
    going_away: bool,
    /// Of a client; upstreams are trusted.
    conduct: Option<Conduct>,
    refusals: Refusals,
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

    /// How many streams the peer has reset.
    #[must_use]
    pub fn resets(&self) -> u64 {
        self.0.borrow().resets
    }

    /// Notes that the request of a stream has come out of `h2`.
    pub fn accepted(&self, stream: h2::StreamId) {
        self.0.borrow_mut().refusals.accepted(stream.into());
    }

    /// How many requests of a client `h2` has refused by itself.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.0.borrow().refusals.count()
    }

    /// How the peer takes what waits for it; none where nothing waits.
    #[must_use]
    pub fn stall(&self) -> Option<Stall> {
        self.0.borrow().stall
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
            stall: None,
            reading: FrameReader::of_server(),
            writing: FrameReader::of_client(),
            received: 0,
            resets: 0,
            settings: false,
            going_away: false,
            conduct: None,
            refusals: Refusals::default(),
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
        let Self { reading, conduct, refusals, resets, settings, going_away, .. } = self;
        reading.read(bytes, |head| {
            *resets += u64::from(head.kind == kind::RST_STREAM);
            match conduct {
                Some(conduct) => {
                    refusals.received(head);
                    conduct.received(head, clock);
                }
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
            let refusals = &mut self.refusals;
            self.writing.read(bytes, |head| {
                refusals.sent(head);
                conduct.sent(head, clock);
            });
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
            match Pin::new(&mut self.io).poll_write(cx, self.gathered.bytes())? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    self.gathered.consume(count);
                    if let Some(stall) = &mut self.stall {
                        stall.progress(count, clock());
                    }
                }
                Poll::Pending => return self.wait(),
            }
        }
        self.gathered.release();
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_drain(cx))?;
        if Pin::new(&mut self.io).poll_flush(cx)?.is_pending() {
            return self.wait();
        }
        self.unflushed = false;
        self.stall = None;
        Poll::Ready(Ok(()))
    }

    fn wait<T>(&mut self) -> Poll<T> {
        self.stall.get_or_insert_with(|| Stall { since: clock(), waited: Duration::ZERO, taken: 0 });
        Poll::Pending
    }
}

impl Stall {
    fn progress(&mut self, count: usize, now: Instant) {
        self.waited += now.saturating_duration_since(self.since);
        self.since = now;
        self.taken += count as u64;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::task::Waker;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    fn write(frames: &mut FrameIo, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<usize> {
        Pin::new(frames).poll_write(cx, bytes).map(Result::unwrap)
    }

    #[tokio::test]
    async fn writes_leave_together_when_they_are_flushed() {
        let (near, mut far) = pair().await;
        let (mut frames, watch) = FrameIo::to_upstream(Transport::Tcp(near));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(write(&mut frames, &mut cx, b"one"), Poll::Ready(3));
        assert!(Pin::new(&mut frames).poll_flush(&mut cx).is_ready());
        assert_eq!(write(&mut frames, &mut cx, b"two"), Poll::Ready(3));
        let mut read = [0; 16];
        assert!(far.try_read(&mut read).is_err(), "nothing has left yet");
        std::future::poll_fn(|cx| watch.poll_flush(cx)).await.unwrap();
        assert_eq!(far.read(&mut read).await.unwrap(), 6);
        assert_eq!(&read[..6], b"onetwo");
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_stalls_until_it_has_taken_all() {
        let (near, mut far) = pair().await;
        let (mut frames, watch) = FrameIo::to_upstream(Transport::Tcp(near));
        let mut cx = Context::from_waker(Waker::noop());
        let piece = [b'x'; GATHERED];
        let mut sent = 0;
        while let Poll::Ready(count) = write(&mut frames, &mut cx, &piece) {
            assert!(count > 0);
            sent += count;
        }
        assert_eq!(watch.stall().map(|stall| stall.taken), Some(0));
        let reader = tokio::spawn(async move {
            let mut room = vec![0; 1 << 20];
            let mut received = 0;
            while received < sent {
                received += far.read(&mut room).await.unwrap();
            }
        });
        std::future::poll_fn(|cx| watch.poll_flush(cx)).await.unwrap();
        assert_eq!(watch.stall(), None);
        reader.await.unwrap();
    }

    #[test]
    fn a_stall_adds_up_what_was_waited_for() {
        let start = clock();
        let mut stall = Stall { since: start, waited: Duration::ZERO, taken: 0 };
        stall.progress(10, start + Duration::from_secs(2));
        stall.progress(5, start + Duration::from_secs(3));
        let since = start + Duration::from_secs(3);
        assert_eq!(stall, Stall { since, waited: Duration::from_secs(3), taken: 15 });
    }
}
