//! Step 12, the only way out: a fault becomes an answer; then counts, the access record, and what
//! becomes of the connection.

use super::context::RequestId;
use super::relay::has_no_body;
use super::{After, Exchange, Outcome};
use crate::access::{Record, Text};
use crate::config::plan::{Redirect, Respond};
use crate::fault::Fault;
use crate::problem;
use crate::rate_limit::whole_seconds;
use crate::recent::Ended;
use crate::stats::Protocol;
use crate::timer::{Timer, after};
use http::StatusCode;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidegate_wire::fields::Fields;
use tidegate_wire::framing::BodyLength;
use tidegate_wire::head::Version;
use tidegate_wire::name::Known;
use tidegate_wire::peer::Peer;

/// A request body up to this is read away after an answer that did not need it, to keep the connection.
const DRAIN: u64 = 64 * 1024;

impl Exchange<'_> {
    pub(super) async fn finish(&mut self, peer: &mut Peer, timer: &mut Timer, result: Result<Outcome, Fault>) -> After {
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(fault @ Fault::ClientLeft) => {
                self.context.fault = Some(fault);
                Outcome::ClientGone
            }
            // Boxed, like all that is rare: the states of an exchange that is only relayed stay few, and
            // its code fits the cache.
            Err(fault) => Box::pin(self.send_fault(peer, timer, fault)).await,
        };
        self.record(outcome);
        match outcome {
            Outcome::Complete if peer.has_received_all() => self.kept(),
            Outcome::Complete => Box::pin(self.settle(peer, timer)).await,
            Outcome::Cut | Outcome::ClientGone => {
                peer.abort();
                After::Abort
            }
        }
    }

    async fn send_fault(&mut self, peer: &mut Peer, timer: &mut Timer, fault: Fault) -> Outcome {
        self.context.fault = Some(fault);
        self.context.close |= fault.poisons_connection();
        if matches!(self.context.request_id, RequestId::None) {
            self.name_request();
        }
        let body = problem::document(fault, self.context.request_id.as_bytes(), self.context.trace_id.as_ref());
        let head = &mut self.scratch.response;
        head.clear();
        head.status = fault.status();
        head.fields.append("content-type", b"application/problem+json");
        head.fields.append("cache-control", b"no-store");
        if let Some(least) = fault.retry_after() {
            let known = self.context.retry_after.map(whole_seconds);
            let seconds = known.unwrap_or_default().max(least.into());
            head.fields.append("retry-after", seconds.to_string().as_bytes());
        }
        if head.status == StatusCode::METHOD_NOT_ALLOWED {
            head.fields.append("allow", b"");
        }
        self.send_own(peer, timer, &body).await
    }

    pub(super) fn prepare_respond(&mut self, respond: &Respond) {
        let head = &mut self.scratch.response;
        head.clear();
        head.status = respond.status;
        for (name, value) in &respond.headers {
            head.fields.append(name.as_str(), value.as_bytes());
        }
    }

    /// The request's own URL with some parts changed; the query stays.
    pub(super) fn prepare_redirect(&mut self, redirect: &Redirect) {
        let (path, query) = self.scratch.request.target.split_at(self.context.path);
        let own_scheme = self.context.origin.scheme();
        let scheme = redirect.scheme.unwrap_or(own_scheme);
        let head = &mut self.scratch.response;
        head.clear();
        head.status = redirect.status;
        let own_host = self.scratch.request.fields.value(Known::Host).unwrap_or_default();
        // Another scheme has another port, so that the one asked for does not pass over.
        let host = match &redirect.host {
            Some(host) => host.as_bytes(),
            None if scheme == own_scheme => own_host,
            None => self.scratch.host.as_bytes(),
        };
        head.fields.append_with("location", |out| {
            out.extend_from_slice(scheme.as_str().as_bytes());
            out.extend_from_slice(b"://");
            out.extend_from_slice(host);
            out.extend_from_slice(redirect.path.as_deref().map_or(path, str::as_bytes));
            out.extend_from_slice(query);
        });
    }

    /// Fields that every answer has, whoever gave it.
    pub(super) fn add_response_fields(&mut self) {
        // A drain may have begun while the upstream was busy; the client should not count on this connection.
        self.context.close |= self.worker.is_draining();
        let fields = &mut self.scratch.response.fields;
        // RFC 9110 §6.6.1: a recipient with a clock adds Date where it is missing.
        if !fields.has(Known::Date) {
            fields.add(Known::Date, |out| self.worker.write_date(self.context.now, out));
        }
        let wanted = &self.local.snapshot.plan.headers;
        if wanted.request_id && !matches!(self.context.request_id, RequestId::None) {
            fields.set(Known::XRequestId, self.context.request_id.as_bytes());
        }
        if wanted.via {
            fields.append("via", b"1.1 tidegate");
        }
        self.tell_limits();
    }

    /// Sends an answer of the gateway's own, whose head is in the scratch.
    pub(super) fn send_own(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        body: &[u8],
    ) -> impl Future<Output = Outcome> {
        self.send_whole(peer, timer, body, None)
    }

    /// Sends an answer that is there as a whole, its head in the scratch.
    pub(super) async fn send_whole(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        body: &[u8],
        trailers: Option<&Fields>,
    ) -> Outcome {
        self.discard_ready(peer).await;
        if !peer.has_received_all() && !self.can_drain() {
            self.context.close = true;
        }
        if matches!(self.context.request_id, RequestId::None) {
            self.name_request();
        }
        self.add_response_fields();
        let head = &mut self.scratch.response;
        let bodiless = has_no_body(head.status, &self.scratch.request.method);
        let length = match body.len() as u64 {
            _ if bodiless => BodyLength::None,
            // Only what has no length before it can have trailers behind it in HTTP/1.1.
            _ if trailers.is_some() && self.scratch.request.version != Version::Http10 => BodyLength::Chunked,
            0 => BodyLength::None,
            length => BodyLength::Exact(length),
        };
        if bodiless && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            head.fields.append("content-length", body.len().to_string().as_bytes());
        }
        if peer.start_response(head, length, bodiless, self.context.close).is_err() {
            return Outcome::ClientGone;
        }
        let body = if bodiless { &[] } else { body };
        let deadline = after(timer.now(), Some(self.client.listener.plan.timeouts.body));
        let mut sent = 0;
        let result = timer
            .drive(|cx, timer| {
                if let Poll::Ready(result) = send_all(cx, peer, body, trailers, &mut sent) {
                    return Poll::Ready(result.is_ok());
                }
                timer.poll(cx, deadline).map(|()| false)
            })
            .await;
        self.context.sent = sent as u64;
        if result { Outcome::Complete } else { Outcome::ClientGone }
    }

    /// Drops what has already arrived of a body that nobody needs.
    async fn discard_ready(&self, peer: &mut Peer) {
        let mut dropped = 0;
        poll_fn(|cx| {
            while dropped < DRAIN {
                match peer.poll_piece(cx) {
                    Poll::Ready(Ok(Some(piece))) => {
                        peer.consume(piece.length);
                        dropped += piece.length as u64;
                    }
                    Poll::Ready(Ok(None)) => {
                        // Malformed trailers leave the message unfinished, and the connection ends.
                        let _ = peer.take_trailers();
                        break;
                    }
                    _ => break,
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Whether what is left of the request body is short enough to wait for.
    fn can_drain(&self) -> bool {
        matches!(self.context.length, BodyLength::Exact(length) if length <= DRAIN)
            && !self.context.expects_continue
            && !self.context.close
    }

    /// What becomes of a connection on which nothing is left to read of this request.
    fn kept(&self) -> After {
        if self.context.close { After::Close } else { After::KeepAlive }
    }

    /// Decides what becomes of the connection after an answer that came before the end of the request.
    async fn settle(&mut self, peer: &mut Peer, timer: &mut Timer) -> After {
        if matches!(peer, Peer::H2(_)) {
            // Dropped, the stream is reset with NO_ERROR behind the answer (RFC 9113 §8.1); a reset
            // made here would overtake the answer.
            return After::KeepAlive;
        }
        let deadline = timer.now() + self.client.listener.plan.timeouts.linger;
        if self.context.close || !self.can_drain() || !drain(peer, timer, deadline).await {
            return After::Close;
        }
        self.kept()
    }

    /// Counts the request, hands its record over and remembers it.
    fn record(&mut self, outcome: Outcome) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.context.started);
        let meter = self.local.route_meter(self.context.route);
        let status = self.scratch.response.status;
        let (received, sent) = (self.context.received, self.context.sent);
        match outcome {
            Outcome::Complete => meter.finished(status.as_u16(), elapsed, received, sent),
            Outcome::Cut | Outcome::ClientGone => meter.aborted(elapsed, received, sent),
        }
        let request = &self.scratch.request;
        self.client.listener.meter.request(match request.version {
            Version::Http10 | Version::Http11 => Protocol::H1,
            Version::Http2 => Protocol::H2,
        });
        if matches!(self.context.fault, Some(Fault::Refused(_) | Fault::BodyBroken)) {
            self.client.listener.meter.protocol_error();
        }
        if let Some(log) = &*self.worker.access_log() {
            log.record(self.access_record(outcome, self.started_at(now), elapsed));
        }
        self.remember(outcome, now, elapsed);
    }

    /// When the request came, by the clock on the wall.
    fn started_at(&self, now: Instant) -> SystemTime {
        UNIX_EPOCH + self.worker.wall_clock(now).saturating_sub(now.saturating_duration_since(self.context.started))
    }

    /// What was answered, if anything was.
    fn answered(&self, outcome: Outcome) -> Option<StatusCode> {
        (outcome != Outcome::ClientGone || self.context.sent > 0).then_some(self.scratch.response.status)
    }

    /// Writes into the memory of the last exchanges; it takes out of the context what nothing asks for any more.
    fn remember(&mut self, outcome: Outcome, now: Instant, took: Duration) {
        if !self.worker.recent().is_on() {
            return;
        }
        let status = self.answered(outcome);
        let (request, context) = (&self.scratch.request, &mut self.context);
        if let Some(fault) = context.fault {
            // A client that left while a connection was waited for.
            context.trail.ended(Err(fault), now);
        }
        let mut ended = Ended {
            began: context.started,
            took,
            request_id: context.request_id.as_bytes(),
            trace_id: context.trace_id,
            client: context.origin.client(),
            listener: self.client.listener.plan.address,
            version: request.version,
            method: request.method.as_str().as_bytes(),
            host: self.scratch.host.as_bytes(),
            path: request.target.get(..context.path).unwrap_or_default(),
            route: context.route,
            upstream: context.upstream,
            status,
            complete: outcome == Outcome::Complete,
            fault: context.fault,
            request_bytes: context.received,
            response_bytes: context.sent,
            trail: &mut context.trail,
        };
        self.worker.recent().record(&mut ended, &self.local.snapshot.names);
    }

    fn access_record(&self, outcome: Outcome, time: SystemTime, elapsed: Duration) -> Record {
        let request = &self.scratch.request;
        let context = &self.context;
        let names = &self.local.snapshot.names;
        Record {
            time,
            client: context.origin.client(),
            protocol: match request.version {
                Version::Http10 => http::Version::HTTP_10,
                Version::Http11 => http::Version::HTTP_11,
                Version::Http2 => http::Version::HTTP_2,
            },
            method: Text::from(&request.method),
            host: (!self.scratch.host.is_empty()).then(|| Text::clip(self.scratch.host.as_bytes())),
            path: Text::clip(request.target.get(..context.path).unwrap_or_default()),
            status: self.answered(outcome),
            fault: context.fault.map(Fault::code),
            route: context.route.and_then(|route| names.route(route)).cloned(),
            upstream: context.upstream.and_then(|upstream| names.upstream(upstream)).cloned(),
            endpoint: context.trail.endpoint().and_then(|endpoint| names.endpoint(endpoint)).cloned(),
            attempts: context.attempts,
            request_bytes: context.received,
            response_bytes: context.sent,
            duration: elapsed,
            upstream_duration: context.to_head,
            request_id: Some(Text::clip(context.request_id.as_bytes())),
            trace_id: context.trace_id.map(|id| Text::clip(&id)),
            user_agent: request.fields.value(Known::UserAgent).map(Text::clip),
        }
    }
}

fn send_all(
    cx: &mut Context<'_>,
    peer: &mut Peer,
    body: &[u8],
    trailers: Option<&Fields>,
    sent: &mut usize,
) -> Poll<std::io::Result<()>> {
    while *sent < body.len() {
        *sent += ready!(peer.poll_send(cx, &body[*sent..], trailers.is_none()))?;
    }
    peer.finish(trailers)?;
    peer.poll_flush(cx)
}

/// Reads what is left of a short body away; false when it did not come in time or in full.
async fn drain(peer: &mut Peer, timer: &mut Timer, deadline: Instant) -> bool {
    let read = poll_fn(|cx| {
        loop {
            match ready!(peer.poll_piece(cx)) {
                Ok(Some(piece)) => peer.consume(piece.length),
                Ok(None) => return Poll::Ready(peer.take_trailers().is_ok()),
                Err(_) => return Poll::Ready(false),
            }
        }
    });
    timer.bound(deadline, read).await.unwrap_or(false) && peer.has_received_all()
}
