//! What a process runs: the gateway and everything around it that belongs to one configuration.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tidegate_gateway::access::AccessLog;
use tidegate_gateway::config::Plan;
use tidegate_gateway::config::plan::Output;
use tidegate_gateway::listen::SocketGroup;
use tidegate_gateway::server::Gateway;
use tidegate_gateway::snapshot::Snapshot;
use tidegate_gateway::stats::{Process, Registry};
use tokio::task::spawn_blocking;

use super::admin::{AdminServer, AdminSocket};
use super::circuits;
use super::takeover::Sockets;
use crate::access_log::AccessLogWriter;
use crate::admin::{AdminState, Readiness};

/// How long the access log may take to write what is left at its end.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// A gateway that serves, with its admin listener and its access log.
pub(crate) struct Service {
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
    pub(crate) fn start(plan: Plan, inherited: Sockets) -> anyhow::Result<Self> {
        let Sockets { listeners, admin } = inherited;
        let adopted = listeners.into_iter().map(|(address, sockets)| SocketGroup::adopt(address, sockets));
        let listeners = adopted.collect::<Result<_, _>>()?;
        let registry = Arc::new(Registry::new(plan.workers.get()));
        let admin = admin_socket(&plan, admin)?;
        let (log, access_log) = access_log(&plan, &registry)?;
        let snapshot = Arc::new(Snapshot::build(plan, &registry, None)?);
        let gateway = Gateway::start(snapshot, listeners, log.as_ref())?;
        let mut service = Self { gateway, registry, readiness: Arc::default(), admin: None, access_log };
        service.log_addresses()?;
        tokio::spawn(circuits::follow(service.policies().clone()));
        service.admin = admin.map(|socket| service.serve_admin(socket));
        service.registry.process().reloaded(1, SystemTime::now());
        service.readiness.ready();
        Ok(service)
    }

    fn log_addresses(&self) -> anyhow::Result<()> {
        for (listener, address) in self.addresses()?.into_iter().enumerate() {
            tracing::info!(listener, %address, "listening");
        }
        Ok(())
    }

    fn serve_admin(&self, socket: AdminSocket) -> AdminServer {
        let names = self.plan().admin.iter().flat_map(|admin| admin.hosts.clone()).collect();
        let health = Arc::clone(self.gateway.health());
        let recent = Arc::clone(self.gateway.recent());
        let policies = self.policies().clone();
        let (registry, readiness) = (Arc::clone(&self.registry), Arc::clone(&self.readiness));
        let state = AdminState::new(registry, readiness, health, recent, policies, names);
        AdminServer::start(socket, state)
    }

    /// The configuration in force.
    pub(crate) fn plan(&self) -> &Plan {
        &self.gateway.snapshot().plan
    }

    /// All policies. The registry is the same for as long as the process runs.
    fn policies(&self) -> &tidegate_resilience::Registry {
        self.gateway.snapshot().policies().registry()
    }

    /// What the process says about itself.
    pub(super) fn process(&self) -> &Process {
        self.registry.process()
    }

    /// How many workers there are, whatever the configuration in force says.
    pub(super) fn workers(&self) -> usize {
        self.registry.workers()
    }

    /// The address of each listener, in the order of the configuration.
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.gateway.addresses().collect()
    }

    /// Puts another configuration in force; returns once it is.
    ///
    /// # Errors
    ///
    /// When anything that the plan names cannot be had; nothing has changed then.
    pub(super) async fn apply(&mut self, plan: Plan) -> anyhow::Result<()> {
        let before = Arc::clone(self.gateway.snapshot());
        let new_admin = plan.admin != before.plan.admin;
        let kept = self.admin.as_ref().map(AdminServer::duplicate).transpose()?;
        let new_log = plan.access_log != before.plan.access_log;
        // All that can fail comes first.
        let admin = if new_admin { admin_socket(&plan, kept)? } else { None };
        let log = if new_log { Some(access_log(&plan, &self.registry)?) } else { None };
        let registry = Arc::clone(&self.registry);
        let snapshot = spawn_blocking(move || Snapshot::build(plan, &registry, Some(&before))).await??;
        let known = self.addresses()?;
        self.gateway.apply(Arc::new(snapshot)).await?;
        if self.addresses()? != known {
            self.log_addresses()?;
        }
        if let Some((log, writer)) = log {
            self.log_to(log.as_ref(), writer).await?;
        }
        if new_admin {
            self.admin.take().map(AdminServer::stop);
            self.admin = admin.map(|socket| self.serve_admin(socket));
        }
        let process = self.registry.process();
        process.reloaded(process.generation() + 1, SystemTime::now());
        Ok(())
    }

    async fn log_to(&mut self, log: Option<&AccessLog>, writer: Option<AccessLogWriter>) -> anyhow::Result<()> {
        self.gateway.log_to(log).await?;
        if let Some(before) = std::mem::replace(&mut self.access_log, writer) {
            finish(before).await;
        }
        Ok(())
    }

    /// The listening sockets, to be handed to another process.
    pub(super) fn sockets(&self) -> io::Result<Sockets> {
        let duplicates = |group: &SocketGroup| {
            let sockets = group.sockets().iter().map(TcpListener::try_clone);
            Ok((group.configured, sockets.collect::<io::Result<_>>()?))
        };
        let admin = self.admin.as_ref().map(AdminServer::duplicate);
        Ok(Sockets {
            listeners: self.gateway.sockets().iter().map(duplicates).collect::<io::Result<_>>()?,
            admin: admin.transpose()?,
        })
    }

    /// Makes `/readyz` say no.
    pub(crate) fn lower_readiness(&self) {
        self.readiness.drain();
    }

    /// Leaves the admin listener to another process.
    pub(super) fn stop_admin(&mut self) {
        self.admin.take().map(AdminServer::stop);
    }

    /// Opens the file of the access log anew.
    pub(super) fn reopen_access_log(&self) {
        if let Some(writer) = &self.access_log {
            writer.reopen();
        }
    }

    /// Stops accepting, lets requests in flight end, and then everything else. The admin pages stay until the
    /// end, so that it can be watched.
    pub(crate) async fn drain(self) {
        let at_most = self.plan().shutdown.drain;
        self.gateway.drain(at_most).await;
        if let Some(writer) = self.access_log {
            finish(writer).await;
        }
        if let Some(admin) = self.admin {
            // It bounds itself, and how it ends is of no interest any more.
            let _ = admin.stop().await;
        }
    }
}

async fn finish(writer: AccessLogWriter) {
    let finished = spawn_blocking(move || writer.finish(LAST_RECORDS)).await;
    if !finished.is_ok_and(|finished| finished) {
        tracing::warn!("the access log is blocked; its last records are lost");
    }
}

/// The inherited socket, where it is the one that the plan wants, or a new one.
fn admin_socket(plan: &Plan, inherited: Option<(SocketAddr, TcpListener)>) -> anyhow::Result<Option<AdminSocket>> {
    let Some(admin) = &plan.admin else { return Ok(None) };
    match inherited {
        Some((configured, listener)) if configured == admin.address => {
            Ok(Some(AdminSocket::new(configured, listener)?))
        }
        _ => AdminSocket::bind(admin.address).map(Some),
    }
}

/// Both ends of the access log that the plan wants, if it does.
fn access_log(plan: &Plan, registry: &Registry) -> anyhow::Result<(Option<AccessLog>, Option<AccessLogWriter>)> {
    let Some(log) = &plan.access_log else { return Ok((None, None)) };
    let started = AccessLogWriter::start(log, registry.process().access_log());
    let (log, writer) = started.with_context(|| match &log.to {
        Output::File(path) => format!("access_log: cannot write to {}", path.display()),
        Output::Stdout | Output::Stderr => "access_log".to_owned(),
    })?;
    Ok((Some(log), Some(writer)))
}
