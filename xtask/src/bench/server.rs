//! A server process on its core: started, watched, measured, stopped.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Outcome;

/// How long a server may take to listen, and to stop when asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server; stopped when dropped.
pub(super) struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a program on the given cores. What it says goes to a file in the folder.
    pub(super) fn start(name: &str, cores: &str, folder: &Path, command: &[String]) -> Outcome<Self> {
        let log = folder.join(format!("{name}.output"));
        let file = fs::File::create(&log)?;
        let mut pinned = Command::new("taskset");
        pinned.arg("--cpu-list").arg(cores).args(command);
        let child = pinned.stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until it accepts connections; the error holds what it said instead.
    pub(super) fn wait_for(&mut self, port: u16) -> Outcome {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if self.child.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("{} does not listen on port {port}:\n{said}", self.name).into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The CPU time that all threads of the process and its descendants have run for, from the
    /// scheduler's account.
    pub(super) fn cpu(&self) -> Duration {
        let parents = parents();
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while next < family.len() {
            let parent = family[next];
            family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
            next += 1;
        }
        family.into_iter().map(threads_cpu).sum()
    }

    /// The resident memory of the process in bytes (`VmRSS`, which the kernel states in KiB).
    pub(super) fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the process has ended")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

impl Drop for Server {
    /// Asks first: a server with worker processes must be able to end them.
    fn drop(&mut self) {
        _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            sleep(Duration::from_millis(20));
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, parent(&entry.path())?))).collect()
}

/// The fourth field of `stat`; the second, the name in brackets, may itself hold blanks and
/// brackets.
fn parent(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// The first number of `schedstat` is the time on a CPU in nanoseconds; a thread that has just
/// ended counts nothing.
fn threads_cpu(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let times = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    });
    times.map(Duration::from_nanos).sum()
}
