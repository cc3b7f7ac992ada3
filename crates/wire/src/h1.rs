//! One HTTP/1 connection, towards a client or towards an upstream.
//!
//! The connection turns bytes into messages and back, one message each way at a time. It owns no
//! task and no timer: every operation is a poll, so that whoever relays a message can move both
//! directions of two connections in one task without a channel between.
//!
//! Invariants: body bytes are handed out only inside the frame that the head announced; a message
//! that ends early is never completed towards the other side; what is left in the buffer after a
//! message belongs to the next one.

use crate::buffer::{self, ReadBuffer};
use crate::chunked::{self, Decoded, Decoder};
use crate::fields::Fields;
use crate::framing::BodyLength;
use crate::head::{RequestHead, ResponseHead};
use crate::parse::{self, HeadLimits, Refusal};
use crate::transport::Transport;
use http::Method;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Body bytes up to this are copied behind what waits, because more may follow that leaves in the same
/// write.
const COPY_LIMIT: usize = 16 * 1024;

/// The same for the end of a body, which nothing follows: a longer one leaves from where it lies,
/// together with what waits.
const COPY_LAST: usize = 2 * 1024;

/// Unsent bytes beyond this must leave before more are taken.
const HIGH_WATER: usize = 64 * 1024;

/// Output memory that an idle connection keeps.
const IDLE_OUTPUT: usize = 1024;

/// Why no head could be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum HeadError {
    /// The bytes are not a head that is safe to forward.
    Refused(Refusal),
    /// The peer closed in the middle of a head.
    Cut,
    /// The peer surely did nothing with the request (HTTP/2 REFUSED_STREAM and GOAWAY).
    Unprocessed,
    /// The connection failed.
    Io(io::Error),
}

/// Why a body did not arrive in full.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyError {
    /// The framing is malformed.
    Refused(Refusal),
    /// The peer closed before the announced end.
    Cut,
    /// The peer gave the message up (HTTP/2 RST_STREAM).
    Reset,
    /// The connection failed.
    Io(io::Error),
}

/// Body bytes that are ready at the front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes; more than zero.
    pub length: usize,
    /// How many more are known to follow them: the rest of the body, or of the chunk.
    pub following: u64,
    /// Whether the body is known to end with them.
    pub last: bool,
}

/// What a client begins to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preface {
    /// HTTP/1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Nothing: the client closed.
    Closed,
}

/// An HTTP/1 connection.
#[derive(Debug)]
pub struct Connection {
    io: Transport,
    input: ReadBuffer,
    inbound: Inbound,
    /// Input bytes that are known not to hold the end of a head.
    scanned: usize,
    output: Vec<u8>,
    sent: usize,
    outbound: Outbound,
}

#[derive(Debug)]
enum Inbound {
    Exact(u64),
    Chunked(Box<Decoder>),
    UntilClose,
    Ended,
    /// The peer will send nothing more.
    Closed,
}

#[derive(Debug, Clone, Copy)]
enum Outbound {
    Exact(u64),
    Chunked { left: usize },
    UntilClose,
    Ended,
}

impl Connection {
    /// A connection over `io`, before the first message.
    #[must_use]
    pub fn new(io: Transport) -> Self {
        Self {
            io,
            input: ReadBuffer::default(),
            inbound: Inbound::Ended,
            scanned: 0,
            output: Vec::new(),
            sent: 0,
            outbound: Outbound::Ended,
        }
    }

    /// The byte stream below.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.io
    }

    /// The byte stream and what was read from it in advance.
    #[must_use]
    pub fn into_parts(self) -> (Transport, ReadBuffer) {
        (self.io, self.input)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Nothing to read is the usual case where one waits; then no buffer is needed at all.
        if self.input.is_released() && self.io.poll_silent(cx) {
            return Poll::Pending;
        }
        let room = self.input.room();
        match self.io.poll_receive(cx, room) {
            Poll::Ready(Ok(count)) => {
                self.input.filled(count);
                Poll::Ready(Ok(count))
            }
            other => {
                self.input.release();
                other
            }
        }
    }

    /// Waits for the first bytes and tells which protocol they open.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn poll_preface(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Preface>> {
        loop {
            let bytes = self.input.bytes();
            let common = bytes.iter().zip(HTTP2_PREFACE).take_while(|(a, b)| a == b).count();
            if common == HTTP2_PREFACE.len() {
                return Poll::Ready(Ok(Preface::Http2));
            }
            if common < bytes.len() {
                return Poll::Ready(Ok(Preface::Http1));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(if self.input.is_empty() { Preface::Closed } else { Preface::Http1 }));
            }
        }
    }

    /// Waits for the first bytes of a next message; false when the peer closed instead.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.input.is_empty() {
            return Poll::Ready(Ok(ready!(self.poll_fill(cx))? > 0));
        }
        Poll::Ready(Ok(true))
    }

    /// Whether bytes of a next message are already here.
    #[must_use]
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether a head has begun to arrive and is not complete.
    #[must_use]
    pub fn has_partial_head(&self) -> bool {
        self.scanned > 0
    }

    /// Reads a request head; false when the client closed between two requests.
    ///
    /// # Errors
    /// A [`HeadError`]; the connection can carry an answer and nothing more.
    pub fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
        head: &mut RequestHead,
    ) -> Poll<Result<bool, HeadError>> {
        // RFC 9112 §2.2: one empty line before a request is tolerated.
        while self.scanned == 0 && self.input.bytes().first().is_none_or(|byte| *byte == b'\r') {
            match self.input.bytes() {
                [b'\r', b'\n', ..] => {
                    self.input.consume(2);
                    break;
                }
                [b'\r', _, ..] => break,
                _ => {
                    if ready!(self.poll_fill(cx)).map_err(HeadError::Io)? == 0 {
                        return Poll::Ready(if self.input.is_empty() { Ok(false) } else { Err(HeadError::Cut) });
                    }
                }
            }
        }
        self.poll_head(cx, limits, |bytes| parse::request(bytes, limits, head))
    }

    /// Reads a response head; false when the upstream closed before the first byte of one.
    ///
    /// # Errors
    /// A [`HeadError`]; the connection must not be used further.
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
        head: &mut ResponseHead,
    ) -> Poll<Result<bool, HeadError>> {
        self.poll_head(cx, limits, |bytes| parse::response(bytes, limits, head))
    }

    /// Tries to parse whenever the end of a head may have come, so that a head which drips in byte
    /// by byte is not parsed once per byte.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
        mut parse: impl FnMut(&[u8]) -> Result<Option<usize>, Refusal>,
    ) -> Poll<Result<bool, HeadError>> {
        loop {
            let bytes = self.input.bytes();
            let worth_parsing = self.scanned == 0 || bytes.len() > limits.bytes || has_end(bytes, self.scanned);
            if !bytes.is_empty()
                && worth_parsing
                && let Some(taken) = parse(bytes).map_err(HeadError::Refused)?
            {
                self.input.consume(taken);
                self.scanned = 0;
                return Poll::Ready(Ok(true));
            }
            self.scanned = self.input.len();
            if ready!(self.poll_fill(cx)).map_err(HeadError::Io)? == 0 {
                self.inbound = Inbound::Closed;
                return Poll::Ready(if self.input.is_empty() { Ok(false) } else { Err(HeadError::Cut) });
            }
        }
    }

    /// Tells how long the body is that follows the head just read.
    pub fn begin_body(&mut self, length: BodyLength) {
        self.inbound = match length {
            BodyLength::None | BodyLength::Exact(0) => Inbound::Ended,
            BodyLength::Exact(length) => Inbound::Exact(length),
            BodyLength::Chunked => Inbound::Chunked(Box::default()),
            BodyLength::UntilClose => Inbound::UntilClose,
        };
    }

    /// Whether the message being received has arrived in full.
    #[must_use]
    pub fn has_received_all(&self) -> bool {
        matches!(self.inbound, Inbound::Ended)
    }

    /// Waits for body bytes; `None` at the end of the body.
    ///
    /// # Errors
    /// A [`BodyError`]; the connection must not be used further.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, BodyError>> {
        loop {
            let available = self.input.len();
            match &mut self.inbound {
                Inbound::Ended | Inbound::Closed => return Poll::Ready(Ok(None)),
                Inbound::Exact(left) if available > 0 => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
                    return Poll::Ready(Ok(Some(Piece {
                        length,
                        following: *left - length as u64,
                        last: length as u64 == *left,
                    })));
                }
                Inbound::UntilClose if available > 0 => {
                    return Poll::Ready(Ok(Some(Piece { length: available, following: 0, last: false })));
                }
                Inbound::Exact(left) => {
                    let left = *left;
                    self.input.prepare(left);
                }
                Inbound::UntilClose => self.input.prepare(u64::MAX),
                Inbound::Chunked(decoder) => match decoder.decode(self.input.bytes()).map_err(BodyError::Refused)? {
                    Decoded::Data { skip, length } => {
                        self.input.consume(skip);
                        let following = decoder.left() - length as u64;
                        let last = following == 0 && chunked::ends_body(&self.input.bytes()[length..]);
                        return Poll::Ready(Ok(Some(Piece { length, following, last })));
                    }
                    Decoded::End { skip } => {
                        self.input.consume(skip);
                        return Poll::Ready(Ok(None));
                    }
                    Decoded::More { skip } => {
                        self.input.consume(skip);
                        self.input.prepare(u64::MAX);
                    }
                },
            }
            if ready!(self.poll_fill(cx)).map_err(BodyError::Io)? == 0 {
                let complete = matches!(self.inbound, Inbound::UntilClose);
                self.inbound = Inbound::Closed;
                return Poll::Ready(if complete { Ok(None) } else { Err(BodyError::Cut) });
            }
        }
    }

    /// The bytes of the piece that was announced last.
    #[must_use]
    pub fn piece(&self, length: usize) -> &[u8] {
        &self.input.bytes()[..length]
    }

    /// Drops `count` bytes of the announced piece.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
        match &mut self.inbound {
            Inbound::Exact(left) => {
                *left = left.saturating_sub(count as u64);
                if *left == 0 {
                    self.inbound = Inbound::Ended;
                }
            }
            Inbound::Chunked(decoder) => decoder.consume(count),
            _ => {}
        }
    }

    /// Ends the receiving of a chunked body and hands out its trailer fields.
    ///
    /// # Errors
    /// [`BodyError::Refused`] when the trailer section is malformed.
    pub fn take_trailers(&mut self) -> Result<Option<Fields>, BodyError> {
        let Inbound::Chunked(decoder) = &self.inbound else {
            return Ok(None);
        };
        let trailers = decoder.trailers().map_err(BodyError::Refused)?;
        self.inbound = Inbound::Ended;
        Ok(trailers)
    }

    /// Begins to send a request; framing fields are written here and nowhere else.
    pub fn start_request(&mut self, head: &RequestHead, length: BodyLength) {
        self.open_output();
        head.write(&mut self.output);
        // RFC 9110 §8.6: said where the method makes a body likely.
        let likely = [Method::POST, Method::PUT, Method::PATCH].contains(&head.method);
        self.start_body(length, likely);
    }

    /// Begins to send a response; framing fields are written here and nowhere else.
    ///
    /// `bodiless` tells that this response has no body by rule (HEAD, 204, 304); a length that the
    /// head announces then stays in it as information.
    pub fn start_response(&mut self, head: &ResponseHead, length: BodyLength, bodiless: bool, close: bool) {
        self.open_output();
        head.write(&mut self.output);
        if close {
            self.output.extend_from_slice(b"connection: close\r\n");
        }
        self.start_body(length, !bodiless);
    }

    fn open_output(&mut self) {
        if self.output.capacity() == 0 {
            self.output = buffer::take_output();
        }
    }

    /// `states_empty`: that there is no body must be said, because otherwise one could follow.
    fn start_body(&mut self, length: BodyLength, states_empty: bool) {
        self.outbound = match length {
            BodyLength::None => {
                if states_empty {
                    self.output.extend_from_slice(b"content-length: 0\r\n");
                }
                Outbound::Ended
            }
            BodyLength::Exact(length) => {
                self.output.extend_from_slice(b"content-length: ");
                write_number(&mut self.output, length);
                self.output.extend_from_slice(b"\r\n");
                if length == 0 { Outbound::Ended } else { Outbound::Exact(length) }
            }
            BodyLength::Chunked => {
                self.output.extend_from_slice(b"transfer-encoding: chunked\r\n");
                Outbound::Chunked { left: 0 }
            }
            BodyLength::UntilClose => Outbound::UntilClose,
        };
        self.output.extend_from_slice(b"\r\n");
    }

    /// Sends an interim response (1xx); the final one follows.
    pub fn send_interim(&mut self, head: &ResponseHead) {
        head.write(&mut self.output);
        self.output.extend_from_slice(b"\r\n");
    }

    /// Sends `101 Switching Protocols` or an upgrade request's answer and turns the connection into
    /// a tunnel: from here on bytes pass as they are, in both directions.
    pub fn begin_tunnel(&mut self) {
        self.inbound = Inbound::UntilClose;
        self.outbound = Outbound::UntilClose;
    }

    /// Takes body bytes to send; returns how many it took. Small pieces wait for a flush.
    ///
    /// # Errors
    /// When the connection fails, or with more bytes than were announced.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.outbound {
            Outbound::UntilClose => self.poll_put(cx, data, COPY_LIMIT),
            Outbound::Exact(left) if data.len() as u64 <= left => {
                let copied = if data.len() as u64 == left { COPY_LAST } else { COPY_LIMIT };
                let count = ready!(self.poll_put(cx, data, copied))?;
                self.outbound = match left - count as u64 {
                    0 => Outbound::Ended,
                    left => Outbound::Exact(left),
                };
                Poll::Ready(Ok(count))
            }
            Outbound::Chunked { mut left } => {
                if left == 0 {
                    left = data.len();
                    chunked::open_chunk(&mut self.output, left);
                    self.outbound = Outbound::Chunked { left };
                }
                let count = ready!(self.poll_put(cx, &data[..data.len().min(left)], COPY_LIMIT))?;
                left -= count;
                if left == 0 {
                    self.output.extend_from_slice(b"\r\n");
                }
                self.outbound = Outbound::Chunked { left };
                Poll::Ready(Ok(count))
            }
            Outbound::Exact(_) | Outbound::Ended => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "more body than was announced")))
            }
        }
    }

    /// Up to `copied` bytes only join what waits.
    fn poll_put(&mut self, cx: &mut Context<'_>, data: &[u8], copied: usize) -> Poll<io::Result<usize>> {
        if data.len() <= copied && self.output.len() + data.len() <= HIGH_WATER {
            self.output.extend_from_slice(data);
            return Poll::Ready(Ok(data.len()));
        }
        loop {
            let pending = self.output.len() - self.sent;
            let parts = [IoSlice::new(&self.output[self.sent..]), IoSlice::new(data)];
            let parts = if pending == 0 { &parts[1..] } else { &parts[..] };
            let count = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, parts))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count.min(pending);
            if self.sent == self.output.len() {
                self.output.clear();
                self.sent = 0;
            }
            if count > pending {
                return Poll::Ready(Ok(count - pending));
            }
        }
    }

    /// Ends the message being sent; a flush must follow.
    ///
    /// # Errors
    /// When fewer bytes were sent than announced.
    pub fn finish(&mut self, trailers: Option<&Fields>) -> io::Result<()> {
        match self.outbound {
            Outbound::Ended | Outbound::UntilClose => Ok(()),
            Outbound::Chunked { left: 0 } => {
                chunked::close_body(&mut self.output, trailers);
                self.outbound = Outbound::Ended;
                Ok(())
            }
            Outbound::Exact(_) | Outbound::Chunked { .. } => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "less body than was announced"))
            }
        }
    }

    /// Whether nothing waits to be written.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.output[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.output.clear();
        self.sent = 0;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Tells the peer that nothing more will be sent.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Reads and drops what still arrives; returns how much, zero at the end of the stream.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let held = self.input.len();
        self.input.consume(held);
        self.poll_fill(cx)
    }

    /// Whether the connection stands between two messages: both directions ended, nothing unsent.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        matches!((&self.inbound, self.outbound), (Inbound::Ended, Outbound::Ended)) && self.output.is_empty()
    }

    /// Gives back the memory that an idle connection does not need.
    pub fn rest(&mut self) {
        self.input.release();
        if self.output.capacity() > IDLE_OUTPUT {
            buffer::keep_output(std::mem::take(&mut self.output));
        }
    }
}

/// Whether an empty line ends within the bytes behind `scanned`; a lone LF counts, to be refused.
fn has_end(bytes: &[u8], scanned: usize) -> bool {
    let fresh = &bytes[scanned.saturating_sub(3).min(bytes.len())..];
    fresh.windows(2).any(|pair| pair == b"\n\n") || fresh.windows(3).any(|three| three == b"\n\r\n")
}

/// Writes a number in decimal digits.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789"[(rest % 10) as usize];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}
