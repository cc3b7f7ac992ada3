//! The normal form of a path: one scan that tells whether it is there already, and the rewriting.
//!
//! Most paths are normal, so the scan only looks each byte up in a table, and nothing is copied. A path
//! with escapes or dots goes through the rewriting, which still copies nothing unless it changes a byte.

use super::TargetFault;

/// What normalisation made of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath {
    /// The path itself.
    pub form: Normal,
    /// Encoded separators that are still in it.
    pub separators: Separators,
}

/// A path in normal form. It may be up to three times as long as it was received, where characters had to
/// be encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normal {
    /// As it was received.
    Same,
    /// Different from what was received.
    Changed(String),
}

/// Encoded `/` and `\`: an upstream that decodes them sees other segments than the gateway routed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Separators {
    /// `%2F`
    pub slash: bool,
    /// `%5C`
    pub backslash: bool,
}

impl NormalPath {
    /// A path that was normal already and has no escapes.
    pub(super) const SAME: Self =
        Self { form: Normal::Same, separators: Separators { slash: false, backslash: false } };

    /// The normal path, given the `received` one.
    pub fn as_str<'a>(&'a self, received: &'a str) -> &'a str {
        match &self.form {
            Normal::Same => received,
            Normal::Changed(path) => path,
        }
    }
}

impl Separators {
    /// Checks what was found in a path against what its route allows.
    ///
    /// # Errors
    ///
    /// [`TargetFault::Separator`] when the path has one that is not in `allowed`.
    pub fn within(self, allowed: Self) -> Result<(), TargetFault> {
        if (self.slash && !allowed.slash) || (self.backslash && !allowed.backslash) {
            return Err(TargetFault::Separator);
        }
        Ok(())
    }
}

/// May not be written in a path at all.
const REFUSED: u8 = 1;
/// Sends the path to the rewriting.
const REWRITE: u8 = 2;
/// Sends the path to the rewriting when it follows a `/`.
const REWRITE_AFTER_SLASH: u8 = 4;

/// What each byte means to [`scan`].
const CLASS: [u8; 256] = {
    let mut table = [REFUSED; 256];
    let mut byte = 0x21_u8;
    while byte < 0x7f {
        table[byte as usize] = match byte {
            b'#' | b'\\' | b'?' => REFUSED,
            b'/' | b'.' => REWRITE_AFTER_SLASH,
            b'%' => REWRITE,
            other if is_pchar(other) => 0,
            _ => REWRITE,
        };
        byte += 1;
    }
    table
};

/// What one pass over a path tells.
pub(super) struct Scan {
    /// Where the path ends: at the first `?` or at the end of the bytes.
    pub(super) end: usize,
    /// A byte in it may not be there.
    pub(super) refused: bool,
    /// It is in normal form and has no escapes.
    pub(super) plain: bool,
}

/// Looks at each byte of a path once. The path begins with `/`.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let mut seen = 0;
    let mut previous = 0;
    let mut end = bytes.len();
    for (at, &byte) in bytes.iter().enumerate() {
        if byte == b'?' {
            end = at;
            break;
        }
        let class = CLASS[usize::from(byte)];
        seen |= if previous == b'/' { class } else { class & !REWRITE_AFTER_SLASH };
        previous = byte;
    }
    Scan { end, refused: seen & REFUSED != 0, plain: seen == 0 }
}

/// Brings a path of visible ASCII, without query, to normal form.
///
/// # Errors
///
/// A [`TargetFault`] for a path without a safe reading, and for one that does not begin with `/`.
pub fn normalize(path: &str) -> Result<NormalPath, TargetFault> {
    if !path.starts_with('/') {
        return Err(TargetFault::Form);
    }
    let scan = scan(path.as_bytes());
    if scan.refused || scan.end != path.len() {
        return Err(TargetFault::Byte);
    }
    if scan.plain {
        return Ok(NormalPath::SAME);
    }
    rewrite(path)
}

/// Goes through the segments of a path that begins with `/` and has passed [`scan`]. Between segments the
/// output is empty or ends with a whole segment, so that dropping one is cutting at a `/`.
pub(super) fn rewrite(path: &str) -> Result<NormalPath, TargetFault> {
    let mut output = Output::new(path);
    let mut separators = Separators::default();
    let mut rest = path.get(1..);
    while let Some(tail) = rest {
        let segment;
        (segment, rest) = match tail.split_once('/') {
            Some((segment, tail)) => (segment, Some(tail)),
            None => (tail, None),
        };
        let start = output.len();
        output.push(b'/');
        write_segment(segment, &mut output, &mut separators)?;
        match meaning(&output.as_str()[start + 1..])? {
            Meaning::Name => continue,
            Meaning::Here => output.truncate(start),
            Meaning::Up => {
                let parent = output.as_str()[..start].rfind('/');
                output.truncate(parent.ok_or(TargetFault::AboveRoot)?);
            }
        }
        if rest.is_none() {
            output.push(b'/');
        }
    }
    Ok(NormalPath { form: output.finish(), separators })
}

/// What a segment in normal form does to a path.
enum Meaning {
    /// It names something.
    Name,
    /// It stays where it is: empty or `.`.
    Here,
    /// It goes to the parent: `..`.
    Up,
}

/// Reads a segment as every server behind the gateway might: those that decode separators, and those
/// that drop parameters from `;` on. When one of them would see a dot segment where there is none by
/// RFC 3986, the path is refused.
fn meaning(segment: &str) -> Result<Meaning, TargetFault> {
    if segment.is_empty() || segment == "." {
        return Ok(Meaning::Here);
    }
    if segment == ".." {
        return Ok(Meaning::Up);
    }
    let mut rest = Some(segment);
    while let Some(tail) = rest {
        let part;
        (part, rest) = cut(tail, &["%2F", "%5C"]);
        let (name, _) = cut(part, &[";", "%3B"]);
        if name == "." || name == ".." {
            return Err(TargetFault::DotSegment);
        }
    }
    Ok(Meaning::Name)
}

/// Splits at the first of two marks, like `split_once`.
fn cut<'a>(text: &'a str, marks: &[&str; 2]) -> (&'a str, Option<&'a str>) {
    let [first, second] = marks.map(|mark| text.find(mark).map(|at| (at, mark.len())));
    match first.into_iter().chain(second).min() {
        Some((at, len)) => (&text[..at], Some(&text[at + len..])),
        None => (text, None),
    }
}

/// Writes a segment with its characters in normal form.
fn write_segment(segment: &str, output: &mut Output<'_>, separators: &mut Separators) -> Result<(), TargetFault> {
    let mut utf8 = Utf8::default();
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            utf8.end()?;
            write_byte(byte, is_pchar(byte), output);
            continue;
        }
        let decoded = hex_digit(bytes.next())? << 4 | hex_digit(bytes.next())?;
        match decoded {
            0x00..=0x1f | 0x7f => return Err(TargetFault::Control),
            0x80.. => utf8.push(decoded)?,
            _ => utf8.end()?,
        }
        separators.slash |= decoded == b'/';
        separators.backslash |= decoded == b'\\';
        write_byte(decoded, is_unreserved(decoded), output);
    }
    utf8.end()
}

fn write_byte(byte: u8, as_it_is: bool, output: &mut Output<'_>) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    if as_it_is {
        output.push(byte);
    } else {
        output.push(b'%');
        output.push(HEX[usize::from(byte >> 4)]);
        output.push(HEX[usize::from(byte & 15)]);
    }
}

fn hex_digit(byte: Option<u8>) -> Result<u8, TargetFault> {
    match byte {
        Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
        Some(digit @ b'a'..=b'f') => Ok(digit - b'a' + 10),
        Some(digit @ b'A'..=b'F') => Ok(digit - b'A' + 10),
        _ => Err(TargetFault::Escape),
    }
}

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 section 3.3, without the `%` of an escape.
const fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

/// Bytes of an encoded character that is not complete yet; never more than three of them.
#[derive(Default)]
struct Utf8 {
    pending: [u8; 4],
    len: usize,
}

impl Utf8 {
    fn push(&mut self, byte: u8) -> Result<(), TargetFault> {
        self.pending[self.len] = byte;
        self.len += 1;
        match std::str::from_utf8(&self.pending[..self.len]) {
            Ok(_) => self.len = 0,
            // No error length: the beginning of a character, and at most three bytes of it.
            Err(fault) if fault.error_len().is_none() => {}
            Err(_) => return Err(TargetFault::Utf8),
        }
        Ok(())
    }

    fn end(&self) -> Result<(), TargetFault> {
        if self.len > 0 {
            return Err(TargetFault::Utf8);
        }
        Ok(())
    }
}

/// The normal path so far. As long as it equals the beginning of the source, it is only a length.
struct Output<'a> {
    source: &'a str,
    len: usize,
    changed: Option<String>,
}

impl<'a> Output<'a> {
    fn new(source: &'a str) -> Self {
        Self { source, len: 0, changed: None }
    }

    fn as_str(&self) -> &str {
        self.changed.as_deref().unwrap_or(&self.source[..self.len])
    }

    fn len(&self) -> usize {
        self.as_str().len()
    }

    /// Appends an ASCII byte.
    fn push(&mut self, byte: u8) {
        match &mut self.changed {
            Some(text) => text.push(char::from(byte)),
            None if self.source.as_bytes().get(self.len) == Some(&byte) => self.len += 1,
            None => {
                let mut text = String::with_capacity(self.source.len());
                text.push_str(&self.source[..self.len]);
                text.push(char::from(byte));
                self.changed = Some(text);
            }
        }
    }

    fn truncate(&mut self, len: usize) {
        match &mut self.changed {
            Some(text) => text.truncate(len),
            None => self.len = len,
        }
    }

    fn finish(self) -> Normal {
        match self.changed {
            Some(text) if text == self.source => Normal::Same,
            Some(text) => Normal::Changed(text),
            None if self.len == self.source.len() => Normal::Same,
            None => Normal::Changed(self.source[..self.len].to_owned()),
        }
    }
}
