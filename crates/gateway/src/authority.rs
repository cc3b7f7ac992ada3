//! Host and authority: `example.test`, `192.0.2.1:8080`, `[2001:db8::1]:443`.
//!
//! Routing, virtual hosts of an upstream and caches all decide by the host, so there is one reading of it
//! and everything that two parsers could read differently is refused: userinfo, percent-encoding, lists,
//! numbers that some resolvers take for an IPv4 address. The grammar is a strict part of RFC 3986 section
//! 3.2; RFC 9110 section 7.2 and RFC 9112 section 3.2 ask for 400 when a `Host` does not fit.
//!
//! Nothing here resolves names or knows default ports.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of the longest authority accepted: a DNS name with room for a port.
pub const MAX_BYTES: usize = 255;

/// A host with perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host in the one spelling that routes compare: lower case, no final dot, an IPv6 address in
    /// brackets and in the form of RFC 5952.
    pub host: Cow<'a, str>,
    /// The port, when one is written.
    pub port: Option<u16>,
}

/// Why an authority was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorityFault {
    /// There is no host.
    Empty,
    /// It is longer than [`MAX_BYTES`].
    TooLong,
    /// The host has a byte other than letters, digits, `-`, `.` and `_`, or an empty label.
    Host,
    /// The host ends in a number but is no IPv4 address in four decimal parts.
    Ipv4,
    /// What is in brackets is no IPv6 address.
    Ipv6,
    /// What follows the host is not `:` and a port from 1 to 65535 without leading zeros.
    Port,
}

impl fmt::Display for AuthorityFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the host is empty",
            Self::TooLong => "the host is longer than 255 bytes",
            Self::Host => "the host is not a name of letters, digits, '-', '.' and '_'",
            Self::Ipv4 => "the host ends in a number but is not an IPv4 address",
            Self::Ipv6 => "the host in brackets is not an IPv6 address",
            Self::Port => "the port is not a number from 1 to 65535",
        })
    }
}

impl std::error::Error for AuthorityFault {}

/// Reads the value of `Host` or `:authority`, or the authority of a request target.
///
/// # Errors
///
/// An [`AuthorityFault`] for anything but `host` or `host:port`, without spaces around it.
pub fn parse(bytes: &[u8]) -> Result<Authority<'_>, AuthorityFault> {
    if bytes.len() > MAX_BYTES {
        return Err(AuthorityFault::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| AuthorityFault::Host)?;
    if let Some(end) = plain_name(bytes) {
        return Ok(Authority { host: Cow::Borrowed(&text[..end]), port: port(&text[end..])? });
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']').ok_or(AuthorityFault::Ipv6)?;
        return Ok(Authority { host: ipv6(&text[..address.len() + 2], address)?, port: port(rest)? });
    }
    let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
    Ok(Authority { host: host(name)?, port: port(rest)? })
}

/// The length of a host in front of the end or a colon, if it is a name that is in the one spelling already and
/// cannot be an address: nearly every host is, and this tells it in one pass.
fn plain_name(bytes: &[u8]) -> Option<usize> {
    let mut label = 0;
    let mut is_lettered = false;
    let mut end = bytes.len();
    for (position, byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {
                is_lettered = if label == 0 { byte.is_ascii_lowercase() } else { is_lettered };
                label += 1;
            }
            b'.' if label > 0 => label = 0,
            b':' => {
                end = position;
                break;
            }
            _ => return None,
        }
    }
    (label > 0 && is_lettered).then_some(end)
}

/// The address in the spelling of RFC 5952, so that one address is one host. `Ipv6Addr` accepts neither
/// zones (RFC 6874) nor future versions.
fn ipv6<'a>(bracketed: &'a str, address: &str) -> Result<Cow<'a, str>, AuthorityFault> {
    let parsed: Ipv6Addr = address.parse().map_err(|_| AuthorityFault::Ipv6)?;
    let canonical = format!("[{parsed}]");
    Ok(if canonical == bracketed { Cow::Borrowed(bracketed) } else { Cow::Owned(canonical) })
}

/// A registered name or an IPv4 address. The final dot of a fully qualified name goes: both spellings
/// resolve to the same host, so they must meet the same route.
fn host(name: &str) -> Result<Cow<'_, str>, AuthorityFault> {
    if name.is_empty() {
        return Err(AuthorityFault::Empty);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if !name.bytes().all(allowed) || name.split('.').any(str::is_empty) {
        return Err(AuthorityFault::Host);
    }
    if ends_in_number(name) && name.parse::<Ipv4Addr>().is_err() {
        return Err(AuthorityFault::Ipv4);
    }
    Ok(if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

/// Whether resolvers may take the name for an address: `127.1`, `0x7f000001` and `0177.0.0.1` reach
/// loopback on many systems. The test is the one of the URL standard ("ends in a number").
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        || last.bytes().all(|b| b.is_ascii_digit())
}

/// What follows the host: nothing, or a colon and a port. RFC 3986 section 3.2.3 allows an empty port and
/// leading zeros; nobody sends them in good faith and parsers disagree about them.
fn port(rest: &str) -> Result<Option<u16>, AuthorityFault> {
    if rest.is_empty() {
        return Ok(None);
    }
    let digits = rest.strip_prefix(':').ok_or(AuthorityFault::Port)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.starts_with('0') {
        return Err(AuthorityFault::Port);
    }
    digits.parse().map(Some).map_err(|_| AuthorityFault::Port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<(String, Option<u16>), AuthorityFault> {
        parse(text.as_bytes()).map(|authority| (authority.host.into_owned(), authority.port))
    }

    #[test]
    fn accepts_names_and_addresses_in_one_spelling() {
        for (written, host, port) in [
            ("example.test", "example.test", None),
            ("example.test:8080", "example.test", Some(8080)),
            ("EXAMPLE.Test.", "example.test", None),
            ("example.test.:1", "example.test", Some(1)),
            ("my_service-1", "my_service-1", None),
            ("1st.example", "1st.example", None),
            ("192.0.2.1:65535", "192.0.2.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8:0:0::1]:443", "[2001:db8::1]", Some(443)),
            ("[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]", None),
        ] {
            assert_eq!(read(written), Ok((host.into(), port)), "{written}");
        }
    }

    #[test]
    fn borrows_what_is_already_in_that_spelling() {
        for written in ["example.test:80", "example.test.", "[::1]:80", "192.0.2.1"] {
            let authority = parse(written.as_bytes()).expect("it is valid");
            assert!(matches!(authority.host, Cow::Borrowed(_)), "{written}");
        }
    }

    #[test]
    fn refuses_what_parsers_disagree_about() {
        use AuthorityFault::{Empty, Host, Ipv4, Ipv6, Port};
        for (written, fault) in [
            ("", Empty),
            (":80", Empty),
            (".", Host),
            ("a..b", Host),
            (".a", Host),
            ("a..", Host),
            ("user@a", Host),
            ("user:pw@a", Port),
            ("a@b:80", Host),
            ("a,b", Host),
            ("a b", Host),
            (" a", Host),
            ("a\t", Host),
            ("a/b", Host),
            ("a\\b", Host),
            ("a?b", Host),
            ("a#b", Host),
            ("a%2eb", Host),
            ("a\0", Host),
            ("é", Host),
            ("a:", Port),
            ("a:0", Port),
            ("a:080", Port),
            ("a:65536", Port),
            ("a:99999999999999999999", Port),
            ("a:+80", Port),
            ("a:-1", Port),
            ("a:8 0", Port),
            ("a:80:80", Port),
            ("a:80,b", Port),
            ("::1", Empty),
            ("fe80::1", Port),
            ("[::1", Ipv6),
            ("[]", Ipv6),
            ("[::1%25eth0]", Ipv6),
            ("[v1.a]", Ipv6),
            ("[192.0.2.1]", Ipv6),
            ("[::1]80", Port),
            ("[::1]:", Port),
            ("[::1].", Port),
            ("127.1", Ipv4),
            ("2130706433", Ipv4),
            ("0x7f000001", Ipv4),
            ("0177.0.0.1", Ipv4),
            ("256.0.0.1", Ipv4),
            ("1.2.3.4.5", Ipv4),
            ("a.1", Ipv4),
            ("a.0X", Ipv4),
        ] {
            assert_eq!(read(written), Err(fault), "{written:?}");
        }
        assert_eq!(parse(b"a\xff"), Err(Host));
    }

    #[test]
    fn bounds_the_length() {
        let longest = "a".repeat(MAX_BYTES);
        assert_eq!(read(&longest), Ok((longest.clone(), None)));
        assert_eq!(read(&"a".repeat(MAX_BYTES + 1)), Err(AuthorityFault::TooLong));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_host_reads_as_itself(text in "[a-zA-Z0-9._:\\[\\]-]{1,20}") {
            if let Ok(authority) = parse(text.as_bytes()) {
                let again = parse(authority.host.as_bytes()).map(|a| a.host.into_owned());
                prop_assert_eq!(again, Ok(authority.host.clone().into_owned()));
                prop_assert_eq!(authority.host.to_ascii_lowercase(), authority.host.into_owned());
            }
        }
    }
}
