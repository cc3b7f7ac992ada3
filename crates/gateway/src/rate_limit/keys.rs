//! What makes the key of a request: the parts of it that tell it from others.
//!
//! Limits and idempotency keys use the same parts, written in the same way. Different values are different keys: who can
//! write another's key can use up what is another's.

use super::push_number;
use crate::config::plan::KeyPart;
use http::Method;
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};
use tidegate_wire::fields::Fields;
use tidegate_wire::name::Known;

/// What stands between the parts of a key. No part of a request can hold it.
const BETWEEN: char = '\n';

/// The keys under which a request is counted, in memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// One behind the other.
    text: String,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Keys {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// How many bytes of memory the text holds.
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Adds a key that is written to the end of what is there.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.ends.push(self.text.len());
    }

    /// The key at this place; empty where there is none.
    pub(crate) fn key(&self, place: usize) -> &str {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(place).and_then(|end| self.text.get(start..*end)).unwrap_or_default()
    }
}

/// What keys are made of.
pub(crate) struct Subject<'s> {
    pub(crate) fields: &'s Fields,
    pub(crate) method: &'s Method,
    pub(crate) host: &'s str,
    pub(crate) path: &'s [u8],
    /// Empty where no route answers.
    pub(crate) route: &'s str,
    pub(crate) client: IpAddr,
}

impl Subject<'_> {
    pub(crate) fn write(&self, by: &[KeyPart], key: &mut String) {
        for (position, part) in by.iter().enumerate() {
            if position > 0 {
                key.push(BETWEEN);
            }
            match part {
                KeyPart::ClientAddress(prefix) => write_address(self.client, *prefix, key),
                // Lines of one name are one list (RFC 9110 §5.3).
                KeyPart::Header(name) => {
                    for (line, value) in self.fields.named(name.as_str()).enumerate() {
                        if line > 0 {
                            key.push(',');
                        }
                        push_bytes(value, key);
                    }
                }
                KeyPart::Cookie(name) => push_bytes(cookie(self.fields, name).unwrap_or_default(), key),
                KeyPart::Host => key.push_str(self.host),
                KeyPart::Path => push_bytes(self.path, key),
                KeyPart::Method => key.push_str(self.method.as_str()),
                KeyPart::Route => key.push_str(self.route),
            }
        }
    }
}

/// Appends bytes so that different ones stay different.
fn push_bytes(bytes: &[u8], key: &mut String) {
    match str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => key.push_str(text),
        _ => key.extend(bytes.iter().map(|byte| char::from(*byte))),
    }
}

/// Appends the network of an IPv6 client: within it, a host takes another address when it likes.
fn write_address(address: IpAddr, ipv6_prefix: u8, key: &mut String) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (position, octet) in address.octets().into_iter().enumerate() {
                if position > 0 {
                    key.push('.');
                }
                push_number(key, octet.into());
            }
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - u32::from(ipv6_prefix.clamp(1, 128)));
            // Writing to a string cannot fail.
            let _ = write!(key, "{}", Ipv6Addr::from_bits(address.to_bits() & mask));
        }
    }
}

/// The value of the first cookie of that name (RFC 6265 §4.2.1).
pub(crate) fn cookie<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    let pairs = fields.values(Known::Cookie).flat_map(|value| value.split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn key(by: &[KeyPart], fields: &[(&str, &[u8])], client: &str) -> String {
        let mut own = Fields::default();
        for (name, value) in fields {
            own.append(name, value);
        }
        let subject = Subject {
            fields: &own,
            method: &Method::PUT,
            host: "shop.test",
            path: b"/a",
            route: "all",
            client: client.parse().expect("an address"),
        };
        let mut key = String::new();
        subject.write(by, &mut key);
        key
    }

    #[test]
    fn a_key_is_all_of_its_parts() {
        let by = [KeyPart::Host, KeyPart::Path, KeyPart::Method, KeyPart::Route, KeyPart::ClientAddress(64)];
        assert_eq!(key(&by, &[], "192.0.2.1"), "shop.test\n/a\nPUT\nall\n192.0.2.1");
    }

    #[test]
    fn what_is_missing_is_empty() {
        let by = [KeyPart::Header(HeaderName::from_static("x-user")), KeyPart::Cookie("sid".into())];
        assert_eq!(key(&by, &[], "::1"), "\n");
        assert_eq!(key(&by, &[("X-User", b"ann"), ("cookie", b"a=1; sid=7")], "::1"), "ann\n7");
        assert_eq!(key(&by, &[("x-user", b"a"), ("x-user", b"b")], "::1"), "a,b\n");
    }

    #[test]
    fn different_values_are_different_keys() {
        let by = [KeyPart::Header(HeaderName::from_static("x-user"))];
        let of = |value: &[u8]| key(&by, &[("x-user", value)], "::1");
        assert_ne!(of(b"\xc3\xa9"), of(b"\xe9"));
        assert_ne!(of(b"\xff"), of(b"\xfe"));
        assert_eq!(of(b"\xff"), of(b"\xff"));
        let two = [KeyPart::Header(HeaderName::from_static("x-a")), KeyPart::Header(HeaderName::from_static("x-b"))];
        let of = |a: &[u8], b: &[u8]| key(&two, &[("x-a", a), ("x-b", b)], "::1");
        assert_ne!(of(b"a b", b""), of(b"a", b"b"));
        assert_ne!(of(b"a,", b"b"), of(b"a", b",b"));
    }

    #[test]
    fn clients_are_told_apart_by_their_network() {
        let by = |prefix| [KeyPart::ClientAddress(prefix)];
        assert_eq!(key(&by(64), &[], "2001:db8:0:1:ffff::9"), "2001:db8:0:1::");
        assert_eq!(key(&by(48), &[], "2001:db8:0:1:ffff::9"), "2001:db8::");
        assert_eq!(key(&by(128), &[], "2001:db8::9"), "2001:db8::9");
        assert_eq!(key(&by(1), &[], "2001:db8::9"), "::");
        assert_eq!(key(&by(64), &[], "::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn cookies_are_found_among_others() {
        let mut fields = Fields::default();
        for value in [b"aa=1;a=2".as_slice(), b"b=; c=x=y;  d=4 ; a=5", b"=6; ; e"] {
            fields.add(Known::Cookie, |out| out.extend_from_slice(value));
        }
        let found = |name| cookie(&fields, name).map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(found("a").as_deref(), Some("2"));
        assert_eq!(found("b").as_deref(), Some(""));
        assert_eq!(found("c").as_deref(), Some("x=y"));
        assert_eq!(found("d").as_deref(), Some("4"));
        assert_eq!(found("e"), None);
        assert_eq!(found("A"), None);
    }
}
