//! Steps 7 to 9: select an endpoint, send the request, wait for the response head.

use super::hygiene;
use super::pump::{Patience, Pump, PumpError, Waits};
use super::{Exchange, Outcome};
use crate::balance::Ask;
use crate::config::plan::HostField;
use crate::fault::Fault;
use crate::path::TargetFault;
use crate::snapshot::Route;
use crate::stats::Failure;
use crate::timer::{Timer, after, nearer};
use crate::upstream::{Lease, Upstream};
use http::{Method, StatusCode};
use std::future::Future;
use std::task::{Context, Poll};
use tidegate_wire::framing::BodyLength;
use tidegate_wire::h1::HeadError;
use tidegate_wire::h2::RequestError;
use tidegate_wire::head::{ResponseHead, Version};
use tidegate_wire::name::Known;
use tidegate_wire::parse::HeadLimits;
use tidegate_wire::peer::Peer;

/// How often a request may be sent again on a new connection.
const RESENDS: u32 = 1;

/// Interim answers that are passed on for one request.
const INTERIM: u32 = 8;

/// Limits of a response head; an upstream is trusted more than a client, not without bound.
const RESPONSE_LIMITS: HeadLimits = HeadLimits { bytes: 128 * 1024, fields: 256, target: 0 };

/// Why there is no response head.
struct Lost {
    fault: Fault,
    reached: Reached,
}

/// Whether a request that was lost has reached an upstream that acts on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// It was not sent, or HTTP/2 says that nothing was done with it (RFC 9113 §8.7).
    No,
    /// Nothing of an answer was received: the upstream may have closed before it read.
    Perhaps,
    /// An answer had begun, or time has run out.
    Yes,
}

impl From<Fault> for Lost {
    fn from(fault: Fault) -> Self {
        Self { fault, reached: Reached::Yes }
    }
}

impl Exchange<'_> {
    /// Sends the request to an endpoint and relays the answer.
    pub(super) async fn forward(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        route: &Route,
        upstream: &Upstream,
    ) -> Result<Outcome, Fault> {
        self.context.upstream = Some(upstream.plan.name.clone());
        let mut ask = Ask::new(self.affinity(upstream), timer.now());
        self.prepare_forward();
        let _in_flight = upstream.meter.sent();
        let mut upload = Pump::new(self.context.body_limit, timer.now());
        let mut lease = self.lease(peer, upstream, timer, &mut ask, false).await?;
        loop {
            self.context.attempts += 1;
            self.context.converses = self.is_grpc(peer) && lease.is_http2();
            let sent = timer.now();
            self.context.trail.begin(lease.pool().name(), lease.reused, sent);
            let result = match self.start(peer, upstream, &mut lease) {
                Ok(()) => self.await_head(peer, timer, route, &mut lease, &mut upload).await,
                Err(lost) => Err(lost),
            };
            let end = result.as_ref().map(|()| self.scratch.response.status).map_err(|lost| lost.fault);
            self.context.trail.ended(end, timer.now());
            match result {
                Ok(()) => {
                    self.context.now = timer.now();
                    let elapsed = timer.now() - sent;
                    self.context.to_head = Some(elapsed);
                    let status = self.scratch.response.status.as_u16();
                    upstream.meter.answered(status, elapsed);
                    lease.pool().witness().answered(status);
                    upstream.observe(&ask, elapsed, self.context.now);
                    break;
                }
                Err(lost) if self.may_resend(&lost, &lease, &upload) => {
                    upstream.meter.resent();
                    // A connection that refuses is not asked again; others may carry on.
                    lease.retire();
                    if !lease.reused {
                        // Not an old connection is to blame, but the endpoint.
                        ask.note_chosen();
                    }
                    drop(lease);
                    upload = Pump::new(self.context.body_limit, timer.now());
                    lease = self.lease(peer, upstream, timer, &mut ask, lost.reached != Reached::No).await?;
                }
                Err(lost) => {
                    if self.is_of_endpoint(lost.fault) {
                        lease.pool().witness().failed();
                    }
                    if lost.fault == Fault::UpstreamTimeout {
                        upstream.observe(&ask, timer.now() - sent, timer.now());
                    }
                    count_failure(upstream, Some(lost.fault));
                    return Err(lost.fault);
                }
            }
        }
        self.context.received = upload.moved;
        self.stick(upstream, &ask);
        if self.scratch.response.status == StatusCode::SWITCHING_PROTOCOLS {
            return Box::pin(self.switch(peer, timer, lease)).await;
        }
        let outcome = self.relay(peer, timer, route, lease, upload).await;
        let fault = outcome.err().or(self.context.fault);
        count_failure(upstream, fault);
        outcome
    }

    /// Whether the request is gRPC, which is HTTP/2 with a content type of its own.
    fn is_grpc(&self, peer: &Peer) -> bool {
        let content_type = || self.scratch.request.fields.value(Known::ContentType);
        matches!(peer, Peer::H2(_)) && content_type().is_some_and(|value| value.starts_with(b"application/grpc"))
    }

    /// How long a client may take over a request body.
    pub(super) fn client_patience(&self, route: &Route) -> Patience {
        let timeouts = &self.client.listener.plan.timeouts;
        match self.context.converses {
            false => Patience { idle: Some(timeouts.body), rate: timeouts.body_rate },
            true => Patience { idle: route.plan.timeouts.body, rate: None },
        }
    }

    /// A connection, waited for as long as the client does.
    async fn lease(
        &mut self,
        peer: &mut Peer,
        upstream: &Upstream,
        timer: &mut Timer,
        ask: &mut Ask,
        fresh: bool,
    ) -> Result<Lease, Fault> {
        ask.now = timer.now();
        upstream.choose(ask);
        let careful = !self.scratch.request.method.is_safe();
        if !fresh && let Some(lease) = upstream.reuse(ask, careful) {
            return Ok(lease);
        }
        let mut leasing = Box::pin(upstream.lease(ask, &mut self.context.trail, fresh, careful));
        let leased = timer.drive(|cx, _| match leasing.as_mut().poll(cx) {
            Poll::Pending if client_left(cx, peer) => Poll::Ready(None),
            leased => leased.map(Some),
        });
        let leased = leased.await;
        timer.refresh();
        let error = match leased {
            Some(Ok(lease)) => return Ok(lease),
            Some(Err(error)) => error,
            None => return Err(Fault::ClientLeft),
        };
        let fault = error.fault();
        count_failure(upstream, Some(fault));
        Err(fault)
    }

    /// Puts the request head first in line; the client may now send what it held back.
    fn start(&mut self, peer: &mut Peer, upstream: &Upstream, lease: &mut Lease) -> Result<(), Lost> {
        let head = &mut self.scratch.request;
        if upstream.plan.host == HostField::Endpoint || !head.fields.has(Known::Host) {
            head.fields.set(Known::Host, lease.pool().authority().as_bytes());
        }
        if lease.is_http2() {
            if self.context.takes_trailers {
                head.fields.set(Known::Te, b"trailers");
            }
        } else if let Some(protocol) = &self.context.upgrade {
            head.fields.set(Known::Connection, b"upgrade");
            head.fields.set(Known::Upgrade, protocol);
        }
        if std::mem::take(&mut self.context.expects_continue) && !peer.has_received_all() {
            let interim = ResponseHead { status: StatusCode::CONTINUE, ..ResponseHead::default() };
            peer.send_interim(&interim).map_err(|_| Fault::ClientLeft)?;
        }
        lease.start(head, self.context.length).map_err(|error| match error {
            RequestError::Form => Fault::Target(TargetFault::Byte).into(),
            _ => Lost { fault: Fault::UpstreamClosed, reached: Reached::No },
        })
    }

    /// A request is sent again only when that surely has no effect, and when nothing of its body has
    /// been taken from the client: where the upstream did nothing with it, or where its method is safe
    /// (RFC 9110 §9.2.1) and the connection may have been closed before it came.
    fn may_resend(&self, lost: &Lost, lease: &Lease, upload: &Pump) -> bool {
        let bodiless = self.context.length == BodyLength::None;
        let harmless = match lost.reached {
            Reached::No => true,
            Reached::Perhaps => lease.reused && bodiless && self.scratch.request.method.is_safe(),
            Reached::Yes => false,
        };
        let untouched = upload.moved == 0 && (bodiless || !upload.is_done());
        harmless && untouched && self.context.attempts <= RESENDS
    }

    /// Whether the endpoint is to blame that there is no response head. Where the total ran out, the client may have
    /// spent it on a body.
    fn is_of_endpoint(&self, fault: Fault) -> bool {
        match fault {
            Fault::UpstreamClosed | Fault::UpstreamRefused(_) | Fault::UpstreamProtocol | Fault::UpstreamTimeout => {
                true
            }
            Fault::TotalTimeout => self.context.length == BodyLength::None,
            _ => false,
        }
    }

    /// Moves the request body while waiting for the response head.
    async fn await_head(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        route: &Route,
        lease: &mut Lease,
        upload: &mut Pump,
    ) -> Result<(), Lost> {
        let client = self.client_patience(route);
        let endpoint = Patience { idle: route.plan.timeouts.response, rate: None };
        let total = after(self.context.started, route.plan.timeouts.total);
        let mut sent_at = None;
        let mut interim = 0;
        let upgrade = self.context.upgrade.is_some();
        let version = self.scratch.request.version;
        let response = &mut self.scratch.response;
        timer
            .drive(|cx, timer| {
                let upstream = lease.peer().map_err(|_| Fault::UpstreamClosed)?;
                let now = timer.now();
                if !upload.is_over() {
                    match upload.poll(cx, now, peer, upstream, hygiene::clean_request_trailers) {
                        Poll::Ready(Ok(())) => {}
                        // An upstream that reads no further may have answered already.
                        Poll::Ready(Err(PumpError::Sink)) => upload.abandon(),
                        Poll::Ready(Err(PumpError::Source)) => return Poll::Ready(Err(Fault::BodyBroken.into())),
                        Poll::Ready(Err(PumpError::TooLarge)) => return Poll::Ready(Err(Fault::BodyTooLarge.into())),
                        Poll::Pending => {}
                    }
                }
                if upload.is_over() && sent_at.is_none() {
                    sent_at = Some(now);
                }
                while let Poll::Ready(result) = poll_head(cx, upstream, response) {
                    result?;
                    if response.status == StatusCode::SWITCHING_PROTOCOLS {
                        let asked = if upgrade { Ok(()) } else { Err(Fault::UpstreamProtocol.into()) };
                        return Poll::Ready(asked);
                    }
                    if !response.is_interim() {
                        return Poll::Ready(Ok(()));
                    }
                    interim += 1;
                    if interim > INTERIM {
                        return Poll::Ready(Err(Fault::UpstreamProtocol.into()));
                    }
                    pass_interim(peer, response, version);
                }
                // Interim answers wait in the client's buffer; the rest of them follows with the answer.
                let _ = peer.poll_flush(cx);
                if client_left(cx, peer) {
                    return Poll::Ready(Err(Fault::ClientLeft.into()));
                }
                let (waiting, fault) = match sent_at {
                    Some(at) => (after(at, route.plan.timeouts.response), Fault::UpstreamTimeout),
                    None if upload.waits == Waits::Source => (upload.deadline(client, endpoint), Fault::ClientTimeout),
                    None => (upload.deadline(client, endpoint), Fault::UpstreamTimeout),
                };
                if timer.poll(cx, nearer(waiting, total)).is_ready() {
                    let fault = if total.is_some_and(|total| total <= now) { Fault::TotalTimeout } else { fault };
                    return Poll::Ready(Err(fault.into()));
                }
                Poll::Pending
            })
            .await
    }
}

fn poll_head(cx: &mut Context<'_>, upstream: &mut Peer, head: &mut ResponseHead) -> Poll<Result<(), Lost>> {
    upstream.poll_response(cx, &RESPONSE_LIMITS, head).map(|result| match result {
        Ok(true) => Ok(()),
        Ok(false) => Err(Lost { fault: Fault::UpstreamClosed, reached: Reached::Perhaps }),
        Err(HeadError::Unprocessed) => Err(Lost { fault: Fault::UpstreamClosed, reached: Reached::No }),
        Err(HeadError::Io(_)) if !upstream.has_partial_head() => {
            Err(Lost { fault: Fault::UpstreamClosed, reached: Reached::Perhaps })
        }
        Err(HeadError::Refused(refusal)) => Err(Fault::UpstreamRefused(refusal).into()),
        Err(_) => Err(Fault::UpstreamClosed.into()),
    })
}

/// Passes an interim answer on, but `100 Continue`: that one the gateway has given itself. An
/// HTTP/1.0 client is never sent one (RFC 9110 §15.2).
fn pass_interim(peer: &mut Peer, head: &mut ResponseHead, version: Version) {
    if head.status == StatusCode::CONTINUE || version == Version::Http10 {
        return;
    }
    hygiene::remove_connection_fields(&mut head.fields);
    head.fields.remove(Known::ContentLength);
    // A client that is gone shows with the final answer.
    let _ = peer.send_interim(head);
}

/// Whether the client has reset its connection or stream: then nobody waits for an answer.
fn client_left(cx: &mut Context<'_>, peer: &mut Peer) -> bool {
    match peer {
        Peer::H1(connection) => connection.transport().poll_lost(cx),
        Peer::H2(stream) => stream.poll_reset(cx).is_ready(),
    }
}

/// Counts what an upstream is to blame for; what a client did is no failure of it.
fn count_failure(upstream: &Upstream, fault: Option<Fault>) {
    let failure = match fault {
        Some(Fault::Connect | Fault::PoolExhausted) => Failure::Connect,
        Some(Fault::ConnectTimeout | Fault::UpstreamTimeout | Fault::TotalTimeout) => Failure::Timeout,
        Some(Fault::UpstreamRefused(_) | Fault::UpstreamProtocol) => Failure::Protocol,
        Some(Fault::UpstreamClosed) => Failure::Reset,
        _ => return,
    };
    upstream.meter.failed(failure);
}

/// Whether a response's body length may be trusted to belong to the request.
pub(super) fn response_length(head: &ResponseHead, method: &Method) -> Result<BodyLength, Fault> {
    tidegate_wire::framing::of_response(head, method).map_err(Fault::UpstreamRefused)
}
