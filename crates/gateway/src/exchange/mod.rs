//! One request, start to end. Read [`Exchange::answer`] top to bottom: it is the list of steps that
//! the guide, the spans and the metrics name.
//!
//! There is one way in, [`serve`], and one way out, `finish`: every failure is a [`Fault`] that
//! becomes a response, a log record and a count there and nowhere else.

mod affinity;
mod attempt;
mod context;
mod deadline;
mod fallback;
mod finish;
mod forward;
mod head;
mod hygiene;
mod idempotency;
mod identity;
mod intake;
mod limit;
mod pump;
mod relay;
mod replay;
mod upgrade;
mod verdict;

pub(crate) use context::Client;
pub(crate) use head::{Question, admit_path, read_target};

use crate::config::plan::Action;
use crate::fault::Fault;
use crate::scratch::Scratch;
use crate::snapshot::Route;
use crate::timer::Timer;
use crate::worker::{Local, Worker};
use context::Context;
use std::rc::Rc;
use tidegate_wire::framing::BodyLength;
use tidegate_wire::peer::Peer;

/// What becomes of the client's connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Another request may follow.
    KeepAlive,
    /// The answer is complete; what the client still sends is read away for a moment, then the
    /// connection is closed.
    Close,
    /// The answer was cut; the connection is reset, so that nobody takes it for complete.
    Abort,
}

/// How far an exchange came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The answer was sent in full.
    Complete,
    /// The answer was begun and cut, because the upstream failed or was too slow.
    Cut,
    /// The client went away.
    ClientGone,
}

/// One request on its way.
struct Exchange<'a> {
    worker: &'a Worker,
    /// The configuration that was in force when the request came; it stays until the end.
    local: Rc<Local>,
    client: &'a Client,
    scratch: &'a mut Scratch,
    context: Context,
}

/// Answers the request whose head is in `scratch`; `last` tells that the connection ends with it.
pub(crate) async fn serve(
    worker: &Worker,
    client: &Client,
    peer: &mut Peer,
    scratch: &mut Scratch,
    length: Result<BodyLength, Fault>,
    last: bool,
    timer: &mut Timer,
) -> After {
    let context = Context::open(timer.now(), client, last);
    let mut exchange = Exchange { worker, local: worker.pin(), client, scratch, context };
    let result = match length {
        Ok(length) => exchange.answer(peer, timer, length).await,
        Err(fault) => Err(fault),
    };
    exchange.finish(peer, timer, result).await
}

impl Exchange<'_> {
    /// The steps of a request. An error is answered by `finish`, with nothing sent so far.
    async fn answer(&mut self, peer: &mut Peer, timer: &mut Timer, length: BodyLength) -> Result<Outcome, Fault> {
        self.context.length = length;
        self.read_head(peer)?;
        let local = Rc::clone(&self.local);
        let found = self.route(&local);
        self.limit(peer, timer, &local).await?;
        let route = found?;
        self.admit(route)?;
        match &route.plan.action {
            Action::Respond(respond) => {
                self.prepare_respond(respond);
                Ok(Box::pin(self.send_own(peer, timer, &respond.body)).await)
            }
            Action::Redirect(redirect) => {
                self.prepare_redirect(redirect);
                Ok(Box::pin(self.send_own(peer, timer, b"")).await)
            }
            Action::Forward(upstream) => match &route.guard {
                None => self.forward_or_fall_back(peer, timer, &local, route, *upstream).await,
                Some(guard) => Box::pin(self.guarded(peer, timer, &local, route, *upstream, guard)).await,
            },
        }
    }

    /// Finds the route; its name is in the context from here on.
    fn route<'l>(&mut self, local: &'l Local) -> Result<&'l Route, Fault> {
        let found = local.snapshot.router.find(&self.question()).ok_or(Fault::NoRoute)?;
        self.context.route = Some(found);
        Ok(&local.snapshot.routes[found])
    }
}
