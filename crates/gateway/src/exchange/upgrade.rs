//! A protocol change: the only way in which bytes pass without being read as messages.
//!
//! It needs a request that asked for it in due form, a route that allows it, and an upstream that
//! agreed with 101 to the very protocol. Until the 101 is there nothing that the client sent behind
//! its request is forwarded; if it never comes the connection is closed after the answer, so that
//! those bytes are not taken for another request.

use super::{Exchange, Outcome};
use crate::config::plan::ListenerTimeouts;
use crate::fault::Fault;
use crate::timer::{Timer, after};
use crate::upstream::Lease;
use std::task::{Context, Poll, ready};
use tidegate_wire::h1::Connection;
use tidegate_wire::name::Known;
use tidegate_wire::peer::Peer;

impl Exchange<'_> {
    /// Passes the 101 on and then bytes in both directions, until both sides have ended.
    pub(super) async fn switch(
        &mut self,
        peer: &mut Peer,
        timer: &mut Timer,
        lease: &mut Lease,
    ) -> Result<Outcome, Fault> {
        let wanted = self.context.upgrade.take().ok_or(Fault::UpstreamProtocol)?;
        let head = &mut self.scratch.response;
        let agreed = head.fields.value(Known::Upgrade).is_some_and(|value| value.eq_ignore_ascii_case(&wanted));
        if !agreed {
            return Err(Fault::UpstreamProtocol);
        }
        super::hygiene::remove_connection_fields(&mut head.fields);
        head.fields.remove(Known::ContentLength);
        head.fields.append("connection", b"upgrade");
        head.fields.append("upgrade", &wanted);
        let upstream = lease.peer().map_err(|_| Fault::UpstreamClosed)?;
        let (Some(client), Some(upstream)) = (peer.as_h1(), upstream.as_h1()) else {
            return Err(Fault::UpstreamProtocol);
        };
        client.send_interim(head);
        client.begin_tunnel();
        upstream.begin_tunnel();
        self.context.close = true;
        let timeouts = &self.client.listener.plan.timeouts;
        let (up, down) = tunnel(client, upstream, timer, timeouts).await;
        self.context.received = up;
        self.context.sent = down;
        Ok(Outcome::Complete)
    }
}

/// One direction of a tunnel.
#[derive(Default)]
struct Direction {
    moved: u64,
    ended: bool,
}

impl Direction {
    /// Moves bytes until the source ends, and passes the end on.
    fn poll(&mut self, cx: &mut Context<'_>, source: &mut Connection, sink: &mut Connection) -> Poll<Result<(), ()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        loop {
            match source.poll_piece(cx).map_err(drop)? {
                Poll::Ready(Some(piece)) => {
                    let count = ready!(sink.poll_send(cx, source.piece(piece.length))).map_err(drop)?;
                    source.consume(count);
                    self.moved += count as u64;
                }
                Poll::Ready(None) => {
                    ready!(sink.poll_shutdown(cx)).map_err(drop)?;
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    ready!(sink.poll_flush(cx)).map_err(drop)?;
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Returns the bytes moved towards the upstream and towards the client.
///
/// Once the upstream has ended nobody hears the client any more, so that it has no more than the
/// linger time; an upstream may have much to say to a client that has ended.
async fn tunnel(
    client: &mut Connection,
    upstream: &mut Connection,
    timer: &mut Timer,
    timeouts: &ListenerTimeouts,
) -> (u64, u64) {
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let mut seen = (0, timer.now());
    timer
        .drive(|cx, timer| {
            let upward = up.poll(cx, client, upstream);
            let downward = down.poll(cx, upstream, client);
            let now = timer.now();
            if up.moved + down.moved != seen.0 {
                seen = (up.moved + down.moved, now);
            }
            match (upward, downward) {
                (Poll::Ready(Err(())), _) | (_, Poll::Ready(Err(()))) => Poll::Ready(()),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
                _ => {
                    let idle = match (up.ended, down.ended) {
                        (_, true) => timeouts.linger,
                        (true, false) => timeouts.body,
                        (false, false) => timeouts.tunnel,
                    };
                    timer.poll(cx, after(seen.1, Some(idle)))
                }
            }
        })
        .await;
    (up.moved, down.moved)
}
