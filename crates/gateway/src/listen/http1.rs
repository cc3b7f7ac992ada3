//! The requests of one HTTP/1 connection, one after another.

use super::Presence;
use crate::exchange::{self, After, Client};
use crate::fault::Fault;
use crate::scratch::Scratch;
use crate::timer::Timer;
use crate::worker::Worker;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;
use tidegate_wire::framing::{self, BodyLength};
use tidegate_wire::h1::{Connection, HeadError};
use tidegate_wire::parse::HeadLimits;
use tidegate_wire::peer::Peer;

/// How long a connection may still be idle once the gateway drains: long enough for a request that
/// is on its way.
const DRAIN_IDLE: Duration = Duration::from_secs(2);

/// How long a connection may be idle while clients wait for a place: those who hold places without
/// using them must not lock out those who would.
const CROWDED_IDLE: Duration = Duration::from_secs(1);

/// Bytes that are read away at most before a connection is closed.
const LINGER_BYTES: usize = 1024 * 1024;

/// How long a connection may be idle.
pub(super) fn idle_time(worker: &Worker, client: &Client) -> Duration {
    let idle = client.listener.plan.timeouts.keep_alive;
    match (worker.is_draining(), worker.is_crowded()) {
        (true, _) => idle.min(DRAIN_IDLE),
        (false, true) => idle.min(CROWDED_IDLE),
        (false, false) => idle,
    }
}

/// Serves requests until the connection ends.
pub(super) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    connection: Connection,
    mut timer: Timer,
    presence: Presence,
) {
    let mut peer = Peer::H1(connection);
    let mut requests = 0_u64;
    while wait(&worker, &client, &mut peer, &mut timer, &presence).await {
        requests += 1;
        let mut scratch = worker.take_scratch();
        let after = request(&worker, &client, &mut peer, &mut scratch, &mut timer, requests).await;
        worker.keep_scratch(scratch);
        match after {
            Some(After::KeepAlive) => {}
            Some(After::Close) => return Box::pin(linger(&client, peer, &mut timer)).await,
            Some(After::Abort) | None => return,
        }
    }
    part(&mut peer).await;
}

/// Ends an idle connection. TLS says so first: an end that nobody announced could be an attacker's
/// (RFC 8446 §6.1). A client that takes no more bytes is not waited for.
async fn part(peer: &mut Peer) {
    if let Some(connection) = peer.as_h1()
        && connection.transport().is_tls()
    {
        poll_fn(|cx| Poll::Ready(connection.poll_shutdown(cx).is_ready())).await;
    }
}

/// Waits for the first byte of a next request; false when there will be none.
async fn wait(worker: &Worker, client: &Client, peer: &mut Peer, timer: &mut Timer, presence: &Presence) -> bool {
    let Some(connection) = peer.as_h1() else {
        return false;
    };
    if !connection.has_input() {
        connection.rest();
    }
    let idle_since = timer.now();
    timer
        .drive(|cx, timer| {
            presence.entry.register(cx.waker());
            if let Poll::Ready(result) = connection.poll_input(cx) {
                return Poll::Ready(result.unwrap_or(false));
            }
            let deadline = idle_since.checked_add(idle_time(worker, client));
            timer.poll(cx, deadline).map(|()| false)
        })
        .await
}

/// Reads one request and answers it; `None` when the client is gone before it has said anything.
async fn request(
    worker: &Worker,
    client: &Client,
    peer: &mut Peer,
    scratch: &mut Scratch,
    timer: &mut Timer,
    requests: u64,
) -> Option<After> {
    let limits = &client.listener.plan.limits;
    let length = match read_head(client, peer, scratch, timer).await {
        Ok(true) => framing::of_request(&scratch.request).map_err(Fault::Refused),
        Ok(false) => return None,
        Err(fault) => {
            scratch.request.clear();
            Err(fault?)
        }
    };
    peer.begin_body(length.unwrap_or(BodyLength::None));
    let last = worker.is_draining() || limits.requests_per_connection.is_some_and(|most| requests >= most);
    Some(exchange::serve(worker, client, peer, scratch, length, last, timer).await)
}

/// Reads a head within its time. An error without a fault means that nobody waits for an answer.
async fn read_head(
    client: &Client,
    peer: &mut Peer,
    scratch: &mut Scratch,
    timer: &mut Timer,
) -> Result<bool, Option<Fault>> {
    let Some(connection) = peer.as_h1() else {
        return Ok(false);
    };
    let limits = &client.listener.plan.limits;
    let limits = HeadLimits { bytes: limits.head, fields: limits.fields, target: limits.target };
    let deadline = timer.now().checked_add(client.listener.plan.timeouts.head);
    timer
        .drive(|cx, timer| {
            if let Poll::Ready(result) = connection.poll_request(cx, &limits, &mut scratch.request) {
                return Poll::Ready(result.map_err(|error| match error {
                    HeadError::Refused(refusal) => Some(Fault::Refused(refusal)),
                    _ => None,
                }));
            }
            ready!(timer.poll(cx, deadline));
            Poll::Ready(Err(Some(Fault::ClientTimeout)))
        })
        .await
}

/// Ends a connection after a complete answer.
///
/// Closing while bytes are unread would reset the connection and could take the answer away from
/// the client (RFC 9112 §9.6), so what still comes is read away for a moment.
async fn linger(client: &Client, mut peer: Peer, timer: &mut Timer) {
    let Some(connection) = peer.as_h1() else {
        return;
    };
    let deadline = timer.now() + client.listener.plan.timeouts.linger;
    let mut read = 0;
    let mut shut = false;
    let away = poll_fn(|cx| {
        if !shut {
            if ready!(connection.poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            shut = true;
        }
        while read < LINGER_BYTES {
            match ready!(connection.poll_discard(cx)) {
                Ok(0) | Err(_) => break,
                Ok(count) => read += count,
            }
        }
        Poll::Ready(())
    });
    timer.bound(deadline, away).await;
}
