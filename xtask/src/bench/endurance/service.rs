//! The service behind the gateway: answers every GET, and no POST before its whole body is there.
//!
//! It must not answer early, as nginx does on a body it has no use for: the connections of clients
//! whose body never ends would end by that answer, not by the gateway's patience.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::Builder;

use super::super::scenario::SMALL;
use crate::Outcome;

/// The path of an answer that does not fit into the socket buffers on its way.
pub(super) const LARGE: &str = "/large";

/// Its length. A sender's and a receiver's buffer hold up to 4 MiB together by themselves where the
/// system is left as it comes; what fits into them ends the exchange for the gateway, however slowly
/// it is read from there.
const LARGE_BYTES: usize = 8 << 20;

/// Enough for a thread that reads lines and writes what is there already.
const STACK: usize = 64 * 1024;

/// The service; its threads end with the process or with their connections.
pub(super) struct Service;

/// The answers, made once.
struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
}

impl Service {
    /// Listens on the given ports.
    pub(super) fn start(ports: [u16; 2]) -> Outcome<Self> {
        let answers = Arc::new(Answers { small: answer(usize::try_from(SMALL)?), large: answer(LARGE_BYTES) });
        for port in ports {
            let listener = TcpListener::bind(("127.0.0.1", port))?;
            let answers = Arc::clone(&answers);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let answers = Arc::clone(&answers);
                    // A connection that goes wrong concerns nobody but the gateway, which will say so.
                    _ = Builder::new().stack_size(STACK).spawn(move || serve(stream, &answers));
                }
            });
        }
        Ok(Self)
    }
}

fn answer(length: usize) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + length, b't');
    bytes
}

fn serve(stream: TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(2048, stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let large = line.split(' ').nth(1) == Some(LARGE);
        let is_post = line.starts_with("POST ");
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line)?;
        }
        if is_post {
            // All posts here are of clients that never end them.
            return io::copy(&mut stream, &mut io::sink()).map(drop);
        }
        stream.get_mut().write_all(if large { &answers.large } else { &answers.small })?;
    }
}
