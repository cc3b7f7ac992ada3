//! What one worker thread owns: its view of the configuration and what its requests share.
//!
//! Nothing here is shared with another thread, so that nothing here is locked.

use crate::access::AccessLog;
use crate::config::plan;
use crate::health::Witness;
use crate::places::Places;
use crate::protection::{Policies, Protection};
use crate::rate_limit::RateLimits;
use crate::recent::Writer;
use crate::request_id;
use crate::scratch::Scratch;
use crate::snapshot::Snapshot;
use crate::stats::{ListenerMeter, RouteMeter};
use crate::upstream::Upstream;
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// How many scratch heads are kept for later requests.
const SCRATCHES: usize = 256;

/// Scratch memory beyond this is not kept.
const SCRATCH_BYTES: usize = 16 * 1024;

/// One worker.
pub(crate) struct Worker {
    id: usize,
    local: RefCell<Rc<Local>>,
    /// Boxed, because they are lent and given back for every request.
    #[expect(clippy::vec_box)]
    scratches: RefCell<Vec<Box<Scratch>>>,
    /// A moment, and how long after the Unix epoch it was.
    synchronised: Cell<(Instant, Duration)>,
    /// The date as it is written, and until when.
    date: RefCell<(Instant, String)>,
    random: RefCell<fastrand::Rng>,
    access_log: RefCell<Option<AccessLog>>,
    recent: Writer,
    draining: Cell<bool>,
    /// How many listeners wait for what idle connections take.
    crowding: Cell<usize>,
    /// Wakers of the open connections, so that all of them notice a drain.
    connections: RefCell<HashMap<u64, Option<Waker>>>,
    next_connection: Cell<u64>,
    closed: Notify,
}

/// A snapshot with what this worker adds to it.
pub(crate) struct Local {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) upstreams: Vec<Rc<Upstream>>,
    pub(crate) doors: Vec<Rc<Door>>,
    routes: Vec<RouteMeter>,
    protections: Vec<Option<Protection>>,
    upstream_protections: Vec<Option<Protection>>,
    rate_limits: Vec<RateLimits>,
    unrouted: RouteMeter,
}

/// A listener as connections see it.
pub(crate) struct Door {
    pub(crate) plan: plan::Listener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) meter: ListenerMeter,
    pub(crate) places: Arc<Places>,
    /// What every request has to pass.
    pub(crate) rate_limits: RateLimits,
}

impl Worker {
    pub(crate) fn new(id: usize, snapshot: Arc<Snapshot>, access_log: Option<AccessLog>, recent: Writer) -> Self {
        let now = Instant::now();
        Self {
            id,
            local: RefCell::new(Rc::new(Local::build(id, snapshot, None))),
            scratches: RefCell::default(),
            synchronised: Cell::new((now, Duration::ZERO)),
            date: RefCell::new((now, String::new())),
            access_log: RefCell::new(access_log),
            recent,
            random: RefCell::new(fastrand::Rng::new()),
            draining: Cell::new(false),
            crowding: Cell::new(0),
            connections: RefCell::default(),
            next_connection: Cell::new(0),
            closed: Notify::new(),
        }
    }

    /// The configuration in force; whoever holds it keeps it alive until the end of a request.
    pub(crate) fn pin(&self) -> Rc<Local> {
        Rc::clone(&self.local.borrow())
    }

    /// Puts another configuration in force. Upstreams whose plan did not change keep their
    /// connections and their place in the rotation, the others the connections to endpoints that
    /// they still have.
    pub(crate) fn apply(&self, snapshot: Arc<Snapshot>) {
        self.recent.resize(snapshot.plan.recent);
        let previous = self.pin();
        let next = Rc::new(Local::build(self.id, snapshot, Some(&previous)));
        *self.local.borrow_mut() = next;
    }

    /// Where access records go from here on.
    pub(crate) fn log_to(&self, access_log: Option<AccessLog>) {
        *self.access_log.borrow_mut() = access_log;
    }

    /// Where access records go; not to be held across an `await`.
    pub(crate) fn access_log(&self) -> Ref<'_, Option<AccessLog>> {
        self.access_log.borrow()
    }

    /// Where exchanges go that have ended.
    pub(crate) fn recent(&self) -> &Writer {
        &self.recent
    }

    pub(crate) fn take_scratch(&self) -> Box<Scratch> {
        self.scratches.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn keep_scratch(&self, scratch: Box<Scratch>) {
        let mut kept = self.scratches.borrow_mut();
        if kept.len() < SCRATCHES && scratch.capacity() <= SCRATCH_BYTES {
            kept.push(scratch);
        }
    }

    /// Writes the date as RFC 9110 §5.6.7 has it; it is formatted once a second.
    pub(crate) fn write_date(&self, now: Instant, out: &mut Vec<u8>) {
        let mut date = self.date.borrow_mut();
        if now >= date.0 || date.1.is_empty() {
            let wall = self.wall_clock(now);
            let rest = Duration::from_secs(1).saturating_sub(Duration::from_nanos(wall.subsec_nanos().into()));
            *date = (now + rest, httpdate::fmt_http_date(UNIX_EPOCH + wall));
        }
        out.extend_from_slice(date.1.as_bytes());
    }

    /// The time since the Unix epoch at `now`. The system's clock is asked once a second at most.
    pub(crate) fn wall_clock(&self, now: Instant) -> Duration {
        let (at, wall) = self.synchronised.get();
        let since = now.saturating_duration_since(at);
        if since < Duration::from_secs(1) && !wall.is_zero() {
            return wall + since;
        }
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.synchronised.set((now, wall));
        wall
    }

    pub(crate) fn random(&self) -> RefMut<'_, fastrand::Rng> {
        self.random.borrow_mut()
    }

    pub(crate) fn make_request_id(&self, now: Instant) -> [u8; request_id::LENGTH] {
        let since = self.wall_clock(now);
        request_id::make(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), &mut self.random())
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// From here on connections end with their next answer, or once they have been idle a moment.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.wake_connections();
    }

    /// Whether idle connections are in somebody's way.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowding.get() > 0
    }

    /// Tells idle connections that they are in somebody's way, until what is returned is dropped.
    pub(crate) fn crowd(self: &Rc<Self>) -> Crowding {
        let before = self.crowding.replace(self.crowding.get() + 1);
        if before == 0 {
            self.wake_connections();
        }
        Crowding(Rc::clone(self))
    }

    fn wake_connections(&self) {
        for waker in self.connections.borrow().values().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Waits until no connection is open.
    pub(crate) async fn emptied(&self) {
        while !self.connections.borrow().is_empty() {
            self.closed.notified().await;
        }
    }

    pub(crate) fn enter(self: &Rc<Self>) -> Entry {
        let id = self.next_connection.get();
        self.next_connection.set(id + 1);
        self.connections.borrow_mut().insert(id, None);
        Entry { worker: Rc::clone(self), id, known: Cell::new(false) }
    }

    /// Closes idle upstream connections that are too old or gone.
    pub(crate) fn sweep(&self, now: Instant) {
        for upstream in &self.pin().upstreams {
            upstream.sweep(now);
        }
    }
}

/// Somebody waits for what idle connections take.
pub(crate) struct Crowding(Rc<Worker>);

impl Drop for Crowding {
    fn drop(&mut self) {
        self.0.crowding.set(self.0.crowding.get() - 1);
    }
}

/// A place in the list of open connections.
pub(crate) struct Entry {
    worker: Rc<Worker>,
    id: u64,
    known: Cell<bool>,
}

impl Entry {
    /// Tells how to wake the connection; a task keeps its waker, so that once is enough.
    pub(crate) fn register(&self, waker: &Waker) {
        if !self.known.replace(true) {
            self.worker.connections.borrow_mut().insert(self.id, Some(waker.clone()));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.id);
        self.worker.closed.notify_one();
    }
}

impl Local {
    fn build(worker: usize, snapshot: Arc<Snapshot>, previous: Option<&Self>) -> Self {
        let view = snapshot.policies.registry().view();
        let upstreams = snapshot.upstreams.iter().map(|upstream| {
            let before = previous.and_then(|previous| previous.upstream(&upstream.plan.name));
            let tls = upstream.tls.as_ref();
            if let Some((before, kept)) = before
                && before.is_same(&upstream.plan, tls)
            {
                return Rc::clone(kept);
            }
            let kept = before.filter(|(before, _)| before.has_identity_of(tls)).map(|(_, kept)| &**kept);
            let witness = |place| Witness::new(&upstream.health, place, worker);
            let breaker = |endpoint: &plan::Endpoint| {
                let own = upstream.plan.endpoint_breaker.then(|| upstream.plan.breaker_of(endpoint))?;
                view.circuit_breaker(&own).cloned()
            };
            let (plan, meter) = (Arc::clone(&upstream.plan), upstream.series.meter(worker));
            let config = tls.map(|tls| &tls.config);
            Rc::new(Upstream::new(plan, config, meter, &upstream.blueprint, witness, breaker, kept))
        });
        let doors = snapshot.listeners.iter().map(|listener| {
            Rc::new(Door {
                plan: listener.plan.clone(),
                tls: listener.tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.config))),
                meter: listener.series.meter(worker),
                places: Arc::clone(&listener.places),
                rate_limits: RateLimits::build(&view, &listener.plan.rate_limits),
            })
        });
        let protections = snapshot.routes.iter().map(|route| {
            let name = route.plan.protection.as_deref();
            name.and_then(|name| Policies::protection(&view, name))
        });
        let upstream_protections =
            snapshot.upstreams.iter().map(|upstream| Policies::protection(&view, &upstream.plan.name));
        let rate_limits = snapshot.routes.iter().map(|route| RateLimits::build(&view, &route.plan.rate_limits));
        Self {
            upstreams: upstreams.collect(),
            doors: doors.collect(),
            routes: snapshot.routes.iter().map(|route| route.series.meter(worker)).collect(),
            protections: protections.collect(),
            upstream_protections: upstream_protections.collect(),
            rate_limits: rate_limits.collect(),
            unrouted: snapshot.unrouted.meter(worker),
            snapshot,
        }
    }

    /// The upstream of that name, as it was built and as this worker has it.
    fn upstream(&self, name: &str) -> Option<(&crate::snapshot::Upstream, &Rc<Upstream>)> {
        let mut all = self.snapshot.upstreams.iter().zip(&self.upstreams);
        all.find(|(built, _)| *built.plan.name == *name)
    }

    /// The policies around the requests of a route.
    pub(crate) fn protection(&self, route: usize) -> Option<&Protection> {
        self.protections[route].as_ref()
    }

    /// The policies around the requests of an upstream, where it stands in for another.
    pub(crate) fn upstream_protection(&self, upstream: usize) -> Option<&Protection> {
        self.upstream_protections[upstream].as_ref()
    }

    /// What the requests of a route have to pass, besides the limits of their listener.
    pub(crate) fn rate_limits(&self, route: usize) -> &RateLimits {
        &self.rate_limits[route]
    }

    pub(crate) fn route_meter(&self, route: Option<usize>) -> &RouteMeter {
        route.map_or(&self.unrouted, |route| &self.routes[route])
    }
}
