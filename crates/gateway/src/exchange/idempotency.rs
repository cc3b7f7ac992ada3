//! A request with an `Idempotency-Key`, on a route that guards them: sent on once, and answered from what was kept after
//! that.
//!
//! Its body is read to the end first, because it is part of what a key stands for; its answer is read to the end before
//! the client sees any of it, so that a client that asks again finds it. In between the client is not looked after: whoever
//! loses the connection asks again, and there should be an answer then.

use super::forward::Way;
use super::intake::{Intake, Taken};
use super::pump::{Patience, Pump};
use super::replay::Replay;
use super::{Exchange, Outcome, hygiene};
use crate::fault::Fault;
use crate::idempotency::{self, Answer, Ending, Guard, Id, KeyFault, REPLAYED, Turn};
use crate::rate_limit::Subject;
use crate::recent::Decision;
use crate::snapshot::Route;
use crate::stats::KeyResult;
use crate::timer::{Timer, after, nearer};
use crate::upstream::Lease;
use crate::worker::Local;
use http::StatusCode;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tidegate_wire::framing::BodyLength;
use tidegate_wire::head::ResponseHead;
use tidegate_wire::name::Known;
use tidegate_wire::peer::Peer;

impl Exchange<'_> {
    /// Sends the request on if it is the first with its key, or has none.
    pub(super) async fn guarded(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        local: &Local,
        route: &Route,
        upstream: usize,
        guard: &Guard,
    ) -> Result<Outcome, Fault> {
        let request = &self.scratch.request;
        let applies = guard.options.methods.contains(&request.method);
        let key = if applies { idempotency::read(&request.fields).map_err(Fault::Key)? } else { None };
        let Some(key) = key else {
            return match applies && guard.options.required {
                true => Err(Fault::Key(KeyFault::Missing)),
                false => self.forward_or_fall_back(peer, timer, local, route, upstream).await,
            };
        };
        self.take_body(peer, timer, route, guard.options.max_body).await?;
        let (key, fingerprint) = (self.identify(route, guard, &key), self.fingerprint());
        match guard.keys.claim(key, fingerprint, timer.now(), &guard.options.bounds) {
            Ok(Turn::First(claim)) => self.context.claim = Some(Box::new(claim)),
            Ok(Turn::Again(answer)) => return Ok(self.send_again(peer, timer, &answer).await),
            Err(fault) => {
                self.count_key(KeyResult::of(fault));
                return Err(Fault::Key(fault));
            }
        }
        let result = self.forward_or_fall_back(peer, timer, local, route, upstream).await;
        self.end_unanswered(timer.now());
        result
    }

    /// Reads the request's body; it is sent on from where it is kept.
    async fn take_body(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        route: &Route,
        limit: usize,
    ) -> Result<(), Fault> {
        let limit = self.context.body_limit.map_or(limit, |most| limit.min(usize::try_from(most).unwrap_or(limit)));
        match self.context.length {
            BodyLength::None => return Ok(()),
            BodyLength::Exact(length) if length > limit as u64 => return Err(Fault::BodyTooLarge),
            _ => {}
        }
        self.context.invite_body(peer)?;
        let (patience, total) = (self.client_patience(route), after(self.context.started, route.plan.timeouts.total));
        let mut intake = Intake::new(limit, timer.now());
        let taken = timer.drive(|cx, timer| {
            let now = timer.now();
            if let Poll::Ready(taken) = intake.poll(cx, now, peer) {
                return Poll::Ready(taken.map_err(|_| Fault::BodyBroken));
            }
            // A client that is gone shows in its body.
            let _ = peer.poll_flush(cx);
            timer.poll(cx, nearer(intake.deadline(patience), total)).map(|()| {
                let over = total.is_some_and(|total| total <= now);
                Err(if over { Fault::TotalTimeout } else { Fault::ClientTimeout })
            })
        });
        let taken = taken.await?;
        self.context.received = intake.read();
        if taken == Taken::TooLong {
            return Err(Fault::BodyTooLarge);
        }
        self.context.replay = Some(intake.into_replay());
        Ok(())
    }

    /// The key of this client on this route.
    fn identify(&self, route: &Route, guard: &Guard, key: &[u8]) -> Id {
        let request = &self.scratch.request;
        let subject = Subject {
            fields: &request.fields,
            method: &request.method,
            host: &self.scratch.host,
            path: request.target.get(..self.context.path).unwrap_or_default(),
            route: &route.plan.name,
            client: self.context.origin.client(),
        };
        let mut client = String::new();
        subject.write(&guard.options.by, &mut client);
        Id::of(&[client.as_bytes(), key])
    }

    /// What makes another request of it under the same key.
    fn fingerprint(&self) -> Id {
        let request = &self.scratch.request;
        let replay = self.context.replay.as_ref().map(|replay| replay.borrow());
        let body = replay.as_ref().map_or(&[][..], |replay| replay.bytes());
        Id::of(&[request.method.as_str().as_bytes(), self.scratch.host.as_bytes(), &request.target, body])
    }

    /// Answers with what was kept.
    async fn send_again(&mut self, peer: &mut Peer, timer: &mut Timer, answer: &Answer) -> Outcome {
        self.count_key(KeyResult::Replayed);
        self.context.trail.decided(Decision::Replayed);
        let head = &mut self.scratch.response;
        head.clear();
        head.status = answer.status;
        head.reason.extend_from_slice(&answer.reason);
        head.fields.clone_from(&answer.fields);
        head.fields.remove_where(|field| field.name.eq_ignore_ascii_case(REPLAYED.as_bytes()));
        head.fields.append(REPLAYED, b"true");
        self.send_whole(peer, timer, &answer.body, answer.trailers.as_ref()).await
    }

    /// Notes of an answer that it says that nothing was done.
    pub(super) fn note_release(&mut self, way: &Way<'_>, status: StatusCode) {
        let released = way.route.guard.as_ref().is_some_and(|guard| guard.options.releases(status.as_u16()));
        self.context.risked &= !released;
    }

    /// Reads the answer, whose head is in the scratch, and keeps it if it is one to be kept. Returns what was read of its
    /// body.
    pub(super) async fn keep_answer(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        route: &Route,
        lease: &mut Lease,
        upload: &mut Pump,
        length: BodyLength,
    ) -> Result<Option<Rc<RefCell<Replay>>>, Fault> {
        let Some(guard) = route.guard.as_ref().filter(|_| self.context.risked) else {
            self.end_unanswered(timer.now());
            return Ok(None);
        };
        let limit = guard.options.max_answer;
        let announced = matches!(length, BodyLength::Exact(length) if length > limit as u64);
        if announced || is_stream(&self.scratch.response) {
            self.end(Ending::NotKept, timer.now());
            return Ok(None);
        }
        let mut intake = Intake::new(limit, timer.now());
        let ending = match self.read_answer(peer, timer, route, lease, upload, &mut intake).await? {
            Taken::Whole => Ending::Kept(Arc::new(self.answer_of(intake.replay()))),
            Taken::TooLong => Ending::NotKept,
        };
        self.end(ending, timer.now());
        Ok(Some(intake.into_replay()))
    }

    async fn read_answer(
        &self,
        peer: &mut Peer,
        timer: &mut Timer,
        route: &Route,
        lease: &mut Lease,
        upload: &mut Pump,
        intake: &mut Intake,
    ) -> Result<Taken, Fault> {
        let endpoint = Patience { idle: route.plan.timeouts.body, rate: None };
        let total = after(self.context.started, route.plan.timeouts.total);
        let read = timer.drive(|cx, timer| {
            let now = timer.now();
            let upstream = lease.peer().map_err(|_| Fault::UpstreamClosed)?;
            if let Poll::Ready(taken) = intake.poll(cx, now, upstream) {
                return Poll::Ready(taken.map_err(|_| Fault::UpstreamClosed));
            }
            upload.carry(cx, now, peer, upstream).map_err(|_| Fault::BodyBroken)?;
            intake.excuse(upload.progress());
            timer.poll(cx, nearer(intake.deadline(endpoint), total)).map(|()| {
                let over = total.is_some_and(|total| total <= now);
                Err(if over { Fault::TotalTimeout } else { Fault::UpstreamTimeout })
            })
        });
        read.await
    }

    /// The answer with this body, before the gateway adds anything of this exchange.
    fn answer_of(&self, body: &Replay) -> Answer {
        let head = &self.scratch.response;
        let mut trailers = body.trailers().cloned();
        trailers.iter_mut().for_each(hygiene::clean_response_trailers);
        Answer {
            status: head.status,
            reason: head.reason.clone(),
            fields: head.fields.clone(),
            body: body.bytes().into(),
            trailers: trailers.filter(|trailers| !trailers.is_empty()),
        }
    }

    /// Lets the key follow a request that no upstream has answered: it is free where the request surely had no effect.
    pub(super) fn end_unanswered(&mut self, now: Instant) {
        if self.context.risked {
            self.end(Ending::Unknown, now);
        } else if let Some(claim) = self.context.claim.take() {
            claim.release();
            self.count_key(KeyResult::Released);
        }
    }

    fn end(&mut self, ending: Ending, now: Instant) {
        if let Some(claim) = self.context.claim.take() {
            self.count_key(match claim.finish(ending, now) {
                Ending::Kept(_) => KeyResult::Kept,
                Ending::NotKept => KeyResult::NotKept,
                Ending::Unknown => KeyResult::Unknown,
            });
        }
    }

    fn count_key(&self, result: KeyResult) {
        self.local.route_meter(self.context.route).key(result);
    }
}

impl KeyResult {
    fn of(fault: KeyFault) -> Self {
        match fault {
            KeyFault::UnderWay => Self::UnderWay,
            KeyFault::Reused => Self::Reused,
            KeyFault::Full => Self::Full,
            KeyFault::NotKept | KeyFault::Unknown | KeyFault::Missing | KeyFault::Malformed => Self::Refused,
        }
    }
}

/// Events are for whoever is there when they happen; nobody would see them if they were held back.
fn is_stream(head: &ResponseHead) -> bool {
    let media_type = head.fields.value(Known::ContentType).unwrap_or_default();
    media_type.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}
