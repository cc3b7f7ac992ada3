//! One connection of the recording upstream: read a head, ask the script, take the steps.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::{Seen, Shared, Step};
use crate::client::reset;
use crate::http1::{BodyReader, Broken, Fields, Framing, Head, Source, announced, find};
use crate::{latin1, shown};

/// A socket whose every received byte goes into the record first.
struct Recording {
    socket: TcpStream,
    number: usize,
    shared: Arc<Shared>,
}

impl Read for Recording {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let result = self.socket.read(buffer);
        self.shared.change(|record| {
            let stream = &mut record.streams[self.number];
            match result {
                Ok(count) if count > 0 => stream.bytes.extend_from_slice(&buffer[..count]),
                _ => stream.ended = true,
            }
        });
        result
    }
}

/// Whether the connection goes on.
#[derive(PartialEq)]
enum Next {
    Open,
    Ended,
}

/// Serves a connection until either side ends it.
pub(super) fn serve(socket: TcpStream, number: usize, shared: &Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    let mut source = Source::new(Recording { socket, number, shared: Arc::clone(shared) });
    for index in 0.. {
        match source.read_head() {
            Ok(head) => {
                if serve_request(&mut source, &head, index) == Next::Ended {
                    break;
                }
            }
            Err(Broken::Malformed(reason)) => {
                refuse(&mut source, &reason);
                break;
            }
            Err(Broken::Closed(..)) => break,
        }
    }
    shared.change(|record| {
        record.streams[number].ended = true;
        record.sockets.remove(&number);
    });
}

/// Tells the test, by way of the gateway's answer, that the gateway forwarded something malformed.
fn refuse(source: &mut Source<Recording>, reason: &str) {
    let answer = super::response("400 Malformed", &[("X-Recorder", "malformed"), ("Connection", "close")], reason);
    let _ = source.stream().socket.write_all(&answer);
    let _ = source.stream().socket.shutdown(Shutdown::Write);
    source.read_to_end();
}

fn serve_request(source: &mut Source<Recording>, head: &Head, index: usize) -> Next {
    let shared = Arc::clone(&source.stream().shared);
    let number = source.stream().number;
    let framing = match (request_line(&head.start), announced(&head.fields)) {
        (Some(_), Ok(framing)) => framing.unwrap_or(Framing::Length(0)),
        (line, framing) => {
            refuse(source, &format!("{:?}: {line:?}, {framing:?}", head.start));
            return Next::Ended;
        }
    };
    let seen = seen(head, number, index);
    let at = shared.change(|record| {
        record.requests.push(seen.clone());
        record.requests.len() - 1
    });
    let mut turn = Turn { source, body: BodyReader::new(framing), shared: &shared, at };
    if turn.body.is_done() {
        turn.note(&[]);
    }
    for step in shared.steps_for(&seen) {
        if turn.take(step) == Next::Ended {
            return Next::Ended;
        }
    }
    turn.read_content(usize::MAX)
}

fn request_line(start: &str) -> Option<[&str; 3]> {
    let parts: Vec<&str> = start.split(' ').collect();
    parts.try_into().ok()
}

fn seen(head: &Head, connection: usize, index: usize) -> Seen {
    let [method, target, version] = request_line(&head.start).unwrap_or_default();
    Seen {
        connection,
        index,
        method: method.to_owned(),
        target: target.to_owned(),
        version: version.to_owned(),
        fields: head.fields.clone(),
        raw_head: head.raw.clone(),
        body: Vec::new(),
        trailers: Fields::default(),
        complete: false,
    }
}

/// One request being served.
struct Turn<'a> {
    source: &'a mut Source<Recording>,
    body: BodyReader,
    shared: &'a Arc<Shared>,
    at: usize,
}

impl Turn<'_> {
    fn take(&mut self, step: Step) -> Next {
        match step {
            Step::AwaitRequest => return self.read_content(usize::MAX),
            Step::AwaitContent(count) => return self.read_content(count),
            Step::AwaitBytes(bytes) => return self.await_bytes(&bytes),
            Step::AwaitGate(gate) => return if gate.wait() { Next::Open } else { self.reset() },
            Step::OpenGate(gate) => {
                gate.open();
                return Next::Open;
            }
            Step::Send(bytes) => return self.send(&bytes),
            Step::Repeat(bytes, times) => return self.repeat(&bytes, times),
            Step::Drip(bytes, pause) => return self.drip(&bytes, pause),
            Step::Answer => return self.answer(),
            Step::HalfClose => {
                let _ = self.socket().shutdown(Shutdown::Write);
                return Next::Open;
            }
            Step::AwaitClose => {
                self.source.read_to_end();
            }
            Step::Echo => self.echo(),
            Step::Close => {}
            Step::Reset => return self.reset(),
        }
        Next::Ended
    }

    fn socket(&mut self) -> &mut TcpStream {
        &mut self.source.stream().socket
    }

    fn await_bytes(&mut self, bytes: &[u8]) -> Next {
        while find(self.source.ahead(), bytes).is_none() {
            if !self.source.fill() {
                return Next::Ended;
            }
        }
        let _ = self.source.take(self.source.ahead().len());
        Next::Open
    }

    fn send(&mut self, bytes: &[u8]) -> Next {
        if self.socket().write_all(bytes).is_ok() { Next::Open } else { Next::Ended }
    }

    fn repeat(&mut self, bytes: &[u8], times: usize) -> Next {
        for _ in 0..times {
            if self.send(bytes) == Next::Ended {
                return Next::Ended;
            }
        }
        Next::Open
    }

    /// The pause is what the peer does, not what the test waits for.
    fn drip(&mut self, bytes: &[u8], pause: Duration) -> Next {
        for byte in bytes {
            std::thread::sleep(pause);
            if self.send(&[*byte]) == Next::Ended {
                return Next::Ended;
            }
        }
        Next::Open
    }

    fn reset(&mut self) -> Next {
        reset(self.socket());
        // The handle kept for the recorder's own end would keep the socket open.
        let number = self.source.stream().number;
        self.shared.change(|record| record.sockets.remove(&number));
        Next::Ended
    }

    fn echo(&mut self) {
        loop {
            let ahead = self.source.take(self.source.ahead().len()).unwrap_or_default();
            if self.send(&ahead) == Next::Ended || !self.source.fill() {
                return;
            }
        }
    }

    /// Reads until `count` bytes of content are there, or all.
    fn read_content(&mut self, count: usize) -> Next {
        while self.shared.lock().requests[self.at].body.len() < count && !self.body.is_done() {
            match self.body.next(self.source) {
                Ok(piece) => self.note(&piece.unwrap_or_default()),
                Err(Broken::Malformed(reason)) => {
                    refuse(self.source, &reason);
                    return Next::Ended;
                }
                Err(Broken::Closed(..)) => return Next::Ended,
            }
        }
        Next::Open
    }

    fn note(&self, piece: &[u8]) {
        self.shared.change(|record| {
            let seen = &mut record.requests[self.at];
            seen.body.extend_from_slice(piece);
            seen.complete = self.body.is_done();
            seen.trailers = self.body.trailers().clone();
        });
    }

    fn answer(&mut self) -> Next {
        let seen = self.shared.lock().requests[self.at].clone();
        let description = serde_json::json!({
            "connection": seen.connection,
            "index": seen.index,
            "method": seen.method,
            "target": seen.target,
            "head": latin1(&seen.raw_head),
            "body_length": seen.body.len(),
            "body": shown(&seen.body),
        });
        let mut bytes = super::response("200 OK", &[("Content-Type", "application/json")], description.to_string());
        if seen.method == "HEAD" {
            bytes.truncate(find(&bytes, b"\r\n\r\n").map_or(bytes.len(), |end| end + 4));
        }
        self.send(&bytes)
    }
}
