//! Heads out of bytes, strictly by RFC 9112: what is ambiguous is refused and never repaired.
//!
//! `httparse` finds the tokens. What it tolerates and a gateway must not is checked here by
//! arithmetic on positions: every line ends in CRLF (§2.2), single spaces part the start line (§3),
//! no field line is folded (§5.2), no white space stands before a colon (§5.1).

use crate::fields::{Fields, MAX_FIELDS};
use crate::head::{RequestHead, ResponseHead, Version};
use crate::name::Known;
use http::{Method, StatusCode};
use std::fmt;
use std::mem::MaybeUninit;

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, start line included.
    pub bytes: usize,
    /// Field lines; at most [`MAX_FIELDS`].
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, fields: 128, target: 16 * 1024 }
    }
}

/// Why bytes are not a message that can be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The start line is not one of HTTP/1 (RFC 9112 §3, §4).
    StartLine,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A field line breaks the syntax (RFC 9112 §5).
    FieldSyntax,
    /// A line ends in something other than CRLF (RFC 9112 §2.2).
    LineEnding,
    /// The head has more bytes than allowed.
    HeadTooLarge,
    /// The head has more fields than allowed.
    TooManyFields,
    /// The request target has more bytes than allowed.
    TargetTooLong,
    /// Content-Length is not one plain number (RFC 9112 §6.3).
    ContentLength,
    /// Transfer-Encoding stands beside Content-Length, in HTTP/1.0, twice, or is malformed (§6.1, §6.3).
    TransferEncoding,
    /// A transfer coding other than `chunked` (RFC 9112 §6.1 asks for 501).
    TransferCoding,
    /// A field name that some back ends read as a framing field.
    FramingAlias,
    /// A chunked body breaks the syntax (RFC 9112 §7.1).
    Chunk,
    /// HTTP/2 fields that contradict each other or RFC 9113 §8.
    Http2Message,
}

impl Refusal {
    /// The status a server answers with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::HeadTooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::StartLine => "the start line is malformed",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            Self::FieldSyntax => "a header field is malformed",
            Self::LineEnding => "a line does not end in CRLF",
            Self::HeadTooLarge => "the header section is too large",
            Self::TooManyFields => "there are too many header fields",
            Self::TargetTooLong => "the request target is too long",
            Self::ContentLength => "Content-Length is not one plain number",
            Self::TransferEncoding => "Transfer-Encoding is ambiguous",
            Self::TransferCoding => "the transfer coding is not implemented",
            Self::FramingAlias => "a header field imitates a framing field",
            Self::Chunk => "the chunked body is malformed",
            Self::Http2Message => "the HTTP/2 message is malformed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Refusal {}

/// Reads a request head from the front of `bytes` into `head`.
///
/// Returns how many bytes it took, or `None` when the head is not complete yet.
///
/// # Errors
/// A [`Refusal`] when the bytes cannot become a head that is safe to forward.
pub fn request(bytes: &[u8], limits: &HeadLimits, head: &mut RequestHead) -> Result<Option<usize>, Refusal> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let slots = &mut slots[..limits.fields.min(MAX_FIELDS)];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(bytes, slots);
    let taken = match status.map_err(|error| refusal(error, limits, bytes))? {
        httparse::Status::Partial => return within(bytes, limits).map(|()| None),
        httparse::Status::Complete(taken) => taken,
    };
    within(&bytes[..taken], limits)?;
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::StartLine);
    };
    if target.len() > limits.target {
        return Err(Refusal::TargetTooLong);
    }
    let line = method.len() + 1 + target.len() + " HTTP/1.1\r\n".len();
    head.clear();
    head.method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::StartLine)?;
    head.target.extend_from_slice(target.as_bytes());
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    section(bytes, line..taken, parsed.headers, &mut head.fields)?;
    Ok(Some(taken))
}

/// Reads a response head from the front of `bytes` into `head`.
///
/// Returns how many bytes it took, or `None` when the head is not complete yet.
///
/// # Errors
/// A [`Refusal`] when the bytes cannot become a head that is safe to forward.
pub fn response(bytes: &[u8], limits: &HeadLimits, head: &mut ResponseHead) -> Result<Option<usize>, Refusal> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let slots = &mut slots[..limits.fields.min(MAX_FIELDS)];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config.parse_response_with_uninit_headers(&mut parsed, bytes, slots);
    let taken = match status.map_err(|error| refusal(error, limits, bytes))? {
        httparse::Status::Partial => return within(bytes, limits).map(|()| None),
        httparse::Status::Complete(taken) => taken,
    };
    within(&bytes[..taken], limits)?;
    let (Some(code), Some(reason), Some(minor)) = (parsed.code, parsed.reason, parsed.version) else {
        return Err(Refusal::StartLine);
    };
    if !(100..600).contains(&code) {
        return Err(Refusal::StartLine);
    }
    // RFC 9112 §4: the space behind the code is required, yet many servers leave it out with the
    // phrase; nothing can be misread, so both lengths are accepted.
    let longest = "HTTP/1.1 200 \r\n".len() + reason.len();
    let line = match find_line(bytes) {
        Some(end) if end == longest || (reason.is_empty() && end + 1 == longest) => end,
        _ => return Err(Refusal::LineEnding),
    };
    head.clear();
    head.status = StatusCode::from_u16(code).map_err(|_| Refusal::StartLine)?;
    head.reason.extend_from_slice(reason.as_bytes());
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    section(bytes, line..taken, parsed.headers, &mut head.fields)?;
    Ok(Some(taken))
}

/// Reads a trailer section, which ends with the empty line (RFC 9112 §7.1.2).
///
/// # Errors
/// A [`Refusal`] when the section is malformed, too large, or not complete.
pub fn trailers(bytes: &[u8], limits: &HeadLimits, fields: &mut Fields) -> Result<(), Refusal> {
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let most = limits.fields.min(slots.len());
    match httparse::parse_headers(bytes, &mut slots[..most]) {
        Ok(httparse::Status::Complete((taken, headers))) if taken == bytes.len() => {
            section(bytes, 0..taken, headers, fields)
        }
        Err(httparse::Error::TooManyHeaders) => Err(Refusal::TooManyFields),
        _ => Err(Refusal::FieldSyntax),
    }
}

fn within(bytes: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
    if bytes.len() > limits.bytes { Err(too_large(limits, bytes)) } else { Ok(()) }
}

/// A head that is too large because of its first line is answered 414, otherwise 431.
fn too_large(limits: &HeadLimits, bytes: &[u8]) -> Refusal {
    match find_line(bytes) {
        Some(end) if end <= limits.target => Refusal::HeadTooLarge,
        _ => Refusal::TargetTooLong,
    }
}

fn find_line(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n").map(|position| position + 2)
}

/// Registers the field lines of `bytes[section]`, whose last line is empty, and checks each ending.
fn section(
    bytes: &[u8],
    section: std::ops::Range<usize>,
    headers: &[httparse::Header<'_>],
    fields: &mut Fields,
) -> Result<(), Refusal> {
    let lines = &bytes[section.start..section.end];
    if section.start > 0 && !bytes[..section.start].ends_with(b"\r\n") || !lines.ends_with(b"\r\n") {
        return Err(Refusal::LineEnding);
    }
    fields.load(lines);
    let position = |part: &[u8]| (part.as_ptr() as usize).wrapping_sub(lines.as_ptr() as usize);
    let start_of = |index: usize| headers.get(index).map_or(lines.len() - 2, |header| position(header.name.as_bytes()));
    let mut end = start_of(0);
    if end != 0 {
        return Err(Refusal::LineEnding);
    }
    for (index, header) in headers.iter().enumerate() {
        let start = std::mem::replace(&mut end, start_of(index + 1));
        let name_end = start + header.name.len();
        let value = position(header.value)..position(header.value).wrapping_add(header.value.len());
        let is_whole = name_end < value.start && value.start <= value.end && value.end < end && end <= lines.len();
        if header.name.len() > usize::from(u16::MAX) || !is_whole {
            return Err(Refusal::FieldSyntax);
        }
        // httparse has read a colon, a value, white space and a line ending between the two names, so
        // that a line holds no other LF.
        if &lines[end - 2..end] != b"\r\n" || value.end > end - 2 {
            return Err(Refusal::LineEnding);
        }
        if lines[name_end] != b':' {
            return Err(Refusal::FieldSyntax);
        }
        let known = fields.push_line(start..end, header.name.len(), value);
        // RFC 9110 §5.6.3 takes a tab for white space; not every back end does where it frames.
        let frames = matches!(known, Known::ContentLength | Known::TransferEncoding | Known::Host);
        if frames && lines[name_end..end].contains(&b'\t') {
            return Err(Refusal::FieldSyntax);
        }
    }
    Ok(())
}

/// Whether a start line is well formed but for a version that is not spoken here.
fn names_other_version(bytes: &[u8]) -> bool {
    let line = &bytes[..find_line(bytes).map_or(bytes.len(), |end| end - 2)];
    let mut parts = line.split(|byte| *byte == b' ');
    matches!(
        (parts.next(), parts.next(), parts.next(), parts.next()),
        (Some(_), Some([_, ..]), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if major.is_ascii_digit() && minor.is_ascii_digit()
    )
}

fn refusal(error: httparse::Error, limits: &HeadLimits, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders if bytes.len() <= limits.bytes => Refusal::TooManyFields,
        httparse::Error::TooManyHeaders => too_large(limits, bytes),
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Refusal::FieldSyntax,
        httparse::Error::NewLine => Refusal::LineEnding,
        httparse::Error::Version if names_other_version(bytes) => Refusal::Version,
        _ => Refusal::StartLine,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Result<Option<usize>, Refusal> {
        request(text.as_bytes(), &HeadLimits::default(), &mut RequestHead::default())
    }

    #[test]
    fn a_plain_head() {
        let mut head = RequestHead::default();
        let bytes = b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nAccept:  */* \r\n\r\nrest";
        let taken = request(bytes, &HeadLimits::default(), &mut head).unwrap().unwrap();
        assert_eq!(&bytes[taken..], b"rest");
        assert_eq!(head.target, b"/a?b");
        assert_eq!(head.fields.value(Known::Host), Some(&b"x"[..]));
        assert_eq!(head.fields.value(Known::Accept), Some(&b"*/*"[..]));
        assert_eq!(head.fields.named("x-empty").next(), Some(&b""[..]));
        let mut out = Vec::new();
        head.write(&mut out);
        assert_eq!(out, b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-Empty: \r\nAccept: */*\r\n");
    }

    #[test]
    fn every_prefix_is_incomplete() {
        let text = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
        for end in 1..text.len() {
            assert_eq!(parse(&text[..end]), Ok(None), "{:?}", &text[..end]);
        }
        assert_eq!(parse(text), Ok(Some(text.len())));
    }

    #[test]
    fn what_is_refused() {
        let table: &[(&str, Refusal)] = &[
            ("GET / HTTP/1.1\nHost: x\r\n\r\n", Refusal::LineEnding),
            ("GET / HTTP/1.1\r\nHost: x\n\r\n", Refusal::LineEnding),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b\n\r\n", Refusal::LineEnding),
            ("GET / HTTP/1.1\r\nHost: x\r\n\n", Refusal::LineEnding),
            ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", Refusal::FieldSyntax),
            ("GET / HTTP/1.1\r\n Host: x\r\n\r\n", Refusal::FieldSyntax),
            ("GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", Refusal::FieldSyntax),
            ("GET / HTTP/1.1\r\n: x\r\n\r\n", Refusal::FieldSyntax),
            ("GET / HTTP/1.1\r\nHost: x\0y\r\n\r\n", Refusal::FieldSyntax),
            ("GET / HTTP/1.1\r\nHost: x\ry\r\n\r\n", Refusal::FieldSyntax),
            ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", Refusal::StartLine),
            ("GET /  HTTP/1.1\r\nHost: x\r\n\r\n", Refusal::StartLine),
            ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", Refusal::Version),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", Refusal::Version),
            (" GET / HTTP/1.1\r\nHost: x\r\n\r\n", Refusal::StartLine),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Err(*expected), "{text:?}");
        }
    }

    #[test]
    fn limits() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
        assert_eq!(parse(&many), Err(Refusal::TooManyFields));
        let wide = format!("GET / HTTP/1.1\r\na: {}", "b".repeat(70_000));
        assert_eq!(parse(&wide), Err(Refusal::HeadTooLarge));
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "b".repeat(20_000));
        assert_eq!(parse(&long), Err(Refusal::TargetTooLong));
        let endless = format!("GET /{}", "b".repeat(70_000));
        assert_eq!(parse(&endless), Err(Refusal::TargetTooLong));
    }

    #[test]
    fn responses() {
        let mut head = ResponseHead::default();
        let limits = HeadLimits::default();
        for text in ["HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.0 404\r\n\r\n", "HTTP/1.1 204 \r\n\r\n"] {
            assert_eq!(response(text.as_bytes(), &limits, &mut head), Ok(Some(text.len())), "{text:?}");
        }
        for text in ["HTTP/1.1 200 OK\nA: b\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 600 OK\r\n\r\n"] {
            assert!(response(text.as_bytes(), &limits, &mut head).is_err(), "{text:?}");
        }
        for text in ["HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n"] {
            assert_eq!(response(text.as_bytes(), &limits, &mut head), Err(Refusal::FieldSyntax));
        }
    }
}
