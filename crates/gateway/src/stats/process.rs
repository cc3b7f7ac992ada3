//! What the process says about itself: its start, its reloads, its access log.
//!
//! None of this is written while a request is on its way, but for the count of access records that found the queue
//! full.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Numbers of the process as a whole.
#[derive(Debug)]
pub struct Process {
    started_at: SystemTime,
    started: Instant,
    reloads: Mutex<Reloads>,
    access_log: Arc<AccessLogStats>,
}

#[derive(Debug, Default)]
struct Reloads {
    succeeded: u64,
    failed: u64,
    generation: u64,
    last_success: Option<SystemTime>,
    last: Option<LastReload>,
}

/// The last time a configuration was to be put into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReload {
    /// When.
    pub at: SystemTime,
    /// Why it failed, if it did: one line that may be shown to whoever may see the admin pages.
    pub error: Option<String>,
}

impl Process {
    pub(super) fn new() -> Self {
        Self {
            started_at: SystemTime::now(),
            started: Instant::now(),
            reloads: Mutex::default(),
            access_log: Arc::default(),
        }
    }

    /// When the process started.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// For how long the process has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// A configuration came into force, the first one at the start included. `generation` counts them from 1.
    pub fn reloaded(&self, generation: u64, at: SystemTime) {
        self.with_reloads(|reloads| {
            reloads.succeeded += 1;
            reloads.generation = generation;
            reloads.last_success = Some(at);
            reloads.last = Some(LastReload { at, error: None });
        });
    }

    /// A configuration was refused; the one in force stays. `error` is one line without excerpts of the
    /// configuration, which may hold secrets.
    pub fn reload_failed(&self, error: impl Into<String>, at: SystemTime) {
        self.with_reloads(|reloads| {
            reloads.failed += 1;
            reloads.last = Some(LastReload { at, error: Some(error.into()) });
        });
    }

    /// How many configurations came into force, and how many were refused.
    pub fn reloads(&self) -> (u64, u64) {
        self.with_reloads(|reloads| (reloads.succeeded, reloads.failed))
    }

    /// The generation in force; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.with_reloads(|reloads| reloads.generation)
    }

    /// The last reload, good or bad.
    pub fn last_reload(&self) -> Option<LastReload> {
        self.with_reloads(|reloads| reloads.last.clone())
    }

    /// When the configuration in force came into force.
    pub fn last_success(&self) -> Option<SystemTime> {
        self.with_reloads(|reloads| reloads.last_success)
    }

    /// The access log's numbers.
    pub fn access_log(&self) -> &Arc<AccessLogStats> {
        &self.access_log
    }

    /// Only the control thread comes here. Each change is one statement, so a poisoned lock has nothing half-done.
    fn with_reloads<T>(&self, read: impl FnOnce(&mut Reloads) -> T) -> T {
        read(&mut self.reloads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What became of access records.
#[derive(Debug, Default)]
pub struct AccessLogStats {
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

// Relaxed throughout: counts that pair with nothing. Several threads add, hence the read-modify-write.
impl AccessLogStats {
    /// `count` records reached their destination.
    pub fn add_written(&self, count: u64) {
        self.written.fetch_add(count, Relaxed);
    }

    /// A record was dropped because the queue was full or nobody reads it any more.
    pub fn add_dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// `count` records were lost because the destination refused them (a full disk, a closed pipe).
    pub fn add_failed(&self, count: u64) {
        self.failed.fetch_add(count, Relaxed);
    }

    /// Records that reached their destination.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Records that were dropped before they reached the writer.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Records that the destination refused.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_reload_leaves_the_generation_in_force() {
        let process = Process::new();
        let (first, second) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(60));
        assert_eq!((process.generation(), process.last_reload()), (0, None));
        process.reloaded(1, first);
        process.reload_failed("3 mistakes", second);
        assert_eq!(process.generation(), 1);
        assert_eq!(process.reloads(), (1, 1));
        assert_eq!(process.last_success(), Some(first));
        assert_eq!(process.last_reload(), Some(LastReload { at: second, error: Some("3 mistakes".into()) }));
    }
}
