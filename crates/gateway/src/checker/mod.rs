//! The thread that probes endpoints and decides about them.
//!
//! One thread for all upstreams, apart from the workers: a probe, its TLS handshake and a name that resolves slowly cost
//! no request anything. It alone decides who is ejected and who returns, so that no decision needs a lock; a worker that
//! saw too many failures wakes it. It ends with the gateway.

mod grpc;
mod probe;

use crate::config::plan::HealthCheck;
use crate::health::{Alarm, Endpoint, Health, PROBES};
use crate::snapshot::Snapshot;
use crate::upstream::Connector;
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

/// Names that are resolved at once.
const RESOLVERS: usize = 4;

/// The handle on the thread.
pub(crate) struct Checker {
    snapshots: watch::Sender<Arc<Snapshot>>,
    thread: JoinHandle<()>,
}

impl Checker {
    /// Begins to probe what `snapshot` says.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be started.
    pub(crate) fn start(snapshot: Arc<Snapshot>) -> io::Result<Self> {
        let (snapshots, receiver) = watch::channel(snapshot);
        let mut builder = Builder::new_current_thread();
        builder.enable_all().max_blocking_threads(RESOLVERS);
        let (started, starting) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("health".into()).spawn(move || {
            // The runtime stays on the thread that it is built on.
            let runtime = match builder.build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            drop(started.send(Ok(())));
            runtime.block_on(run(receiver));
            // A name that is still being resolved is not worth waiting for.
            runtime.shutdown_background();
        })?;
        starting.recv().map_err(io::Error::other)??;
        Ok(Self { snapshots, thread })
    }

    /// Goes on with another configuration. Probes of endpoints that are the same are not disturbed.
    pub(crate) fn follow(&self, snapshot: Arc<Snapshot>) {
        self.snapshots.send_replace(snapshot);
    }

    /// Ends the thread.
    pub(crate) fn end(self) {
        drop(self.snapshots);
        if self.thread.join().is_err() {
            tracing::error!("the thread that probes endpoints panicked");
        }
    }
}

async fn run(mut snapshots: watch::Receiver<Arc<Snapshot>>) {
    let mut probes = Probes { slots: Rc::new(Semaphore::new(PROBES)), running: HashMap::new() };
    let mut court = Court::default();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        probes.follow(&snapshot);
        court.follow(&snapshot);
        loop {
            let due = court.look(Instant::now());
            tokio::select! {
                changed = snapshots.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = snapshot.alarm.wait() => {}
                () = until(due) => {}
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}

/// The probes of all endpoints.
struct Probes {
    slots: Rc<Semaphore>,
    /// By the address in memory of the endpoint, which the probe keeps alive.
    running: HashMap<*const Endpoint, Running>,
}

/// Probes of one endpoint, until this is dropped.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Probes {
    /// Begins to probe who is new, and ends where nobody is any more.
    fn follow(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.running);
        for upstream in &snapshot.upstreams {
            let Some(check) = upstream.health.check() else { continue };
            for (place, endpoint) in upstream.health.endpoints() {
                let key = Arc::as_ptr(endpoint);
                let running = before.remove(&key).unwrap_or_else(|| {
                    let tls = upstream.tls.as_ref().map(|tls| Arc::clone(&tls.config));
                    let series = Series {
                        upstream: Arc::clone(upstream.health.upstream()),
                        endpoint: Arc::clone(endpoint),
                        check: check.clone(),
                        connector: Connector::new(&upstream.plan.endpoints[place], &upstream.plan, tls),
                        alarm: Arc::clone(&snapshot.alarm),
                    };
                    Running(tokio::task::spawn_local(series.run(Rc::clone(&self.slots))).abort_handle())
                });
                self.running.insert(key, running);
            }
        }
    }
}

/// The probes of one endpoint, one after the other.
struct Series {
    upstream: Arc<str>,
    endpoint: Arc<Endpoint>,
    check: HealthCheck,
    connector: Connector,
    alarm: Arc<Alarm>,
}

impl Series {
    async fn run(self, slots: Rc<Semaphore>) {
        loop {
            // Never closed, so that there is always a slot in the end.
            let slot = slots.acquire().await;
            let probe = probe::probe(&self.connector, &self.check).await;
            drop(slot);
            let chance = fastrand::f64();
            let (pause, changed) = self.endpoint.probed(&self.upstream, &self.check, probe, Instant::now(), chance);
            if changed {
                // Others may be ejected now that could not be before.
                self.alarm.ring();
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// Who decides about ejections.
#[derive(Default)]
struct Court {
    upstreams: Vec<Docket>,
}

/// One upstream whose endpoints may be ejected.
struct Docket {
    health: Arc<Health>,
    /// When the interval ends in which requests are counted.
    compares_at: Option<Instant>,
}

impl Court {
    fn follow(&mut self, snapshot: &Snapshot) {
        let now = Instant::now();
        let before = std::mem::take(&mut self.upstreams);
        let known: HashMap<_, _> = before.iter().map(|docket| (Arc::as_ptr(&docket.health), docket)).collect();
        let docket = |health: &Arc<Health>| match known.get(&Arc::as_ptr(health)) {
            Some(same) => Docket { health: Arc::clone(health), compares_at: same.compares_at },
            None => {
                Docket { health: Arc::clone(health), compares_at: health.interval().map(|interval| now + interval) }
            }
        };
        self.upstreams = snapshot.upstreams.iter().map(|upstream| docket(&upstream.health)).collect();
    }

    /// Decides about everybody; returns when to look again.
    fn look(&mut self, now: Instant) -> Option<Instant> {
        self.upstreams.iter_mut().filter_map(|docket| docket.look(now)).min()
    }
}

impl Docket {
    fn look(&mut self, now: Instant) -> Option<Instant> {
        let compare = self.compares_at.is_some_and(|at| at <= now);
        if compare {
            self.compares_at = self.health.interval().map(|interval| now + interval);
        }
        let due = self.health.judge(now, compare);
        [due, self.compares_at].into_iter().flatten().min()
    }
}
