//! A small strict reader of HTTP/1 messages, for the client's and the upstream's side of a test.
//!
//! It exists so that the tests do not trust the gateway's parser. It accepts only what RFC 9112
//! allows a sender to generate, and it knows a message that was cut from one that is complete.

use std::io::{ErrorKind, Read};

use crate::{PATIENCE, latin1, shown};

/// Header or trailer fields in received order and spelling; each byte of a value is one character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Collects fields from pairs of name and value.
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The first value under a name, whatever its case.
    pub fn first(&self, name: &str) -> Option<&str> {
        let mut pairs = self.iter();
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every value under a name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a name occurs.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// The pairs as they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The start line and the fields of a message.
#[derive(Clone, Debug)]
pub struct Head {
    /// The request line or status line, without its CRLF.
    pub start: String,
    /// The header fields.
    pub fields: Fields,
    /// Every byte of the head, the empty line included.
    pub raw: Vec<u8>,
}

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// FIN, and over TLS a close_notify before it.
    Clean,
    /// Over TLS: FIN without close_notify, which an attacker could have made.
    Truncated,
    /// RST.
    Reset,
}

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The stream ended; the bytes of the unfinished message came before.
    Closed(Closed, Vec<u8>),
    /// The bytes are no valid message.
    Malformed(String),
}

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By `Content-Length`; zero when there is no body.
    Length(u64),
    /// By `Transfer-Encoding: chunked`.
    Chunked,
    /// By the end of the connection; responses only.
    UntilClose,
}

/// Whether all of a message arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The framing says that nothing is missing.
    Complete,
    /// The stream ended or broke before the end that the framing promised.
    Cut(Broken),
}

/// A stream with the bytes read ahead of what was asked for.
#[derive(Debug)]
pub struct Source<S> {
    stream: S,
    buffer: Vec<u8>,
    /// How much at the front of the buffer is used up.
    used: usize,
    closed: Option<Closed>,
}

impl<S: Read> Source<S> {
    /// Wraps a stream that has not been read yet.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), used: 0, closed: None }
    }

    /// The stream itself, for writing and for its options.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream itself, shared.
    pub fn stream_ref(&self) -> &S {
        &self.stream
    }

    /// What has been read and not been used yet.
    pub fn ahead(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Uses up the first `count` bytes of what has been read.
    fn consume(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.ahead()[..count].to_vec();
        self.used += count;
        // Moving the rest to the front only when it is the smaller part keeps this linear.
        if self.used > self.buffer.len() / 2 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        bytes
    }

    fn consume_all(&mut self) -> Vec<u8> {
        self.consume(self.ahead().len())
    }

    /// Keeps what `read` gets out of the stream right now, until it fails or there is no more.
    pub fn keep_available(&mut self) {
        let mut piece = [0; 16 * 1024];
        while let Ok(count @ 1..) = self.stream.read(&mut piece) {
            self.buffer.extend_from_slice(&piece[..count]);
        }
    }

    /// Reads more; `false` once the stream has ended.
    ///
    /// # Panics
    /// When the stream has a read timeout and it passes: the peer hangs.
    pub fn fill(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        while self.closed.is_none() {
            match self.stream.read(&mut piece) {
                Ok(0) => self.closed = Some(Closed::Clean),
                Ok(count) => {
                    self.buffer.extend_from_slice(&piece[..count]);
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.closed = Some(self.verdict(&error)),
            }
        }
        false
    }

    fn verdict(&self, error: &std::io::Error) -> Closed {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                panic!("the peer hangs: nothing for {PATIENCE:?}; unread so far: {}", shown(self.ahead()))
            }
            ErrorKind::UnexpectedEof => Closed::Truncated,
            _ => Closed::Reset,
        }
    }

    /// Reads up to the end of the stream and returns what was left, with the way it ended.
    pub fn read_to_end(&mut self) -> (Vec<u8>, Closed) {
        while self.fill() {}
        (self.consume_all(), self.closed.unwrap_or(Closed::Clean))
    }

    /// Takes exactly `count` bytes.
    ///
    /// # Errors
    /// [`Broken::Closed`] with the shorter rest when the stream ends first.
    pub fn take(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        while self.ahead().len() < count {
            self.more()?;
        }
        Ok(self.consume(count))
    }

    /// Reads one message head up to and including its empty line.
    ///
    /// # Errors
    /// When the stream ends first, or the head is not what a sender may generate.
    pub fn read_head(&mut self) -> Result<Head, Broken> {
        let mut searched = 0;
        let end = loop {
            if let Some(at) = find(&self.ahead()[searched..], b"\r\n\r\n") {
                break searched + at + 4;
            }
            searched = self.ahead().len().saturating_sub(3);
            self.more()?;
        };
        let raw = self.consume(end);
        parse_head(raw).map_err(Broken::Malformed)
    }

    /// Reads the final response to a request of `method`, whole or up to its cut.
    ///
    /// # Errors
    /// When the stream ends before the head is complete, or the head is not valid.
    pub fn read_response(&mut self, method: &str) -> Result<Response, Broken> {
        let mut response = self.begin_response(method)?;
        let mut reader = BodyReader::new(response.framing);
        response.end = reader.drain(self, &mut response.body);
        response.trailers = reader.trailers().clone();
        Ok(response)
    }

    /// Reads the head of the final response, and the interim ones before it.
    ///
    /// # Errors
    /// As [`Self::read_response`].
    pub fn begin_response(&mut self, method: &str) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        loop {
            let head = self.read_head()?;
            let (status, version) = parse_status_line(&head.start).map_err(Broken::Malformed)?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let framing = response_framing(method, status, &head.fields).map_err(Broken::Malformed)?;
            let (body, trailers, end) = (Vec::new(), Fields::default(), End::Complete);
            return Ok(Response { status, version, fields: head.fields, body, trailers, framing, end, interim });
        }
    }

    fn read_line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(at) = find(self.ahead(), b"\r\n") {
                let mut line = self.consume(at + 2);
                line.truncate(at);
                return Ok(line);
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<(), Broken> {
        if self.fill() {
            return Ok(());
        }
        Err(Broken::Closed(self.closed.unwrap_or(Closed::Clean), self.consume_all()))
    }
}

/// Where `needle` first occurs in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

fn parse_head(raw: Vec<u8>) -> Result<Head, String> {
    let text = latin1(&raw[..raw.len() - 4]);
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    if start.is_empty() || start.contains(['\n', '\r', '\0']) {
        return Err(format!("start line {start:?}"));
    }
    let fields = lines.map(parse_field).collect::<Result<Vec<_>, _>>()?;
    Ok(Head { start, fields: Fields(fields), raw })
}

fn parse_field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in field line {line:?}"))?;
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("field name {name:?}"));
    }
    if value.contains(['\n', '\r', '\0']) {
        return Err(format!("control byte in the value of {name}: {value:?}"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The framing that the fields announce, without the rules that depend on method and status.
///
/// # Errors
/// When the fields are ambiguous.
pub fn announced(fields: &Fields) -> Result<Option<Framing>, String> {
    let codings: Vec<&str> = fields.all("transfer-encoding").collect();
    let lengths: Vec<&str> = fields.all("content-length").collect();
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(None),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([], [length]) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(|length| Some(Framing::Length(length))).map_err(|_| format!("Content-Length {length}"))
        }
        _ => Err(format!("framing: Transfer-Encoding {codings:?}, Content-Length {lengths:?}")),
    }
}

/// Reads one body piece by piece.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    trailers: Fields,
}

#[derive(Debug)]
enum State {
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    UntilClose,
    Done,
}

impl BodyReader {
    /// A reader that stands at the first byte of the body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, trailers: Fields::default() }
    }

    /// Whether the end was reached.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The trailer fields; empty before the end.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// The next piece of content as it arrives (for chunked: at most one chunk), `None` at the end.
    ///
    /// # Errors
    /// When the stream ends inside the body or the chunked framing is not valid.
    pub fn next<S: Read>(&mut self, source: &mut Source<S>) -> Result<Option<Vec<u8>>, Broken> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::Length(left) => {
                    let piece = some(source, left)?;
                    self.state = match left - piece.len() as u64 {
                        0 => State::Done,
                        left => State::Length(left),
                    };
                    return Ok(Some(piece));
                }
                State::ChunkSize => self.read_chunk_size(source)?,
                State::ChunkData(left) => return self.read_chunk_data(source, left).map(Some),
                State::UntilClose => return self.read_until_close(source),
            }
        }
    }

    fn read_chunk_size<S: Read>(&mut self, source: &mut Source<S>) -> Result<(), Broken> {
        let line = source.read_line()?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = &line[digits..];
        let size = u64::from_str_radix(&latin1(&line[..digits]), 16);
        match size {
            Ok(size) if extension.is_empty() || extension.starts_with(b";") => {
                self.state = State::ChunkData(size);
                if size == 0 {
                    self.read_trailers(source)?;
                }
                Ok(())
            }
            _ => Err(Broken::Malformed(format!("chunk size line {}", shown(&line)))),
        }
    }

    fn read_chunk_data<S: Read>(&mut self, source: &mut Source<S>, left: u64) -> Result<Vec<u8>, Broken> {
        let piece = some(source, left)?;
        let left = left - piece.len() as u64;
        self.state = State::ChunkData(left);
        if left == 0 {
            let end = source.take(2)?;
            if end != b"\r\n" {
                return Err(Broken::Malformed(format!("after chunk data: {}", shown(&end))));
            }
            self.state = State::ChunkSize;
        }
        Ok(piece)
    }

    fn read_trailers<S: Read>(&mut self, source: &mut Source<S>) -> Result<(), Broken> {
        loop {
            let line = source.read_line()?;
            if line.is_empty() {
                self.state = State::Done;
                return Ok(());
            }
            let field = parse_field(&latin1(&line)).map_err(Broken::Malformed)?;
            self.trailers.0.push(field);
        }
    }

    fn read_until_close<S: Read>(&mut self, source: &mut Source<S>) -> Result<Option<Vec<u8>>, Broken> {
        if source.ahead().is_empty() && !source.fill() {
            self.state = State::Done;
            return match source.closed {
                None | Some(Closed::Clean) => Ok(None),
                Some(closed) => Err(Broken::Closed(closed, Vec::new())),
            };
        }
        Ok(Some(source.consume_all()))
    }

    /// Reads the rest of the body into `content`.
    pub fn drain<S: Read>(&mut self, source: &mut Source<S>, content: &mut Vec<u8>) -> End {
        loop {
            match self.next(source) {
                Ok(Some(piece)) => content.extend_from_slice(&piece),
                Ok(None) => return End::Complete,
                Err(Broken::Closed(closed, rest)) => return End::Cut(Broken::Closed(closed, rest)),
                Err(malformed) => return End::Cut(malformed),
            }
        }
    }
}

/// At least one and at most `limit` bytes.
fn some<S: Read>(source: &mut Source<S>, limit: u64) -> Result<Vec<u8>, Broken> {
    if source.ahead().is_empty() {
        source.more()?;
    }
    let count = usize::try_from(limit).unwrap_or(usize::MAX).min(source.ahead().len());
    Ok(source.consume(count))
}

/// One response as a client sees it.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The protocol version as sent, such as `HTTP/1.1`.
    pub version: String,
    /// The header fields.
    pub fields: Fields,
    /// The content, decoded from its framing.
    pub body: Vec<u8>,
    /// The trailer fields of a chunked body.
    pub trailers: Fields,
    /// How the body was framed.
    pub framing: Framing,
    /// Whether all of it arrived.
    pub end: End,
    /// The status codes of the interim responses before it.
    pub interim: Vec<u16>,
}

impl std::fmt::Debug for Response {
    /// On one line, with the body as text.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields: Vec<String> = self.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let Self { status, version, framing, end, interim, .. } = self;
        let body = shown(&self.body);
        write!(formatter, "{version} {status} {fields:?} {framing:?} {end:?} after {interim:?}: {body}")
    }
}

impl Response {
    /// Whether the whole body arrived.
    pub fn is_complete(&self) -> bool {
        self.end == End::Complete
    }

    /// The body as text, one character per byte.
    pub fn text(&self) -> String {
        latin1(&self.body)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("status {}: body is not JSON ({error}): {}", self.status, shown(&self.body)))
    }

    /// Whether the sender said that it closes the connection.
    pub fn closes(&self) -> bool {
        self.fields
            .all("connection")
            .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("close")))
            || self.framing == Framing::UntilClose
    }
}

/// The status code and version of a status line.
///
/// # Errors
/// When it is not a status line.
pub fn parse_status_line(start: &str) -> Result<(u16, String), String> {
    let wrong = || format!("status line {start:?}");
    let (version, rest) = start.split_once(' ').ok_or_else(wrong)?;
    let code = rest.get(..3).ok_or_else(wrong)?;
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || !matches!(rest.as_bytes().get(3), None | Some(b' ')) {
        return Err(wrong());
    }
    let status = code.parse().map_err(|_| wrong())?;
    Ok((status, version.to_owned()))
}

/// How the body of a response to `method` is framed (RFC 9112 section 6.3).
///
/// # Errors
/// When the fields are ambiguous.
pub fn response_framing(method: &str, status: u16, fields: &Fields) -> Result<Framing, String> {
    let announced = announced(fields)?;
    if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    Ok(announced.unwrap_or(Framing::UntilClose))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], framing: Framing) -> (Vec<u8>, End, Fields) {
        let mut source = Source::new(bytes);
        let mut reader = BodyReader::new(framing);
        let mut content = Vec::new();
        let end = reader.drain(&mut source, &mut content);
        (content, end, reader.trailers().clone())
    }

    #[test]
    fn a_chunked_body_with_trailers_is_complete() {
        let (content, end, trailers) =
            read(b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX-Sum: 9 \r\n\r\n", Framing::Chunked);
        assert_eq!(content, b"abc0123456789");
        assert_eq!(end, End::Complete);
        assert_eq!(trailers.first("x-sum"), Some("9"));
    }

    #[test]
    fn every_prefix_of_a_body_is_a_cut() {
        let whole = b"3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n";
        for length in 0..whole.len() {
            let (_, end, _) = read(&whole[..length], Framing::Chunked);
            assert!(matches!(end, End::Cut(Broken::Closed(..))), "prefix of {length} bytes: {end:?}");
        }
        assert!(matches!(read(b"abcd", Framing::Length(5)).1, End::Cut(_)));
        assert_eq!(read(b"abcde", Framing::Length(5)).1, End::Complete);
    }

    #[test]
    fn what_a_sender_must_not_generate_is_malformed() {
        for bytes in [
            &b"3\nabc\r\n0\r\n\r\n"[..],
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"\r\n\r\n",
            b"3 \r\nabc\r\n",
        ] {
            let (_, end, _) = read(bytes, Framing::Chunked);
            assert!(matches!(end, End::Cut(_)), "{}: {end:?}", shown(bytes));
        }
        for head in [
            "GET / HTTP/1.1\r\n x: y\r\n\r\n",
            "GET / HTTP/1.1\r\nx : y\r\n\r\n",
            "GET / HTTP/1.1\r\nx\r\n\r\n",
            "a\nb\r\n\r\n",
        ] {
            let broken = Source::new(head.as_bytes()).read_head();
            assert!(matches!(broken, Err(Broken::Malformed(_))), "{head:?}: {broken:?}");
        }
    }

    #[test]
    fn ambiguous_framing_is_an_error() {
        let fields = |pairs: &[(&str, &str)]| {
            Fields(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(announced(&fields(&[("Content-Length", "5")])), Ok(Some(Framing::Length(5))));
        assert!(announced(&fields(&[("Content-Length", "5"), ("content-length", "5")])).is_err());
        assert!(announced(&fields(&[("Content-Length", "5"), ("Transfer-Encoding", "chunked")])).is_err());
        assert!(announced(&fields(&[("Transfer-Encoding", "gzip, chunked")])).is_err());
        assert!(announced(&fields(&[("Content-Length", "+5")])).is_err());
    }
}
