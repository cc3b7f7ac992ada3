//! Signals, as what they ask for.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What somebody asks of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM, SIGINT: end.
    End,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open the access log again.
    Reopen,
    /// SIGUSR2: let a new process of this program take over.
    Replace,
}

/// The signals that the process listens to, from the moment this is made.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hang_up: Stream,
    user1: Stream,
    user2: Stream,
}

impl Signals {
    /// Needs a runtime with input and output.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one. Several of a kind that come at once count as one. Nothing is lost when this is dropped.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::End,
            _ = self.interrupt.recv() => Signal::End,
            _ = self.user2.recv() => Signal::Replace,
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.user1.recv() => Signal::Reopen,
        }
    }
}
