//! A running gateway: its worker threads and the sockets they listen on.
//!
//! Every worker is a thread with a runtime of its own; a connection lives and dies on the worker
//! that accepted it. Workers are told of changes by message and answer when they have made them.

use crate::access::AccessLog;
use crate::checker::Checker;
use crate::health::Directory;
use crate::listen::{SocketGroup, accept};
use crate::recent::{Recent, Writer};
use crate::snapshot::Snapshot;
use crate::worker::Worker;
use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Changes that may wait for a worker.
const COMMANDS: usize = 16;

/// How often idle upstream connections are looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// A running gateway.
pub struct Gateway {
    workers: Vec<Handle>,
    groups: Vec<SocketGroup>,
    snapshot: Arc<Snapshot>,
    checker: Checker,
    health: Arc<Directory>,
    recent: Arc<Recent>,
}

struct Handle {
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Apply(Change, oneshot::Sender<()>),
    LogTo(Option<AccessLog>, oneshot::Sender<()>),
    Drain(Duration, oneshot::Sender<()>),
}

/// A configuration and, for each of its listeners, where its sockets come from.
struct Change {
    snapshot: Arc<Snapshot>,
    sources: Vec<Source>,
}

enum Source {
    /// The sockets of the listener at that position of the configuration before.
    Kept(usize),
    New(Vec<TcpListener>),
}

impl Gateway {
    /// Starts the workers of `snapshot`.
    ///
    /// `inherited` are sockets that another process has handed over; those that no listener wants
    /// are closed.
    ///
    /// # Errors
    /// When an address cannot be bound or a thread cannot be started.
    pub fn start(
        snapshot: Arc<Snapshot>,
        inherited: Vec<SocketGroup>,
        access_log: Option<&AccessLog>,
    ) -> io::Result<Self> {
        let count = snapshot.plan.workers.get();
        let mut inherited = inherited;
        let groups = snapshot.plan.listeners.iter().map(|listener| {
            let found = inherited.iter().position(|group| group.configured == listener.address);
            match found.map(|position| inherited.remove(position)) {
                Some(mut group) => group.grow(count).map(|()| group),
                None => SocketGroup::bind(listener.address, count).map_err(|error| at(listener.address, &error)),
            }
        });
        let groups = groups.collect::<io::Result<Vec<_>>>()?;
        let recent = Arc::new(Recent::new(count, snapshot.plan.recent));
        let mut workers = Vec::with_capacity(count);
        for id in 0..count {
            let sockets = groups.iter().map(|group| group.share(id, count).map(Source::New));
            let change = Change { snapshot: Arc::clone(&snapshot), sources: sockets.collect::<io::Result<_>>()? };
            workers.push(Handle::start(id, change, access_log.cloned(), Arc::clone(&recent))?);
        }
        let checker = Checker::start(Arc::clone(&snapshot))?;
        let health = Arc::new(Directory::default());
        health.publish(snapshot.health());
        Ok(Self { workers, groups, snapshot, checker, health, recent })
    }

    /// Puts another configuration in force on all workers; returns once it is.
    ///
    /// Requests in flight end under the configuration they began with.
    ///
    /// # Errors
    /// When a new address cannot be bound; nothing has changed then.
    pub async fn apply(&mut self, snapshot: Arc<Snapshot>) -> io::Result<()> {
        let count = self.workers.len();
        let mut kept: Vec<Option<usize>> = Vec::new();
        let mut new = Vec::new();
        for listener in &snapshot.plan.listeners {
            let same = |(position, group): &(usize, &SocketGroup)| {
                group.configured == listener.address && !kept.contains(&Some(*position))
            };
            let position = self.groups.iter().enumerate().find(same).map(|(position, _)| position);
            kept.push(position);
            if position.is_none() {
                new.push(SocketGroup::bind(listener.address, count).map_err(|error| at(listener.address, &error))?);
            }
        }
        snapshot.put_policies_in_force().map_err(io::Error::other)?;
        let mut answers = Vec::with_capacity(count);
        for (id, worker) in self.workers.iter().enumerate() {
            let mut fresh = new.iter();
            let sources = kept.iter().map(|position| match position {
                Some(position) => Ok(Source::Kept(*position)),
                None => fresh.next().ok_or(io::ErrorKind::NotFound)?.share(id, count).map(Source::New),
            });
            let change = Change { snapshot: Arc::clone(&snapshot), sources: sources.collect::<io::Result<_>>()? };
            let (done, answer) = oneshot::channel();
            worker.send(Command::Apply(change, done)).await?;
            answers.push(answer);
        }
        let mut old: Vec<Option<SocketGroup>> = std::mem::take(&mut self.groups).into_iter().map(Some).collect();
        let mut new = new.into_iter();
        self.groups = kept
            .into_iter()
            .filter_map(|position| match position {
                Some(position) => old[position].take(),
                None => new.next(),
            })
            .collect();
        self.checker.follow(Arc::clone(&snapshot));
        self.health.publish(snapshot.health());
        self.snapshot = snapshot;
        all(answers).await
    }

    /// Has all workers write their access records elsewhere, or nowhere; returns once none of them uses the
    /// log before any more.
    ///
    /// # Errors
    /// When a worker has ended.
    pub async fn log_to(&self, access_log: Option<&AccessLog>) -> io::Result<()> {
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            worker.send(Command::LogTo(access_log.cloned(), done)).await?;
            answers.push(answer);
        }
        all(answers).await
    }

    /// The configuration in force.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What is known about endpoints, under whichever configuration is in force.
    #[must_use]
    pub fn health(&self) -> &Arc<Directory> {
        &self.health
    }

    /// The exchanges that ended last.
    #[must_use]
    pub fn recent(&self) -> &Arc<Recent> {
        &self.recent
    }

    /// The sockets of each listener, in the order of the configuration.
    #[must_use]
    pub fn sockets(&self) -> &[SocketGroup] {
        &self.groups
    }

    /// The address of each listener, in the order of the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = io::Result<SocketAddr>> {
        self.groups.iter().map(SocketGroup::address)
    }

    /// Stops accepting, waits for requests in flight, at most so long, and ends the workers.
    pub async fn drain(mut self, at_most: Duration) {
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            if worker.send(Command::Drain(at_most, done)).await.is_ok() {
                answers.push(answer);
            }
        }
        self.groups.clear();
        for answer in answers {
            // A worker that has ended already has nothing to drain.
            let _ = answer.await;
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take()
                && thread.join().is_err()
            {
                tracing::error!("a worker panicked");
            }
        }
        self.checker.end();
    }
}

/// Waits until every worker has answered.
async fn all(answers: Vec<oneshot::Receiver<()>>) -> io::Result<()> {
    for answer in answers {
        answer.await.map_err(|_| io::Error::other("a worker has ended"))?;
    }
    Ok(())
}

fn at(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

impl Handle {
    fn start(id: usize, change: Change, access_log: Option<AccessLog>, recent: Arc<Recent>) -> io::Result<Self> {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let thread = std::thread::Builder::new().name(format!("worker-{id}")).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(4)
                .build_local(tokio::runtime::LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(run(id, change, access_log, Writer::new(recent, id), receiver)),
                Err(error) => tracing::error!(%error, worker = id, "a worker could not start"),
            }
        })?;
        Ok(Self { commands, thread: Some(thread) })
    }

    async fn send(&self, command: Command) -> io::Result<()> {
        self.commands.send(command).await.map_err(|_| io::Error::other("a worker has ended"))
    }
}

/// A listener of the configuration in force, with its accept loops.
struct Open {
    door: Rc<Cell<usize>>,
    stop: watch::Sender<bool>,
}

async fn run(
    id: usize,
    change: Change,
    access_log: Option<AccessLog>,
    recent: Writer,
    mut commands: mpsc::Receiver<Command>,
) {
    let worker = Rc::new(Worker::new(id, Arc::clone(&change.snapshot), access_log, recent));
    let mut open = Vec::new();
    open_doors(&worker, &mut open, change.sources);
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Apply(change, done)) => {
                    worker.apply(change.snapshot);
                    open_doors(&worker, &mut open, change.sources);
                    // Whoever asked may have gone; the change stands all the same.
                    let _ = done.send(());
                }
                Some(Command::LogTo(access_log, done)) => {
                    worker.log_to(access_log);
                    let _ = done.send(());
                }
                Some(Command::Drain(at_most, done)) => {
                    drain(&worker, &mut open, at_most).await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            },
            _ = sweep.tick() => worker.sweep(Instant::now()),
        }
    }
}

/// Brings the accept loops in line with the listeners of the configuration just put in force.
fn open_doors(worker: &Rc<Worker>, open: &mut Vec<Open>, sources: Vec<Source>) {
    let mut before: Vec<Option<Open>> = std::mem::take(open).into_iter().map(Some).collect();
    for (position, source) in sources.into_iter().enumerate() {
        let door = match source {
            Source::Kept(at) => before.get_mut(at).and_then(Option::take),
            Source::New(sockets) => Some(listen(worker, position, sockets)),
        };
        if let Some(door) = door {
            door.door.set(position);
            open.push(door);
        }
    }
    for gone in before.into_iter().flatten() {
        gone.stop.send_replace(true);
    }
}

fn listen(worker: &Rc<Worker>, position: usize, sockets: Vec<TcpListener>) -> Open {
    let (stop, stopped) = watch::channel(false);
    let door = Rc::new(Cell::new(position));
    for socket in sockets {
        match tokio::net::TcpListener::from_std(socket) {
            Ok(listener) => {
                tokio::task::spawn_local(accept(Rc::clone(worker), listener, Rc::clone(&door), stopped.clone()));
            }
            Err(error) => tracing::error!(%error, "a listening socket cannot be used"),
        }
    }
    Open { door, stop }
}

async fn drain(worker: &Rc<Worker>, open: &mut Vec<Open>, at_most: Duration) {
    for door in open.drain(..) {
        door.stop.send_replace(true);
    }
    // The accept loops take what waits in their queues before the connections are told.
    tokio::task::yield_now().await;
    worker.drain();
    if tokio::time::timeout(at_most, worker.emptied()).await.is_err() {
        tracing::warn!("connections were still open at the end of the drain");
    }
}
