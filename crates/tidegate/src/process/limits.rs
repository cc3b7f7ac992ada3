//! What the system grants the process, and what that allows.
//!
//! A client takes a descriptor, and one more while its request is with an upstream. If clients could take all of
//! them, none were left to serve anybody with. So no more clients are let in than can be served, whatever the
//! configuration says.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_gateway::config::Plan;
use tidegate_gateway::health::PROBES;

/// Files that are open besides those of workers: signals, the watch over files, logs, admin clients.
const PROCESS_FILES: usize = 24;

/// Files of a worker besides its listening sockets, and of the thread that probes: what a runtime waits on.
const WORKER_FILES: usize = 4;

/// Raises the soft limit of open files to the hard one. The soft limit is low (1024 as a rule) only for the
/// sake of programs that use select(2).
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::debug!(limit = ?limit.maximum, before = ?limit.current, "open files"),
        Err(error) => tracing::warn!(%error, limit = ?limit.current, "the limit of open files stays as it is"),
    }
}

/// Lets no more clients in than the system allows files for, and says so where that is fewer than configured.
pub(super) fn fit_open_files(plan: &mut Plan) {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let configured = clients(plan);
    if fit(plan, usize::try_from(limit).unwrap_or(usize::MAX)) {
        tracing::warn!(
            limit,
            configured,
            connections = clients(plan),
            "too few open files are allowed for limits.connections, fewer clients are let in; \
             raise the hard limit (LimitNOFILE, ulimit -H -n) or lower limits.connections"
        );
    }
}

/// Lowers the listeners' limits, each in proportion, where `limit` files do not suffice. Returns whether it had to.
fn fit(plan: &mut Plan, limit: usize) -> bool {
    let health = WORKER_FILES + if is_probing(plan) { PROBES } else { 0 };
    let per_worker = plan.listeners.len().saturating_add(WORKER_FILES);
    let left =
        limit.saturating_sub(PROCESS_FILES + health).saturating_sub(plan.workers.get().saturating_mul(per_worker));
    let pools = upstream_connections(plan);
    // Either half of the files is for upstreams, or the pools never take as many.
    let most = left.saturating_sub(pools).max(left / 2);
    let clients = clients(plan);
    if clients <= most {
        return false;
    }
    for listener in &mut plan.listeners {
        let share = listener.limits.connections as u128 * most as u128 / clients as u128;
        listener.limits.connections = usize::try_from(share).unwrap_or(usize::MAX).max(1);
    }
    true
}

/// Clients that all listeners together let in.
fn clients(plan: &Plan) -> usize {
    plan.listeners.iter().map(|listener| listener.limits.connections).fold(0, usize::saturating_add)
}

/// Whether endpoints are asked for their health, with a connection each time.
fn is_probing(plan: &Plan) -> bool {
    plan.upstreams.iter().any(|upstream| upstream.health_check.is_some())
}

/// Connections that all pools together may hold.
fn upstream_connections(plan: &Plan) -> usize {
    let pools = plan.upstreams.iter().map(|upstream| {
        let pools = upstream.endpoints.len().saturating_mul(plan.workers.get());
        pools.saturating_mul(upstream.pool.max_connections)
    });
    pools.fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    const TEXT: &str = "
workers: 2
listeners:
  - { address: 127.0.0.1:1, limits: { connections: 3000 } }
  - { address: 127.0.0.1:2, limits: { connections: 1000 } }
upstreams: { app: { endpoints: [ 127.0.0.1:3 ], pool: { max_connections: 500 } } }
";

    /// Places of both listeners under a limit of so many files.
    fn fitted(limit: usize) -> Option<[usize; 2]> {
        let folder = tempfile::tempdir().expect("room for a folder");
        let file = folder.path().join("gateway.yaml");
        std::fs::write(&file, TEXT).expect("the folder is writable");
        let mut plan = load(&file, &|_| None).expect("a valid configuration").plan;
        fit(&mut plan, limit).then(|| [0, 1].map(|listener| plan.listeners[listener].limits.connections))
    }

    #[test]
    fn clients_leave_files_for_upstreams() {
        let own = PROCESS_FILES + WORKER_FILES + 2 * (WORKER_FILES + 2);
        assert_eq!(fitted(own + 5000), None);
        assert_eq!(fitted(own + 4999), Some([2999, 999]));
        assert_eq!(fitted(own + 1600), Some([600, 200]), "half, as the pools could take the other half");
        assert_eq!(fitted(0), Some([1, 1]), "somebody is always let in");
    }
}
