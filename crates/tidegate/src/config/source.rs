//! The text of a configuration, and what its bytes are called by people: lines and columns.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::diagnostic::Diagnostic;

/// Bytes of the largest configuration that is read.
const LARGEST: u64 = 4 << 20;

/// A configuration's text, without a byte order mark.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

impl Source {
    /// A text that is here already.
    pub(super) fn new(name: &str, text: &str) -> Result<Arc<Self>, Diagnostic> {
        Self::from_bytes(name, text.as_bytes().to_vec())
    }

    /// Reads a file of at most 4 MiB.
    pub(super) fn read(path: &Path) -> Result<Arc<Self>, Diagnostic> {
        let name = path.display().to_string();
        match contents(path) {
            Ok(bytes) => Self::from_bytes(&name, bytes),
            Err(error) => Err(Diagnostic::of_file(&name, format!("cannot be read: {error}"))),
        }
    }

    fn from_bytes(name: &str, mut bytes: Vec<u8>) -> Result<Arc<Self>, Diagnostic> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        if bytes.len() as u64 > LARGEST {
            let message = format!("is larger than {} MiB", LARGEST >> 20);
            return Err(Diagnostic::of_file(name, message));
        }
        let source = match String::from_utf8(bytes) {
            Ok(text) => Self::named(name, text),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                // The replacement character that stands for the first wrong byte has three bytes.
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let source = Self::named(name, text);
                return Err(Diagnostic::error(&source, at..at + 3, "is not UTF-8"));
            }
        };
        // To the YAML parser NUL is the end of the text, and the rest would be ignored.
        match source.text.find('\0') {
            Some(at) => Err(Diagnostic::error(&source, at..at + 1, "has a NUL character")),
            None => Ok(source),
        }
    }

    pub(super) fn named(name: &str, text: String) -> Arc<Self> {
        let name = name.to_owned();
        Arc::new(Self { name, text })
    }

    /// Line and column, both counted from 1, the column in characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.floor(offset)];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
        (line, 1 + before[line_start..].chars().count())
    }

    /// The line with the byte at `offset`: where it starts, and its text without the end of the line.
    pub(super) fn line(&self, offset: usize) -> (usize, &str) {
        let (before, after) = self.text.split_at(self.floor(offset));
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let length = before.len() - start + after.find('\n').unwrap_or(after.len());
        (start, self.text[start..start + length].trim_end_matches('\r'))
    }

    /// The part of `span` that is on its first line.
    pub(super) fn first_line(&self, span: Range<usize>) -> Range<usize> {
        let (start, end) = (self.floor(span.start), self.floor(span.end));
        let line = self.text[start..end.max(start)].lines().next();
        start..start + line.unwrap_or("").trim_end().len()
    }

    /// The start of the character at `offset`, or the end of the text.
    fn floor(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }
}

fn contents(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large, or has no end, from one that is not.
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
