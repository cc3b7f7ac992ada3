//! Step 11: the response head, cleaned, and then both bodies at once.

use super::attempt::Answer;
use super::pump::{Patience, Pump, PumpError, Waits};
use super::{Exchange, Outcome, hygiene};
use crate::fault::Fault;
use crate::snapshot::Route;
use crate::timer::{Timer, after, nearer};
use crate::upstream::Lease;
use http::{Method, StatusCode};
use std::task::Poll;
use std::time::Instant;
use tidegate_wire::framing::BodyLength;
use tidegate_wire::head::{ResponseHead, Version, list_has};
use tidegate_wire::name::Known;
use tidegate_wire::peer::Peer;

/// How a relay ended.
enum End {
    Complete,
    Cut(Fault),
    ClientGone,
}

impl Exchange<'_> {
    /// Relays the answer whose head was read; the request body may still be on its way.
    pub(super) async fn relay(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        route: &Route,
        answer: &mut Answer,
    ) -> Result<Outcome, Fault> {
        let Answer { lease, upload, .. } = answer;
        let (length, keep) = self.clean_head(lease)?;
        let kept = match self.context.claim {
            None => None,
            Some(_) => Box::pin(self.keep_answer(peer, timer, route, lease, upload, length)).await?,
        };
        self.begin_relay(peer, length);
        let mut download = Pump::new(None, timer.now()).replaying(kept);
        let end = self.run(peer, timer, route, lease, upload, &mut download).await;
        self.context.received = upload.moved;
        self.context.sent = download.moved;
        Ok(match end {
            End::Complete => {
                if keep && upload.is_done() {
                    lease.give_back(timer.now());
                }
                Outcome::Complete
            }
            End::Cut(fault) => {
                self.context.fault = Some(fault);
                Outcome::Cut
            }
            End::ClientGone => Outcome::ClientGone,
        })
    }

    /// Checks and cleans the response head. Returns how long the body is, and whether the upstream's connection can carry
    /// another exchange after this one.
    fn clean_head(&mut self, lease: &mut Lease) -> Result<(BodyLength, bool), Fault> {
        let method = &self.scratch.request.method;
        let head = &mut self.scratch.response;
        let upstream = lease.peer().map_err(|_| Fault::UpstreamClosed)?;
        let mut length = response_length(head, method)?;
        let bodiless = has_no_body(head.status, method);
        // An HTTP/2 answer without content may still end in trailers.
        if length == BodyLength::None && !bodiless && !upstream.has_received_all() {
            length = BodyLength::Exact(0);
        }
        upstream.begin_body(length);
        let keep = head.version == Version::Http11
            && length != BodyLength::UntilClose
            && !list_has(&head.fields, Known::Connection, "close");
        if length == BodyLength::UntilClose && upstream.has_received_all() {
            length = BodyLength::None;
        }
        hygiene::remove_connection_fields(&mut head.fields);
        // What HEAD and 304 say of a length is information about another answer; 204 has none
        // (RFC 9110 §8.6). Everywhere else the length is written where the body is framed.
        if !bodiless || head.status == StatusCode::NO_CONTENT {
            head.fields.remove(Known::ContentLength);
        }
        Ok((length, keep))
    }

    /// Begins to send the head.
    fn begin_relay(&mut self, peer: &mut Peer, length: BodyLength) {
        // What the client sent behind a refused upgrade is nobody's message.
        self.context.close |= self.context.upgrade.is_some();
        self.add_response_fields();
        let bodiless = has_no_body(self.scratch.response.status, &self.scratch.request.method);
        let old = self.scratch.request.version == Version::Http10;
        let length = match length {
            BodyLength::Chunked | BodyLength::UntilClose if old => BodyLength::UntilClose,
            BodyLength::UntilClose => BodyLength::Chunked,
            other => other,
        };
        // A client that is gone is noticed when the head is flushed.
        let _ = peer.start_response(&self.scratch.response, length, bodiless, self.context.close);
    }

    async fn run(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        route: &Route,
        lease: &mut Lease,
        upload: &mut Pump,
        download: &mut Pump,
    ) -> End {
        let timeouts = &self.client.listener.plan.timeouts;
        let reader = Patience { idle: Some(timeouts.body), rate: timeouts.body_rate };
        let (writer, converses) = (self.client_patience(route), self.context.converses);
        let endpoint = Patience { idle: route.plan.timeouts.body, rate: None };
        let total = after(self.context.started, route.plan.timeouts.total);
        timer
            .drive(|cx, timer| {
                let Ok(upstream) = lease.peer() else {
                    return Poll::Ready(End::Cut(Fault::UpstreamClosed));
                };
                let now = timer.now();
                match download.poll(cx, now, upstream, peer, hygiene::clean_response_trailers) {
                    Poll::Ready(Ok(())) => return Poll::Ready(End::Complete),
                    Poll::Ready(Err(PumpError::Source | PumpError::TooLarge)) => {
                        return Poll::Ready(End::Cut(Fault::UpstreamClosed));
                    }
                    Poll::Ready(Err(PumpError::Sink)) => return Poll::Ready(End::ClientGone),
                    Poll::Pending => {}
                }
                if upload.carry(cx, now, peer, upstream).is_err() {
                    return Poll::Ready(End::Cut(Fault::BodyBroken));
                }
                // An upstream that still listens need not speak, and in a conversation neither need the client.
                download.excuse(upload.progress());
                let down = download.deadline(endpoint, reader);
                let up = if converses { None } else { upload.deadline(writer, Patience::ENDLESS) };
                if timer.poll(cx, nearer(nearer(down, up), total)).is_ready() {
                    let came = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
                    let slow_client = (came(down) && download.waits == Waits::Sink) || came(up);
                    return Poll::Ready(match (came(total), slow_client) {
                        (true, _) => End::Cut(Fault::TotalTimeout),
                        (false, true) => End::ClientGone,
                        (false, false) => End::Cut(Fault::UpstreamTimeout),
                    });
                }
                Poll::Pending
            })
            .await
    }
}

/// Whether a response's body length may be trusted to belong to the request.
fn response_length(head: &ResponseHead, method: &Method) -> Result<BodyLength, Fault> {
    tidegate_wire::framing::of_response(head, method).map_err(Fault::UpstreamRefused)
}

/// RFC 9110 §6.4.1: no content follows the head of these.
pub(super) fn has_no_body(status: StatusCode, method: &Method) -> bool {
    *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
