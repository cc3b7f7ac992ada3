//! One HTTP/2 stream as one side of an exchange.
//!
//! A stream behaves as an HTTP/1 connection does for one message each way: body bytes are handed out
//! as slices, and flow control follows what was consumed, so that a slow reader slows the writer down.
//!
//! Invariants: END_STREAM is sent only by [`Stream::finish`] or with bytes that are known to be the
//! last; a stream that is given up before is reset, so that a cut message never looks complete. One that
//! is dropped after a complete answer to an incomplete request is reset with NO_ERROR, behind the answer
//! (RFC 9113 §8.1).

use super::chunk::{CHUNK, Chunk, Outbox};
use super::{body_error, head_error, into_io, message};
use crate::fields::Fields;
use crate::framing::BodyLength;
use crate::h1::{BodyError, HeadError, Piece};
use crate::head::{RequestHead, ResponseHead};
use crate::parse::{HeadLimits, Refusal};
use bytes::{Buf, Bytes};
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::uri::Scheme;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// One HTTP/2 stream, from the side of the gateway.
pub struct Stream {
    receiving: Receiving,
    /// Received and not yet consumed.
    current: Bytes,
    sending: Sending,
    outbox: Rc<Outbox>,
}

enum Receiving {
    /// The response head has not come yet.
    Awaiting(ResponseFuture),
    Body(RecvStream),
    Trailers(RecvStream),
    Ended(Option<Fields>),
}

enum Sending {
    /// No response head was sent yet.
    Respond(SendResponse<Chunk>),
    Body(SendStream<Chunk>),
    /// The message was sent in full; what is left can only be reset.
    Ended(SendStream<Chunk>),
    /// Between two states, or no stream at all.
    Nothing,
}

/// Why no stream was opened; the upstream has seen nothing of the request.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// The request has no form in HTTP/2.
    Form,
    /// The connection takes no more streams.
    Closed(io::Error),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("current", &self.current.len()).finish_non_exhaustive()
    }
}

impl Stream {
    /// No stream; the memory of one, for requests to come.
    #[must_use]
    pub fn vacant() -> Self {
        Self {
            receiving: Receiving::Ended(None),
            current: Bytes::new(),
            sending: Sending::Nothing,
            outbox: Rc::default(),
        }
    }

    /// Becomes the stream of a request that a client sent; its head goes into `head`.
    ///
    /// # Errors
    /// A [`Refusal`] where the request must be refused; the stream can be answered all the same.
    pub fn accept(
        &mut self,
        request: http::Request<RecvStream>,
        respond: SendResponse<Chunk>,
        outbox: &Rc<Outbox>,
        limits: &HeadLimits,
        head: &mut RequestHead,
    ) -> Result<BodyLength, Refusal> {
        let (parts, body) = request.into_parts();
        let ended = body.is_end_stream();
        self.receiving = if ended { Receiving::Ended(None) } else { Receiving::Body(body) };
        self.sending = Sending::Respond(respond);
        self.outbox = Rc::clone(outbox);
        message::read_request(parts, ended, limits, head)
    }

    /// Gives the stream up where it is not complete, and is vacant again.
    pub fn leave(&mut self) {
        self.receiving = Receiving::Ended(None);
        self.current = Bytes::new();
        self.sending = Sending::Nothing;
    }

    /// Opens a stream to an upstream and sends the request head; Host becomes `:authority`.
    ///
    /// # Errors
    /// A [`RequestError`]; nothing was sent.
    pub fn request(
        sender: &SendRequest<Chunk>,
        outbox: &Rc<Outbox>,
        head: &RequestHead,
        scheme: Scheme,
        length: BodyLength,
    ) -> Result<Self, RequestError> {
        let request = message::write_request(head, scheme, length).ok_or(RequestError::Form)?;
        let ends = length == BodyLength::None;
        // A handle remembers the last stream that had to wait, and keeps it from being given up; a
        // handle of its own for each request remembers nothing.
        let sent = sender.clone().send_request(request, ends);
        let (response, send) = sent.map_err(|error| RequestError::Closed(into_io(error)))?;
        let sending = if ends { Sending::Ended(send) } else { Sending::Body(send) };
        let receiving = Receiving::Awaiting(response);
        Ok(Self { receiving, current: Bytes::new(), sending, outbox: Rc::clone(outbox) })
    }

    /// Waits for the response head; interim responses come one by one.
    pub(crate) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
        head: &mut ResponseHead,
    ) -> Poll<Result<bool, HeadError>> {
        let Receiving::Awaiting(response) = &mut self.receiving else {
            return Poll::Ready(Ok(false));
        };
        if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            let read = message::read_response(interim.status(), interim.headers(), limits, head);
            return Poll::Ready(read.map(|()| true).map_err(HeadError::Refused));
        }
        let (parts, body) = ready!(Pin::new(response).poll(cx)).map_err(head_error)?.into_parts();
        self.receiving = if body.is_end_stream() { Receiving::Ended(None) } else { Receiving::Body(body) };
        let read = message::read_response(parts.status, &parts.headers, limits, head);
        Poll::Ready(read.map(|()| true).map_err(HeadError::Refused))
    }

    /// Where no body follows, nothing more is waited for. Some upstreams end such a stream with an empty
    /// DATA frame, and `h2` takes that for a broken length where the head tells one (304, HEAD).
    pub(crate) fn begin_body(&mut self, length: BodyLength) {
        if length == BodyLength::None {
            self.receiving = Receiving::Ended(None);
        }
    }

    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, BodyError>> {
        loop {
            if !self.current.is_empty() {
                let last = matches!(&self.receiving, Receiving::Body(body) if body.is_end_stream());
                return Poll::Ready(Ok(Some(Piece { length: self.current.len(), following: 0, last })));
            }
            match &mut self.receiving {
                Receiving::Awaiting(_) | Receiving::Ended(_) => return Poll::Ready(Ok(None)),
                Receiving::Body(body) => match ready!(body.poll_data(cx)) {
                    Some(data) => self.current = data.map_err(body_error)?,
                    None => self.await_trailers(),
                },
                Receiving::Trailers(body) => {
                    let trailers = ready!(body.poll_trailers(cx)).map_err(body_error)?;
                    self.receiving = Receiving::Ended(trailers.map(|map| {
                        let mut fields = Fields::default();
                        fields.extend_from(&map);
                        fields
                    }));
                }
            }
        }
    }

    fn await_trailers(&mut self) {
        self.receiving = match std::mem::replace(&mut self.receiving, Receiving::Ended(None)) {
            Receiving::Body(body) => Receiving::Trailers(body),
            other => other,
        };
    }

    pub(crate) fn piece(&self, length: usize) -> &[u8] {
        &self.current[..length]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.current.advance(count);
        if let Receiving::Body(body) | Receiving::Trailers(body) = &mut self.receiving {
            // It fails only for more than was received, which `advance` has ruled out.
            let _ = body.flow_control().release_capacity(count);
        }
    }

    pub(crate) fn take_trailers(&mut self) -> Option<Fields> {
        match &mut self.receiving {
            Receiving::Ended(trailers) => trailers.take(),
            _ => None,
        }
    }

    pub(crate) fn has_received_all(&self) -> bool {
        self.current.is_empty() && matches!(self.receiving, Receiving::Ended(_))
    }

    pub(crate) fn start_response(&mut self, head: &ResponseHead, length: BodyLength) -> io::Result<()> {
        let Sending::Respond(respond) = &mut self.sending else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let ends = length == BodyLength::None;
        let response = message::write_response(head, length);
        let send = respond.send_response(response, ends).map_err(into_io)?;
        self.sending = if ends { Sending::Ended(send) } else { Sending::Body(send) };
        Ok(())
    }

    pub(crate) fn send_interim(&mut self, head: &ResponseHead) -> io::Result<()> {
        let Sending::Respond(respond) = &mut self.sending else {
            return Ok(());
        };
        respond.send_informational(message::write_response(head, BodyLength::None)).map_err(into_io)
    }

    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], last: bool) -> Poll<io::Result<usize>> {
        let Sending::Body(send) = &mut self.sending else {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "more body than was announced")));
        };
        ready!(self.outbox.poll_room(cx));
        let granted = ready!(poll_window(cx, send, data.len().min(CHUNK)))?;
        let ends = last && granted == data.len();
        send.send_data(Chunk::copy(&data[..granted], &self.outbox), ends).map_err(into_io)?;
        if ends {
            self.end_sending();
        }
        Poll::Ready(Ok(granted))
    }

    pub(crate) fn finish(&mut self, trailers: Option<&Fields>) -> io::Result<()> {
        if let Sending::Body(send) = &mut self.sending {
            match trailers {
                Some(trailers) => send.send_trailers(message::write_trailers(trailers)),
                None => send.send_data(Chunk::empty(), true),
            }
            .map_err(into_io)?;
            self.end_sending();
        }
        Ok(())
    }

    fn end_sending(&mut self) {
        self.sending = match std::mem::replace(&mut self.sending, Sending::Nothing) {
            Sending::Body(send) => Sending::Ended(send),
            other => other,
        };
    }

    /// There is nothing to flush, but it tells that the peer has reset the stream: whoever waits for
    /// more to send would not notice it otherwise.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_reset(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    pub(crate) fn reset(&mut self) {
        match &mut self.sending {
            Sending::Respond(respond) => respond.send_reset(Reason::INTERNAL_ERROR),
            Sending::Body(send) | Sending::Ended(send) => send.send_reset(Reason::INTERNAL_ERROR),
            Sending::Nothing => {}
        }
    }

    /// Waits until the peer gives the stream up; never ready where it waits for nothing more.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sending {
            Sending::Respond(respond) => respond.poll_reset(cx).map(|_| ()),
            Sending::Body(send) => send.poll_reset(cx).map(|_| ()),
            Sending::Ended(_) | Sending::Nothing => Poll::Pending,
        }
    }
}

/// Waits until the windows of the stream and of its connection let bytes pass; says how many.
fn poll_window(cx: &mut Context<'_>, send: &mut SendStream<Chunk>, wanted: usize) -> Poll<io::Result<usize>> {
    send.reserve_capacity(wanted);
    match ready!(send.poll_capacity(cx)) {
        Some(granted) => Poll::Ready(granted.map(|granted| granted.min(wanted)).map_err(into_io)),
        None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
    }
}
