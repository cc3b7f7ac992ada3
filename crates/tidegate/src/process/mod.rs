//! `tidegate run`: the life of the process, from its configuration to its end.
//!
//! The main thread is the control thread. Its runtime waits for signals and serves the admin pages; requests
//! never wait for it.

mod admin;
mod failure;
mod service;
mod signals;

use std::env;
use std::path::Path;

use anyhow::Context;
use tokio::runtime;

use crate::config::{self, Loaded};
use crate::logging;

pub(crate) use failure::Failure;
use service::{Inherited, Service};
use signals::{Signal, Signals};

/// Serves as the configuration says until a signal ends it.
///
/// # Errors
///
/// When it cannot begin to.
pub(crate) fn run(config: &Path) -> Result<(), Failure> {
    let control = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
    let control = control.context("the control thread")?;
    let result = control.block_on(live(config));
    // Nothing that may still be under way there is worth waiting for.
    control.shutdown_background();
    result
}

async fn live(config: &Path) -> Result<(), Failure> {
    let mut signals = Signals::listen().context("signals")?;
    let Loaded { plan, warnings, .. } = load(config).map_err(Failure::Configuration)?;
    let _level = logging::start(&plan.log, env::var(logging::OVERRIDE).ok().as_deref())?;
    if !warnings.is_empty() {
        tracing::warn!(warnings = %format!("\n{warnings}"), "the configuration is odd");
    }
    let service = Service::start(plan, Inherited::default())?;
    tracing::info!("ready");
    loop {
        match signals.next().await {
            Signal::End => break,
            Signal::Reopen => service.reopen_access_log(),
            Signal::Reload | Signal::Replace => {}
        }
    }
    end(service, signals).await;
    Ok(())
}

fn load(config: &Path) -> Result<Loaded, config::Diagnostics> {
    config::load(config, &|name| env::var(name).ok())
}

/// Lowers readiness, waits for load balancers to notice, and drains. A second signal ends that at once.
async fn end(service: Service, mut signals: Signals) {
    service.lower_readiness();
    let delay = service.plan().shutdown.readiness_delay;
    tracing::info!(?delay, "shutting down");
    let drained = async {
        tokio::time::sleep(delay).await;
        service.drain().await;
    };
    let again = async { while signals.next().await != Signal::End {} };
    tokio::select! {
        () = drained => tracing::info!("shut down"),
        () = again => tracing::warn!("shut down at once, connections are cut"),
    }
}
