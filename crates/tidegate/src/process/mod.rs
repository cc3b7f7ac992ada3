//! `tidegate run`: the life of the process, from its configuration to its end.
//!
//! The main thread is the control thread. Its runtime waits for signals and file changes and serves the admin
//! pages; requests never wait for it.
//!
//! | signal | what it does |
//! |---|---|
//! | SIGHUP | reads the configuration again |
//! | SIGTERM, SIGINT | lowers readiness, drains and ends; the second one ends at once |
//! | SIGUSR1 | opens the file of the access log again |
//! | SIGUSR2 | starts this program again, which takes over |

mod admin;
mod circuits;
mod failure;
mod limits;
mod reload;
mod service;
mod signals;
mod systemd;
mod takeover;
mod watch;

use std::env;
use std::future::{Future, pending};
use std::path::Path;

use anyhow::Context;
use tokio::runtime;

use crate::config::{self, Loaded};
use crate::logging::{self, LevelControl};

pub(crate) use failure::Failure;
use reload::Source;
pub(crate) use service::Service;
pub(crate) use signals::{Signal, Signals};
use systemd::ServiceManager;
pub(crate) use takeover::Sockets;
use takeover::{Predecessor, Program, Replacement};

/// Serves as the configuration says until a signal ends it, or another process takes over.
///
/// # Errors
///
/// When it cannot begin to.
pub(crate) fn run(config: &Path) -> Result<(), Failure> {
    control(async {
        let process = Process::start(config)?;
        process.live().await;
        Ok(())
    })
}

/// Runs the control thread.
pub(crate) fn control(life: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
    let runtime = runtime.context("the control thread")?;
    let result = runtime.block_on(life);
    // Nothing that may still be under way there is worth waiting for.
    runtime.shutdown_background();
    result
}

/// A process that serves.
struct Process {
    signals: Signals,
    program: Program,
    source: Source,
    service: Service,
    level: LevelControl,
    manager: ServiceManager,
    replacement: Option<Replacement>,
}

/// Why a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// A signal said so.
    Asked,
    /// Another process serves in its place.
    Replaced,
}

impl Process {
    fn start(config: &Path) -> Result<Self, Failure> {
        // First, so that a signal that comes during the start is not deadly.
        let signals = Signals::listen().context("signals")?;
        let program = Program::current().context("the path of this program")?;
        let mut predecessor = Predecessor::from_environment()?;
        let mut source = Source::new(config);
        let Loaded { mut plan, warnings, .. } = load(config).map_err(Failure::Configuration)?;
        let level = logging::start(&plan.log, env::var(logging::OVERRIDE).ok().as_deref())?;
        reload::log_warnings(&warnings);
        limits::raise_open_files();
        limits::fit_open_files(&mut plan);
        source.follow(&plan);
        let inherited = predecessor.as_mut().map(Predecessor::sockets).transpose()?;
        let service = Service::start(plan, inherited.unwrap_or_default())?;
        let manager = ServiceManager::from_environment();
        predecessor.map(Predecessor::release).transpose()?;
        manager.ready();
        tracing::info!(pid = std::process::id(), "ready");
        Ok(Self { signals, program, source, service, level, manager, replacement: None })
    }

    async fn live(mut self) {
        match self.serve().await {
            Ending::Asked => self.end().await,
            Ending::Replaced => self.leave().await,
        }
    }

    /// Does what is asked for, until it is the end.
    async fn serve(&mut self) -> Ending {
        loop {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    Signal::End => return Ending::Asked,
                    Signal::Reload => self.reload().await,
                    Signal::Reopen => self.service.reopen_access_log(),
                    Signal::Replace => self.replace(),
                },
                () = self.source.changed() => self.reload().await,
                outcome = outcome(&mut self.replacement) => {
                    self.replacement = None;
                    match outcome {
                        Ok(successor) => {
                            self.manager.main_process(successor);
                            tracing::info!(successor, "replaced");
                            return Ending::Replaced;
                        }
                        Err(error) => log_failed_replacement(&error),
                    }
                }
            }
        }
    }

    async fn reload(&mut self) {
        self.manager.reloading();
        reload::reload(&mut self.source, &mut self.service, &self.level).await;
        self.manager.ready();
    }

    /// Starts a successor, unless there is one already.
    fn replace(&mut self) {
        if self.replacement.is_some() {
            tracing::warn!("a replacement is starting already");
            return;
        }
        let sockets = self.service.sockets().map_err(anyhow::Error::from);
        match sockets.and_then(|sockets| Replacement::start(&self.program, sockets)) {
            Ok(replacement) => self.replacement = Some(replacement),
            Err(error) => log_failed_replacement(&error),
        }
    }

    /// Lowers readiness, waits for load balancers to notice, and drains.
    async fn end(self) {
        if let Some(replacement) = &self.replacement {
            replacement.abandon();
        }
        self.manager.stopping();
        self.service.lower_readiness();
        let delay = self.service.plan().shutdown.readiness_delay;
        tracing::info!(?delay, "shutting down");
        let drained = async {
            tokio::time::sleep(delay).await;
            self.service.drain().await;
        };
        unless_asked_again(self.signals, drained).await;
    }

    /// Drains without another word: the successor has the sockets, and answers for this process.
    async fn leave(mut self) {
        self.service.stop_admin();
        self.service.lower_readiness();
        unless_asked_again(self.signals, self.service.drain()).await;
    }
}

/// Waits for the end, but not once it was asked for a second time.
async fn unless_asked_again(mut signals: Signals, ended: impl Future<Output = ()>) {
    let again = async { while signals.next().await != Signal::End {} };
    tokio::select! {
        () = ended => tracing::info!("shut down"),
        () = again => tracing::warn!("shut down at once, connections are cut"),
    }
}

fn log_failed_replacement(error: &anyhow::Error) {
    tracing::error!(error = %format_args!("{error:#}"), "replacement failed, this process goes on");
}

/// What becomes of the replacement; waits for ever where there is none.
async fn outcome(replacement: &mut Option<Replacement>) -> anyhow::Result<u32> {
    match replacement {
        Some(replacement) => replacement.outcome().await,
        None => pending().await,
    }
}

/// Loads a file. Variables in it are those of this process.
pub(crate) fn load(config: &Path) -> Result<Loaded, config::Diagnostics> {
    config::load(config, &|name| env::var(name).ok())
}
