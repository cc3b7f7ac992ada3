//! An honest client: everyday requests on a connection that is kept.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::super::scenario::FIELDS;

/// How long an answer may take before it counts as lost.
const LOST: Duration = Duration::from_secs(10);

/// One connection.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(super) fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOST))?;
        // A head fits, and ten thousand of these are not much.
        Ok(Self { stream: BufReader::with_capacity(1024, stream) })
    }

    /// Asks for `path`.
    pub(super) fn ask(&mut self, path: &str) -> io::Result<()> {
        self.say(&request(path))
    }

    /// Sends a request as it is.
    pub(super) fn say(&mut self, request: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// Reads the answer, which must be a success.
    pub(super) fn await_answer(&mut self) -> io::Result<()> {
        match self.await_status()? {
            200 => Ok(()),
            status => Err(io::Error::other(format!("answered {status}"))),
        }
    }

    /// Reads an answer, which must have a stated length, and returns its status.
    pub(super) fn await_status(&mut self) -> io::Result<u16> {
        let mut length = None;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("answered {:?}", line.trim_end())))?;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok(),
                Some(_) => {}
                None => break,
            }
        }
        let length: u64 = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
        let read = io::copy(&mut (&mut self.stream).take(length), &mut io::sink())?;
        if read == length { Ok(status) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    pub(super) fn exchange(&mut self, path: &str) -> io::Result<()> {
        self.ask(path)?;
        self.await_answer()
    }
}

/// A request with the fields of every day.
pub(super) fn request(path: &str) -> String {
    let fields: String = FIELDS.iter().flat_map(|field| [*field, "\r\n"]).collect();
    format!("GET {path} HTTP/1.1\r\nHost: bench.example.test\r\n{fields}\r\n")
}
