//! What the gateway bears: `bench idle`, `bench slow`, `bench flood` and `bench failures`.
//!
//! The comparison measures what a request costs; these measure what clients cost that ask for
//! nothing, what the others notice of clients that are slow on purpose or come under ever new keys,
//! and what clients notice of upstreams that fail. The service behind and the clients are threads of this process, because the
//! load tools know no such clients. Figures stand beside their bars, and nothing but a failed
//! exchange fails: a time on somebody's machine is no test.

mod client;
mod failures;
mod flood;
mod hostile;
mod idle;
mod options;
mod service;
mod slow;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(super) use failures::run as failures;
pub(super) use flood::run as flood;
pub(super) use idle::run as idle;
pub(super) use slow::run as slow;

use super::candidate::require;
use super::folder::{Folder, Ports};
use super::server::Server;
use crate::Outcome;
use service::Service;

/// How long connections may take to show up at the gateway, and to be gone again.
const PATIENCE: Duration = Duration::from_secs(60);

/// The metric that counts open connections of clients.
const OPEN: &str = "tidegate_listener_open_connections";

/// Descriptors that this process uses besides those of the clients.
const OTHER_FILES: u64 = 256;

/// A gateway on one core, with the service behind it in this process.
struct Rig {
    gateway: Server,
    ports: Ports,
    _service: Service,
    _folder: Folder,
}

impl Rig {
    /// Starts `program` with a file of `bench/` as its configuration.
    fn start(program: &Path, template: &str) -> Outcome<Self> {
        require(["openssl", "taskset"])?;
        let folder = Folder::create()?;
        let service = Service::start(folder.upstreams())?;
        let ports = Ports::free()?;
        let configuration = folder.fill(template, "gateway", &ports.marks())?;
        let words = ["run".to_owned(), "--config".to_owned(), configuration.display().to_string()];
        let command: Vec<String> = std::iter::once(program.display().to_string()).chain(words).collect();
        let mut gateway = Server::start("gateway", "0", folder.path(), &command)?;
        gateway.wait_for(ports.http)?;
        Ok(Self { gateway, ports, _service: service, _folder: folder })
    }

    /// The sum of a metric over its labels.
    fn metric(&self, name: &str) -> Outcome<u64> {
        let page = get(self.ports.admin, "/metrics")?;
        let samples = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let values = samples.map(|line| line.rsplit(' ').next().unwrap_or_default());
        // Gauges of policies are written with a decimal point.
        let values = values.map(|value| value.strip_suffix(".0").unwrap_or(value).parse::<u64>());
        Ok(values.sum::<Result<u64, _>>()?)
    }

    /// Waits until so many connections are open at the gateway.
    fn wait_for_open(&self, is_it: impl Fn(u64) -> bool) -> Outcome {
        self.wait_for(OPEN, is_it)
    }

    fn wait_for(&self, name: &str, is_it: impl Fn(u64) -> bool) -> Outcome {
        let begun = Instant::now();
        loop {
            let value = self.metric(name)?;
            if is_it(value) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{name} is still {value} after {PATIENCE:?}").into());
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// A page of the admin listener.
fn get(port: u16, path: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Makes sure that this process may have `clients` connections open. Where its soft limit is too
/// low, it becomes this command once more, with the limit raised.
fn allow_connections(clients: u64) -> Outcome {
    let needed = clients + OTHER_FILES;
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).ok_or("no limit of open files")?;
    let mut words = line.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
    let (soft, hard) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(format!("{needed} open files are needed and {hard} allowed (ulimit -H -n)").into());
    }
    let mut again = Command::new("sh");
    again.args(["-c", "ulimit -n \"$(ulimit -H -n)\" && exec \"$@\"", "sh"]);
    again.arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    Err(again.exec().into())
}
