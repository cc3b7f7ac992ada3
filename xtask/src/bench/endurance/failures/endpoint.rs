//! Endpoints that fail in one way or another, and the account of what came to them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::super::super::scenario::SMALL;
use crate::Outcome;

/// How long a flapping endpoint is of one mind.
const FLAP: u128 = Duration::from_secs(1).as_millis();

/// Enough for a thread that reads lines and writes what is there already.
const STACK: usize = 64 * 1024;

const BAD: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// How an endpoint is, once it is sick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// Listens no more, and ends the connections that it has.
    Dead,
    /// Takes requests and says nothing.
    Slow,
    /// Well and not, in turn.
    Flapping,
    /// Answers 503 to three of ten requests.
    Busy,
    /// Answers 503.
    Failing,
    /// Breaks the connection instead of answering.
    Resetting,
}

/// What came to all endpoints of a turn. Requests have numbers.
pub(super) struct Account {
    came: Vec<AtomicBool>,
    repeated: AtomicU64,
    /// Whether endpoints are sick that can be.
    pub(super) sick: AtomicBool,
}

// Everything here is relaxed: each value is all there is to see.
impl Account {
    pub(super) fn new(requests: usize) -> Arc<Self> {
        let came = (0..requests).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Self { came, repeated: AtomicU64::new(0), sick: AtomicBool::new(false) })
    }

    /// A request line that ends its path with a number. One that has come before was sent again.
    fn note(&self, line: &str) {
        let path = line.split(' ').nth(1).unwrap_or_default();
        let number = path.rsplit('/').next().and_then(|word| word.parse::<usize>().ok());
        let before = number.and_then(|number| self.came.get(number)).map(|came| came.swap(true, Relaxed));
        self.repeated.fetch_add(u64::from(before == Some(true)), Relaxed);
    }

    /// Attempts beyond the first of each request.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated.load(Relaxed)
    }
}

/// Starts an endpoint and returns its port. Its threads end with the process or with their connections.
pub(super) fn start(mood: Mood, account: &Arc<Account>) -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (account, begun) = (Arc::clone(account), Instant::now());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if mood == Mood::Dead && account.sick.load(Relaxed) {
                return;
            }
            let account = Arc::clone(&account);
            _ = Builder::new().stack_size(STACK).spawn(move || serve(stream, mood, begun, &account));
        }
    });
    Ok(port)
}

fn serve(stream: TcpStream, mood: Mood, begun: Instant, account: &Account) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {SMALL}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + usize::try_from(SMALL).unwrap_or(0), b't');
    let mut stream = BufReader::with_capacity(2048, stream);
    let mut asked = 0;
    loop {
        let line = peek(stream.get_ref())?;
        let mood = if account.sick.load(Relaxed) { mood } else { Mood::Well };
        if matches!(mood, Mood::Dead | Mood::Resetting) {
            // What is closed with something unread is reset by the kernel (RFC 2525 §2.17).
            account.note(&line);
            return Ok(());
        }
        if !read_head(&mut stream)? {
            return Ok(());
        }
        account.note(&line);
        asked += 1;
        let bad = match mood {
            Mood::Slow => return stream.read_to_end(&mut Vec::new()).map(drop),
            Mood::Flapping => begun.elapsed().as_millis() / FLAP % 2 == 1,
            Mood::Busy => chance(stream.get_ref(), asked)? < 3,
            mood => mood == Mood::Failing,
        };
        stream.get_mut().write_all(if bad { BAD } else { &answer })?;
    }
}

/// The beginning of what comes next, which stays unread. The gateway writes a small head at once.
fn peek(stream: &TcpStream) -> io::Result<String> {
    let mut room = [0; 256];
    let length = stream.peek(&mut room)?;
    Ok(String::from_utf8_lossy(&room[..length]).into_owned())
}

/// Reads a request without a body; false at the end of the connection.
fn read_head(stream: &mut impl BufRead) -> io::Result<bool> {
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A number from 0 to 9, as if by chance: the finaliser of SplitMix64 over the connection and its request.
fn chance(stream: &TcpStream, asked: u64) -> io::Result<u64> {
    let mut mixed = (u64::from(stream.peer_addr()?.port()) << 32 | asked).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    Ok((mixed ^ (mixed >> 31)) % 10)
}
