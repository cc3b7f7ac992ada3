//! The admin listener of this process: its socket, and the task that serves it.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admin::{AdminState, Limits, router, serve};

/// A bound socket that this process does not accept from yet.
#[derive(Debug)]
pub(super) struct AdminSocket {
    /// The address as it is configured; its port may be 0.
    configured: SocketAddr,
    listener: TcpListener,
    /// The same once more, to accept from; so that a server that is to start cannot fail to.
    acceptor: TcpListener,
    address: SocketAddr,
}

impl AdminSocket {
    pub(super) fn bind(configured: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(configured);
        let listener = listener.with_context(|| format!("admin: cannot listen on {configured}"))?;
        Self::new(configured, listener).context("admin")
    }

    pub(super) fn new(configured: SocketAddr, listener: TcpListener) -> io::Result<Self> {
        let (acceptor, address) = (listener.try_clone()?, listener.local_addr()?);
        Ok(Self { configured, listener, acceptor, address })
    }
}

/// Serves the admin pages, as a task of the control thread, until it is stopped.
#[derive(Debug)]
pub(super) struct AdminServer {
    configured: SocketAddr,
    listener: TcpListener,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl AdminServer {
    pub(super) fn start(socket: AdminSocket, state: AdminState) -> Self {
        let AdminSocket { configured, listener, acceptor, address } = socket;
        let (stop, stopped) = oneshot::channel();
        let until = async move {
            // Sent or dropped, it is the end either way.
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(acceptor, router(state), Limits::default(), until));
        tracing::info!(%address, "admin listening");
        Self { configured, listener, stop, task }
    }

    /// The address as it is configured, and the socket once more.
    pub(super) fn duplicate(&self) -> io::Result<(SocketAddr, TcpListener)> {
        Ok((self.configured, self.listener.try_clone()?))
    }

    /// Accepts nobody from here on. What is returned ends when answers under way have, within seconds.
    pub(super) fn stop(self) -> JoinHandle<io::Result<()>> {
        // Fails only when the task has ended already.
        let _ = self.stop.send(());
        self.task
    }
}
