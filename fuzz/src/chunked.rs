//! Chunked bodies: ours, a plain model and hyper find the same data and the same end.

use tidegate_wire::chunked::{Decoded, Decoder, MAX_EXTENSION, MAX_TRAILERS, close_body, open_chunk};
use tidegate_wire::parse::Refusal;

use crate::hyper_judge;

/// A body that ended: its data, and how much of the input it took.
type Whole = (Vec<u8>, usize);

/// The first byte says in which pieces the rest arrives.
///
/// # Panics
/// When the pieces matter, when another reader finds other data or another end, or when what is
/// encoded from the data is not decoded to it.
pub fn check(data: &[u8]) {
    let Some((step, input)) = data.split_first() else { return };
    let at_once = decode(input, input.len().max(1));
    assert_eq!(at_once, decode(input, usize::from(*step).max(1)), "pieces of {step} bytes");
    let Ok(Some((body, taken))) = at_once else {
        assert_eq!(model(input), None, "the model accepts what ours does not");
        return;
    };
    assert_eq!(model(input), Some((body.clone(), taken)));
    let seen = hyper_judge::request(&request(&input[..taken])).expect("hyper refuses the head");
    assert_eq!(seen.body.as_ref(), Some(&body), "hyper");
    round_trip(&body, usize::from(*step).max(1));
}

/// Decodes input that arrives in pieces of `step` bytes; nothing when the body does not end in it.
fn decode(input: &[u8], step: usize) -> Result<Option<Whole>, Refusal> {
    let mut decoder = Decoder::default();
    let (mut body, mut start, mut end) = (Vec::new(), 0, 0);
    loop {
        match decoder.decode(&input[start..end])? {
            Decoded::Data { skip, length } => {
                let data = start + skip..start + skip + length;
                start = data.end;
                body.extend_from_slice(&input[data]);
                decoder.consume(length);
            }
            Decoded::End { skip } => {
                decoder.trailers()?;
                return Ok(Some((body, start + skip)));
            }
            Decoded::More { skip } => {
                start += skip;
                if end == input.len() {
                    return Ok(None);
                }
                end = (end + step).min(input.len());
            }
        }
    }
}

/// The grammar of RFC 9112 §7.1, with our bounds, as plainly as it can be written: line by line, no
/// state.
fn model(input: &[u8]) -> Option<Whole> {
    let (mut body, mut rest, mut extensions) = (Vec::new(), input, 0);
    loop {
        let line = take_line(&mut rest)?;
        let digits = line.split(|byte| *byte == b';').next()?;
        extensions += line.len().saturating_sub(digits.len() + 1);
        let is_plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        if digits.is_empty() || digits.len() > 16 || extensions > MAX_EXTENSION || !line.iter().all(is_plain) {
            return None;
        }
        // Rust would take a sign.
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let size = i64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let (data, behind) = rest.split_at_checked(usize::try_from(size).ok()?)?;
        body.extend_from_slice(data);
        rest = behind.strip_prefix(b"\r\n")?;
    }
    let section = rest;
    let mut fields = 0;
    loop {
        let line = take_line(&mut rest)?;
        if section.len() - rest.len() > MAX_TRAILERS {
            return None;
        }
        if line.is_empty() {
            return Some((body, input.len() - rest.len()));
        }
        fields += 1;
        if fields > 32 || !is_field(line) {
            return None;
        }
    }
}

/// What stands before the next CRLF.
fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    Some(line)
}

/// RFC 9110 §5.1, §5.5, §5.6.2.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    colon > 0
        && line[..colon].iter().all(is_token)
        && line[colon + 1..].iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

fn request(body: &[u8]) -> Vec<u8> {
    [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat()
}

fn round_trip(body: &[u8], step: usize) {
    let mut wire = Vec::new();
    for piece in body.chunks(step) {
        open_chunk(&mut wire, piece.len());
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
    }
    close_body(&mut wire, None);
    assert_eq!(decode(&wire, step), Ok(Some((body.to_owned(), wire.len()))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_knows_a_body_when_it_sees_one() {
        let whole = |input: &[u8]| model(input).map(|(body, taken)| (String::from_utf8(body), input.len() - taken));
        assert_eq!(whole(b"2;a=b\r\nab\r\n0\r\nT: x\r\n\r\nGET"), Some((Ok("ab".to_owned()), 3)));
        for input in
            ["2\nab\r\n0\r\n\r\n", "+2\r\nab\r\n0\r\n\r\n", "2\r\nabc\r\n0\r\n\r\n", "0\r\n T: x\r\n\r\n", "0\r\n"]
        {
            assert_eq!(whole(input.as_bytes()), None, "{input:?}");
        }
    }
}
