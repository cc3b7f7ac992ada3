//! Step 5: the limits of the listener and of the route, all of which a request has to pass.
//!
//! Every request that was read counts, also one that no route answers or that is refused for its path or body: whoever
//! sends those is to be slowed down too.

use super::Exchange;
use crate::fault::Fault;
use crate::rate_limit::{Ask, Held, LimitScratch, Subject, Turn, admit};
use crate::recent::Decision;
use crate::scratch::Scratch;
use crate::timer::Timer;
use crate::worker::Local;
use std::task::Poll;
use tidegate_resilience::{Clock, Moment, Reading};
use tidegate_wire::peer::Peer;

impl Exchange<'_> {
    /// Has the request counted, and perhaps waits for its turn.
    pub(super) async fn limit(&mut self, peer: &mut Peer, timer: &mut Timer, local: &Local) -> Result<(), Fault> {
        let client = self.client;
        let route = self.context.route.map(|route| (&local.snapshot.routes[route].plan, local.rate_limits(route)));
        let of_listener = &client.listener.rate_limits;
        if of_listener.is_empty() && route.is_none_or(|(_, limits)| limits.is_empty()) {
            return Ok(());
        }
        let limits = of_listener.iter().chain(route.into_iter().flat_map(|(_, limits)| limits.iter()));
        let route = route.map(|(plan, _)| plan);
        let Scratch { request, host, limits: LimitScratch { keys, telling }, .. } = &mut *self.scratch;
        let subject = Subject {
            fields: &request.fields,
            method: &request.method,
            host,
            path: request.target.get(..self.context.path).unwrap_or_default(),
            route: route.map_or("", |route| &*route.name),
            client: self.context.origin.client(),
        };
        keys.clear();
        limits.clone().for_each(|limit| keys.push(|key| subject.write(&limit.by, key)));
        let (keys, now) = (&*keys, Clock::system().now());
        let total = route.and_then(|route| route.timeouts.total);
        let deadline =
            total.map_or(Moment::NEVER, |total| now.after(total.saturating_sub(timer.now() - self.context.started)));
        let asks = limits.enumerate().map(|(place, limit)| Ask { limit, key: keys.key(place), deadline });
        let turn = admit(&asks, &Reading::taken(now));
        telling.write(asks);
        self.context.limited = true;
        match turn {
            Ok(Turn::Now) => Ok(()),
            Ok(Turn::At(moment, held)) => {
                self.context.trail.decided(Decision::Waited(moment.since(now)));
                Box::pin(wait(peer, timer, moment, held)).await
            }
            Err(rejection) => {
                self.context.retry_after = rejection.retry_after();
                self.context.trail.decided(Decision::from(&rejection));
                // What the client may have sent behind a request to change the protocol is nobody's message.
                self.context.close |= self.context.upgrade.is_some();
                Err(Fault::Protected(rejection.code()))
            }
        }
    }

    /// Tells the client of the limits that were asked, whoever answers. What an upstream says of its own stays beside
    /// that: each field is a list, and the client has to keep to all of it.
    pub(super) fn tell_limits(&mut self) {
        let telling = &self.scratch.limits.telling;
        if self.context.limited && !telling.standing.is_empty() {
            let fields = &mut self.scratch.response.fields;
            fields.append("ratelimit-policy", telling.policy.as_bytes());
            fields.append("ratelimit", telling.standing.as_bytes());
        }
    }
}

/// Waits until the request may go on. A client that goes away gives its turn back.
async fn wait(peer: &mut Peer, timer: &mut Timer, moment: Moment, held: Held<'_>) -> Result<(), Fault> {
    timer.refresh();
    let until = timer.now() + moment.since(Clock::system().now());
    let came = timer.drive(|cx, timer| match peer.poll_lost(cx) {
        true => Poll::Ready(Err(Fault::ClientLeft)),
        false => timer.poll(cx, Some(until)).map(Ok),
    });
    came.await?;
    held.keep();
    Ok(())
}
