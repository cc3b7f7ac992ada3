//! The whole way of a record, from a worker's hand to the destination.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use tidegate_gateway::access::Text;

use super::format::tests::record;
use super::*;

const LONG: Duration = Duration::from_secs(60);

fn plan(to: plan::Output, buffer: usize) -> plan::AccessLog {
    plan::AccessLog { format: plan::Format::Json, to, buffer }
}

fn numbered(number: usize) -> Record {
    Record { path: Text::clip(format!("/{number}").as_bytes()), ..record() }
}

/// A destination that says when a write begins and lets it go on only when told to.
struct Blocked {
    begun: SyncSender<Vec<u8>>,
    go_on: Receiver<()>,
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.begun.send(bytes.to_vec());
        let _ = self.go_on.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct BlockedLog {
    log: AccessLog,
    writer: AccessLogWriter,
    stats: Arc<AccessLogStats>,
    begun: Receiver<Vec<u8>>,
    go_on: Sender<()>,
}

fn blocked_log(buffer: usize) -> BlockedLog {
    let (begun_sender, begun) = sync_channel(100);
    let (go_on, go_on_receiver) = channel();
    let destination = Destination::writing_to(Box::new(Blocked { begun: begun_sender, go_on: go_on_receiver }));
    let stats = Arc::default();
    let plan = plan(plan::Output::Stdout, buffer);
    let (log, writer) =
        AccessLogWriter::with_destination(&plan, &stats, destination, Duration::ZERO).expect("a thread");
    BlockedLog { log, writer, stats, begun, go_on }
}

#[test]
fn a_blocked_destination_blocks_nobody_and_every_drop_is_counted() {
    let BlockedLog { log, writer, stats, begun, go_on } = blocked_log(8);
    log.record(numbered(0));
    let first = begun.recv().expect("a write");
    assert!(first.ends_with(b"}\n"));
    // The thread hangs in its write now: eight records fit into the queue, and the rest must be dropped.
    for number in 1..=30 {
        log.record(numbered(number));
    }
    assert_eq!((stats.written(), stats.dropped()), (0, 22));
    drop(go_on);
    assert!(writer.finish(LONG));
    assert_eq!((stats.written(), stats.dropped(), stats.failed()), (9, 22, 0));
    let rest: Vec<u8> = begun.iter().flatten().collect();
    let paths: Vec<_> = (1..=8).map(|number| format!("\"path\":\"/{number}\"")).collect();
    let lines: Vec<_> = rest.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), paths.len());
    for (line, path) in lines.iter().zip(paths) {
        assert!(String::from_utf8_lossy(line).contains(&path), "{path}");
    }
}

#[test]
fn finishing_does_not_wait_for_a_blocked_destination_for_ever() {
    let BlockedLog { log, writer, begun, go_on, .. } = blocked_log(1);
    log.record(numbered(0));
    begun.recv().expect("a write");
    assert!(!writer.finish(Duration::from_millis(1)));
    drop(go_on);
}

#[test]
fn records_after_the_end_are_counted_as_dropped() {
    let BlockedLog { log, writer, stats, go_on, .. } = blocked_log(4);
    drop(go_on);
    assert!(writer.finish(LONG));
    log.record(numbered(0));
    assert_eq!((stats.written(), stats.dropped()), (0, 1));
}

#[test]
fn a_file_gets_whole_lines_and_is_kept_from_strangers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    fs::write(&path, "before\n").expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
    let stats = Arc::default();
    let (log, writer) =
        AccessLogWriter::start(&plan(plan::Output::File(path.clone()), 1000), &stats).expect("a writer");
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let log = log.clone();
            thread::spawn(move || (0..100).for_each(|number| log.record(numbered(worker * 100 + number))))
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    assert!(writer.finish(LONG));
    assert_eq!((stats.written(), stats.dropped(), stats.failed()), (400, 0, 0));
    let text = fs::read_to_string(&path).expect("text");
    assert!(text.starts_with("before\n"));
    let lines = text.lines().skip(1).map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    assert_eq!(lines.count(), 400);
}

#[test]
fn a_new_file_is_not_for_everybody() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let (_log, writer) =
        AccessLogWriter::start(&plan(plan::Output::File(path.clone()), 1), &Arc::default()).expect("a writer");
    assert!(writer.finish(LONG));
    assert_eq!(fs::metadata(path).expect("a file").permissions().mode() & 0o007, 0);
}

/// Waits until `done`. The thread under test has no way to say when; the test harness ends a wait that never ends.
fn wait_until(done: impl Fn() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

#[test]
fn a_rotated_file_is_opened_anew_without_a_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let stats = Arc::<AccessLogStats>::default();
    let (log, writer) = AccessLogWriter::start(&plan(plan::Output::File(path.clone()), 10), &stats).expect("a writer");
    log.record(numbered(1));
    wait_until(|| stats.written() == 1);
    fs::rename(&path, &old).expect("renamed");
    writer.reopen();
    wait_until(|| path.exists());
    log.record(numbered(2));
    assert!(writer.finish(LONG));
    let has = |path: &Path, text| fs::read_to_string(path).expect("text").contains(text);
    assert!(has(&old, "\"/1\"") && !has(&old, "\"/2\""));
    assert!(has(&path, "\"/2\"") && !has(&path, "\"/1\""));
}

#[test]
fn a_reopen_that_fails_keeps_the_open_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (inner, moved) = (folder.path().join("inner"), folder.path().join("moved"));
    fs::create_dir(&inner).expect("a folder");
    let stats = Arc::<AccessLogStats>::default();
    let plan = plan(plan::Output::File(inner.join("access.log")), 10);
    let (log, writer) = AccessLogWriter::start(&plan, &stats).expect("a writer");
    fs::rename(&inner, &moved).expect("renamed");
    writer.reopen();
    log.record(numbered(1));
    assert!(writer.finish(LONG));
    assert_eq!(fs::read_to_string(moved.join("access.log")).expect("text").lines().count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_survived_and_counted() {
    let stats = Arc::<AccessLogStats>::default();
    let full = plan(plan::Output::File("/dev/full".into()), 100);
    let (log, writer) = AccessLogWriter::start(&full, &stats).expect("a writer");
    (0..5).for_each(|number| log.record(numbered(number)));
    wait_until(|| stats.failed() == 5);
    log.record(numbered(5));
    assert!(writer.finish(LONG));
    assert_eq!((stats.written(), stats.dropped(), stats.failed()), (0, 0, 6));
}
