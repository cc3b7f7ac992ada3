//! The side of the process that runs.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{ON_STDIN, PATIENCE, READY, Sockets, VARIABLE};

/// How this process was started, and its successor is to be.
#[derive(Debug, Clone)]
pub(in crate::process) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// To be asked at the start: later, the path may lead to something else.
    pub(in crate::process) fn current() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let executable = env::current_exe()?;
        // As it was written, a path may lead through links, and to a newer program once they are changed.
        let written = arguments.next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let same = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == executable);
        let path = match written.filter(same) {
            Some(path) => std::path::absolute(path)?,
            None => executable,
        };
        Ok(Self { path, arguments: arguments.collect() })
    }
}

/// A successor that has been started and does not serve yet.
#[derive(Debug)]
pub(in crate::process) struct Replacement {
    channel: UnixStream,
    outcome: JoinHandle<anyhow::Result<u32>>,
}

impl Replacement {
    /// Starts a successor, and a thread that hands it these sockets.
    pub(in crate::process) fn start(program: &Program, sockets: Sockets) -> anyhow::Result<Self> {
        Self::start_within(program, sockets, PATIENCE)
    }

    fn start_within(program: &Program, sockets: Sockets, patience: Duration) -> anyhow::Result<Self> {
        let (channel, theirs) = UnixStream::pair()?;
        let child = Command::new(&program.path)
            .args(&program.arguments)
            .env(VARIABLE, ON_STDIN)
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .with_context(|| program.path.display().to_string())?;
        tracing::info!(successor = child.id(), "replacement started");
        let ours = channel.try_clone()?;
        let outcome = spawn_blocking(move || accompany(child, ours, &sockets, Instant::now() + patience));
        Ok(Self { channel, outcome })
    }

    /// Waits until the successor serves, and returns its process id.
    ///
    /// # Errors
    ///
    /// When it does not get there; it is gone then. Nothing is lost when this is dropped.
    pub(in crate::process) async fn outcome(&mut self) -> anyhow::Result<u32> {
        (&mut self.outcome).await?
    }

    /// Ends the successor, unless it serves already.
    pub(in crate::process) fn abandon(&self) {
        // Both sides see the end of the channel. Fails only where that has come already.
        let _ = self.channel.shutdown(Shutdown::Both);
    }
}

/// Sees the successor through to its first moment as a server, or to its end.
fn accompany(mut child: Child, mut channel: UnixStream, sockets: &Sockets, deadline: Instant) -> anyhow::Result<u32> {
    let Err(error) = hand_over(&mut channel, sockets, deadline) else { return Ok(child.id()) };
    // Fails when it has ended already. Waiting for it leaves no zombie behind.
    let _ = child.kill();
    let status = child.wait()?;
    match status.code() {
        // The channel ends with the process, so an exit status is its own and says more than the channel.
        Some(_) => bail!("it ended before it was ready ({status})"),
        None => Err(error),
    }
}

fn hand_over(channel: &mut UnixStream, sockets: &Sockets, deadline: Instant) -> anyhow::Result<()> {
    channel.set_write_timeout(Some(left(deadline)?))?;
    sockets.send(channel).map_err(timely).context("the sockets could not be handed over")?;
    let mut said = [0; READY.len()];
    let mut count = 0;
    while count < said.len() {
        channel.set_read_timeout(Some(left(deadline)?))?;
        match channel.read(&mut said[count..]).map_err(timely)? {
            0 => bail!("it ended before it was ready"),
            some => count += some,
        }
    }
    match said == READY {
        true => Ok(()),
        false => bail!("it said something else than that it is ready"),
    }
}

/// What is left of the time.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(timely(ErrorKind::WouldBlock.into())) } else { Ok(left) }
}

/// A socket whose time is up says that it would block (socket(7)).
fn timely(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "it was not ready in time"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a successor that is this shell script.
    async fn outcome(script: &str, patience: Duration) -> Result<u32, String> {
        start(script, patience).outcome().await.map_err(|error| format!("{error:#}"))
    }

    fn start(script: &str, patience: Duration) -> Replacement {
        let program = Program { path: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] };
        Replacement::start_within(&program, Sockets::default(), patience).expect("a shell")
    }

    #[tokio::test]
    async fn one_that_says_it_is_ready_takes_over() {
        let child =
            outcome("test $TIDEGATE_TAKEOVER = stdin && echo ready >&0 && exec cat > /dev/null", PATIENCE).await;
        assert_ne!(child, Ok(std::process::id()));
        child.expect("it is ready");
    }

    #[tokio::test]
    async fn one_that_ends_is_told_by_its_status() {
        let error = outcome("exit 3", PATIENCE).await;
        assert_eq!(error, Err("it ended before it was ready (exit status: 3)".to_owned()));
    }

    #[tokio::test]
    async fn one_that_says_something_else_is_not_trusted() {
        let error = outcome("echo hello, old friend >&0; exec cat", PATIENCE).await;
        assert_eq!(error, Err("it said something else than that it is ready".to_owned()));
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_ended() {
        let error = outcome("exec cat > /dev/null", Duration::from_millis(50)).await;
        assert_eq!(error, Err("it was not ready in time".to_owned()));
    }

    #[tokio::test]
    async fn one_that_is_abandoned_ends() {
        let mut replacement = start("cat > /dev/null; exit 4", PATIENCE);
        replacement.abandon();
        assert!(replacement.outcome().await.is_err());
    }

    #[tokio::test]
    async fn a_program_that_is_gone_is_named() {
        let program = Program { path: "/nonexistent/tidegate".into(), arguments: Vec::new() };
        let error = Replacement::start(&program, Sockets::default()).expect_err("no such program");
        assert_eq!(error.to_string(), "/nonexistent/tidegate");
    }
}
