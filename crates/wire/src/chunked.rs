//! The chunked transfer coding (RFC 9112 §7.1): a strict decoder and the encoder's few bytes.
//!
//! The decoder never copies data: it says how many bytes of framing to skip and how many bytes of
//! data follow. A line that ends in a lone LF, a sign, an underscore or a space in a size, a size
//! beyond 2^63 and extensions beyond [`MAX_EXTENSION`] are refused, because back ends differ on them.

use crate::fields::Fields;
use crate::parse::{self, HeadLimits, Refusal};

/// Bytes of chunk extensions allowed in one body; they carry nothing that a gateway forwards.
pub const MAX_EXTENSION: usize = 4096;

/// Bytes of a trailer section.
pub const MAX_TRAILERS: usize = 8192;

/// Fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 32;

/// Digits of a chunk size, leading zeros included.
const MAX_DIGITS: u8 = 16;

/// What the front of the input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// After `skip` bytes of framing come `length` bytes of data.
    Data {
        /// Bytes of framing to drop.
        skip: usize,
        /// Bytes of data behind them.
        length: usize,
    },
    /// All `skip` bytes are framing; more input is needed.
    More {
        /// Bytes of framing to drop.
        skip: usize,
    },
    /// After `skip` bytes the body has ended.
    End {
        /// Bytes of framing to drop.
        skip: usize,
    },
}

/// Decodes one chunked body.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    /// Data bytes left in the current chunk, or the size read so far.
    size: u64,
    digits: u8,
    extension: usize,
    trailers: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Ended,
}

impl Decoder {
    /// Looks at the front of `input`.
    ///
    /// The data of a [`Decoded::Data`] must be reported with [`Decoder::consume`].
    ///
    /// # Errors
    /// [`Refusal::Chunk`] when the framing breaks the syntax or its limits.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Refusal> {
        let mut skip = 0;
        loop {
            if self.state == State::Ended {
                return Ok(Decoded::End { skip });
            }
            if self.state == State::Data {
                let length = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len() - skip);
                return Ok(if length == 0 { Decoded::More { skip } } else { Decoded::Data { skip, length } });
            }
            let Some(byte) = input.get(skip) else {
                return Ok(Decoded::More { skip });
            };
            skip += 1;
            self.step(*byte)?;
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (self.state, byte) {
            (State::Size, _) if byte.is_ascii_hexdigit() && self.digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.size = self.size << 4 | u64::from(digit);
                self.digits += 1;
                State::Size
            }
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) if self.extension < MAX_EXTENSION => {
                self.extension += 1;
                State::Extension
            }
            (State::SizeLf, b'\n') if self.size > i64::MAX as u64 => return Err(Refusal::Chunk),
            (State::SizeLf, b'\n') if self.size == 0 => State::Trailers,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::Trailers, _) => return self.trailer(byte),
            _ => return Err(Refusal::Chunk),
        };
        if self.state == State::Size && byte == b'\n' {
            self.size = 0;
            self.digits = 0;
        }
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.trailers.len() == MAX_TRAILERS {
            return Err(Refusal::Chunk);
        }
        self.trailers.push(byte);
        if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
            self.state = State::Ended;
        }
        Ok(())
    }

    /// Data bytes left in the current chunk.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.size
    }

    /// Reports that `count` bytes of data were taken from the input.
    pub fn consume(&mut self, count: usize) {
        self.size = self.size.saturating_sub(count as u64);
        if self.size == 0 && self.state == State::Data {
            self.state = State::DataCr;
        }
    }

    /// The trailer fields, once the body has ended; `None` when there were none.
    ///
    /// # Errors
    /// [`Refusal::FieldSyntax`] or another reason why the section is refused.
    pub fn trailers(&self) -> Result<Option<Fields>, Refusal> {
        if self.state != State::Ended || self.trailers.len() <= 2 {
            return Ok(None);
        }
        let limits = HeadLimits { bytes: MAX_TRAILERS, fields: MAX_TRAILER_FIELDS, target: 0 };
        let mut fields = Fields::default();
        parse::trailers(&self.trailers, &limits, &mut fields)?;
        Ok(Some(fields))
    }
}

/// Whether `rest`, the bytes behind the data of a chunk, ends the body and has no trailers.
#[must_use]
pub fn ends_body(rest: &[u8]) -> bool {
    rest.starts_with(b"\r\n0\r\n\r\n")
}

/// Writes the line that opens a chunk of `length` bytes.
pub fn open_chunk(out: &mut Vec<u8>, length: usize) {
    let mut digits = [0_u8; 16];
    let mut rest = length;
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk and the trailer section.
pub fn close_body(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write(out);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Feeds `input` in pieces of `step` bytes; the data, and how much input was left over.
    fn decode_in_steps(input: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
        let mut decoder = Decoder::default();
        let (mut data, mut start, mut end) = (Vec::new(), 0, 0);
        loop {
            match decoder.decode(&input[start..end])? {
                Decoded::Data { skip, length } => {
                    start += skip;
                    data.extend_from_slice(&input[start..start + length]);
                    decoder.consume(length);
                    start += length;
                }
                Decoded::End { skip } => {
                    decoder.trailers()?;
                    return Ok(Some((data, input.len() - start - skip)));
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

    #[test]
    fn bodies_and_what_follows() {
        let input = b"5\r\nhello\r\n006;x=\"y\"\r\n world\r\n0\r\nA: b\r\n\r\nGET /";
        for step in 1..input.len() {
            assert_eq!(decode_in_steps(input, step), Ok(Some((b"hello world".to_vec(), 5))));
        }
    }

    #[test]
    fn what_is_refused() {
        for input in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5_0\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "\r\nhello\r\n0\r\n\r\n",
            ";x\r\nhello\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\nA: b\n\r\n\r\n",
            "0\r\n\n\r\n\r\n",
        ] {
            assert!(decode_in_steps(input.as_bytes(), 1).is_err(), "{input:?}");
            assert!(decode_in_steps(input.as_bytes(), 1000).is_err(), "{input:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(MAX_EXTENSION + 1));
        assert_eq!(decode_in_steps(extension.as_bytes(), 100), Err(Refusal::Chunk));
        let trailer = format!("0\r\na: {}\r\n\r\n", "e".repeat(MAX_TRAILERS));
        assert_eq!(decode_in_steps(trailer.as_bytes(), 100), Err(Refusal::Chunk));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), step in 1_usize..50) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                open_chunk(&mut wire, chunk.len());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            close_body(&mut wire, None);
            prop_assert_eq!(decode_in_steps(&wire, step), Ok(Some((chunks.concat(), 0))));
            for end in 0..wire.len() {
                prop_assert_eq!(decode_in_steps(&wire[..end], step), Ok(None));
            }
        }

        #[test]
        fn pieces_do_not_matter(input in prop::collection::vec(prop::sample::select(b"0123af;=\r\n x_+".to_vec()), 0..60)) {
            prop_assert_eq!(decode_in_steps(&input, 1), decode_in_steps(&input, 1000));
        }
    }
}
