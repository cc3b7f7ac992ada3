//! Steps 8 to 10, one attempt to get an answer: an endpoint, a connection to it, the request sent, the head awaited.

use super::deadline::{self, is_grpc};
use super::forward::{Forwarding, Way, count_failure};
use super::hygiene;
use super::pump::{Patience, Pump, PumpError, Waits};
use super::verdict::{Lost, Reached, of_answer};
use crate::balance::Ask;
use crate::config::plan::HostField;
use crate::fault::Fault;
use crate::path::TargetFault;
use crate::recent::{Decision, Trail};
use crate::timer::{after, nearer};
use crate::upstream::{Lease, LeaseError};
use http::StatusCode;
use std::cell::RefCell;
use std::future::poll_fn;
use std::mem::{replace, take};
use std::task::{Context, Poll};
use std::time::Instant;
use tidegate_resilience::{Outcome, Verdict};
use tidegate_wire::framing::BodyLength;
use tidegate_wire::h1::HeadError;
use tidegate_wire::h2::RequestError;
use tidegate_wire::head::{ResponseHead, Version};
use tidegate_wire::name::Known;
use tidegate_wire::parse::HeadLimits;
use tidegate_wire::peer::Peer;

/// How often an attempt may go over to a new connection.
const RESENDS: u32 = 1;

/// Interim answers that are passed on for one attempt.
const INTERIM: u32 = 8;

/// Limits of a response head; an upstream is trusted more than a client, not without bound.
const RESPONSE_LIMITS: HeadLimits = HeadLimits { bytes: 128 * 1024, fields: 256, target: 0 };

/// What the rest of an answer will come from. Its head is in the scratch.
pub(super) struct Answer {
    pub(super) lease: Lease,
    /// The request body, which may still be on its way.
    pub(super) upload: Pump,
    /// Which endpoint it came from.
    pub(super) ask: Ask,
}

/// Makes an attempt. The answer, where there is one, is in [`Forwarding::answer`]; what it means is returned.
pub(super) async fn run(forwarding: &RefCell<Forwarding<'_, '_>>, way: Way<'_>) -> Result<Verdict, Lost> {
    let mut attempt = Running::begin(forwarding, way);
    attempt.lease(false).await?;
    let mut resends = 0;
    loop {
        let lost = match attempt.send().await {
            Ok(()) => return attempt.answered(),
            Err(lost) => lost,
        };
        if resends == RESENDS || !attempt.may_resend(&lost) {
            return Err(attempt.failed(lost));
        }
        resends += 1;
        way.upstream.meter.resent();
        attempt.give_up_connection(lost.fault);
        attempt.lease(lost.reached != Reached::No).await?;
    }
}

/// An attempt under way. However it ends, what it has done to the request is known to those that follow.
struct Running<'a, 'f, 'x, 'w> {
    forwarding: &'a RefCell<Forwarding<'f, 'x>>,
    way: Way<'w>,
    ask: Ask,
    lease: Option<Lease>,
    /// What its response head is read into; the answer takes it away.
    head: Option<Box<ResponseHead>>,
    upload: Pump,
    began: Instant,
    /// When all of the request was sent.
    sent: Option<Instant>,
    interim: u32,
    /// The endpoints of this attempt.
    trail: Trail,
    /// Whether an endpoint has the request, or some of it, and owes an answer.
    asked: bool,
}

impl<'a, 'f, 'x, 'w> Running<'a, 'f, 'x, 'w> {
    fn begin(forwarding: &'a RefCell<Forwarding<'f, 'x>>, way: Way<'w>) -> Self {
        let mut shared = forwarding.borrow_mut();
        shared.active += 1;
        shared.needless = false;
        shared.partial = false;
        // One that policies do not take for an answer, and its connection.
        *shared.answer = None;
        let now = shared.timer.now();
        let ask = Ask { tried: shared.tried, ..Ask::new(shared.key, now) };
        let head = Some(shared.exchange.scratch.spare.take().unwrap_or_default());
        let upload = shared.upload();
        let trail = Trail::new(shared.exchange.context.started, way.place);
        drop(shared);
        Self {
            forwarding,
            way,
            ask,
            lease: None,
            head,
            upload,
            began: now,
            sent: None,
            interim: 0,
            trail,
            asked: false,
        }
    }

    /// A connection to an endpoint.
    async fn lease(&mut self, fresh: bool) -> Result<(), Lost> {
        let upstream = self.way.upstream;
        let careful = {
            let mut shared = self.forwarding.borrow_mut();
            self.ask.now = shared.timer.now();
            upstream.choose(&mut self.ask);
            if let Some(chosen) = self.ask.chosen {
                let mut tried = Ask { tried: shared.tried, ..self.ask };
                tried.note(chosen);
                shared.tried = tried.tried;
            }
            !shared.exchange.scratch.request.method.is_safe()
        };
        if !fresh && let Some(lease) = upstream.reuse(&self.ask, careful) {
            self.lease = Some(lease);
            return Ok(());
        }
        let leased = Box::pin(upstream.lease(&mut self.ask, &mut self.trail, fresh, careful)).await;
        self.forwarding.borrow_mut().timer.refresh();
        let fault = match leased {
            Ok(lease) => {
                self.lease = Some(lease);
                return Ok(());
            }
            Err(error) => {
                if let LeaseError::Open(rejection) = &error {
                    self.forwarding.borrow_mut().exchange.context.retry_after = rejection.retry_after();
                    self.trail.decided(Decision::from(rejection));
                }
                error.fault()
            }
        };
        count_failure(upstream, Some(fault));
        Err(Lost { fault, reached: Reached::No })
    }

    /// Sends the request and waits for the response head.
    async fn send(&mut self) -> Result<(), Lost> {
        self.start()?;
        self.asked = true;
        poll_fn(|cx| self.poll_head(cx)).await
    }

    /// Puts the request head first in line; the client may now send what it held back.
    fn start(&mut self) -> Result<(), Lost> {
        let shared = &mut *self.forwarding.borrow_mut();
        let Some(lease) = &mut self.lease else { return Err(Fault::UpstreamClosed.into()) };
        let (context, head) = (&mut shared.exchange.context, &mut shared.exchange.scratch.request);
        context.attempts += 1;
        if let Some(endpoint) = self.ask.chosen {
            self.trail.begin(endpoint, self.ask.passed_over, lease.reused, shared.timer.now());
        }
        let http2 = lease.is_http2();
        context.converses = http2 && matches!(shared.peer, Peer::H2(_)) && is_grpc(&head.fields);
        deadline::tell(&mut head.fields, context.attempts, shared.exchange.local.snapshot.plan.headers.attempt);
        (self.began, self.sent) = (shared.timer.now(), None);
        if self.way.upstream.plan.host == HostField::Endpoint || !head.fields.has(Known::Host) {
            head.fields.set(Known::Host, lease.pool().authority().as_bytes());
        }
        if http2 {
            if context.takes_trailers {
                head.fields.set(Known::Te, b"trailers");
            }
        } else if let Some(protocol) = &context.upgrade {
            head.fields.set(Known::Connection, b"upgrade");
            head.fields.set(Known::Upgrade, protocol);
        }
        context.invite_body(shared.peer)?;
        lease.start(head, context.length).map_err(|error| match error {
            RequestError::Form => Fault::Target(TargetFault::Byte).into(),
            _ => Lost { fault: Fault::UpstreamClosed, reached: Reached::No },
        })
    }

    /// Moves the request body while waiting for the response head.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        let shared = &mut *self.forwarding.borrow_mut();
        let (Some(lease), Some(head)) = (&mut self.lease, &mut self.head) else {
            return Poll::Ready(Err(Fault::UpstreamClosed.into()));
        };
        let upstream = lease.peer().map_err(|_| Fault::UpstreamClosed)?;
        let now = shared.timer.now();
        self.upload.carry(cx, now, shared.peer, upstream).map_err(|error| match error {
            PumpError::TooLarge => Fault::BodyTooLarge,
            _ => Fault::BodyBroken,
        })?;
        if self.upload.is_over() && self.sent.is_none() {
            self.sent = Some(now);
        }
        while let Poll::Ready(result) = read_head(cx, upstream, head) {
            result?;
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                let asked = shared.exchange.context.upgrade.is_some();
                return Poll::Ready(if asked { Ok(()) } else { Err(Fault::UpstreamProtocol.into()) });
            }
            if !head.is_interim() {
                return Poll::Ready(Ok(()));
            }
            self.interim += 1;
            if self.interim > INTERIM {
                return Poll::Ready(Err(Fault::UpstreamProtocol.into()));
            }
            pass_interim(shared.peer, head, shared.exchange.scratch.request.version);
        }
        // Interim answers wait in the client's buffer; the rest of them follows with the answer.
        let _ = shared.peer.poll_flush(cx);
        let (route, context) = (self.way.route, &shared.exchange.context);
        let endpoint = Patience { idle: route.plan.timeouts.response, rate: None };
        let (waiting, fault) = match self.sent {
            Some(at) => (after(at, route.plan.timeouts.response), Fault::UpstreamTimeout),
            None => {
                let waiting = self.upload.deadline(shared.exchange.client_patience(route), endpoint);
                let of_client = self.upload.waits == Waits::Source;
                (waiting, if of_client { Fault::ClientTimeout } else { Fault::UpstreamTimeout })
            }
        };
        let total = after(context.started, route.plan.timeouts.total);
        if shared.timer.poll(cx, nearer(waiting, total)).is_ready() {
            let fault = if total.is_some_and(|total| total <= now) { Fault::TotalTimeout } else { fault };
            return Poll::Ready(Err(fault.into()));
        }
        Poll::Pending
    }

    /// The response head is there.
    fn answered(&mut self) -> Result<Verdict, Lost> {
        self.asked = false;
        let (Some(mut lease), Some(head)) = (self.lease.take(), self.head.take()) else {
            return Err(Fault::UpstreamClosed.into());
        };
        let mut shared = self.forwarding.borrow_mut();
        let now = shared.timer.now();
        let elapsed = now - self.began;
        shared.needless = true;
        self.trail.ended(Ok(head.status), now);
        shared.note(&self.upload, true);
        shared.exchange.context.now = now;
        shared.exchange.context.to_head = Some(elapsed);
        let upstream = self.way.upstream;
        let status = head.status.as_u16();
        upstream.meter.answered(status, elapsed);
        lease.pool().witness().answered(status);
        upstream.observe(&self.ask, elapsed, now);
        let upload = replace(&mut self.upload, Pump::new(None, now));
        let verdict = of_answer(&head);
        lease.complete(verdict.outcome);
        shared.partial = verdict != Verdict::SUCCESS && self.is_partial();
        *shared.answer = Some(Answer { lease, upload, ask: self.ask });
        self.head = Some(replace(&mut shared.exchange.scratch.response, head));
        Ok(verdict)
    }

    /// There will be none.
    fn failed(&mut self, lost: Lost) -> Lost {
        self.asked = false;
        let mut shared = self.forwarding.borrow_mut();
        shared.note(&self.upload, lost.reached != Reached::No);
        let now = shared.timer.now();
        drop(shared);
        self.trail.ended(Err(lost.fault), now);
        self.blame(lost.fault, now);
        lost
    }

    /// Says of the endpoint what it has done.
    fn blame(&mut self, fault: Fault, now: Instant) {
        let upstream = self.way.upstream;
        if self.is_of_endpoint(fault)
            && let Some(lease) = &mut self.lease
        {
            lease.pool().witness().failed();
            lease.complete(Outcome::Failure);
            let partial = self.is_partial();
            self.forwarding.borrow_mut().partial = partial;
        }
        if fault == Fault::UpstreamTimeout {
            upstream.observe(&self.ask, now - self.began, now);
        }
        count_failure(upstream, Some(fault));
    }

    /// Whether the endpoint fails while the others are well: a matter for ejection, not for a circuit breaker.
    fn is_partial(&self) -> bool {
        self.ask.chosen.is_some_and(|index| self.way.upstream.fails_in_part(index))
    }

    /// Whether the endpoint is to blame that there is no response head. Where the total ran out, the client may have
    /// spent it on a body.
    fn is_of_endpoint(&self, fault: Fault) -> bool {
        match fault {
            Fault::UpstreamClosed | Fault::UpstreamRefused(_) | Fault::UpstreamProtocol | Fault::UpstreamTimeout => {
                true
            }
            Fault::TotalTimeout => self.upload.moved == 0,
            _ => false,
        }
    }

    /// An attempt goes over to another connection only when what it did so far surely has no effect, and when nothing of
    /// the body has been taken from the client: where the upstream did nothing with it, or where its method is safe (RFC
    /// 9110 §9.2.1) and the connection may have been closed before it came.
    fn may_resend(&self, lost: &Lost) -> bool {
        let shared = self.forwarding.borrow();
        let bodiless = shared.exchange.context.length == BodyLength::None;
        let safe = shared.exchange.scratch.request.method.is_safe();
        let reused = self.lease.as_ref().is_some_and(|lease| lease.reused);
        let harmless = match lost.reached {
            Reached::No => true,
            Reached::Perhaps => reused && bodiless && safe,
            Reached::Yes => false,
        };
        let untouched = self.upload.moved == 0 && (bodiless || !self.upload.is_done());
        harmless && untouched
    }

    /// Lets go of a connection that took the request and gave nothing.
    fn give_up_connection(&mut self, fault: Fault) {
        self.asked = false;
        let now = self.forwarding.borrow().timer.now();
        self.trail.ended(Err(fault), now);
        if let Some(lease) = self.lease.take() {
            // A connection that refuses is not asked again; others may carry on.
            lease.retire();
            if !lease.reused {
                // Not an old connection is to blame, but the endpoint.
                self.ask.note_chosen();
            }
        }
        self.upload = self.forwarding.borrow().upload();
    }
}

impl Drop for Running<'_, '_, '_, '_> {
    fn drop(&mut self) {
        let mut shared = self.forwarding.borrow_mut();
        shared.active -= 1;
        shared.exchange.scratch.spare = self.head.take();
        let asked = take(&mut self.asked);
        // A policy has given it up: the endpoint was too slow, unless nobody needs the answer any more.
        let late = asked && !shared.needless && self.sent.is_some();
        let now = if late { Instant::now() } else { self.began };
        if late {
            self.trail.ended(Err(Fault::UpstreamTimeout), now);
        }
        shared.exchange.context.trail.follow(&mut self.trail);
        if asked {
            shared.note(&self.upload, true);
        }
        drop(shared);
        if late {
            self.blame(Fault::UpstreamTimeout, now);
        }
    }
}

impl Forwarding<'_, '_> {
    /// The body, from its beginning.
    fn upload(&self) -> Pump {
        let pump = Pump::new(self.exchange.context.body_limit, self.timer.now());
        pump.replaying(self.replay.clone())
    }

    /// Notes what an attempt has taken, and whether an upstream may have acted on it.
    fn note(&mut self, upload: &Pump, risked: bool) {
        self.risked |= risked;
        let bodiless = self.exchange.context.length == BodyLength::None;
        self.spent |= upload.moved > 0 || (!bodiless && upload.is_done());
    }
}

fn read_head(cx: &mut Context<'_>, upstream: &mut Peer, head: &mut ResponseHead) -> Poll<Result<(), Lost>> {
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
