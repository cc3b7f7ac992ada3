//! Step 7: the request as a call through the policies of its route, up to the head of an answer.
//!
//! What an attempt does is in `attempt`, what its end means to policies in `verdict`. Whether there is another attempt
//! is for the policies to decide, within what is safe: see [`Forwarding::may_repeat`].

use super::attempt::{self, Answer};
use super::deadline;
use super::pump::Patience;
use super::replay::Replay;
use super::verdict::Lost;
use super::{Exchange, Outcome};
use crate::config::plan::{Action, Fallback};
use crate::fault::Fault;
use crate::protection::Protection;
use crate::recent::Decision;
use crate::snapshot::Route;
use crate::stats::Failure;
use crate::timer::Timer;
use crate::upstream::Upstream;
use http::StatusCode;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tidegate_resilience::{Attempt, Call, Clock, Code, Composition, Error, Held, Operation, Rejection, Verdict};
use tidegate_wire::framing::BodyLength;
use tidegate_wire::peer::Peer;

/// Where a request goes, and through which policies.
#[derive(Clone, Copy)]
pub(super) struct Way<'w> {
    pub(super) route: &'w Route,
    pub(super) upstream: &'w Upstream,
    /// The place of the upstream in the configuration.
    pub(super) place: usize,
    pub(super) protection: Option<&'w Protection>,
    /// What there is instead of an answer.
    pub(super) fallback: Option<&'w Fallback>,
}

/// What the attempts of a request have in common. It is borrowed within a poll, never across an `await`: copies of a
/// request take turns.
pub(super) struct Forwarding<'f, 'x> {
    pub(super) exchange: &'f mut Exchange<'x>,
    pub(super) peer: &'f mut Peer,
    pub(super) timer: &'f mut Timer,
    /// What the request has in common with others that go to the same endpoint.
    pub(super) key: Option<u64>,
    /// The endpoints that were tried.
    pub(super) tried: u64,
    /// The body, where it is kept so that it can be sent again.
    pub(super) replay: Option<Rc<RefCell<Replay>>>,
    /// Attempts that are under way.
    pub(super) active: u32,
    /// Whether an upstream may have acted on an attempt.
    pub(super) risked: bool,
    /// Whether some of the body was taken from the client and is not kept.
    pub(super) spent: bool,
    /// Whether attempts that are given up now are not needed: another was better, or nobody waits.
    pub(super) needless: bool,
    /// Whether the attempt that ended last failed at an endpoint that fails alone.
    pub(super) partial: bool,
    /// What the attempt that was answered last has got. It stays here while policies decide, and where it is when the
    /// answer is relayed: it is too large to be handed from one to the next.
    pub(super) answer: &'f mut Option<Answer>,
    /// Whether the request may be sent twice.
    idempotent: bool,
}

impl Exchange<'_> {
    /// Sends the request to an endpoint and relays the answer.
    pub(super) async fn forward(&mut self, peer: &mut Peer, timer: &mut Timer, way: Way<'_>) -> Result<Outcome, Fault> {
        let Way { route, upstream, place, protection, fallback } = way;
        self.context.upstream = Some(place);
        let key = self.affinity(upstream);
        if self.context.trace_id.is_none() {
            self.prepare_forward();
        }
        let _in_flight = upstream.meter.sent();
        let mut answer = None;
        let forwarding = RefCell::new(Forwarding::new(self, peer, timer, way, key, &mut answer));
        let result = match protection {
            None => {
                let attempt = pin!(attempt::run(&forwarding, way));
                let result = drive(&forwarding, attempt).await;
                result.and_then(|answered| answered.map(|_| None).map_err(|lost| lost.fault))
            }
            Some(protection) => protect(&forwarding, way, protection).await.map(Some),
        };
        forwarding.borrow_mut().leave();
        drop(forwarding);
        let _held = result?;
        let answer = answer.as_mut().ok_or(Fault::UpstreamClosed)?;
        let status = self.scratch.response.status;
        self.note_release(&way, status);
        if fallback.is_some_and(|fallback| fallback.stands_in_for(status)) {
            return Err(Fault::UpstreamStatus);
        }
        self.context.received = answer.upload.moved;
        self.stick(upstream, &answer.ask);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Box::pin(self.switch(peer, timer, &mut answer.lease)).await;
        }
        let outcome = self.relay(peer, timer, route, answer).await;
        let fault = outcome.err().or(self.context.fault);
        count_failure(upstream, fault);
        outcome
    }
}

/// Runs the request through the policies. What is held is what the answer still uses of them.
async fn protect<'w>(
    forwarding: &RefCell<Forwarding<'_, '_>>,
    way: Way<'w>,
    protection: &'w Protection,
) -> Result<Held<&'w Composition>, Fault> {
    let call = forwarding.borrow().call(way.route);
    let attempts = Attempts { forwarding, begin: |_| attempt::run(forwarding, way) };
    let execution = pin!(protection.execute_call(call, attempts).holding());
    match drive(forwarding, execution).await? {
        Ok((_, held)) => Ok(held),
        Err(Error::Call(lost)) => Err(lost.fault),
        Err(Error::Rejected(rejection)) => Err(forwarding.borrow_mut().refused(&rejection)),
    }
}

/// Drives attempts for as long as the client waits for them.
async fn drive<T>(
    forwarding: &RefCell<Forwarding<'_, '_>>,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Fault> {
    let mut woken = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut woken, true) {
            forwarding.borrow_mut().timer.refresh();
        }
        match work.as_mut().poll(cx) {
            Poll::Pending if forwarding.borrow_mut().client_left(cx) => Poll::Ready(Err(Fault::ClientLeft)),
            result => result.map(Ok),
        }
    })
    .await
}

/// Begins attempts, as often as policies want to and it is safe.
struct Attempts<'a, 'f, 'x, B> {
    forwarding: &'a RefCell<Forwarding<'f, 'x>>,
    begin: B,
}

impl<B, F> Operation for Attempts<'_, '_, '_, B>
where
    B: FnMut(Attempt) -> F,
    F: Future<Output = Result<Verdict, Lost>>,
{
    type Future = F;

    fn start(&mut self, attempt: Attempt) -> F {
        (self.begin)(attempt)
    }

    fn repeatable(&self) -> bool {
        self.forwarding.borrow().may_repeat()
    }

    fn failed_in_part(&self) -> bool {
        self.forwarding.borrow().partial
    }
}

impl<'f, 'x> Forwarding<'f, 'x> {
    fn new(
        exchange: &'f mut Exchange<'x>,
        peer: &'f mut Peer,
        timer: &'f mut Timer,
        way: Way<'_>,
        key: Option<u64>,
        answer: &'f mut Option<Answer>,
    ) -> Self {
        let idempotent = way.route.plan.idempotent || exchange.scratch.request.method.is_idempotent();
        let goes_over = way.fallback.is_some_and(|fallback| matches!(fallback.action, Action::Forward(_)));
        let repeats = idempotent && (goes_over || way.protection.is_some_and(Protection::repeats));
        let limit = way.upstream.plan.replay;
        let replay = match exchange.context.length {
            _ if exchange.context.replay.is_some() => exchange.context.replay.take(),
            BodyLength::None => None,
            BodyLength::Exact(length) if length > limit as u64 => None,
            _ => (repeats && limit > 0).then(|| Rc::new(RefCell::new(Replay::new(limit)))),
        };
        Self {
            exchange,
            peer,
            timer,
            key,
            tried: 0,
            replay,
            active: 0,
            risked: false,
            spent: false,
            needless: false,
            partial: false,
            answer,
            idempotent,
        }
    }

    /// Leaves behind what may still be sent to another upstream, and whether this one may have acted on it.
    fn leave(&mut self) {
        self.exchange.context.repeatable = self.may_repeat();
        self.exchange.context.replay = self.replay.take();
        self.exchange.context.risked |= self.risked;
    }

    /// What policies may know of the request.
    fn call(&self, route: &Route) -> Call<'static> {
        let call = if self.idempotent { Call::new().idempotent() } else { Call::new() };
        let asked = deadline::asked(&self.exchange.scratch.request.fields);
        match (route.plan.timeouts.total, asked) {
            (None, None) => call,
            (total, asked) => {
                let limit = total.unwrap_or(Duration::MAX).min(asked.unwrap_or(Duration::MAX));
                let left = limit.saturating_sub(self.timer.now() - self.exchange.context.started);
                call.deadline(Clock::system().now().after(left))
            }
        }
    }

    /// A request is sent again only where that has no effect that sending it once has not (RFC 9110 §9.2.2), and where
    /// there is all of it to send. A copy beside an attempt that is under way needs the whole body.
    fn may_repeat(&self) -> bool {
        let harmless = self.idempotent || !self.risked;
        let there = match &self.replay {
            Some(replay) => replay.borrow().is_intact(self.active > 0),
            None => !self.spent && (self.active == 0 || self.exchange.context.length == BodyLength::None),
        };
        harmless && there && self.exchange.context.upgrade.is_none()
    }

    /// Whether the client has reset its connection or stream: then nobody waits for an answer, unless that is kept.
    fn client_left(&mut self, cx: &mut Context<'_>) -> bool {
        if self.exchange.context.claim.is_some() {
            return false;
        }
        let left = self.peer.poll_lost(cx);
        self.needless |= left;
        left
    }

    /// A policy has said no, or put an end to it.
    fn refused(&mut self, rejection: &Rejection) -> Fault {
        self.exchange.context.retry_after = rejection.retry_after();
        self.exchange.context.trail.decided(Decision::from(rejection));
        match rejection.code() {
            Code::AttemptTimeout => Fault::UpstreamTimeout,
            Code::TotalTimeout | Code::DeadlinePassed => Fault::TotalTimeout,
            code => Fault::Protected(code),
        }
    }
}

/// Counts what an upstream is to blame for; what a client did is no failure of it.
pub(super) fn count_failure(upstream: &Upstream, fault: Option<Fault>) {
    let failure = match fault {
        Some(Fault::Connect | Fault::PoolExhausted) => Failure::Connect,
        Some(Fault::ConnectTimeout | Fault::UpstreamTimeout | Fault::TotalTimeout) => Failure::Timeout,
        Some(Fault::UpstreamRefused(_) | Fault::UpstreamProtocol) => Failure::Protocol,
        Some(Fault::UpstreamClosed) => Failure::Reset,
        _ => return,
    };
    upstream.meter.failed(failure);
}

impl Exchange<'_> {
    /// How long a client may take over a request body.
    pub(super) fn client_patience(&self, route: &Route) -> Patience {
        let timeouts = &self.client.listener.plan.timeouts;
        match self.context.converses {
            false => Patience { idle: Some(timeouts.body), rate: timeouts.body_rate },
            true => Patience { idle: route.plan.timeouts.body, rate: None },
        }
    }
}
