//! What a scripted upstream can do, and the usual messages it says.

use std::time::Duration;

use crate::gate::Gate;

/// One step of a script. When the steps of a request are done and the connection is still open,
/// the rest of the request is read and the next one awaited.
#[derive(Clone, Debug)]
pub enum Step {
    /// Waits until the whole request is there.
    AwaitRequest,
    /// Waits until this much of the content is there, or all of it.
    AwaitContent(usize),
    /// Waits until these bytes have come somewhere after the head: for what is no HTTP/1 any more. What
    /// was received up to then is used up.
    AwaitBytes(Vec<u8>),
    /// Waits until the test opens the gate.
    AwaitGate(Gate),
    /// Opens a gate, to tell the test that the steps before this one are done.
    OpenGate(Gate),
    /// Waits, reading and recording, until the gateway ends the connection.
    AwaitClose,
    /// Says these bytes.
    Send(Vec<u8>),
    /// Says these bytes again and again, as often as stated or until the gateway stops reading.
    Repeat(Vec<u8>, usize),
    /// Says these bytes one by one, with this pause before each: a slow peer.
    Drip(Vec<u8>, Duration),
    /// Answers 200 with a JSON object that describes the request: `connection`, `index`, `method`,
    /// `target`, `head` (every byte, one character each), `body_length`, `body`.
    Answer,
    /// From here on, says back every byte that arrives: a tunnel.
    Echo,
    /// Says that nothing more will be sent.
    HalfClose,
    /// Ends the connection with FIN.
    Close,
    /// Breaks the connection with RST.
    Reset,
}

/// A response with a Content-Length.
pub fn response(status_line: &str, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = body.as_ref().len().to_string();
    let mut bytes = head(status_line, fields, ("Content-Length", &length));
    bytes.extend_from_slice(body.as_ref());
    bytes
}

/// A chunked response, one chunk per piece, with trailers.
pub fn chunked(status_line: &str, fields: &[(&str, &str)], pieces: &[&[u8]], trailers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = head(status_line, fields, ("Transfer-Encoding", "chunked"));
    for piece in pieces {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn head(status_line: &str, fields: &[(&str, &str)], framing: (&str, &str)) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status_line}\r\n");
    for (name, value) in fields.iter().chain([&framing]) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}
