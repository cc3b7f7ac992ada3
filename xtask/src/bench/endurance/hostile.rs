//! Clients that are slow on purpose, thousands of them, driven by one thread.
//!
//! Each has a turn once a second, spread evenly over it, in which it says or reads one byte, and
//! looks whether the gateway has ended it. One that was ended comes back at once, until the crowd is
//! told to come back no more.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::client::request;
use super::service::LARGE;

/// Between two turns of one client.
const PERIOD: Duration = Duration::from_secs(1);

/// How often the thread wakes within a period.
const TICKS: u32 = 1000;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Connects and says nothing.
    Silent,
    /// Asks once and keeps the connection.
    Idle,
    /// Says one byte of a head at a time.
    Head,
    /// Says one byte of an announced body at a time.
    Body,
    /// Says one chunk of one byte at a time.
    Chunks,
    /// Reads one byte of a large answer at a time.
    Reader,
    /// Says one byte of a TLS handshake at a time.
    Handshake,
}

pub(super) const KINDS: [Kind; 7] =
    [Kind::Silent, Kind::Idle, Kind::Head, Kind::Body, Kind::Chunks, Kind::Reader, Kind::Handshake];

/// How connections of one kind have ended.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ended {
    pub(super) count: u64,
    pub(super) longest: Duration,
}

/// Where the crowd connects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) http: u16,
    pub(super) https: u16,
}

/// Hostile clients at work.
pub(super) struct Crowd {
    thread: JoinHandle<io::Result<BTreeMap<Kind, Ended>>>,
    returning: Arc<AtomicBool>,
}

impl Crowd {
    /// Sends so many clients, of all kinds in turn.
    pub(super) fn send(target: Target, size: usize) -> Self {
        let returning = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&returning);
        let thread = std::thread::spawn(move || drive(target, size, &flag));
        Self { thread, returning }
    }

    /// Lets nobody come back, and waits until the gateway has ended all.
    pub(super) fn wait_for_end(self) -> io::Result<BTreeMap<Kind, Ended>> {
        // Relaxed: nothing else is said by it.
        self.returning.store(false, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the crowd panicked"))?
    }
}

/// One client.
struct Hostile {
    kind: Kind,
    stream: TcpStream,
    since: Instant,
}

fn drive(target: Target, size: usize, returning: &AtomicBool) -> io::Result<BTreeMap<Kind, Ended>> {
    give_way()?;
    let connect = |place: usize| Hostile::connect(KINDS[place % KINDS.len()], target);
    let mut crowd = (0..size).map(|place| connect(place).map(Some)).collect::<io::Result<Vec<_>>>()?;
    let mut ended = BTreeMap::<Kind, Ended>::new();
    let mut next = Instant::now();
    let mut last_change = Instant::now();
    while crowd.iter().any(Option::is_some) {
        if last_change.elapsed() > PATIENCE {
            let left: Vec<Kind> = crowd.iter().flatten().map(|client| client.kind).collect();
            return Err(io::Error::other(format!("the gateway does not end {left:?}")));
        }
        for (place, slot) in crowd.iter_mut().enumerate() {
            if place % size.div_ceil(TICKS as usize) == 0 {
                next += PERIOD / TICKS;
                sleep(next.saturating_duration_since(Instant::now()));
            }
            let Some(client) = slot else { continue };
            if client.turn().is_ok() {
                continue;
            }
            last_change = Instant::now();
            let account = ended.entry(client.kind).or_default();
            account.count += 1;
            account.longest = account.longest.max(client.since.elapsed());
            *slot = if returning.load(Ordering::Relaxed) { Some(connect(place)?) } else { None };
        }
    }
    Ok(ended)
}

/// Lets honest clients go before this thread where both run on one core: what is measured is how they share the
/// gateway, not how they share the machine.
fn give_way() -> io::Result<()> {
    let thread = std::fs::read_link("/proc/thread-self")?;
    let number = thread.file_name().ok_or(ErrorKind::NotFound)?;
    let status = Command::new("renice").args(["-n", "19", "-p"]).arg(number).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("renice failed")) }
}

impl Hostile {
    fn connect(kind: Kind, Target { http, https }: Target) -> io::Result<Self> {
        let port = if kind == Kind::Handshake { https } else { http };
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(&kind.opening())?;
        stream.set_nonblocking(true)?;
        Ok(Self { kind, stream, since: Instant::now() })
    }

    /// Says or reads a byte; an error when the gateway has ended the connection.
    fn turn(&mut self) -> io::Result<()> {
        let mut room = [0; 2048];
        let room = if self.kind == Kind::Reader { &mut room[..1] } else { &mut room[..] };
        // What is unread hides a reset from who reads.
        self.stream.take_error()?.map_or(Ok(()), Err)?;
        match self.stream.read(room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        self.stream.write_all(self.kind.drop_of_it())
    }
}

impl Kind {
    /// What is said at once.
    fn opening(self) -> Vec<u8> {
        let post = "POST / HTTP/1.1\r\nHost: bench.example.test\r\n";
        match self {
            Self::Silent => Vec::new(),
            Self::Idle => request("/").into_bytes(),
            Self::Head => b"GET / HTTP/1.1\r\nHost: bench.example.test\r\nX-Slow: ".to_vec(),
            Self::Body => format!("{post}Content-Length: 1000000\r\n\r\n").into_bytes(),
            Self::Chunks => format!("{post}Transfer-Encoding: chunked\r\n\r\n").into_bytes(),
            Self::Reader => request(LARGE).into_bytes(),
            // A record of 512 bytes with the beginning of a ClientHello (RFC 8446 §4.1.2).
            Self::Handshake => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        }
    }

    /// What is said at each turn.
    fn drop_of_it(self) -> &'static [u8] {
        match self {
            Self::Silent | Self::Idle | Self::Reader => b"",
            Self::Head | Self::Body => b"x",
            Self::Chunks => b"1\r\nx\r\n",
            Self::Handshake => b"\0",
        }
    }
}
