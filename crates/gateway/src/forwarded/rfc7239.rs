//! The notation of the `Forwarded` field (RFC 7239 section 4), read strictly and from the right.
//!
//! From the right, because the right end is what trusted proxies wrote. A client can begin the field with an open
//! quotation mark; reading from the left, everything that was appended would drown in it.

use std::net::IpAddr;

use super::{Scheme, host, node, write_address};

/// What is of interest in one element. A parameter that is present with a value of no use, such as `for=unknown`,
/// counts as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: Option<&'a [u8]>,
}

/// The elements of one field line from the right; `None` for one that is malformed.
pub(super) fn elements_from_the_right(line: &[u8]) -> impl Iterator<Item = Option<Element<'_>>> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let comma = last_comma(text);
        rest = comma.map(|at| &text[..at]);
        Some(parse_element(text[comma.map_or(0, |at| at + 1)..].trim_ascii()))
    })
}

/// The last comma outside of quotation marks.
fn last_comma(text: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    for (at, byte) in text.iter().enumerate().rev() {
        match byte {
            b',' if !is_quoted => return Some(at),
            // A mark with a backslash before it does not open a quoted string, seen from inside.
            b'"' if !(is_quoted && is_escaped(&text[..at])) => is_quoted = !is_quoted,
            _ => (),
        }
    }
    None
}

/// Whether what follows `before` is escaped: it ends in an odd number of backslashes.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// `[ pair ] *( ";" [ pair ] )`, no name twice.
fn parse_element(text: &[u8]) -> Option<Element<'_>> {
    let mut element = Element::default();
    let mut seen = Seen::default();
    let mut rest = text;
    loop {
        if !rest.is_empty() && rest[0] != b';' {
            let (name, value, after) = parse_pair(rest)?;
            seen.add(name)?;
            element.set(name, value);
            rest = after;
        }
        match rest {
            [] => return Some(element),
            [b';', after @ ..] => rest = after,
            _ => return None,
        }
    }
}

impl<'a> Element<'a> {
    fn set(&mut self, name: &[u8], value: &'a [u8]) {
        if name.eq_ignore_ascii_case(b"for") {
            self.address = node(value).map(|address| address.to_canonical());
        } else if name.eq_ignore_ascii_case(b"proto") {
            self.scheme = super::parse_scheme(value);
        } else if name.eq_ignore_ascii_case(b"host") {
            self.host = host(value);
        }
    }
}

/// The parameter names of an element. Four are registered; more than this many are refused.
#[derive(Default)]
struct Seen<'a> {
    names: [&'a [u8]; 8],
    count: usize,
}

impl<'a> Seen<'a> {
    fn add(&mut self, name: &'a [u8]) -> Option<()> {
        let is_new = !self.names[..self.count].iter().any(|seen| seen.eq_ignore_ascii_case(name));
        *self.names.get_mut(self.count).filter(|_| is_new)? = name;
        self.count += 1;
        Some(())
    }
}

/// `token "=" ( token / quoted-string )`: the name, the value without its marks, and what follows.
///
/// Escapes inside the value stay as they are. No address, scheme or host can contain the two characters that need
/// one, so a value with a backslash is none of these.
fn parse_pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = split_token(text)?;
    let rest = rest.strip_prefix(b"=")?;
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => split_quoted(quoted)?,
        None => split_token(rest)?,
    };
    Some((name, value, rest))
}

/// One or more of `tchar` (RFC 9110 section 5.6.2).
fn split_token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.iter().position(|&byte| !is_token(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// What stands before the closing mark, and what after it (RFC 9110 section 5.6.4).
fn split_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_text = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'"' => return Some((&text[..at], &text[at + 1..])),
            b'\\' if is_text(*text.get(at + 1)?) => at += 2,
            b'\\' => return None,
            byte if is_text(byte) => at += 1,
            _ => return None,
        }
    }
}

/// Appends `for=` with an address; IPv6 in brackets and therefore in quotation marks.
pub(super) fn write_node(out: &mut Vec<u8>, address: IpAddr) {
    let (before, after) = if address.is_ipv6() { ("\"[", "]\"") } else { ("", "") };
    out.extend_from_slice(b"for=");
    out.extend_from_slice(before.as_bytes());
    write_address(out, address);
    out.extend_from_slice(after.as_bytes());
}

/// Appends `;host=`, if it is a host; one with a port or brackets in quotation marks.
pub(super) fn write_host(out: &mut Vec<u8>, text: &[u8]) {
    let Some(host) = host(text) else { return };
    let mark: &[u8] = if host.iter().any(|byte| b":[]".contains(byte)) { b"\"" } else { b"" };
    for part in [b";host=", mark, host, mark] {
        out.extend_from_slice(part);
    }
}
