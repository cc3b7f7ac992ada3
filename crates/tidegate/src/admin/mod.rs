//! The admin listener: whether the process lives, whether it is ready, how it is, and its metrics.
//!
//! It runs on the control thread, so nothing here can delay a request, and it only reads: no path changes anything.
//! Whoever reaches the address may read; [`guard`] keeps out web pages that reach it through a visitor's browser.
//!
//! | path | answer |
//! |---|---|
//! | `/livez` | 200 while the process works |
//! | `/readyz` | 200 when requests are welcome, 503 with the reason when not |
//! | `/healthz` | JSON about both, the configuration in force and the last reload; more with `?verbose` |
//! | `/metrics` | all metrics |
//! | `/exchanges` | JSON about the requests that ended last; `/exchanges/ID` about those with that request id |
//! | `/` | a page that lists these |

mod exchanges;
mod guard;
mod health;
mod pages;
mod policies;
mod readiness;
mod server;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use tidegate_gateway::health::Directory;
use tidegate_gateway::recent::Recent;
use tidegate_gateway::stats::Registry;

pub(crate) use readiness::{Phase, Readiness};
pub(crate) use server::{Limits, serve};

use crate::metrics::Exposition;

/// What the admin pages read from.
#[derive(Debug)]
pub(crate) struct AdminState {
    registry: Arc<Registry>,
    readiness: Arc<Readiness>,
    health: Arc<Directory>,
    recent: Arc<Recent>,
    policies: tidegate_resilience::Registry,
    exposition: Exposition,
    host_names: Vec<String>,
}

impl AdminState {
    /// `host_names` are answered to in `Host`, besides IP addresses and `localhost`.
    pub(crate) fn new(
        registry: Arc<Registry>,
        readiness: Arc<Readiness>,
        health: Arc<Directory>,
        recent: Arc<Recent>,
        policies: tidegate_resilience::Registry,
        host_names: Vec<String>,
    ) -> Self {
        let exposition = Exposition::new(Arc::clone(&registry), Arc::clone(&health), &policies);
        Self { registry, readiness, health, recent, policies, exposition, host_names }
    }
}

/// The admin pages.
pub(crate) fn router(state: AdminState) -> Router {
    let state = Arc::new(state);
    Router::new()
        .route("/", get(pages::index))
        .route("/livez", get(pages::livez))
        .route("/readyz", get(pages::readyz))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(pages::metrics))
        .route("/exchanges", get(exchanges::list))
        .route("/exchanges/{*request_id}", get(exchanges::named))
        .fallback(pages::not_found)
        .method_not_allowed_fallback(pages::method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&state), guard::admit))
        .layer(middleware::map_response(pages::harden))
        .with_state(state)
}

#[cfg(test)]
mod tests;
