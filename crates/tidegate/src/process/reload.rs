//! Reading the configuration again while the gateway serves.
//!
//! Load, check, build, apply: the first step that fails ends it, and the configuration in force stays.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tidegate_gateway::config::{Plan, plan};
use tokio::task::spawn_blocking;

use super::limits::fit_open_files;
use super::load;
use super::service::Service;
use super::watch::Watch;
use crate::config::{Diagnostics, Loaded};
use crate::difference::Difference;
use crate::logging::LevelControl;

/// The configuration file, and the watch over it and over the files that it names.
pub(super) struct Source {
    path: PathBuf,
    /// Files that the last valid configuration names.
    named: Vec<PathBuf>,
    watch: Option<Watch>,
}

impl Source {
    /// Watches `path`, so that changes from here on are noticed.
    pub(super) fn new(path: &Path) -> Self {
        let mut source = Self { path: path.to_owned(), named: Vec::new(), watch: None };
        source.watch(true);
        source
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adapts to a plan before its files are read, so that no later change of them is missed.
    pub(super) fn follow(&mut self, plan: &Plan) {
        self.named = files_of(plan);
        self.watch(plan.reload.watch);
    }

    /// Begins, renews or ends the watch.
    fn watch(&mut self, wanted: bool) {
        if !wanted {
            self.watch = None;
            return;
        }
        if self.watch.is_none() {
            match Watch::new() {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => tracing::warn!(%error, "file changes are not noticed; SIGHUP reloads"),
            }
        }
        let mut files = vec![self.path.clone()];
        files.extend_from_slice(&self.named);
        let failures = self.watch.as_mut().map(|watch| watch.follow(&files));
        for (folder, error) in failures.into_iter().flatten() {
            tracing::warn!(folder = %folder.display(), %error, "file changes are not noticed there; SIGHUP reloads");
        }
    }

    /// Waits until a file has changed; for ever where none is watched. Nothing is lost when this is dropped.
    pub(super) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }
}

/// What a refused configuration is refused for.
enum Refusal {
    Invalid(Diagnostics),
    Unusable(anyhow::Error),
}

/// Puts the configuration that the files hold now in force, or says in the log why not.
pub(super) async fn reload(source: &mut Source, service: &mut Service, level: &LevelControl) {
    // A link may lead elsewhere by now; what happens there while it is read must not be missed.
    source.watch(source.watch.is_some());
    let before = service.plan().clone();
    match attempt(source, service).await {
        Ok(()) => {
            level.set(service.plan().log.level);
            let generation = service.process().generation();
            let changes = Difference::between(&before, service.plan());
            tracing::info!(generation, %changes, "reloaded");
            warn_of_restart(&before, service);
        }
        Err(refusal) => {
            refuse(source.path(), service, &refusal);
        }
    }
}

async fn attempt(source: &mut Source, service: &mut Service) -> Result<(), Refusal> {
    let path = source.path.clone();
    let loaded = spawn_blocking(move || load(&path)).await.map_err(|error| Refusal::Unusable(error.into()))?;
    let Loaded { mut plan, warnings, .. } = loaded.map_err(Refusal::Invalid)?;
    log_warnings(&warnings);
    fit_open_files(&mut plan);
    source.follow(&plan);
    service.apply(plan).await.map_err(Refusal::Unusable)
}

/// Says what is odd about a configuration, if anything is.
pub(super) fn log_warnings(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        tracing::warn!(warnings = %format_args!("\n{warnings}"), "the configuration is valid, but odd");
    }
}

fn refuse(path: &Path, service: &Service, refusal: &Refusal) {
    const MESSAGE: &str = "reload failed, the configuration in force stays";
    let line = match refusal {
        Refusal::Invalid(problems) => {
            tracing::error!(problems = %format_args!("\n{problems}"), "{MESSAGE}");
            summary(path, problems)
        }
        Refusal::Unusable(error) => {
            tracing::error!(error = %format_args!("{error:#}"), "{MESSAGE}");
            format!("{error:#}")
        }
    };
    service.process().reload_failed(line, SystemTime::now());
}

/// One line without anything that is written in the file, which may be secret.
fn summary(path: &Path, problems: &Diagnostics) -> String {
    let count = problems.iter().count();
    let position = problems.iter().find_map(crate::config::Diagnostic::position);
    let place = position.map_or_else(String::new, |(line, column)| format!(", the first at {line}:{column}"));
    let noun = if count == 1 { "problem" } else { "problems" };
    format!("{}: {count} {noun}{place}; the log shows what is wrong", path.display())
}

/// What a reload leaves as it was.
fn warn_of_restart(before: &Plan, service: &Service) {
    let (plan, running) = (service.plan(), service.workers());
    if plan.workers.get() != running {
        let configured = plan.workers;
        tracing::warn!(configured, running, "another number of workers needs a restart or SIGUSR2");
    }
    if plan.log.format != before.log.format {
        tracing::warn!("another log format needs a restart or SIGUSR2");
    }
}

/// Every file that the data plane is built from, besides the configuration itself.
fn files_of(plan: &Plan) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut add = |certificate: &plan::Certificate| {
        files.push(certificate.certificate.clone());
        files.push(certificate.key.clone());
    };
    let listeners = plan.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    listeners.flat_map(|tls| &tls.certificates).for_each(&mut add);
    let upstreams = || plan.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref());
    upstreams().filter_map(|tls| tls.identity.as_ref()).for_each(&mut add);
    files.extend(upstreams().filter_map(|tls| tls.ca.clone()));
    files
}
