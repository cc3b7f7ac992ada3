//! The access log: one line for each request that has ended, written by a thread of its own.
//!
//! The thread takes records from the bounded queue of `gateway::access`, formats them into a buffer and writes the
//! buffer when it is full or the queue is empty. However slow or broken the destination is, requests notice nothing:
//! records that find the queue full are dropped, records that cannot be written are lost, and both are counted.
//!
//! What a line looks like is in `format` and docs/access-log.md.

mod destination;
mod format;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use tidegate_gateway::access::{self, AccessLog, Event, Record, Records, Waker};
use tidegate_gateway::config::plan;
use tidegate_gateway::stats::AccessLogStats;

use destination::Destination;

/// How much is formatted before it is written.
const BATCH: usize = 64 * 1024;

/// How long the thread lets records gather after it has found the queue empty. While it rests, handing a record over
/// wakes nobody up, so a busy gateway pays for some 200 wake-ups a second and not for one per request.
const LONGEST_REST: Duration = Duration::from_millis(5);

/// A short queue must not fill up meanwhile, so each of its places allows for this much rest.
const REST_PER_PLACE: Duration = Duration::from_micros(1);

/// The thread that writes, as its owner sees it.
#[derive(Debug)]
pub(crate) struct AccessLogWriter {
    orders: Arc<Orders>,
    waker: Waker,
    /// Nothing is ever sent: the thread drops its end when it has ended.
    ended: Receiver<()>,
}

/// What the owner wants. An order is stored before its wake-up is sent, and looked for after wake-ups were taken, so
/// none is missed. Sequentially consistent on both sides, because a wake-up that found the queue full is not sent:
/// then the order must be visible to the thread that empties the queue afterwards.
#[derive(Debug, Default)]
struct Orders {
    reopen: AtomicBool,
    stop: AtomicBool,
}

impl AccessLogWriter {
    /// Opens the destination and starts the thread. The other half is what workers clone.
    ///
    /// # Errors
    ///
    /// When the destination cannot be opened or the thread not be started.
    pub(crate) fn start(log: &plan::AccessLog, stats: &Arc<AccessLogStats>) -> io::Result<(AccessLog, Self)> {
        let places = u32::try_from(log.buffer).unwrap_or(u32::MAX);
        let rest = REST_PER_PLACE.saturating_mul(places).min(LONGEST_REST);
        Self::with_destination(log, stats, Destination::open(&log.to)?, rest)
    }

    fn with_destination(
        log: &plan::AccessLog,
        stats: &Arc<AccessLogStats>,
        destination: Destination,
        rest: Duration,
    ) -> io::Result<(AccessLog, Self)> {
        let (access_log, records) = access::queue(log.buffer, Arc::clone(stats));
        let orders = Arc::<Orders>::default();
        let (ending, ended) = channel();
        let work = Work {
            records,
            orders: Arc::clone(&orders),
            stats: Arc::clone(stats),
            format: log.format,
            destination,
            batch: Vec::new(),
            capacity: log.buffer,
            rest,
            _ending: ending,
        };
        thread::Builder::new().name("access-log".into()).spawn(move || work.run())?;
        let waker = access_log.waker();
        Ok((access_log, Self { orders, waker, ended }))
    }

    /// Opens the file anew by its path, soon: for log rotation. Standard output and error stay as they are.
    pub(crate) fn reopen(&self) {
        self.orders.reopen.store(true, SeqCst);
        self.waker.wake();
    }

    /// Writes what is in the queue and ends the thread. False when that takes longer than `limit`, because the
    /// destination blocks; the thread is then left behind.
    pub(crate) fn finish(self, limit: Duration) -> bool {
        self.orders.stop.store(true, SeqCst);
        self.waker.wake();
        matches!(self.ended.recv_timeout(limit), Err(RecvTimeoutError::Disconnected))
    }
}

/// What the thread owns.
struct Work {
    records: Records,
    orders: Arc<Orders>,
    stats: Arc<AccessLogStats>,
    format: plan::Format,
    destination: Destination,
    batch: Vec<u8>,
    capacity: usize,
    rest: Duration,
    _ending: Sender<()>,
}

impl Work {
    fn run(mut self) {
        while self.wait() {
            let emptied = self.drain();
            // After the queue, because taking records from it also takes the wake-ups that came with orders.
            if self.orders.reopen.swap(false, SeqCst) {
                self.flush();
                self.destination.reopen();
            }
            if self.orders.stop.load(SeqCst) {
                // What was handed over before the order is in the queue by now.
                self.drain();
                self.flush();
                return;
            }
            self.flush();
            if emptied {
                thread::sleep(self.rest);
            }
        }
    }

    /// Waits for something to do. False when there will never be anything.
    fn wait(&mut self) -> bool {
        match self.records.wait() {
            Event::Record(record) => self.append(&record),
            Event::Woken => {}
            Event::Closed => return false,
        }
        true
    }

    /// Takes what is in the queue, but not for ever, however fast more comes. Whether the queue was seen empty.
    fn drain(&mut self) -> bool {
        for _ in 0..self.capacity {
            match self.records.next_ready() {
                Some(record) => self.append(&record),
                None => return true,
            }
        }
        false
    }

    fn append(&mut self, record: &Record) {
        format::append(&mut self.batch, self.format, record);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let unwritten = self.destination.write(&self.batch);
        let failed = lines(&self.batch[self.batch.len() - unwritten..]);
        self.stats.add_failed(failed);
        self.stats.add_written(lines(&self.batch) - failed);
        self.batch.clear();
    }
}

#[cfg(test)]
mod tests;
