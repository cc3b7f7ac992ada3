//! JSON into a tree.
//!
//! `serde_json` judges the text; what it accepts is then scanned again for the places of its values, which
//! it does not tell.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::diagnostic::Diagnostic;
use super::source::Source;
use super::tree::{DEEPEST, Entry, MOST_NODES, NodeId, Scalar, Tree, Value};

/// Parses a text, and returns the tree with the problems that do not stop parsing.
pub(super) fn parse(source: &Arc<Source>) -> Result<(Tree, Vec<Diagnostic>), Diagnostic> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(&source.text) {
        let at = offset(&source.text, error.line(), error.column());
        let message = error.to_string();
        let reason = message.rsplit_once(" at line ").map_or(&*message, |parts| parts.0);
        return Err(Diagnostic::error(source, at..at + 1, format!("this is not JSON: {reason}")));
    }
    let mut scanner = Scanner { source, at: 0, tree: Tree::default(), problems: Vec::new() };
    let root = scanner.value(0)?;
    scanner.tree.set_root(root);
    Ok((scanner.tree, scanner.problems))
}

/// The byte at a line and column, counted from 1, columns in bytes; column 0 is the end of the line before.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n').take(line.saturating_sub(1));
    let start: usize = lines.map(str::len).sum();
    let at = (start + column).saturating_sub(1).min(text.len());
    text.floor_char_boundary(at)
}

/// Reads text that is known to be JSON.
struct Scanner<'s> {
    source: &'s Arc<Source>,
    at: usize,
    tree: Tree,
    problems: Vec<Diagnostic>,
}

impl Scanner<'_> {
    fn value(&mut self, depth: usize) -> Result<NodeId, Diagnostic> {
        self.skip_space();
        let start = self.at;
        let value = match self.peek() {
            b'{' | b'[' if depth >= DEEPEST => {
                let message = format!("is nested more than {DEEPEST} levels deep");
                return Err(Diagnostic::error(self.source, start..start + 1, message));
            }
            b'{' => self.map(depth)?,
            b'[' => self.list(depth)?,
            _ => Value::Scalar(self.scalar()),
        };
        let span = start..self.at;
        self.tree
            .add(span.clone(), value)
            .map_err(|_| Diagnostic::error(self.source, span, format!("more than {MOST_NODES} values")))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Diagnostic> {
        let mut items = Vec::new();
        self.at += 1;
        while !self.ends(b']') {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::Sequence(items))
    }

    fn map(&mut self, depth: usize) -> Result<Value, Diagnostic> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut known = HashMap::new();
        self.at += 1;
        while !self.ends(b'}') {
            let start = self.at;
            let key = self.scalar().text;
            let key_span = start..self.at;
            self.skip_space();
            self.at += ":".len();
            let value = self.value(depth + 1)?;
            match known.insert(key.clone(), key_span.start) {
                Some(first) => self.repeated(&key, key_span, first),
                None => entries.push(Entry::new(key, key_span, value)),
            }
        }
        Ok(Value::Map(entries))
    }

    fn repeated(&mut self, key: &str, span: Range<usize>, first: usize) {
        let (line, _) = self.source.position(first);
        let message = format!("the key `{key}` is in this map already, in line {line}");
        self.problems.push(Diagnostic::error(self.source, span, message));
    }

    /// Goes to the next item, or behind the end of the list or map.
    fn ends(&mut self, end: u8) -> bool {
        self.skip_space();
        if self.peek() == b',' {
            self.at += 1;
            self.skip_space();
        }
        let ends = self.peek() == end || self.peek() == 0;
        self.at += usize::from(ends);
        ends
    }

    fn scalar(&mut self) -> Scalar {
        let rest = &self.source.text[self.at..];
        let quoted = rest.starts_with('"');
        let length = match quoted {
            true => string_length(rest),
            false => rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()),
        };
        let text = &rest[..length];
        self.at += length;
        let text = match quoted {
            true => serde_json::from_str(text).unwrap_or_default(),
            false => text.to_owned(),
        };
        Scalar { text, quoted, expanded: false }
    }

    fn skip_space(&mut self) {
        let rest = &self.source.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// The next byte; 0, which JSON never has, at the end.
    fn peek(&self) -> u8 {
        self.source.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }
}

/// The length of the string at the start of `text`, with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}
