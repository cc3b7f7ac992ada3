//! Hand-made HTTP/2 frames and header blocks, valid or not, and a reader for the answers.
//!
//! Nothing is checked on the way out: sending what no correct implementation sends is the purpose.

use crate::client::RawClient;
use crate::http1::Broken;

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 section 6).
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags; what they mean depends on the type.
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod flag {
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
}

/// A frame as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// A combination of [`flag`]s.
    pub flags: u8,
    /// The stream, 0 for the connection.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether this ends the connection.
    pub fn is_goaway(&self) -> bool {
        self.kind == kind::GOAWAY
    }

    /// The error code of RST_STREAM and GOAWAY.
    pub fn error_code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        let bytes = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// Any frame. The length is that of the payload, cut to 24 bits.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// SETTINGS with these parameters.
pub fn settings(parameters: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        parameters.iter().flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect();
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// The preface, empty SETTINGS, and the acknowledgement of the peer's.
pub fn opening() -> Vec<u8> {
    [PREFACE, &settings(&[]), &frame(kind::SETTINGS, flag::ACK, 0, &[])].concat()
}

/// HEADERS with END_HEADERS, and END_STREAM if `ends`.
pub fn headers(stream: u32, block: &[u8], ends: bool) -> Vec<u8> {
    let end = if ends { flag::END_STREAM } else { 0 };
    frame(kind::HEADERS, flag::END_HEADERS | end, stream, block)
}

/// DATA.
pub fn data(stream: u32, payload: &[u8], ends: bool) -> Vec<u8> {
    frame(kind::DATA, if ends { flag::END_STREAM } else { 0 }, stream, payload)
}

/// RST_STREAM.
pub fn rst_stream(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// WINDOW_UPDATE.
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// PING.
pub fn ping(opaque: u64) -> Vec<u8> {
    frame(kind::PING, 0, 0, &opaque.to_be_bytes())
}

/// A header block of literals without indexing and without Huffman coding (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        string(&mut bytes, name.as_bytes());
        string(&mut bytes, value);
    }
    bytes
}

/// A literal that goes into the dynamic table (RFC 7541 section 6.2.1), for later [`indexed`] use.
pub fn literal_indexed(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x40];
    string(&mut bytes, name.as_bytes());
    string(&mut bytes, value);
    bytes
}

/// An indexed field (RFC 7541 section 6.1); the dynamic table begins at 62.
pub fn indexed(index: u8) -> Vec<u8> {
    vec![0x80 | index]
}

/// The block of a GET.
pub fn get(path: &str) -> Vec<u8> {
    block(&[(":method", b"GET"), (":scheme", b"http"), (":path", path.as_bytes()), (":authority", b"honest.test")])
}

fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    // A prefix integer of 7 bits (RFC 7541 section 5.1), Huffman flag off.
    let mut rest = text.len();
    if rest < 127 {
        bytes.push(u8::try_from(rest).expect("less than 127"));
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).expect("less than 128") | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).expect("less than 128"));
    }
    bytes.extend_from_slice(text);
}

/// Reads one frame.
///
/// # Errors
/// When the connection ends first.
pub fn read_frame(client: &mut RawClient) -> Result<Frame, Broken> {
    let head = client.read_exactly(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    let payload = client.read_exactly(usize::try_from(length).expect("24 bits"))?;
    Ok(Frame { kind: head[3], flags: head[4], stream, payload })
}

/// Reads frames until one satisfies `is_it`; the error has the frames before the end of the connection.
///
/// # Errors
/// When the connection ends first.
pub fn read_until(client: &mut RawClient, is_it: impl Fn(&Frame) -> bool) -> Result<Frame, Vec<Frame>> {
    let mut others = Vec::new();
    loop {
        match read_frame(client) {
            Ok(frame) if is_it(&frame) => return Ok(frame),
            Ok(frame) => others.push(frame),
            Err(_) => return Err(others),
        }
    }
}

/// The `:status` at the front of a response's header block, when this is the first response of its
/// connection: later ones may refer to a dynamic table that is not kept here.
pub fn status(block: &[u8]) -> Option<u16> {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size may come first (RFC 7541 section 6.3).
    let block = &block[block.iter().take_while(|&&byte| byte & 0xe0 == 0x20).count()..];
    let (&first, rest) = block.split_first()?;
    if first & 0x80 != 0 {
        return INDEXED.get(usize::from(first & 0x7f).checked_sub(8)?).copied();
    }
    let (&length, text) = rest.split_first()?;
    let text = text.get(..usize::from(length & 0x7f))?;
    let digits = if length & 0x80 == 0 { crate::latin1(text) } else { huffman_digits(text)? };
    digits.parse().ok()
}

/// Decodes a Huffman string of decimal digits: `0` to `2` have the codes 00000 to 00010, `3` to `9`
/// have 011001 to 011111 (RFC 7541 appendix B).
fn huffman_digits(text: &[u8]) -> Option<String> {
    let bits: String = text.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut digits = String::new();
    let mut at = 0;
    while bits.len() - at >= 5 && !bits[at..].bytes().all(|bit| bit == b'1') {
        let width = if bits[at..].starts_with("000") { 5 } else { 6 };
        let code = u32::from_str_radix(bits.get(at..at + width)?, 2).ok()?;
        let digit = if width == 5 { code } else { code.checked_sub(0b01_1001)? + 3 };
        digits.push(char::from_digit(digit, 10)?);
        at += width;
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_coding() {
        assert_eq!(status(&[0x88, 0x40]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404));
        assert_eq!(status(b"\x48\x03502"), Some(502));
        // RFC 7541 appendix C.6.1: "302" is 6402.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[]), None);
    }

    #[test]
    fn long_strings_have_long_lengths() {
        let bytes = block(&[("a", &[b'x'; 300])]);
        // 300 - 127 = 173 = 45 + 128.
        assert_eq!(bytes[..6], [0, 1, b'a', 127, 173, 1]);
        assert_eq!(bytes.len(), 6 + 300);
    }
}
