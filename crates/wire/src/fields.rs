//! The fields of one message: ranges over one block of bytes, in the order and spelling received.
//!
//! A field line is kept as it came; an edit marks a line as removed or appends one to the block, so
//! that forwarding a head is a few copies of long runs. Known names are resolved when a line is
//! added, so that finding `host` or `content-length` is an index and not a search.
//!
//! Invariant: every live entry's line in the block reads `name: value\r\n` and holds no other CR or
//! LF, because the parser and [`Fields::append`] admit nothing else.

use crate::name::Known;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::ops::Range;

/// The most fields that one section can hold; a parser limit above this is cut to it.
pub const MAX_FIELDS: usize = 256;

/// Up to this many bytes, the values of a section share its memory.
const SHARED_SECTION: usize = 4096;

/// The fields of a head or of a trailer section.
#[derive(Debug, Clone)]
pub struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Position of the first entry with that name plus one; zero where there is none.
    first: [u16; Known::COUNT],
    /// Bit per known name: more than one entry was added.
    repeated: u64,
}

const _: () = assert!(Known::COUNT <= 64, "`repeated` is a bit set of 64");

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    value: u32,
    value_length: u32,
    name_length: u16,
    known: Known,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The line in the block can be copied as it is.
    Verbatim,
    /// White space around the value differs from one space before and none behind.
    Padded,
    Removed,
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as it was spelt.
    pub name: &'a [u8],
    /// The value without the white space around it.
    pub value: &'a [u8],
    /// What the name is, if it is one that the gateway acts on.
    pub known: Known,
}

impl Default for Fields {
    fn default() -> Self {
        Self { bytes: Vec::new(), entries: Vec::new(), first: [0; Known::COUNT], repeated: 0 }
    }
}

impl Fields {
    /// Forgets everything; the memory is kept for the next message.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.first = [0; Known::COUNT];
        self.repeated = 0;
    }

    /// How many bytes of memory are held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Takes over the bytes of a received section; ranges given to [`Fields::push_line`] refer to them.
    pub(crate) fn load(&mut self, section: &[u8]) {
        self.clear();
        self.bytes.extend_from_slice(section);
    }

    /// Registers the line at `line` of the block; the colon stands right behind the name, and `value` is
    /// without the white space around it. Returns what the name is.
    pub(crate) fn push_line(&mut self, line: Range<usize>, name_length: usize, value: Range<usize>) -> Known {
        let name_end = line.start + name_length;
        let known = Known::of(&self.bytes[line.start..name_end]);
        let spaced = value.start == name_end + 2 && self.bytes[name_end + 1] == b' ';
        let state = if spaced && value.end + 2 == line.end { State::Verbatim } else { State::Padded };
        self.push_entry(Entry {
            start: narrow(line.start),
            value: narrow(value.start),
            value_length: narrow(value.end - value.start),
            name_length: u16::try_from(name_length).unwrap_or(u16::MAX),
            known,
            state,
        });
        known
    }

    fn push_entry(&mut self, entry: Entry) {
        self.entries.push(entry);
        if entry.known != Known::Other {
            let slot = &mut self.first[entry.known as usize];
            if *slot == 0 {
                *slot = u16::try_from(self.entries.len()).unwrap_or(u16::MAX);
            } else {
                self.repeated |= 1 << entry.known as u8;
            }
        }
    }

    /// Appends a field.
    ///
    /// A byte that cannot stand in a value (RFC 9110 §5.5: CR, LF, NUL and other controls but the
    /// tab) is replaced by a space, so that no value can end its line.
    pub fn append(&mut self, name: &str, value: &[u8]) {
        self.append_with(name, |out| out.extend_from_slice(value));
    }

    /// Appends a field whose value is written by `write`, in place.
    pub fn append_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.append_as(name, Known::of(name.as_bytes()), write);
    }

    /// Appends a field with a known name, in lower case, whose value is written by `write`, in place.
    pub fn add(&mut self, known: Known, write: impl FnOnce(&mut Vec<u8>)) {
        self.append_as(known.text(), known, write);
    }

    fn append_as(&mut self, name: &str, known: Known, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        let value = self.bytes.len();
        write(&mut self.bytes);
        // Without a branch per byte, so that many are judged at once.
        let controls = self.bytes[value..].iter().fold(0, |found, byte| found | u8::from(is_control(*byte)));
        if controls != 0 {
            self.bytes[value..].iter_mut().filter(|byte| is_control(**byte)).for_each(|byte| *byte = b' ');
        }
        let end = self.bytes.len();
        self.bytes.extend_from_slice(b"\r\n");
        let (mut first, mut last) = (value, end);
        while first < last && is_space(self.bytes[first]) {
            first += 1;
        }
        while first < last && is_space(self.bytes[last - 1]) {
            last -= 1;
        }
        self.push_entry(Entry {
            start: narrow(start),
            value: narrow(first),
            value_length: narrow(last - first),
            name_length: u16::try_from(name.len()).unwrap_or(u16::MAX),
            known,
            state: if last - first == end - value { State::Verbatim } else { State::Padded },
        });
    }

    /// Appends a field with the value of the first one called `source`, if there is one.
    pub fn append_copy(&mut self, known: Known, source: Known) {
        let Some(position) = usize::from(self.first[source as usize]).checked_sub(1) else {
            return;
        };
        let start = self.entries[position].value as usize;
        let end = start + self.entries[position].value_length as usize;
        self.add(known, |out| out.extend_from_within(start..end));
    }

    /// Appends a field that somebody else has checked: `known` is what `name` spells, and the value has
    /// neither control bytes nor white space around it.
    pub(crate) fn append_checked(&mut self, name: &str, value: &[u8], known: Known) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        self.push_entry(Entry {
            start: narrow(start),
            value: narrow(start + name.len() + 2),
            value_length: narrow(value.len()),
            name_length: u16::try_from(name.len()).unwrap_or(u16::MAX),
            known,
            state: State::Verbatim,
        });
    }

    /// Removes every field with that known name.
    pub fn remove(&mut self, known: Known) {
        let first = self.first[known as usize];
        if first == 0 {
            return;
        }
        for entry in &mut self.entries[usize::from(first) - 1..] {
            if entry.known == known {
                entry.state = State::Removed;
            }
        }
        self.first[known as usize] = 0;
        self.repeated &= !(1 << known as u8);
    }

    /// Removes every field for which `condemned` answers true.
    pub fn remove_where(&mut self, mut condemned: impl FnMut(Field<'_>) -> bool) {
        let mut known_removed = 0_u64;
        for entry in &mut self.entries {
            if entry.state != State::Removed && condemned(view(&self.bytes, entry)) {
                entry.state = State::Removed;
                known_removed |= 1 << entry.known as u8;
            }
        }
        if known_removed > 1 {
            self.reindex();
        }
    }

    fn reindex(&mut self) {
        self.first = [0; Known::COUNT];
        self.repeated = 0;
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.state == State::Removed || entry.known == Known::Other {
                continue;
            }
            let slot = &mut self.first[entry.known as usize];
            if *slot == 0 {
                *slot = u16::try_from(index + 1).unwrap_or(u16::MAX);
            } else {
                self.repeated |= 1 << entry.known as u8;
            }
        }
    }

    /// Replaces all fields of that known name by one.
    pub fn set(&mut self, known: Known, value: &[u8]) {
        self.remove(known);
        self.add(known, |out| out.extend_from_slice(value));
    }

    /// The value of the first field with that known name.
    #[must_use]
    pub fn value(&self, known: Known) -> Option<&[u8]> {
        match self.first[known as usize] {
            0 => None,
            position => Some(view(&self.bytes, &self.entries[usize::from(position) - 1]).value),
        }
    }

    /// Whether a field with that known name is there.
    #[must_use]
    pub fn has(&self, known: Known) -> bool {
        self.first[known as usize] != 0
    }

    /// Whether there is more than one field with that known name.
    #[must_use]
    pub fn is_repeated(&self, known: Known) -> bool {
        self.repeated & (1 << known as u8) != 0
    }

    /// The values of all fields with that known name, in order.
    pub fn values(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let start = match self.first[known as usize] {
            0 => self.entries.len(),
            position => usize::from(position) - 1,
        };
        self.entries[start..]
            .iter()
            .filter(move |entry| entry.known == known && entry.state != State::Removed)
            .map(|entry| view(&self.bytes, entry).value)
    }

    /// The values of all fields called `name`, in any case and in order.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.value)
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().filter(|entry| entry.state != State::Removed).map(|entry| view(&self.bytes, entry))
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.state != State::Removed).count()
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the field lines to `out`, without the empty line that ends a section.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut run = 0..0;
        for entry in &self.entries {
            let start = entry.start as usize;
            match entry.state {
                State::Removed => {}
                State::Verbatim => {
                    let end = (entry.value + entry.value_length) as usize + 2;
                    if run.end == start {
                        run.end = end;
                    } else {
                        out.extend_from_slice(&self.bytes[run]);
                        run = start..end;
                    }
                }
                State::Padded => {
                    out.extend_from_slice(&self.bytes[run]);
                    run = 0..0;
                    let field = view(&self.bytes, entry);
                    out.extend_from_slice(field.name);
                    out.extend_from_slice(b": ");
                    out.extend_from_slice(field.value);
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
        out.extend_from_slice(&self.bytes[run]);
    }

    /// The fields as an `http` map; names fold to lower case.
    #[must_use]
    pub fn to_header_map(&self) -> http::HeaderMap {
        let mut map = http::HeaderMap::with_capacity(self.entries.len());
        self.for_each_http(|_, name, value| {
            map.append(name, value);
        });
        map
    }

    /// Hands out every field in the terms of the `http` crate.
    ///
    /// The values of a small section are slices of one copy of it. Of a large one each is copied, because
    /// whoever keeps one value (a compression table does) would keep all of it.
    pub(crate) fn for_each_http(&self, mut each: impl FnMut(Known, HeaderName, HeaderValue)) {
        let shared = (self.bytes.len() <= SHARED_SECTION).then(|| Bytes::copy_from_slice(&self.bytes));
        for entry in self.entries.iter().filter(|entry| entry.state != State::Removed) {
            let field = view(&self.bytes, entry);
            let start = entry.value as usize;
            let value = match &shared {
                Some(section) => section.slice(start..start + field.value.len()),
                None => Bytes::copy_from_slice(field.value),
            };
            let name = field.known.http_name().or_else(|| HeaderName::from_bytes(field.name).ok());
            if let (Some(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(value)) {
                each(field.known, name, value);
            }
        }
    }

    /// Appends all fields of an `http` map.
    pub fn extend_from(&mut self, map: &http::HeaderMap) {
        for (name, value) in map {
            self.append(name.as_str(), value.as_bytes());
        }
    }
}

fn view<'a>(bytes: &'a [u8], entry: &Entry) -> Field<'a> {
    let start = entry.start as usize;
    let value = entry.value as usize;
    Field {
        name: &bytes[start..start + usize::from(entry.name_length)],
        value: &bytes[value..value + entry.value_length as usize],
        known: entry.known,
    }
}

/// Sections are bounded far below 4 GiB by the size limit of a head.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn written(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn order_and_spelling_survive_edits() {
        let mut fields = Fields::default();
        fields.append("Host", b"a");
        fields.append("X-One", b"1");
        fields.append("connection", b"close");
        fields.append("X-Two", b"2");
        fields.remove(Known::Connection);
        fields.append("Via", b"1.1 x");
        assert_eq!(written(&fields), "Host: a\r\nX-One: 1\r\nX-Two: 2\r\nVia: 1.1 x\r\n");
        assert!(!fields.has(Known::Connection));
        assert_eq!(fields.value(Known::Host), Some(&b"a"[..]));
        assert_eq!(fields.len(), 4);
    }

    #[test]
    fn a_removed_name_can_come_back() {
        let mut fields = Fields::default();
        fields.append("host", b"a");
        fields.append("Host", b"b");
        assert!(fields.is_repeated(Known::Host));
        fields.set(Known::Host, b"c");
        assert!(!fields.is_repeated(Known::Host));
        assert_eq!(fields.values(Known::Host).collect::<Vec<_>>(), [b"c"]);
    }

    #[test]
    fn padding_is_not_forwarded() {
        let mut fields = Fields::default();
        fields.load(b"A:1\r\nB:  2 \t\r\nC: 3\r\nD:\r\n");
        fields.push_line(0..5, 1, 2..3);
        fields.push_line(5..14, 1, 9..10);
        fields.push_line(14..20, 1, 17..18);
        fields.push_line(20..24, 1, 22..22);
        assert_eq!(written(&fields), "A: 1\r\nB: 2\r\nC: 3\r\nD: \r\n");
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let mut fields = Fields::default();
        fields.append("x", b"a\r\nEvil: 1\0");
        assert_eq!(written(&fields), "x: a  Evil: 1\r\n");
    }

    proptest! {
        /// Against the plainest model: a list of pairs.
        #[test]
        fn edits_match_a_list(edits in prop::collection::vec((0_u8..4, 0_usize..5), 0..60)) {
            let names = ["host", "cookie", "x-a", "via", "X-B"];
            let mut fields = Fields::default();
            let mut list: Vec<(String, String)> = Vec::new();
            for (step, (kind, which)) in edits.into_iter().enumerate() {
                let name = names[which];
                let known = Known::of(name.as_bytes());
                let value = step.to_string();
                match kind {
                    0 | 1 => {
                        fields.append(name, value.as_bytes());
                        list.push((name.into(), value));
                    }
                    2 if known != Known::Other => {
                        fields.remove(known);
                        list.retain(|(other, _)| other != name);
                    }
                    _ => {
                        fields.remove_where(|field| field.name == name.as_bytes());
                        list.retain(|(other, _)| other != name);
                    }
                }
                let expected: String = list.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
                prop_assert_eq!(written(&fields), expected);
                for name in names {
                    let known = Known::of(name.as_bytes());
                    let model: Vec<_> = list.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_bytes()).collect();
                    prop_assert_eq!(fields.named(name).collect::<Vec<_>>(), model.clone());
                    if known != Known::Other {
                        prop_assert_eq!(fields.values(known).collect::<Vec<_>>(), model.clone());
                        prop_assert_eq!(fields.is_repeated(known), model.len() > 1);
                    }
                }
            }
        }
    }
}
