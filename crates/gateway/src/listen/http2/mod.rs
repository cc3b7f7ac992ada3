//! One HTTP/2 connection: its streams, each an exchange in a task of its own ([`runner`]).
//!
//! The frames are the `h2` crate's. What is bounded here: the number of running exchanges, which go on
//! for a moment after a client has reset their streams; what a client does that is of no use
//! ([`Tolerance`]); and every wait, for a request, for a sign of life, for room to write.

mod runner;

use super::{Presence, http1};
use crate::config::plan;
use crate::exchange::Client;
use crate::timer::{Timer, after, nearer};
use crate::worker::Worker;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use runner::{Job, Ticket};
use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tidegate_wire::buffer::ReadBuffer;
use tidegate_wire::h2::{Chunk, Dead, FrameIo, FrameWatch, Outbox, Pulse, Stall, Tolerance};
use tidegate_wire::transport::Transport;

/// Bytes of a body that one stream has waiting to be written; [`Outbox`] bounds all of them together.
const STREAM_BUFFER: usize = 256 * 1024;

/// How long a client has to take the news that its connection ends.
const EXPULSION: Duration = Duration::from_secs(1);

/// The exchanges that run on one connection, and what they share.
#[derive(Default)]
struct Running {
    count: Cell<usize>,
    /// The connection, while it waits for an exchange to end.
    waker: Cell<Option<Waker>>,
    outbox: Rc<Outbox>,
}

/// What happens on a connection.
enum Event {
    /// No request for longer than a connection may be idle.
    Idle,
    /// The client did more of what is of no use than is tolerated.
    Flooded,
    /// The client is not heard any more, or takes nothing.
    Dead,
    Ended(Result<(), h2::Error>),
}

/// One connection.
struct Session {
    worker: Rc<Worker>,
    client: Rc<Client>,
    connection: Connection<FrameIo, Chunk>,
    watch: FrameWatch,
    running: Rc<Running>,
    pulse: Option<Pulse>,
    presence: Presence,
    requests: u64,
    /// Streams that the client had reset before this wake-up.
    resets: u64,
    idle_since: Instant,
    /// Streams that were refused before this wake-up.
    refusals: u64,
    /// The client was told to send no more requests.
    leaving: bool,
}

/// Serves streams until the connection ends.
pub(super) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    transport: Transport,
    ahead: ReadBuffer,
    presence: Presence,
) {
    let mut timer = Timer::new(Instant::now());
    let (frames, watch) = FrameIo::to_client(transport, ahead, tolerance(&client.listener.plan.http2));
    let Some(connection) = handshake(&client, frames, &watch, &mut timer).await else {
        client.listener.meter.handshake_failed();
        return;
    };
    let mut session = Session::new(worker, client, connection, watch, presence, timer.now());
    session.run(&mut timer).await;
}

/// Answers that are handed over wait here, and not in an exchange that would look after its client.
fn stall_deadline(stall: Stall, timeouts: &plan::ListenerTimeouts) -> Option<Instant> {
    let by_rate = timeouts.body_rate.map(|rate| rate.patience(stall.taken, stall.waited));
    nearer(after(stall.since, Some(timeouts.body)), after(stall.since, by_rate))
}

/// All streams that may be open may be reset at once, by one click; the rest is for those that follow.
fn tolerance(settings: &plan::Http2) -> Tolerance {
    let resets = u32::try_from(settings.max_resets).unwrap_or(u32::MAX);
    Tolerance { resets: resets.saturating_add(settings.max_concurrent_streams), resets_per_second: resets }
}

async fn handshake(
    client: &Client,
    frames: FrameIo,
    watch: &FrameWatch,
    timer: &mut Timer,
) -> Option<Connection<FrameIo, Chunk>> {
    let deadline = timer.now() + client.listener.plan.timeouts.head;
    let mut handshake = std::pin::pin!(builder(&client.listener.plan.http2).handshake(frames));
    timer
        .drive(|cx, timer| {
            if let Poll::Ready(connection) = handshake.as_mut().poll(cx) {
                return Poll::Ready(connection.ok());
            }
            match watch.poll_flush(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(None),
                _ => timer.poll(cx, Some(deadline)).map(|()| None),
            }
        })
        .await
}

fn builder(settings: &plan::Http2) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.max_concurrent_streams)
        .initial_window_size(settings.initial_stream_window)
        .initial_connection_window_size(settings.initial_connection_window)
        .max_frame_size(settings.max_frame_size)
        .max_header_list_size(settings.max_header_list)
        .max_send_buffer_size(STREAM_BUFFER)
        .max_concurrent_reset_streams(settings.max_resets)
        .max_pending_accept_reset_streams(settings.max_resets.max(settings.max_concurrent_streams as usize));
    // `h2` counts these for as long as a connection lives; `Tolerance` forgets them with time.
    builder.max_local_error_reset_streams(None);
    builder
}

impl Session {
    fn new(
        worker: Rc<Worker>,
        client: Rc<Client>,
        mut connection: Connection<FrameIo, Chunk>,
        watch: FrameWatch,
        presence: Presence,
        now: Instant,
    ) -> Self {
        let wanted = client.listener.plan.http2.keep_alive;
        let pulse = wanted.zip(connection.ping_pong());
        let pulse = pulse.map(|(ping, pings)| Pulse::new(pings, ping.interval, ping.timeout, now));
        let running = Rc::default();
        Self {
            worker,
            client,
            connection,
            watch,
            running,
            pulse,
            presence,
            requests: 0,
            resets: 0,
            refusals: 0,
            idle_since: now,
            leaving: false,
        }
    }

    async fn run(&mut self, timer: &mut Timer) {
        loop {
            match timer.drive(|cx, timer| self.poll(cx, timer)).await {
                // Say goodbye once, and leave if nobody answers.
                Event::Idle if !self.leaving => {
                    self.leave();
                    self.idle_since = timer.now();
                }
                Event::Flooded => return self.expel(timer).await,
                Event::Ended(Err(error)) => {
                    tracing::debug!(address = %self.client.address, %error, "HTTP/2 connection failed");
                    if !error.is_io() {
                        self.client.listener.meter.protocol_error();
                    }
                    return;
                }
                Event::Ended(Ok(())) | Event::Idle | Event::Dead => return,
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<Event> {
        self.presence.entry.register(cx.waker());
        if self.worker.is_draining() {
            self.leave();
        }
        if let Poll::Ready(ended) = self.poll_streams(cx, timer.now()) {
            return Poll::Ready(Event::Ended(ended));
        }
        self.resets = self.watch.resets();
        self.count_refusals();
        if self.watch.misbehaves() {
            return Poll::Ready(Event::Flooded);
        }
        // Nothing more will be written in this wake-up, so what was gathered leaves now.
        if let Poll::Ready(Err(error)) = self.watch.poll_flush(cx) {
            tracing::debug!(address = %self.client.address, %error, "cannot write");
            return Poll::Ready(Event::Dead);
        }
        self.poll_time(cx, timer)
    }

    /// Begins the exchanges of all streams that have come. While too many run, the connection is driven
    /// without taking one; then it is woken when one ends.
    fn poll_streams(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), h2::Error>> {
        let most = self.client.listener.plan.http2.max_concurrent_streams as usize;
        while self.running.count.get() < most {
            match ready!(self.connection.poll_accept(cx)) {
                Some(accepted) => {
                    let (request, respond) = accepted?;
                    self.begin(request, respond, now);
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        self.running.waker.set(Some(cx.waker().clone()));
        self.connection.poll_closed(cx)
    }

    /// Counts the requests that `h2` has refused by itself: they have no exchange that would.
    fn count_refusals(&mut self) {
        let refusals = self.watch.refusals();
        for _ in self.refusals..refusals {
            tracing::debug!(address = %self.client.address, "HTTP/2 request refused");
            self.client.listener.meter.protocol_error();
        }
        self.refusals = refusals;
    }

    /// What must end because of the time.
    fn poll_time(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<Event> {
        loop {
            let now = timer.now();
            let stall = self.watch.stall();
            if self.running.count.get() > 0 || stall.is_some() {
                self.idle_since = now;
            }
            let idle = after(self.idle_since, Some(http1::idle_time(&self.worker, &self.client)));
            let stalled = stall.and_then(|stall| stall_deadline(stall, &self.client.listener.plan.timeouts));
            let pulse = self.pulse.as_mut().map(|pulse| pulse.poll(cx, now, self.watch.received())).transpose();
            match pulse {
                Err(Dead) => return Poll::Ready(Event::Dead),
                Ok(_) if stalled.is_some_and(|stalled| stalled <= now) => return Poll::Ready(Event::Dead),
                Ok(_) if idle.is_some_and(|idle| idle <= now) => return Poll::Ready(Event::Idle),
                Ok(pulse) => ready!(timer.poll(cx, nearer(nearer(idle, stalled), pulse))),
            }
            timer.refresh();
        }
    }

    fn begin(&mut self, request: http::Request<RecvStream>, mut respond: SendResponse<Chunk>, now: Instant) {
        self.watch.accepted(respond.stream_id());
        self.idle_since = now;
        self.requests += 1;
        let most = self.client.listener.plan.limits.requests_per_connection;
        if most.is_some_and(|most| self.requests >= most) {
            self.leave();
        }
        // A stream that was reset in the same breath is no work for anybody.
        let resets = self.watch.resets();
        if self.resets == resets || respond.poll_reset(&mut Context::from_waker(Waker::noop())).is_pending() {
            let (worker, client) = (Rc::clone(&self.worker), Rc::clone(&self.client));
            runner::run(Job { worker, client, request, respond, ticket: Ticket::new(&self.running) });
        }
    }

    /// Tells the client to send no more requests; those that run are finished (RFC 9113 §6.8).
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            self.connection.graceful_shutdown();
        }
    }

    /// Ends the connection and all of its streams, and says why.
    async fn expel(&mut self, timer: &mut Timer) {
        tracing::debug!(address = %self.client.address, "HTTP/2 connection ended: too much of no use");
        self.client.listener.meter.protocol_error();
        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        let deadline = timer.now() + EXPULSION;
        let closed = std::future::poll_fn(|cx| self.connection.poll_closed(cx));
        // It ends either way.
        let _ = timer.bound(deadline, closed).await;
    }
}
