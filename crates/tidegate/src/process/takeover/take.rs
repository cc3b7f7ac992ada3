//! The successor's side.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, bail};

use super::{ON_STDIN, PATIENCE, READY, Sockets, VARIABLE};

/// The process that this one takes over from, waiting to hear that it may end.
#[derive(Debug)]
pub(in crate::process) struct Predecessor {
    channel: UnixStream,
}

impl Predecessor {
    /// The one that started this process, if one did.
    pub(in crate::process) fn from_environment() -> anyhow::Result<Option<Self>> {
        match env::var_os(VARIABLE) {
            None => return Ok(None),
            Some(value) if value == ON_STDIN => {}
            Some(_) => {
                bail!("{VARIABLE} is set by a running Tidegate for its successor, and must not be set otherwise")
            }
        }
        // Standard input stays what it is, so that until the release the channel ends with this process only.
        let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Some(Self { channel }))
    }

    /// The sockets that it listens on.
    pub(in crate::process) fn sockets(&mut self) -> anyhow::Result<Sockets> {
        self.receive().context("the sockets of the running process cannot be taken over")
    }

    fn receive(&mut self) -> io::Result<Sockets> {
        self.channel.set_read_timeout(Some(PATIENCE))?;
        Sockets::receive(&mut self.channel)
    }

    /// Tells it that it is no longer needed.
    ///
    /// # Errors
    ///
    /// When it does not listen any more: then it has given up on this process, and goes on itself.
    pub(in crate::process) fn release(mut self) -> anyhow::Result<()> {
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        self.channel.write_all(READY).context("the running process does not wait for this one any more")
    }
}
