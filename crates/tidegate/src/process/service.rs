//! What a process runs: the gateway and everything around it that belongs to one configuration.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tidegate_gateway::config::Plan;
use tidegate_gateway::listen::SocketGroup;
use tidegate_gateway::server::Gateway;
use tidegate_gateway::snapshot::Snapshot;
use tidegate_gateway::stats::Registry;

use super::admin::{AdminServer, AdminSocket};
use crate::access_log::AccessLogWriter;
use crate::admin::{AdminState, Readiness};

/// How long the access log may take to write what is left at the end.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// Sockets that are bound already.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    pub(super) listeners: Vec<SocketGroup>,
    pub(super) admin: Option<AdminSocket>,
}

/// A gateway that serves, with its admin listener and its access log.
pub(super) struct Service {
    gateway: Gateway,
    registry: Arc<Registry>,
    readiness: Arc<Readiness>,
    admin: Option<AdminServer>,
    access_log: Option<AccessLogWriter>,
}

impl Service {
    /// Starts to serve. Needs a runtime with input, output and time, which also runs the admin listener.
    ///
    /// # Errors
    ///
    /// When anything that the plan names cannot be had.
    pub(super) fn start(plan: Plan, inherited: Inherited) -> anyhow::Result<Self> {
        let registry = Arc::new(Registry::new(plan.workers.get()));
        let admin = admin_socket(&plan, inherited.admin)?;
        let records = registry.process().access_log();
        let log = plan.access_log.as_ref().map(|log| AccessLogWriter::start(log, records));
        let (log, access_log) = log.transpose().context("access log")?.unzip();
        let snapshot = Arc::new(Snapshot::build(plan, &registry, None)?);
        let gateway = Gateway::start(snapshot, inherited.listeners, log.as_ref())?;
        for (listener, address) in gateway.addresses().enumerate() {
            tracing::info!(listener, address = %address?, "listening");
        }
        let mut service = Self { gateway, registry, readiness: Arc::default(), admin: None, access_log };
        service.admin = admin.map(|socket| service.serve_admin(socket)).transpose()?;
        service.registry.process().reloaded(1, SystemTime::now());
        service.readiness.ready();
        Ok(service)
    }

    fn serve_admin(&self, socket: AdminSocket) -> anyhow::Result<AdminServer> {
        let names = self.plan().admin.iter().flat_map(|admin| admin.hosts.clone()).collect();
        let state = AdminState::new(Arc::clone(&self.registry), Arc::clone(&self.readiness), names);
        AdminServer::start(socket, state).context("admin")
    }

    /// The configuration in force.
    pub(super) fn plan(&self) -> &Plan {
        &self.gateway.snapshot().plan
    }

    /// Makes `/readyz` say no.
    pub(super) fn lower_readiness(&self) {
        self.readiness.drain();
    }

    /// Opens the file of the access log anew.
    pub(super) fn reopen_access_log(&self) {
        if let Some(writer) = &self.access_log {
            writer.reopen();
        }
    }

    /// Stops accepting, lets requests in flight end, and then everything else.
    pub(super) async fn drain(self) {
        let at_most = self.plan().shutdown.drain;
        self.gateway.drain(at_most).await;
        if let Some(writer) = self.access_log
            && !writer.finish(LAST_RECORDS)
        {
            tracing::warn!("the access log is blocked; its last records are lost");
        }
        if let Some(admin) = self.admin {
            // The pages stay until here, so that the drain can be watched.
            drop(admin.stop());
        }
    }
}

/// The inherited socket, where it is the one that the plan wants, or a new one.
fn admin_socket(plan: &Plan, inherited: Option<AdminSocket>) -> anyhow::Result<Option<AdminSocket>> {
    let Some(admin) = &plan.admin else { return Ok(None) };
    let inherited = inherited.filter(|socket| socket.configured == admin.address);
    inherited.map_or_else(|| AdminSocket::bind(admin.address), Ok).map(Some)
}
