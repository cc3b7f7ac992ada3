//! Requests at a fixed rate, whether answers come or not.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use super::super::client::Client;
use crate::Outcome;

/// Clients, each with one request at a time: enough for all requests of half a second at a thousand a second.
const CLIENTS: usize = 512;

/// Enough for a thread that reads lines.
const STACK: usize = 64 * 1024;

/// What came of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// When it was to be sent, from the begin of the load.
    pub(super) due: Duration,
    /// How much later it was sent.
    pub(super) late: Duration,
    /// From when it was sent to the end of its answer.
    pub(super) took: Duration,
    /// Whether it was answered with 200.
    pub(super) good: bool,
}

/// Requests that are yet to be sent.
struct Schedule {
    begin: Instant,
    rate: u32,
    requests: usize,
    next: AtomicUsize,
}

/// Sends requests from `begin` on until all are answered, while `meanwhile` runs.
pub(super) fn run(
    (port, route): (u16, &str),
    (begin, rate, requests): (Instant, u32, usize),
    meanwhile: impl FnOnce(),
) -> Outcome<Vec<Asked>> {
    let schedule = Schedule { begin, rate, requests, next: AtomicUsize::new(0) };
    std::thread::scope(|scope| {
        let start = |_| Builder::new().stack_size(STACK).spawn_scoped(scope, || schedule.work(port, route));
        let clients = (0..CLIENTS).map(start).collect::<io::Result<Vec<_>>>()?;
        meanwhile();
        let mut asked = Vec::with_capacity(requests);
        for client in clients {
            asked.extend(client.join().map_err(|_| "a client panicked")??);
        }
        asked.sort_unstable_by_key(|asked: &Asked| asked.due);
        Ok(asked)
    })
}

impl Schedule {
    fn work(&self, port: u16, route: &str) -> io::Result<Vec<Asked>> {
        let mut client = Client::connect(port)?;
        let mut asked = Vec::new();
        loop {
            // Relaxed: every number is given out once, and that is all.
            let number = self.next.fetch_add(1, Relaxed);
            if number >= self.requests {
                return Ok(asked);
            }
            let due = Duration::from_secs(number as u64) / self.rate;
            sleep((self.begin + due).saturating_duration_since(Instant::now()));
            let sent = Instant::now();
            let status = client.ask(&format!("{route}/{number}")).and_then(|()| client.await_status());
            asked.push(Asked {
                due,
                late: sent.saturating_duration_since(self.begin + due),
                took: sent.elapsed(),
                good: matches!(status, Ok(200)),
            });
            if status.is_err() {
                client = Client::connect(port)?;
            }
        }
    }
}
