//! Tells the service manager how the process is (sd_notify(3)).
//!
//! The protocol is a datagram with lines of `NAME=value` to the socket that `$NOTIFY_SOCKET` names. Where
//! there is none, nobody wants to know.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// The service manager, if there is one.
#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub(super) fn from_environment() -> Self {
        let name = env::var_os("NOTIFY_SOCKET");
        let socket = name.map(|name| connect(&name)).transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "the service manager cannot be reached");
            None
        });
        Self { socket }
    }

    /// Requests are welcome, or welcome again after a reload.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// A reload begins; [`Self::ready`] ends it.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// The end begins.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Another process is the service from now on.
    pub(super) fn main_process(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the control thread.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(name: &OsStr, manager: &UnixDatagram) -> String {
        let told = ServiceManager { socket: Some(connect(name).expect("a manager")) };
        told.reloading();
        told.ready();
        told.main_process(7);
        told.stopping();
        let mut text = String::new();
        for _ in 0..4 {
            let mut buffer = [0; 100];
            let count = manager.recv(&mut buffer).expect("a datagram");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
            text.push('\n');
        }
        text
    }

    fn check(text: &str) {
        let lines: Vec<_> = text.lines().collect();
        let [reloading, since, rest @ ..] = &lines[..] else { panic!("{text}") };
        assert_eq!(*reloading, "RELOADING=1");
        let since = since.strip_prefix("MONOTONIC_USEC=").expect("when it began");
        assert!(since.parse::<u64>().expect("a number") > 0);
        assert_eq!(rest, ["READY=1", "MAINPID=7", "STOPPING=1"]);
    }

    #[test]
    fn states_are_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        check(&received(path.as_os_str(), &manager));

        // The path is unique, and so is the abstract name made from it.
        let address = SocketAddr::from_abstract_name(path.as_os_str().as_bytes()).expect("short enough");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        let mut name = OsStr::new("@").to_owned();
        name.push(&path);
        check(&received(&name, &manager));
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        ServiceManager { socket: None }.ready();
    }
}
