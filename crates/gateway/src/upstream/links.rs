//! The HTTP/2 connections of one worker to one endpoint, which exchanges share.
//!
//! Requests that come while a connection is being opened wait for it instead of opening one each.
//! A connection is lent once the endpoint has said how many streams it takes. It is retired when it
//! is old, when the endpoint says GOAWAY or refuses a stream, or when it fails: then it takes no new
//! streams, and ends with its last one.

use super::ConnectError;
use super::pool::{Opened, Pool};
use crate::config::plan;
use crate::timer::Timer;
use h2::client::{Builder, Connection, SendRequest};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tidegate_wire::h2::{Chunk, Dead, FrameIo, FrameWatch, Outbox, Pulse};
use tidegate_wire::transport::Transport;
use tokio::sync::Notify;

/// Streams on one connection before another is opened, where the endpoint allows more.
const STREAMS: u32 = 100;

/// What an endpoint may send on a stream before it is read: the memory that one slow client can hold.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Wide enough for every stream's window, so that slow clients never stop the others.
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;

/// Bytes of a header list; as for HTTP/1.
const HEADER_LIST: u32 = 128 * 1024;

/// An endpoint that owes answers and is quiet for so long is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// How long it has to be heard again.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection that nobody uses any more may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// The HTTP/2 connections to one endpoint; the pool bounds how many there are.
#[derive(Default)]
pub(super) struct Links {
    links: RefCell<Vec<Rc<Link>>>,
    opening: RefCell<Option<Rc<Opening>>>,
    /// Streams that the connection opened last may carry; zero while none was opened.
    allowed: Cell<usize>,
}

/// An HTTP/2 connection that exchanges share.
pub(crate) struct Link {
    pub(super) sender: SendRequest<Chunk>,
    pub(super) outbox: Rc<Outbox>,
    streams: Cell<usize>,
    retired: Cell<bool>,
    /// When it was first seen without a stream.
    idle_since: Cell<Option<Instant>>,
    opened: Opened,
}

/// A connection that is being opened, for those who wait for it.
#[derive(Default)]
struct Opening {
    waiting: Cell<usize>,
    failed: RefCell<Option<ConnectError>>,
    done: Notify,
}

/// Held by whoever opens a connection; those who wait are told when it goes.
pub(super) struct Opener<'a> {
    links: &'a Links,
    opening: Rc<Opening>,
}

impl Links {
    /// A connection that takes one more stream.
    pub(super) fn with_room(&self, limits: &plan::Pool, now: Instant) -> Option<Rc<Link>> {
        self.links.borrow().iter().find(|link| link.has_room(limits, now)).map(Rc::clone)
    }

    /// Forgets what is retired, too old, or idle for too long.
    pub(super) fn sweep(&self, limits: &plan::Pool, now: Instant) {
        self.links.borrow_mut().retain(|link| !link.is_over(limits, now) && !link.is_idle(limits, now));
    }

    /// Whether the endpoint spoke HTTP/2 on its last connection.
    pub(super) fn are_known(&self) -> bool {
        self.allowed.get() > 0
    }

    /// Notes that the endpoint chose HTTP/1 on a new connection.
    pub(super) fn are_not_wanted(&self) {
        self.allowed.set(0);
    }

    /// Waits for a connection that somebody else is opening. False where there is none, or where those
    /// who wait already will fill it.
    pub(super) async fn await_opening(&self) -> Result<bool, ConnectError> {
        let Some(opening) = self.opening.borrow().as_ref().map(Rc::clone) else {
            return Ok(false);
        };
        let expected = if self.are_known() { self.allowed.get() } else { STREAMS as usize };
        // One stream is for the opener.
        if opening.waiting.get() + 1 >= expected {
            return Ok(false);
        }
        opening.waiting.set(opening.waiting.get() + 1);
        opening.done.notified().await;
        match &*opening.failed.borrow() {
            Some(error) => Err(error.share()),
            None => Ok(true),
        }
    }

    /// Announces that a connection is being opened.
    pub(super) fn announce(&self) -> Opener<'_> {
        let opening = Rc::new(Opening::default());
        *self.opening.borrow_mut() = Some(Rc::clone(&opening));
        Opener { links: self, opening }
    }

    fn forget(&self, link: &Link) {
        self.links.borrow_mut().retain(|other| !std::ptr::eq(&**other, link));
    }
}

impl Opener<'_> {
    /// Tells those who wait why there will be no connection.
    pub(super) fn fail(&self, error: &ConnectError) {
        *self.opening.failed.borrow_mut() = Some(error.share());
    }
}

impl Drop for Opener<'_> {
    fn drop(&mut self) {
        let mut current = self.links.opening.borrow_mut();
        if current.as_ref().is_some_and(|current| Rc::ptr_eq(current, &self.opening)) {
            *current = None;
        }
        self.opening.done.notify_waiters();
    }
}

impl Link {
    /// Begins to speak HTTP/2 on a new connection and waits for the endpoint's settings. From then on the
    /// connection holds a slot of the pool until it ends.
    pub(super) async fn open(pool: &Rc<Pool>, transport: Transport, opened: Opened) -> io::Result<Rc<Self>> {
        let (frames, watch) = FrameIo::to_upstream(transport);
        let (sender, mut connection) = builder().handshake(frames).await.map_err(io::Error::other)?;
        poll_fn(|cx| poll_settings(cx, &mut connection, &watch)).await?;
        let now = Instant::now();
        let link = Rc::new(Self {
            sender,
            outbox: Rc::default(),
            streams: Cell::new(0),
            retired: Cell::new(false),
            idle_since: Cell::new(None),
            opened,
        });
        pool.links().allowed.set(link.allowed());
        pool.links().links.borrow_mut().push(Rc::clone(&link));
        let pings = connection.ping_pong();
        let pulse = pings.map(|pings| Pulse::new(pings, PING_INTERVAL, PING_TIMEOUT, now));
        let (pool, held) = (Rc::downgrade(pool), Rc::downgrade(&link));
        let driver = Driver { pool, link: held, watch, pulse, allowed: 0, left: None };
        tokio::task::spawn_local(driver.run(connection));
        Ok(link)
    }

    pub(super) fn enter(&self) {
        self.streams.set(self.streams.get() + 1);
        self.idle_since.set(None);
    }

    pub(super) fn leave(&self) {
        self.streams.set(self.streams.get() - 1);
    }

    /// Lends the connection no more.
    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    fn has_room(&self, limits: &plan::Pool, now: Instant) -> bool {
        !self.is_over(limits, now) && self.streams.get() < self.allowed()
    }

    fn allowed(&self) -> usize {
        self.sender.current_max_send_streams().min(STREAMS as usize)
    }

    /// Such a connection is lent no more.
    fn is_over(&self, limits: &plan::Pool, now: Instant) -> bool {
        self.retired.get() || limits.max_lifetime.is_some_and(|lifetime| now - self.opened.at >= lifetime)
    }

    fn is_idle(&self, limits: &plan::Pool, now: Instant) -> bool {
        if self.streams.get() > 0 {
            return false;
        }
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        now.saturating_duration_since(since) >= limits.idle_timeout
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_max_send_streams(STREAMS as usize)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(STREAM_WINDOW as usize)
        .enable_push(false);
    builder
}

type Frames = Connection<FrameIo, Chunk>;

/// The endpoint's settings must be its first frame (RFC 9113 §3.4).
fn poll_settings(cx: &mut Context<'_>, connection: &mut Frames, watch: &FrameWatch) -> Poll<io::Result<()>> {
    if let Poll::Ready(ended) = Pin::new(connection).poll(cx) {
        return Poll::Ready(Err(ended.map_or_else(io::Error::other, |()| io::ErrorKind::UnexpectedEof.into())));
    }
    if let Poll::Ready(Err(error)) = watch.poll_flush(cx) {
        return Poll::Ready(Err(error));
    }
    if watch.has_settings() { Poll::Ready(Ok(())) } else { Poll::Pending }
}

/// What runs a connection until it ends. It holds neither the pool nor the link: a connection ends when
/// nobody else does, because it was retired or its upstream is no longer configured.
struct Driver {
    pool: Weak<Pool>,
    link: Weak<Link>,
    watch: FrameWatch,
    pulse: Option<Pulse>,
    /// Streams that the endpoint allowed when it was last looked at.
    allowed: usize,
    /// When the link was seen to be gone.
    left: Option<Instant>,
}

impl Driver {
    async fn run(mut self, mut connection: Frames) {
        let mut timer = Timer::new(Instant::now());
        timer.drive(|cx, timer| self.poll(cx, &mut connection, timer)).await;
        self.retire();
        // Streams that are still open fail now, before anybody is told of the free slot.
        drop(connection);
        if let Some(pool) = self.pool.upgrade() {
            pool.free_slot();
        }
    }

    /// Sees to it that no new streams are opened.
    fn retire(&self) {
        if let (Some(pool), Some(link)) = (self.pool.upgrade(), self.link.upgrade()) {
            link.retire();
            pool.links().forget(&link);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, connection: &mut Frames, timer: &mut Timer) -> Poll<()> {
        if let Poll::Ready(ended) = Pin::new(connection).poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(%error, "HTTP/2 connection to an upstream ended");
            }
            return Poll::Ready(());
        }
        if let Poll::Ready(Err(_)) = self.watch.poll_flush(cx) {
            return Poll::Ready(());
        }
        loop {
            match self.look(cx, timer.now()) {
                Ok(deadline) => ready!(timer.poll(cx, deadline)),
                Err(Dead) => {
                    tracing::debug!("HTTP/2 connection to an upstream is dead");
                    return Poll::Ready(());
                }
            }
            timer.refresh();
        }
    }

    /// Looks at what has changed; returns when to look again.
    fn look(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<Option<Instant>, Dead> {
        let Some(link) = self.link.upgrade() else {
            let until = *self.left.get_or_insert(now) + GOODBYE;
            return if now < until { Ok(Some(until)) } else { Err(Dead) };
        };
        if self.watch.is_going_away() && !link.retired.get() {
            self.retire();
        }
        let before = std::mem::replace(&mut self.allowed, link.allowed());
        if self.allowed > before
            && let Some(pool) = self.pool.upgrade()
        {
            pool.streams_released(self.allowed - before);
        }
        match &mut self.pulse {
            Some(pulse) if link.streams.get() > 0 => pulse.poll(cx, now, self.watch.received()).map(Some),
            // An endpoint that owes nothing may be quiet; such a connection is swept once it is old.
            _ => Ok(None),
        }
    }
}
