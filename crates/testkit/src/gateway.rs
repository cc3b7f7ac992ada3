//! The gateway as a child process: its configuration in a folder of its own, its addresses as it
//! logged them, its signals, its memory, its end.
//!
//! The process is killed when the value is dropped, together with whatever took over from it: all
//! of them are one process group.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::log::LogLine;
use crate::watched::Watched;

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    pid: u32,
    output: Arc<Watched<Lines>>,
    folder: TempDir,
    binary: PathBuf,
}

/// What the process has written so far, both streams line by line.
#[derive(Debug, Default)]
struct Lines {
    log: Vec<LogLine>,
    printed: Vec<String>,
    open_streams: usize,
    exit: Option<ExitStatus>,
}

/// What became of a process that ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Everything it wrote to standard error.
    pub log: String,
    /// Everything it wrote to standard output.
    pub printed: String,
}

impl Gateway {
    /// Starts `binary` with this configuration and waits until it is ready.
    ///
    /// # Panics
    /// When it is not ready in time; the message has its log.
    pub fn start(binary: &str, config: &str) -> Self {
        Self::start_in(binary, folder(), config)
    }

    /// As [`Self::start`], in a folder that holds files which the configuration names.
    pub fn start_in(binary: &str, folder: TempDir, config: &str) -> Self {
        let gateway = Self::spawn(binary, folder, config);
        gateway.wait_for_log("the message 'ready'", |line| line.says("ready"));
        gateway
    }

    /// Starts `binary` with a configuration that should keep it from running, and waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn fail_to_start(binary: &str, config: &str) -> Ended {
        Self::spawn(binary, folder(), config).wait_for_end()
    }

    fn spawn(binary: &str, folder: TempDir, config: &str) -> Self {
        let path = folder.path().join("gateway.yaml");
        std::fs::write(&path, config).expect("the folder is writable");
        let mut child = Command::new(binary)
            .args(["run", "--config"])
            .arg(&path)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {binary}: {error}"));
        let output = Arc::new(Watched::<Lines>::default());
        output.lock().open_streams = 2;
        let log = child.stderr.take().expect("standard error is piped");
        let printed = child.stdout.take().expect("standard output is piped");
        let pid = child.id();
        collect(&output, log, |lines, line| lines.log.push(LogLine::new(&line)));
        collect(&output, printed, |lines, line| lines.printed.push(line));
        let watched = Arc::clone(&output);
        std::thread::spawn(move || {
            let exit = child.wait().expect("a child is waited for once");
            watched.change(|lines| lines.exit = Some(exit));
        });
        Self { pid, output, folder, binary: binary.into() }
    }

    /// The address of a listener, by its place in the configuration.
    ///
    /// # Panics
    /// When it did not log one.
    pub fn address(&self, listener: usize) -> SocketAddr {
        self.logged_address(|line| line.says("listening") && line.text_of("listener") == Some(listener.to_string()))
            .unwrap_or_else(|| panic!("listener {listener} logged no address:\n{}", self.log()))
    }

    /// The address of the admin listener.
    ///
    /// # Panics
    /// When it did not log one.
    pub fn admin_address(&self) -> SocketAddr {
        self.logged_address(|line| line.says("admin listening"))
            .unwrap_or_else(|| panic!("the admin listener logged no address:\n{}", self.log()))
    }

    fn logged_address(&self, is_it: impl Fn(&LogLine) -> bool) -> Option<SocketAddr> {
        let lines = self.output.lock();
        let line = lines.log.iter().find(|line| is_it(line))?;
        line.text_of("address")?.parse().ok()
    }

    /// The process id of the first process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The executable that runs.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The folder with its configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    /// Replaces the configuration file in one step, as an editor or a deployment does.
    ///
    /// # Panics
    /// When the folder is not writable.
    pub fn rewrite_config(&self, config: &str) {
        let new = self.folder.path().join("gateway.yaml.new");
        std::fs::write(&new, config).expect("the folder is writable");
        std::fs::rename(new, self.config_path()).expect("one folder, one file system");
    }

    /// Sends a signal to the first process.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.pid(), signal);
    }

    /// How many log lines there are, to wait for later ones with [`Self::wait_for_log_after`].
    pub fn log_length(&self) -> usize {
        self.output.lock().log.len()
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.output.lock().text()
    }

    /// Everything printed to standard output so far.
    pub fn printed(&self) -> Vec<String> {
        self.output.lock().printed.clone()
    }

    /// Waits for a log line, one that was there before included.
    ///
    /// # Panics
    /// When it does not come, or the process ends first; the message has the log.
    pub fn wait_for_log(&self, what: &str, is_it: impl Fn(&LogLine) -> bool) -> LogLine {
        self.wait_for_log_after(0, what, is_it)
    }

    /// Waits for a log line after the first `from` ones.
    ///
    /// # Panics
    /// As [`Self::wait_for_log`].
    pub fn wait_for_log_after(&self, from: usize, what: &str, is_it: impl Fn(&LogLine) -> bool) -> LogLine {
        self.wait(what, |lines| lines.log.iter().skip(from).find(|line| is_it(line)).cloned())
    }

    /// Waits for a line on standard output.
    ///
    /// # Panics
    /// As [`Self::wait_for_log`].
    pub fn wait_for_print(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        self.wait(what, |lines| lines.printed.iter().find(|line| is_it(line)).cloned())
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&Lines) -> Option<T>) -> T {
        let found = self.output.wait(|lines| {
            let found = look(lines);
            (found.is_some() || lines.open_streams == 0).then_some(found)
        });
        found.flatten().unwrap_or_else(|| panic!("the gateway never wrote {what}; it wrote:\n{}", self.log()))
    }

    /// The resident memory of the first process in bytes.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a running process has memory");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kilobytes * 1024
    }

    /// How many descriptors the first process holds.
    ///
    /// # Panics
    /// When it has ended.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the process runs").count()
    }

    /// Waits for the end of the first process, whatever took over from it.
    ///
    /// # Panics
    /// When it does not end within [`crate::PATIENCE`]; the message has its log.
    pub fn wait_for_exit(&self) -> ExitStatus {
        let exit = self.output.wait(|lines| lines.exit);
        exit.unwrap_or_else(|| panic!("the process does not end:\n{}", self.log()))
    }

    /// Waits for the end of the first process and of everything it wrote.
    ///
    /// # Panics
    /// As [`Self::wait_for_exit`].
    #[must_use = "the exit status is what a test of an end is about"]
    pub fn wait_for_end(self) -> Ended {
        let status = self.wait_for_exit();
        self.output.wait(|lines| (lines.open_streams == 0).then_some(()));
        let lines = self.output.lock();
        Ended { status, log: lines.text(), printed: lines.printed.join("\n") }
    }

    /// Asks the process to end gracefully and waits for it.
    ///
    /// # Panics
    /// As [`Self::wait_for_end`].
    #[must_use = "the exit status is what a test of an end is about"]
    pub fn terminate(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait_for_end()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let is_over = |lines: &Lines| lines.exit.is_some() && lines.open_streams == 0;
        // The group may outlive its first process; once all of it is gone, its number is no longer ours.
        if !is_over(&self.output.lock()) {
            if let Some(group) = pid(self.pid) {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            self.output.wait(|lines| is_over(lines).then_some(()));
        }
        if std::thread::panicking() {
            eprintln!("log of the gateway:\n{}", self.log());
        }
    }
}

/// Sends a signal to a process that a gateway logged.
///
/// # Panics
/// When there is no such process.
pub fn signal_process(process: u32, signal: Signal) {
    let process = pid(process).expect("a process id is positive");
    rustix::process::kill_process(process, signal).expect("the process runs");
}

/// A temporary folder.
///
/// # Panics
/// When the system has no room for one.
pub fn folder() -> TempDir {
    TempDir::with_prefix("tidegate-test-").expect("room for a temporary folder")
}

fn pid(process: u32) -> Option<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw)
}

fn collect(output: &Arc<Watched<Lines>>, stream: impl Read + Send + 'static, push: fn(&mut Lines, String)) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            output.change(|lines| push(lines, String::from_utf8_lossy(&line).into_owned()));
        }
        output.change(|lines| lines.open_streams -= 1);
    });
}

impl Lines {
    fn text(&self) -> String {
        self.log.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// An executable that behaves like a gateway as far as these tests look.
    fn script(folder: &TempDir, body: &str) -> String {
        let path = folder.path().join("stand-in");
        std::fs::write(&path, format!("#!/bin/sh\n{body}")).expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        path.to_str().expect("a plain path").to_owned()
    }

    #[test]
    fn addresses_are_read_from_the_log_and_the_end_is_seen() {
        let place = folder();
        let binary = script(
            &place,
            r#"
            trap 'echo bye; exit 3' TERM
            echo '{"fields":{"message":"listening","listener":0,"address":"127.0.0.1:4001"}}' >&2
            echo '{"message":"admin listening","address":"127.0.0.1:4002"}' >&2
            echo '{"message":"ready"}' >&2
            while :; do sleep 0.01; done
        "#,
        );
        let gateway = Gateway::start(&binary, "listeners: []");
        assert_eq!((gateway.address(0).port(), gateway.admin_address().port()), (4001, 4002));
        assert!(gateway.resident_bytes() > 0 && gateway.descriptors() > 0);
        let ended = gateway.terminate();
        assert_eq!((ended.status.code(), ended.printed.as_str()), (Some(3), "bye"));
    }

    #[test]
    fn a_process_that_ends_early_fails_the_start_with_its_log() {
        let place = folder();
        let binary = script(&place, "cat \"$3\" >&2; exit 2");
        let ended = Gateway::fail_to_start(&binary, "nonsense: true");
        assert_eq!((ended.status.code(), ended.log.trim()), (Some(2), "nonsense: true"));
        let panic = std::panic::catch_unwind(|| Gateway::start(&binary, "nonsense: true")).expect_err("never ready");
        let message = panic.downcast_ref::<String>().expect("a formatted message");
        assert!(message.contains("'ready'") && message.contains("nonsense: true"), "{message}");
    }
}
