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
    pub(super) configured: SocketAddr,
    pub(super) listener: TcpListener,
}

impl AdminSocket {
    pub(super) fn bind(configured: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(configured);
        let listener = listener.with_context(|| format!("admin: cannot listen on {configured}"))?;
        Ok(Self { configured, listener })
    }

    /// The address as it is configured, and the same socket once more.
    pub(super) fn duplicate(&self) -> io::Result<(SocketAddr, TcpListener)> {
        Ok((self.configured, self.listener.try_clone()?))
    }
}

/// Serves the admin pages, as a task of the control thread, until it is stopped.
#[derive(Debug)]
pub(super) struct AdminServer {
    socket: AdminSocket,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl AdminServer {
    pub(super) fn start(socket: AdminSocket, state: AdminState) -> io::Result<Self> {
        let listener = socket.listener.try_clone()?;
        let (stop, stopped) = oneshot::channel();
        let until = async move {
            // Sent or dropped, it is the end either way.
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, router(state), Limits::default(), until));
        tracing::info!(address = %socket.listener.local_addr()?, "admin listening");
        Ok(Self { socket, stop, task })
    }

    pub(super) fn socket(&self) -> &AdminSocket {
        &self.socket
    }

    /// Accepts nobody from here on. What is returned ends when answers under way have, within seconds.
    pub(super) fn stop(self) -> JoinHandle<io::Result<()>> {
        // Fails only when the task has ended already.
        let _ = self.stop.send(());
        self.task
    }
}
