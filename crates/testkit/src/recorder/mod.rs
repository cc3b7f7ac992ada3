//! An upstream that records every byte it receives and answers by a script.
//!
//! One thread per connection, blocking reads. What the script does is decided per request, when the
//! head of the request is complete, so one recorder serves the many cases of a test: cases tell
//! themselves apart by their target. Whatever the script, the bytes are recorded before they are
//! looked at, and [`Recorder::raw`] gives them to the judges.

mod connection;
mod script;

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;

pub use script::{Step, chunked, response};

use crate::http1::Fields;
use crate::judge::{self, Disagreement};
use crate::watched::Watched;
use crate::{latin1, shown};

/// A request as it arrives; the record of it grows while the body does.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which connection it came on, counted from zero in order of acceptance.
    pub connection: usize,
    /// Which request of that connection it is, counted from zero.
    pub index: usize,
    /// The method as sent.
    pub method: String,
    /// The target as sent.
    pub target: String,
    /// The version as sent.
    pub version: String,
    /// The header fields.
    pub fields: Fields,
    /// Every byte of the head.
    pub raw_head: Vec<u8>,
    /// The content that has arrived, decoded from its framing.
    pub body: Vec<u8>,
    /// The trailer fields.
    pub trailers: Fields,
    /// Whether the end of the body has arrived.
    pub complete: bool,
}

/// What a connection has carried towards the upstream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Every byte received.
    pub bytes: Vec<u8>,
    /// Whether the gateway has ended its side.
    pub ended: bool,
}

/// Decides the steps for a request when its head is complete.
pub type Script = dyn Fn(&Seen) -> Vec<Step> + Send + Sync;

/// The recording upstream; it ends its connections when dropped.
pub struct Recorder {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Recorder").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

pub(crate) struct Shared {
    address: SocketAddr,
    record: Watched<Record>,
    script: Box<Script>,
    stopping: AtomicBool,
}

/// Everything that was seen so far.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) streams: Vec<Stream>,
    pub(crate) requests: Vec<Seen>,
    pub(crate) by_target: HashMap<String, Vec<Step>>,
    pub(crate) sockets: HashMap<usize, TcpStream>,
}

/// A point in the record, to look only at what came after it.
#[derive(Clone, Debug)]
pub struct Mark {
    bytes: Vec<usize>,
    requests: usize,
}

impl Recorder {
    /// An upstream that answers every request with its echo: see [`Step::Answer`].
    pub fn start() -> Self {
        Self::with(|_| vec![Step::AwaitRequest, Step::Answer])
    }

    /// An upstream that follows `script`, unless [`Self::on`] has something for the target.
    ///
    /// # Panics
    /// When the system has no port or thread left.
    pub fn with(script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let shared = Arc::new(Shared {
            address: listener.local_addr().expect("a bound socket has an address"),
            record: Watched::default(),
            script: Box::new(script),
            stopping: AtomicBool::new(false),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// From now on, requests for exactly this target get these steps.
    pub fn on(&self, target: &str, steps: Vec<Step>) {
        self.shared.lock().by_target.insert(target.to_owned(), steps);
    }

    /// The requests seen so far, in the order in which their heads became complete.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.lock().requests.clone()
    }

    /// The requests seen so far for one target.
    pub fn requests_for(&self, target: &str) -> Vec<Seen> {
        self.shared.lock().requests.iter().filter(|seen| seen.target == target).cloned().collect()
    }

    /// Every byte received so far, by connection.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        self.shared.lock().streams.iter().map(|stream| stream.bytes.clone()).collect()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().streams.len()
    }

    /// How many connections are open on the gateway's side.
    pub fn open_connections(&self) -> usize {
        self.shared.lock().streams.iter().filter(|stream| !stream.ended).count()
    }

    /// The present end of the record.
    pub fn mark(&self) -> Mark {
        let record = self.shared.lock();
        Mark {
            bytes: record.streams.iter().map(|stream| stream.bytes.len()).collect(),
            requests: record.requests.len(),
        }
    }

    /// The bytes that came after `mark`, by connection, without the connections that had none.
    pub fn raw_since(&self, mark: &Mark) -> Vec<Vec<u8>> {
        let record = self.shared.lock();
        let news = record.streams.iter().enumerate().map(|(at, stream)| {
            let from = mark.bytes.get(at).copied().unwrap_or(0);
            stream.bytes[from..].to_vec()
        });
        news.filter(|bytes| !bytes.is_empty()).collect()
    }

    /// The requests whose heads came after `mark`.
    pub fn requests_since(&self, mark: &Mark) -> Vec<Seen> {
        self.shared.lock().requests[mark.requests..].to_vec()
    }

    /// Reads every connection's bytes with every model of a back end.
    ///
    /// # Errors
    /// When two models disagree about what was received.
    pub fn judged(&self) -> Result<Vec<judge::Request>, Box<Disagreement>> {
        let mut requests = Vec::new();
        for bytes in self.raw() {
            requests.extend(judge::agree(&bytes)?);
        }
        Ok(requests)
    }

    /// Waits until `look` finds something in the requests seen so far.
    ///
    /// # Panics
    /// When it does not within [`crate::PATIENCE`]; the message has `what` and everything seen.
    pub fn wait_for<T>(&self, what: &str, look: impl Fn(&[Seen]) -> Option<T>) -> T {
        self.wait_in_record(what, |record| look(&record.requests))
    }

    /// Waits until `count` requests have arrived whole, and returns all that were seen.
    pub fn wait_for_requests(&self, count: usize) -> Vec<Seen> {
        self.wait_for(&format!("{count} whole requests"), |requests| {
            let whole = requests.iter().filter(|seen| seen.complete).count();
            (whole >= count).then(|| requests.to_vec())
        })
    }

    /// Waits until the head of a request for `target` has arrived.
    pub fn wait_for_target(&self, target: &str) -> Seen {
        self.wait_for(&format!("a request for {target}"), |requests| {
            requests.iter().find(|seen| seen.target == target).cloned()
        })
    }

    /// Waits until at least `count` bytes of the content of a request for `target` have arrived.
    pub fn wait_for_content(&self, target: &str, count: usize) -> Seen {
        self.wait_for(&format!("{count} bytes of content for {target}"), |requests| {
            requests.iter().find(|seen| seen.target == target && seen.body.len() >= count).cloned()
        })
    }

    /// Waits until the gateway has ended every connection.
    pub fn wait_until_all_ended(&self) {
        self.wait_in_record("the end of every upstream connection", |record| {
            record.streams.iter().all(|stream| stream.ended).then_some(())
        });
    }

    /// Waits until the gateway has ended this connection.
    pub fn wait_until_ended(&self, connection: usize) {
        self.wait_in_record(&format!("the end of upstream connection {connection}"), |record| {
            record.streams.get(connection).filter(|stream| stream.ended).map(|_| ())
        });
    }

    fn wait_in_record<T>(&self, what: &str, look: impl Fn(&Record) -> Option<T>) -> T {
        let found = self.shared.record.wait(look);
        found.unwrap_or_else(|| panic!("waited in vain for {what}; seen: {}", describe(&self.shared.lock())))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The acceptor is woken by a connection of our own; connection threads by the shutdown.
        let _ = TcpStream::connect(self.shared.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for socket in self.shared.lock().sockets.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock()
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        self.record.change(change)
    }

    pub(crate) fn steps_for(&self, seen: &Seen) -> Vec<Step> {
        let own = self.lock().by_target.get(&seen.target).cloned();
        own.unwrap_or_else(|| (self.script)(seen))
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for socket in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(socket) = socket else { continue };
        let number = shared.change(|record| {
            record.streams.push(Stream::default());
            let number = record.streams.len() - 1;
            if let Ok(handle) = socket.try_clone() {
                record.sockets.insert(number, handle);
            }
            number
        });
        let shared = Arc::clone(shared);
        std::thread::spawn(move || connection::serve(socket, number, &shared));
    }
}

fn describe(record: &Record) -> String {
    let streams = record.streams.iter().enumerate().map(|(number, stream)| {
        let end = if stream.ended { "ended" } else { "open" };
        format!("\n  connection {number} ({end}): {}", shown(&stream.bytes))
    });
    streams.collect()
}

impl Seen {
    /// The body as text, one character per byte.
    pub fn text(&self) -> String {
        latin1(&self.body)
    }
}

#[cfg(test)]
mod tests;
