//! What a client gets where the upstream has no answer to give.

use super::forward::Way;
use super::{Exchange, Outcome};
use crate::config::plan::{Action, Fallback};
use crate::fault::Fault;
use crate::recent::{Decision, StandIn};
use crate::snapshot::Route;
use crate::stats::FallbackKind;
use crate::timer::Timer;
use crate::worker::Local;
use http::StatusCode;
use std::sync::Arc;
use tidegate_wire::name::Known;
use tidegate_wire::peer::Peer;

impl Exchange<'_> {
    /// Sends the request to the upstream, and answers from elsewhere where that has no answer.
    pub(super) async fn forward_or_fall_back(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        local: &Local,
        route: &Route,
        upstream: usize,
    ) -> Result<Outcome, Fault> {
        let protection = self.context.route.and_then(|route| local.protection(route));
        let fallback = route.plan.fallback.as_ref();
        let way = Way { route, upstream: &local.upstreams[upstream], place: upstream, protection, fallback };
        let Some(fallback) = fallback else {
            return self.forward(peer, timer, way).await;
        };
        // The first upstream may be asked under another name.
        let host = self.scratch.request.fields.value(Known::Host).map(<[u8]>::to_vec);
        match self.forward(peer, timer, way).await {
            Err(fault) if fault.is_of_service() => {
                if let Some(host) = host {
                    self.scratch.request.fields.set(Known::Host, &host);
                }
                Box::pin(self.fall_back(peer, timer, local, route, fallback, fault)).await
            }
            result => result,
        }
    }

    async fn fall_back(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        local: &Local,
        route: &Route,
        fallback: &Fallback,
        fault: Fault,
    ) -> Result<Outcome, Fault> {
        match &fallback.action {
            Action::Respond(respond) => {
                self.context.trail.decided(Decision::FellBack(StandIn::Answer));
                // The record says why.
                self.context.fault = Some(fault);
                // What is written in the configuration is no answer to be kept.
                self.end_unanswered(timer.now());
                self.count_fallback(FallbackKind::Respond);
                self.prepare_respond(respond);
                Ok(self.send_own(peer, timer, &respond.body).await)
            }
            Action::Forward(other) if self.context.repeatable => {
                let name = Arc::clone(&local.upstreams[*other].plan.name);
                self.context.trail.decided(Decision::FellBack(StandIn::Upstream(name)));
                let protection = local.upstream_protection(*other);
                let way = Way { route, upstream: &local.upstreams[*other], place: *other, protection, fallback: None };
                let result = self.forward(peer, timer, way).await;
                if result.is_ok() {
                    self.count_fallback(FallbackKind::Upstream);
                }
                result
            }
            _ => Err(fault),
        }
    }

    fn count_fallback(&self, kind: FallbackKind) {
        self.local.route_meter(self.context.route).fell_back(kind);
    }
}

impl Fallback {
    /// Whether an answer of the upstream is no answer.
    pub(super) fn stands_in_for(&self, status: StatusCode) -> bool {
        self.statuses.iter().any(|statuses| statuses.contains(status.as_u16()))
    }
}
