//! `cargo xtask bench idle`: what connections cost that rest between two requests.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::super::candidate::require;
use super::client::Client;
use super::options::{Number, parse};
use super::{OPEN, Rig, allow_connections};
use crate::Outcome;

/// Resident bytes that an idle connection in plain text may cost.
const BAR: u64 = 8 * 1024;

/// Resident bytes that the process may have after its start.
const START_BAR: u64 = 20_000_000;

/// Requests in flight at a time while the connections are used.
const AT_ONCE: usize = 64;

/// How long the connections are left alone before the second look.
const REST: Duration = Duration::from_secs(3);

const OPTIONS: &[Number] = &[
    ("--connections", 10_000, "connections in plain text"),
    ("--tls", 1000, "connections over TLS, by h2load; 0 for none"),
    ("--requests", 2, "requests on each connection before it rests"),
];

pub(in super::super) fn run(words: &[String]) -> Outcome {
    let Some(options) = parse("idle", OPTIONS, words)? else { return Ok(()) };
    let [connections, tls, requests] = options.numbers[..] else { return Err("three numbers".into()) };
    allow_connections(connections.max(tls))?;
    let rig = Rig::start(&options.program, "tidegate.yaml")?;
    println!("after start: {} (bar: under {})", kib(rig.settled()?), kib(START_BAR));
    plain(&rig, connections, requests)?;
    if tls > 0 {
        // Memory that was used once is used again: only a fresh process tells what these need.
        drop(rig);
        encrypted(&Rig::start(&options.program, "tidegate.yaml")?, tls, "HTTP/1.1")?;
        encrypted(&Rig::start(&options.program, "tidegate.yaml")?, tls, "HTTP/2")?;
    }
    Ok(())
}

fn plain(rig: &Rig, connections: u64, requests: u64) -> Outcome {
    let before = rig.settled()?;
    let clients = (0..connections).map(|_| Client::connect(rig.ports.http));
    let mut clients = clients.collect::<Result<Vec<_>, _>>()?;
    for _ in 0..requests {
        for group in clients.chunks_mut(AT_ONCE) {
            group.iter_mut().try_for_each(|client| client.ask("/"))?;
            group.iter_mut().try_for_each(Client::await_answer)?;
        }
    }
    rig.report("HTTP/1.1 in plain text", before, connections)?;
    drop(clients);
    rig.wait_for_open(|open| open == 0)?;
    println!("after all have gone: {}", kib(rig.settled()?));
    Ok(())
}

/// h2load asks once on each connection and then seldom.
fn encrypted(rig: &Rig, connections: u64, version: &str) -> Outcome {
    let before = rig.settled()?;
    let mut load = Load::start(rig, connections, version)?;
    rig.wait_for("tidegate_listener_requests_total", |requests| requests >= connections)?;
    load.is_alive()?;
    rig.report(&format!("{version} over TLS"), before, connections)
}

/// h2load; ended when dropped.
struct Load(Child);

impl Load {
    fn start(rig: &Rig, connections: u64, version: &str) -> Outcome<Self> {
        let [h2load] = require(["h2load"])?;
        let mut command = Command::new(h2load);
        // One request at the start of each connection, and the next one after a minute and a half.
        command.args(["-t", "1", "-c", &connections.to_string(), "-D", "60", "--rps", "0.011"]);
        if version == "HTTP/1.1" {
            command.arg("--h1");
        }
        command.arg(format!("https://127.0.0.1:{}/", rig.ports.https));
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
    }

    fn is_alive(&mut self) -> Outcome {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("h2load ended early: {status}").into()),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Rig {
    /// Resident bytes of the gateway once it has had time to settle.
    fn settled(&self) -> Outcome<u64> {
        sleep(REST);
        self.gateway.resident()
    }

    fn report(&self, what: &str, before: u64, connections: u64) -> Outcome {
        let after = self.settled()?;
        let open = self.metric(OPEN)?;
        if open != connections {
            return Err(format!("{open} of {connections} connections are open").into());
        }
        let each = after.saturating_sub(before) / connections.max(1);
        let bar = if what.ends_with("plain text") { format!(" (bar: {BAR})") } else { String::new() };
        println!("{what}, {connections} idle: {} to {}, {each} bytes each{bar}", kib(before), kib(after));
        Ok(())
    }
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}
