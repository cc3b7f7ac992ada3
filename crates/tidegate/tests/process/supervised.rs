//! What a service manager is told (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tidegate_testkit::PATIENCE;
use tidegate_testkit::gateway::{folder, signal_process};

use crate::rig::BINARY;

/// A gateway, and the end of whatever took over from it.
struct Supervised {
    child: Child,
    manager: UnixDatagram,
}

impl Supervised {
    fn start(folder: &Path) -> Self {
        let manager = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("the patience is not zero");
        let config = "listeners: [ { address: \"127.0.0.1:0\" } ]\nadmin: off\nreload: { watch: false }\n";
        std::fs::write(folder.join("gateway.yaml"), config).expect("writable");
        let child = Command::new(BINARY)
            .args(["run", "--config", "gateway.yaml"])
            .current_dir(folder)
            .env("NOTIFY_SOCKET", folder.join("notify"))
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("it starts");
        Self { child, manager }
    }

    /// The next thing that the manager is told.
    fn told(&self) -> String {
        let mut buffer = [0; 200];
        let count = self.manager.recv(&mut buffer).expect("the manager is told something");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.child.wait();
    }
}

#[test]
fn every_change_of_state_is_told() {
    let place = folder();
    let mut supervised = Supervised::start(place.path());
    let process = supervised.child.id();
    assert_eq!(supervised.told(), "READY=1");

    signal_process(process, Signal::HUP);
    let reloading = supervised.told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(supervised.told(), "READY=1");

    signal_process(process, Signal::USR2);
    // Both processes speak at that moment, in either order.
    let mut told = [supervised.told(), supervised.told()];
    told.sort();
    let [main, ready] = told;
    assert_eq!(ready, "READY=1");
    let successor: u32 = main.strip_prefix("MAINPID=").and_then(|text| text.parse().ok()).expect("the new one");
    assert!(supervised.child.wait().expect("it was started").success());

    signal_process(successor, Signal::TERM);
    assert_eq!(supervised.told(), "STOPPING=1");
}
