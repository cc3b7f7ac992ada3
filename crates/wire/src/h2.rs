//! HTTP/2 streams as peers of an exchange; the frames are the `h2` crate's.
//!
//! A stream behaves as an HTTP/1 connection does for one message each way: heads are converted at
//! the edge, body bytes are handed out as slices, and flow control follows what was consumed.

use crate::fields::Fields;
use crate::framing::BodyLength;
use crate::h1::{BodyError, HeadError, Piece};
use crate::head::{RequestHead, ResponseHead, Version};
use crate::name::Known;
use crate::parse::Refusal;
use bytes::{Buf, Bytes};
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The most bytes that are copied into one DATA frame's worth of output.
const SEND_LIMIT: usize = 64 * 1024;

/// One HTTP/2 stream, from the side of the gateway.
pub struct Stream {
    receiving: Receiving,
    /// Received and not yet consumed.
    current: Bytes,
    sending: Sending,
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
    Respond(SendResponse<Bytes>),
    Body(SendStream<Bytes>),
    /// The message was sent in full; what is left can only be reset.
    Ended(Option<SendStream<Bytes>>),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("current", &self.current.len()).finish_non_exhaustive()
    }
}

impl Stream {
    /// Takes a request that an HTTP/2 client sent: its head goes into `head`, the rest is the peer.
    ///
    /// # Errors
    /// [`Refusal::Http2Message`] where RFC 9113 §8 is broken in a way that `h2` lets pass; the
    /// second part still can answer.
    pub fn accept(
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
        head: &mut RequestHead,
    ) -> (Self, Result<BodyLength, Refusal>) {
        let (parts, body) = request.into_parts();
        let length = convert_request(parts, body.is_end_stream(), head);
        let receiving = if body.is_end_stream() { Receiving::Ended(None) } else { Receiving::Body(body) };
        (Self { receiving, current: Bytes::new(), sending: Sending::Respond(respond) }, length)
    }

    /// Opens a stream to an upstream and sends the request head; Host becomes `:authority`.
    ///
    /// # Errors
    /// When the head cannot be expressed, or the connection takes no more streams.
    pub fn request(
        sender: &mut SendRequest<Bytes>,
        head: &RequestHead,
        scheme: &str,
        length: BodyLength,
    ) -> io::Result<Self> {
        let authority = head.fields.value(Known::Host).unwrap_or_default();
        let mut request = http::Request::new(());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = http::Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(head.target.as_slice())
            .build()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = head.fields.to_header_map();
        request.headers_mut().remove(http::header::HOST);
        announce(request.headers_mut(), length);
        let ends = length == BodyLength::None;
        let (response, send) = sender.send_request(request, ends).map_err(into_io)?;
        let sending = if ends { Sending::Ended(Some(send)) } else { Sending::Body(send) };
        Ok(Self { receiving: Receiving::Awaiting(response), current: Bytes::new(), sending })
    }

    /// Waits for the response head; interim responses come one by one.
    pub(crate) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<bool, HeadError>> {
        let Receiving::Awaiting(response) = &mut self.receiving else {
            return Poll::Ready(Ok(false));
        };
        if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            convert_response(interim.status(), interim.headers(), head);
            return Poll::Ready(Ok(true));
        }
        let response = ready!(Pin::new(response).poll(cx)).map_err(|error| HeadError::Io(into_io(error)))?;
        let (parts, body) = response.into_parts();
        convert_response(parts.status, &parts.headers, head);
        self.receiving = if body.is_end_stream() { Receiving::Ended(None) } else { Receiving::Body(body) };
        Poll::Ready(Ok(true))
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
                    None => {
                        let Receiving::Body(body) = std::mem::replace(&mut self.receiving, Receiving::Ended(None))
                        else {
                            continue;
                        };
                        self.receiving = Receiving::Trailers(body);
                    }
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

    pub(crate) fn take_trailers(&mut self) -> Result<Option<Fields>, BodyError> {
        match &mut self.receiving {
            Receiving::Ended(trailers) => Ok(trailers.take()),
            _ => Ok(None),
        }
    }

    pub(crate) fn has_received_all(&self) -> bool {
        self.current.is_empty() && matches!(self.receiving, Receiving::Ended(_))
    }

    pub(crate) fn start_response(&mut self, head: &ResponseHead, length: BodyLength) -> io::Result<()> {
        let Sending::Respond(respond) = &mut self.sending else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut response = http::Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.fields.to_header_map();
        announce(response.headers_mut(), length);
        let ends = length == BodyLength::None;
        let send = respond.send_response(response, ends).map_err(into_io)?;
        self.sending = if ends { Sending::Ended(Some(send)) } else { Sending::Body(send) };
        Ok(())
    }

    pub(crate) fn send_interim(&mut self, head: &ResponseHead) -> io::Result<()> {
        let Sending::Respond(respond) = &mut self.sending else {
            return Ok(());
        };
        let mut response = http::Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.fields.to_header_map();
        respond.send_informational(response).map_err(into_io)
    }

    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], last: bool) -> Poll<io::Result<usize>> {
        let Sending::Body(send) = &mut self.sending else {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "more body than was announced")));
        };
        let wanted = data.len().min(SEND_LIMIT);
        send.reserve_capacity(wanted);
        let granted = match ready!(send.poll_capacity(cx)) {
            Some(granted) => granted.map_err(into_io)?.min(wanted),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        let ends = last && granted == data.len();
        send.send_data(Bytes::copy_from_slice(&data[..granted]), ends).map_err(into_io)?;
        if ends {
            self.end_sending();
        }
        Poll::Ready(Ok(granted))
    }

    pub(crate) fn finish(&mut self, trailers: Option<&Fields>) -> io::Result<()> {
        if let Sending::Body(send) = &mut self.sending {
            match trailers {
                Some(trailers) => send.send_trailers(trailers.to_header_map()),
                None => send.send_data(Bytes::new(), true),
            }
            .map_err(into_io)?;
            self.end_sending();
        }
        Ok(())
    }

    fn end_sending(&mut self) {
        if let Sending::Body(send) = std::mem::replace(&mut self.sending, Sending::Ended(None)) {
            self.sending = Sending::Ended(Some(send));
        }
    }

    pub(crate) fn reset(&mut self) {
        match &mut self.sending {
            Sending::Respond(respond) => respond.send_reset(Reason::INTERNAL_ERROR),
            Sending::Body(send) | Sending::Ended(Some(send)) => send.send_reset(Reason::INTERNAL_ERROR),
            Sending::Ended(None) => {}
        }
    }

    /// Waits until the peer gives the stream up; never ready while it wants an answer.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sending {
            Sending::Respond(respond) => respond.poll_reset(cx).map(|_| ()),
            Sending::Body(send) => send.poll_reset(cx).map(|_| ()),
            Sending::Ended(_) => Poll::Pending,
        }
    }
}

/// Puts the length of a body where the head says nothing of it yet.
fn announce(map: &mut http::HeaderMap, length: BodyLength) {
    if let BodyLength::Exact(length) = length {
        map.insert(http::header::CONTENT_LENGTH, length.into());
    }
}

/// RFC 9113 §8.3.1: `:authority` stands for Host; where both are sent they must agree.
fn convert_request(parts: http::request::Parts, ended: bool, head: &mut RequestHead) -> Result<BodyLength, Refusal> {
    head.clear();
    head.version = Version::Http2;
    head.method = parts.method;
    // RFC 9113 §8.3.1: a scheme is needed, and RFC 3986 §3.1 knows no empty one; `h2` lets it pass.
    if parts.uri.scheme_str() == Some("") {
        return Err(Refusal::Http2Message);
    }
    let target = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    head.target.extend_from_slice(target.as_bytes());
    if let Some(authority) = parts.uri.authority() {
        head.fields.append("host", authority.as_str().as_bytes());
    }
    let mut cookie = Vec::new();
    for (name, value) in &parts.headers {
        match Known::of(name.as_str().as_bytes()) {
            Known::Host if parts.uri.authority().is_some() => {
                if parts.uri.authority().map(|authority| authority.as_str().as_bytes()) != Some(value.as_bytes()) {
                    return Err(Refusal::Http2Message);
                }
            }
            // RFC 9113 §8.2.3: crumbs are joined before they pass into HTTP/1.
            Known::Cookie => {
                if !cookie.is_empty() {
                    cookie.extend_from_slice(b"; ");
                }
                cookie.extend_from_slice(value.as_bytes());
            }
            _ => head.fields.append(name.as_str(), value.as_bytes()),
        }
    }
    if !cookie.is_empty() {
        head.fields.append("cookie", &cookie);
    }
    let announced = crate::framing::of_request(head)?;
    Ok(match (ended, announced) {
        (true, BodyLength::Exact(_)) => return Err(Refusal::ContentLength),
        (true, _) => BodyLength::None,
        (false, BodyLength::Exact(length)) => BodyLength::Exact(length),
        (false, _) => BodyLength::Chunked,
    })
}

fn convert_response(status: http::StatusCode, headers: &http::HeaderMap, head: &mut ResponseHead) {
    head.clear();
    head.version = Version::Http2;
    head.status = status;
    head.fields.extend_from(headers);
}

fn into_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::new(io::ErrorKind::ConnectionAborted, error)
    }
}

fn body_error(error: h2::Error) -> BodyError {
    if error.is_reset() { BodyError::Reset } else { BodyError::Io(into_io(error)) }
}
