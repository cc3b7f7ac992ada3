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

/// How an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// Nobody listens.
    Dead,
    /// Takes requests and says nothing.
    Slow,
    /// Well and not, in turn.
    Flapping,
    /// Answers 503 to three of ten requests.
    Busy,
    /// Breaks the connection instead of answering.
    Resetting,
}

/// What came to all endpoints of a turn. Requests have numbers.
pub(super) struct Account {
    came: Vec<AtomicBool>,
    repeated: AtomicU64,
    /// Whether no endpoint is well.
    pub(super) outage: AtomicBool,
}

// Everything here is relaxed: each value is all there is to see.
impl Account {
    pub(super) fn new(requests: usize) -> Arc<Self> {
        let came = (0..requests).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Self { came, repeated: AtomicU64::new(0), outage: AtomicBool::new(false) })
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
    if mood == Mood::Dead {
        return Ok(port);
    }
    let (account, begun) = (Arc::clone(account), Instant::now());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
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
        if mood == Mood::Resetting {
            return reset(stream.get_ref(), account);
        }
        let Some(line) = read_head(&mut stream)? else { return Ok(()) };
        account.note(&line);
        asked += 1;
        if mood == Mood::Slow {
            return stream.read_to_end(&mut Vec::new()).map(drop);
        }
        let bad = account.outage.load(Relaxed)
            || mood == Mood::Flapping && begun.elapsed().as_millis() / FLAP % 2 == 1
            || mood == Mood::Busy && chance(stream.get_ref(), asked)? < 3;
        stream.get_mut().write_all(if bad { BAD } else { &answer })?;
    }
}

/// Closes with something unread, which the kernel answers with a RST (RFC 2525 §2.17).
fn reset(stream: &TcpStream, account: &Account) -> io::Result<()> {
    let mut room = [0; 256];
    let length = stream.peek(&mut room)?;
    account.note(&String::from_utf8_lossy(&room[..length]));
    Ok(())
}

/// A request without a body: its first line, or nothing at the end of the connection.
fn read_head(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first)?;
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(first))
}

/// A number from 0 to 9, as if by chance: the finaliser of SplitMix64 over the connection and its request.
fn chance(stream: &TcpStream, asked: u64) -> io::Result<u64> {
    let mut mixed = (u64::from(stream.peer_addr()?.port()) << 32 | asked).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    Ok((mixed ^ (mixed >> 31)) % 10)
}
