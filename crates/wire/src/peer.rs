//! One side of one exchange, whichever protocol carries it.
//!
//! A gateway relays between two of these and never asks which version either speaks; the few
//! places where it matters (upgrades, interim answers, closing) have a question of their own here.

use crate::fields::Fields;
use crate::framing::BodyLength;
use crate::h1::{self, BodyError, HeadError, Piece};
use crate::h2;
use crate::head::ResponseHead;
use crate::parse::HeadLimits;
use std::io;
use std::task::{Context, Poll};

/// A client or an upstream, for the time of one message each way.
#[derive(Debug)]
pub enum Peer {
    /// An HTTP/1 connection; it outlives the exchange.
    H1(h1::Connection),
    /// An HTTP/2 stream.
    H2(Box<h2::Stream>),
}

/// Calls the same method on whichever peer it is.
macro_rules! either {
    ($self:ident, $peer:ident => $call:expr) => {
        match $self {
            Peer::H1($peer) => $call,
            Peer::H2($peer) => $call,
        }
    };
}

impl Peer {
    /// Waits for body bytes; `None` at the end of the body.
    ///
    /// # Errors
    /// A [`BodyError`]; nothing more can be received.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, BodyError>> {
        either!(self, peer => peer.poll_piece(cx))
    }

    /// The bytes of the piece that was announced last.
    #[must_use]
    pub fn piece(&self, length: usize) -> &[u8] {
        either!(self, peer => peer.piece(length))
    }

    /// Drops `count` bytes of the announced piece.
    pub fn consume(&mut self, count: usize) {
        either!(self, peer => peer.consume(count));
    }

    /// Ends the receiving of a body and hands out its trailer fields.
    ///
    /// # Errors
    /// When the trailer section is malformed.
    pub fn take_trailers(&mut self) -> Result<Option<Fields>, BodyError> {
        match self {
            Self::H1(connection) => connection.take_trailers(),
            Self::H2(stream) => Ok(stream.take_trailers()),
        }
    }

    /// Whether the message being received has arrived in full.
    #[must_use]
    pub fn has_received_all(&self) -> bool {
        either!(self, peer => peer.has_received_all())
    }

    /// Takes body bytes to send; returns how many it took. Small pieces wait for a flush.
    ///
    /// # Errors
    /// When the peer is gone, or with more bytes than were announced.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], last: bool) -> Poll<io::Result<usize>> {
        match self {
            Self::H1(connection) => connection.poll_send(cx, data),
            Self::H2(stream) => stream.poll_send(cx, data, last),
        }
    }

    /// Ends the message being sent; a flush must follow.
    ///
    /// # Errors
    /// When fewer bytes were sent than announced.
    pub fn finish(&mut self, trailers: Option<&Fields>) -> io::Result<()> {
        either!(self, peer => peer.finish(trailers))
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, peer => peer.poll_flush(cx))
    }

    /// Whether the peer has reset its connection or stream; wakes the task when that may have changed.
    pub fn poll_lost(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::H1(connection) => connection.transport().poll_lost(cx),
            Self::H2(stream) => stream.poll_reset(cx).is_ready(),
        }
    }

    /// Tells how long the body is that follows the head just read.
    pub fn begin_body(&mut self, length: BodyLength) {
        either!(self, peer => peer.begin_body(length));
    }

    /// Reads a response head; false when the upstream closed before the first byte of one.
    ///
    /// # Errors
    /// A [`HeadError`]; nothing more can be received.
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
        head: &mut ResponseHead,
    ) -> Poll<Result<bool, HeadError>> {
        either!(self, peer => peer.poll_response(cx, limits, head))
    }

    /// Whether a response head has begun to arrive and is not complete.
    #[must_use]
    pub fn has_partial_head(&self) -> bool {
        match self {
            Self::H1(connection) => connection.has_partial_head(),
            Self::H2(_) => false,
        }
    }

    /// Begins to send a response.
    ///
    /// `bodiless` tells that this response has no body by rule (HEAD, 204, 304); `close` that the
    /// connection ends with it.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn start_response(
        &mut self,
        head: &ResponseHead,
        length: BodyLength,
        bodiless: bool,
        close: bool,
    ) -> io::Result<()> {
        match self {
            Self::H1(connection) => {
                connection.start_response(head, length, bodiless, close);
                Ok(())
            }
            Self::H2(stream) => stream.start_response(head, length),
        }
    }

    /// Sends an interim response (1xx); the final one follows.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn send_interim(&mut self, head: &ResponseHead) -> io::Result<()> {
        match self {
            Self::H1(connection) => {
                connection.send_interim(head);
                Ok(())
            }
            Self::H2(stream) => stream.send_interim(head),
        }
    }

    /// Gives up the message being sent in a way that the peer can see: an HTTP/1 connection will be
    /// reset when it is dropped, an HTTP/2 stream is reset now.
    pub fn abort(&mut self) {
        match self {
            Self::H1(connection) => connection.transport().abort(),
            Self::H2(stream) => stream.reset(),
        }
    }

    /// The HTTP/1 connection, where it is one.
    pub fn as_h1(&mut self) -> Option<&mut h1::Connection> {
        match self {
            Self::H1(connection) => Some(connection),
            Self::H2(_) => None,
        }
    }
}
