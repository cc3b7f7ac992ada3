//! The streams of one HTTP/2 connection, each an exchange of its own.
//!
//! The frames are the `h2` crate's, whose limits on resets, header lists and pending streams are
//! set here. The number of running exchanges is bounded on this side too: a client that opens and
//! resets streams as fast as it can waits until what it started has been cleaned up.

use super::{Presence, http1};
use crate::config::plan::Http2;
use crate::exchange::{self, Client};
use crate::fault::Fault;
use crate::timer::Timer;
use crate::worker::Worker;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tidegate_wire::buffer::ReadBuffer;
use tidegate_wire::h2::Stream;
use tidegate_wire::peer::Peer;
use tidegate_wire::rewound::Rewound;
use tidegate_wire::transport::Transport;

type Request = (http::Request<RecvStream>, SendResponse<Bytes>);

/// The exchanges that run on one connection.
#[derive(Default)]
struct Running {
    count: Cell<usize>,
    waker: Cell<Option<Waker>>,
}

/// One running exchange.
struct Ticket(Rc<Running>);

impl Ticket {
    fn new(running: &Rc<Running>) -> Self {
        running.count.set(running.count.get() + 1);
        Self(Rc::clone(running))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// Serves streams until the connection ends.
pub(super) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    transport: Transport,
    ahead: ReadBuffer,
    presence: Presence,
) {
    let settings = &client.listener.plan.http2;
    let mut timer = Timer::new(Instant::now());
    let deadline = timer.now() + client.listener.plan.timeouts.head;
    let handshake = builder(settings).handshake(Rewound::new(transport, ahead));
    let Some(Ok(mut connection)) = timer.bound(deadline, handshake).await else {
        client.listener.meter.handshake_failed();
        return;
    };
    let running = Rc::new(Running::default());
    let most = settings.max_concurrent_streams as usize;
    let mut idle_since = timer.now();
    let mut closing = false;
    loop {
        let next = timer
            .drive(|cx, timer| {
                presence.entry.register(cx.waker());
                if !closing && worker.is_draining() {
                    connection.graceful_shutdown();
                    closing = true;
                }
                if let Poll::Ready(next) = poll_next(cx, &mut connection, &running, most) {
                    return Poll::Ready(Some(next));
                }
                let now = timer.now();
                if running.count.get() > 0 {
                    idle_since = now;
                }
                let deadline = idle_since.checked_add(http1::idle_time(&worker, &client));
                timer.poll(cx, deadline).map(|()| None)
            })
            .await;
        match next {
            Some(Some(Ok(request))) => {
                idle_since = timer.now();
                let exchange = exchange(Rc::clone(&worker), Rc::clone(&client), request, Ticket::new(&running));
                tokio::task::spawn_local(exchange);
            }
            Some(Some(Err(error))) => {
                tracing::debug!(address = %client.address, %error, "HTTP/2 connection failed");
                client.listener.meter.protocol_error();
                return;
            }
            Some(None) => return,
            // Idle for too long: say goodbye once, and leave if nobody answers.
            None if closing => return,
            None => {
                connection.graceful_shutdown();
                closing = true;
                idle_since = timer.now();
            }
        }
    }
}

fn builder(settings: &Http2) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.max_concurrent_streams)
        .initial_window_size(settings.initial_stream_window)
        .initial_connection_window_size(settings.initial_connection_window)
        .max_frame_size(settings.max_frame_size)
        .max_header_list_size(settings.max_header_list)
        .max_concurrent_reset_streams(settings.max_resets)
        .max_pending_accept_reset_streams(settings.max_resets)
        .max_local_error_reset_streams(Some(settings.max_resets))
        .max_send_buffer_size(256 * 1024);
    builder
}

/// The next stream; while too many exchanges run, the connection is driven without taking one.
fn poll_next(
    cx: &mut Context<'_>,
    connection: &mut Connection<Rewound, Bytes>,
    running: &Running,
    most: usize,
) -> Poll<Option<Result<Request, h2::Error>>> {
    if running.count.get() < most {
        return connection.poll_accept(cx);
    }
    running.waker.set(Some(cx.waker().clone()));
    connection.poll_closed(cx).map(|closed| closed.err().map(Err))
}

async fn exchange(worker: Rc<Worker>, client: Rc<Client>, request: Request, _ticket: Ticket) {
    let mut scratch = worker.take_scratch();
    let (stream, length) = Stream::accept(request.0, request.1, &mut scratch.request);
    let mut peer = Peer::H2(Box::new(stream));
    let mut timer = Timer::new(Instant::now());
    let length = length.map_err(Fault::Refused);
    exchange::serve(&worker, &client, &mut peer, &mut scratch, length, false, &mut timer).await;
    worker.keep_scratch(scratch);
}
