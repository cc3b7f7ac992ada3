//! The PROXY protocol, versions 1 and 2: who the client behind a load balancer really is.
//!
//! A balancer that forwards plain TCP writes one header before the client's first byte. [`parse`] is the pure part,
//! [`read`] takes a header off a socket. Only a balancer that is known to send the header may be read this way: there
//! is no guessing whether a connection has one, because a client could then write its own (section 2 of the
//! specification, <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, which all sections here refer to).
//!
//! Whatever the specification does not allow is an error, and the connection must be closed. What it allows and we
//! have no use for (UNIX addresses, datagrams, extensions) is skipped, and the addresses are then absent.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest line of version 1, with its CRLF (section 2.1).
const V1_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";
/// What version 2 begins with (section 2.2).
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED: usize = 16;
/// The most that may follow the fixed part of version 2. Addresses need 216 bytes at most; the rest is extensions,
/// of which the largest in use, a client's TLS details, stay well below this.
const V2_MAX_LENGTH: usize = 4096;
const MAX_HEADER: usize = V2_FIXED + V2_MAX_LENGTH;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// How many bytes it took; what follows is the client's.
    pub consumed: usize,
    /// Where the client connected from. `None` for the balancer's own connections, such as health checks, and for
    /// kinds of addresses that are not TCP: the connection's own addresses hold then.
    pub source: Option<SocketAddr>,
    /// Where the client connected to; present exactly when `source` is.
    pub destination: Option<SocketAddr>,
}

/// Why there is no header, or none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// What is there can still become a header.
    Incomplete,
    /// It cannot.
    Invalid(Defect),
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// It begins like neither version.
    NoHeader,
    /// The line of version 1 is longer than 107 bytes, or its CR and LF are not together.
    Line,
    /// The words of version 1 are not exactly a protocol, two addresses and two ports, one space apart.
    Syntax,
    /// An address is not one of the announced family, written in full.
    Address,
    /// A port is not a number up to 65535 without leading zeros.
    Port,
    /// The binary header has another version than 2.
    Version,
    /// The binary header has a command that does not exist.
    Command,
    /// The binary header has a combination of family and transport that does not exist.
    Family,
    /// The binary header is shorter than its addresses, or longer than 4096 bytes.
    Length,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "no PROXY header",
            Self::Line => "PROXY line too long or not ended by CRLF",
            Self::Syntax => "malformed PROXY line",
            Self::Address => "malformed address in PROXY line",
            Self::Port => "malformed port in PROXY line",
            Self::Version => "unknown version of PROXY header",
            Self::Command => "unknown command in PROXY header",
            Self::Family => "unknown address family in PROXY header",
            Self::Length => "wrong length of PROXY header",
        })
    }
}

impl std::error::Error for Defect {}

impl From<Defect> for ParseError {
    fn from(defect: Defect) -> Self {
        Self::Invalid(defect)
    }
}

/// Parses the header at the beginning of `bytes`.
///
/// # Errors
///
/// [`ParseError::Incomplete`] means that the header, if it is one, continues after all of `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    if begins(bytes, V1_START) {
        parse_v1(bytes)
    } else if begins(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else {
        Err(Defect::NoHeader.into())
    }
}

/// Whether `bytes` begin with `start`, as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let shared = bytes.len().min(start.len());
    bytes[..shared] == start[..shared]
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let window = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        let is_over = window.len() == V1_MAX || has_lone_cr(window);
        return Err(if is_over { Defect::Line.into() } else { ParseError::Incomplete });
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(Defect::Line)?;
    if line.contains(&b'\r') {
        return Err(Defect::Line.into());
    }
    let consumed = end + 1;
    let addresses = v1_addresses(line.strip_prefix(V1_START).ok_or(Defect::Syntax)?)?;
    Ok(Parsed::new(consumed, addresses))
}

/// A CR that something other than LF follows; at the very end it may still be followed by one.
fn has_lone_cr(window: &[u8]) -> bool {
    window.iter().rev().skip(1).any(|&byte| byte == b'\r')
}

/// What stands between `PROXY ` and CRLF.
fn v1_addresses(words: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, Defect> {
    // After UNKNOWN anything goes, and must be ignored.
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let words = std::str::from_utf8(words).map_err(|_| Defect::Syntax)?;
    let mut words = words.split(' ');
    let mut next = || words.next().ok_or(Defect::Syntax);
    let [family, source, destination, source_port, destination_port] = [next()?, next()?, next()?, next()?, next()?];
    if words.next().is_some() {
        return Err(Defect::Syntax);
    }
    let address = match family {
        "TCP4" => v1_address::<Ipv4Addr>,
        "TCP6" => v1_address::<Ipv6Addr>,
        _ => return Err(Defect::Syntax),
    };
    Ok(Some((
        SocketAddr::new(address(source)?, v1_port(source_port)?),
        SocketAddr::new(address(destination)?, v1_port(destination_port)?),
    )))
}

/// The standard library's parsers refuse leading zeros, signs, scopes and surplus, as section 2.1 wants.
fn v1_address<A: FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, Defect> {
    word.parse::<A>().map(Into::into).map_err(|_| Defect::Address)
}

fn v1_port(word: &str) -> Result<u16, Defect> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if !is_plain {
        return Err(Defect::Port);
    }
    word.parse().map_err(|_| Defect::Port)
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, ParseError> {
    // Each field is judged as soon as it is there, so that nobody waits for the rest of a bad header.
    let rest = bytes.get(V2_SIGNATURE.len()..).unwrap_or_default();
    let is_local = v2_is_local(rest.first().copied())?;
    let shape = v2_shape(rest.get(1).copied(), is_local)?;
    let length = v2_length(rest.get(2..4))?;
    if length > V2_MAX_LENGTH || length < shape.size() {
        return Err(Defect::Length.into());
    }
    let consumed = V2_FIXED + length;
    let block = bytes.get(V2_FIXED..consumed).ok_or(ParseError::Incomplete)?;
    Ok(Parsed::new(consumed, shape.addresses(block)))
}

/// The version in the upper half of the byte, the command in the lower.
fn v2_is_local(byte: Option<u8>) -> Result<bool, ParseError> {
    match byte.ok_or(ParseError::Incomplete)? {
        0x20 => Ok(true),
        0x21 => Ok(false),
        other if other >> 4 != 2 => Err(Defect::Version.into()),
        _ => Err(Defect::Command.into()),
    }
}

fn v2_length(bytes: Option<&[u8]>) -> Result<usize, ParseError> {
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(ParseError::Incomplete)?;
    Ok(usize::from(u16::from_be_bytes(bytes)))
}

/// How the addresses of version 2 are laid out.
#[derive(Clone, Copy)]
enum Shape {
    Tcp4,
    Tcp6,
    /// Something of at least this many bytes that is skipped.
    Skipped(usize),
}

/// The address family in the upper half of the byte, the transport in the lower. For LOCAL both are ignored.
fn v2_shape(byte: Option<u8>, is_local: bool) -> Result<Shape, ParseError> {
    let byte = byte.ok_or(ParseError::Incomplete)?;
    if is_local {
        return Ok(Shape::Skipped(0));
    }
    match byte {
        0x00 => Ok(Shape::Skipped(0)),
        0x11 => Ok(Shape::Tcp4),
        0x21 => Ok(Shape::Tcp6),
        // Datagrams over either, and UNIX sockets: they exist, and fall back to unspecified.
        0x12 => Ok(Shape::Skipped(12)),
        0x22 => Ok(Shape::Skipped(36)),
        0x31 | 0x32 => Ok(Shape::Skipped(216)),
        _ => Err(Defect::Family.into()),
    }
}

impl Shape {
    fn size(self) -> usize {
        match self {
            Self::Tcp4 => 12,
            Self::Tcp6 => 36,
            Self::Skipped(size) => size,
        }
    }

    fn addresses(self, block: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Self::Tcp4 => v2_addresses::<Ipv4Addr, 4>(block),
            Self::Tcp6 => v2_addresses::<Ipv6Addr, 16>(block),
            Self::Skipped(_) => None,
        }
    }
}

/// Source address, destination address, source port, destination port; then extensions, which are skipped.
fn v2_addresses<A: From<[u8; N]> + Into<IpAddr>, const N: usize>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, block) = block.split_first_chunk::<N>()?;
    let (destination, block) = block.split_first_chunk::<N>()?;
    let (source_port, block) = block.split_first_chunk::<2>()?;
    let (destination_port, _) = block.split_first_chunk::<2>()?;
    let address = |bytes: &[u8; N], port: &[u8; 2]| SocketAddr::new(A::from(*bytes).into(), u16::from_be_bytes(*port));
    Some((address(source, source_port), address(destination, destination_port)))
}

impl Parsed {
    fn new(consumed: usize, addresses: Option<(SocketAddr, SocketAddr)>) -> Self {
        let (source, destination) = addresses.unzip();
        Self { consumed, source, destination }
    }
}

/// Takes exactly one header off the stream, and not one byte of what follows: that may be a TLS handshake, which is
/// somebody else's to read.
///
/// It waits as long as the peer does; the caller sets the time limit.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] with the [`Defect`] inside, [`io::ErrorKind::UnexpectedEof`], or what the socket
/// said.
pub async fn read(stream: &mut TcpStream) -> io::Result<Parsed> {
    let mut header = vec![0; MAX_HEADER];
    let mut taken = 0;
    loop {
        let seen = taken + stream.peek(&mut header[taken..]).await?;
        if seen == taken {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let result = parse(&header[..seen]);
        // Of an incomplete header every byte that was seen belongs to it. Taking those also keeps the next look from
        // returning at once with the same bytes.
        let belongs = match result {
            Ok(parsed) => parsed.consumed,
            Err(ParseError::Incomplete) => seen,
            Err(ParseError::Invalid(defect)) => return Err(io::Error::new(io::ErrorKind::InvalidData, defect)),
        };
        stream.read_exact(&mut header[taken..belongs]).await?;
        taken = belongs;
        if let Ok(parsed) = result {
            return Ok(parsed);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    fn v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, to) = (source.ip(), destination.ip());
        format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
    }

    fn v2_raw(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, block].concat()
    }

    fn v2(source: SocketAddr, destination: SocketAddr, extensions: &[u8]) -> Vec<u8> {
        let octets = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
        let block = [octets(source), octets(destination), ports, extensions.to_vec()].concat();
        v2_raw(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &block)
    }

    fn invalid(bytes: &[u8]) -> Defect {
        match parse(bytes) {
            Err(ParseError::Invalid(defect)) => defect,
            other => panic!("{other:?} for {:?}", bytes.escape_ascii().to_string()),
        }
    }

    /// Two addresses of one family.
    fn pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let four = any::<(Ipv4Addr, u16, Ipv4Addr, u16)>().prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
        let six = any::<(Ipv6Addr, u16, Ipv6Addr, u16)>().prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
        prop_oneof![four, six]
    }

    fn header() -> impl Strategy<Value = (Vec<u8>, Option<(SocketAddr, SocketAddr)>)> {
        prop_oneof![
            pair().prop_map(|(from, to)| (v1(from, to), Some((from, to)))),
            "[ -~]{0,90}".prop_map(|junk| (format!("PROXY UNKNOWN {junk}\r\n").into_bytes(), None)),
            (pair(), prop::collection::vec(any::<u8>(), 0..600))
                .prop_map(|((from, to), extensions)| (v2(from, to, &extensions), Some((from, to)))),
            (any::<u8>(), prop::collection::vec(any::<u8>(), 0..600))
                .prop_map(|(family, block)| (v2_raw(0x20, family, &block), None)),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_the_rest_left((bytes, addresses) in header(), rest in ".{0,40}") {
            let expected = Parsed::new(bytes.len(), addresses);
            prop_assert_eq!(parse(&[bytes, rest.into_bytes()].concat()), Ok(expected));
        }

        #[test]
        fn every_beginning_is_incomplete((bytes, _) in header()) {
            for length in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..length]), Err(ParseError::Incomplete), "{} bytes", length);
            }
        }

        #[test]
        fn nothing_panics_or_waits_for_ever(
            start in prop::sample::select(vec![b"".as_slice(), V1_START, V2_SIGNATURE, b"PROXY TCP4 1.2.3.4 "]),
            junk in prop::collection::vec(any::<u8>(), 0..5000),
        ) {
            let bytes = [start, &junk].concat();
            match parse(&bytes) {
                Ok(parsed) => prop_assert!(parsed.consumed <= bytes.len()),
                Err(ParseError::Incomplete) => prop_assert!(bytes.len() < MAX_HEADER),
                Err(ParseError::Invalid(_)) => (),
            }
        }
    }

    #[test]
    fn examples_of_the_specification() {
        let parsed = parse(b"PROXY TCP4 255.255.255.255 192.168.0.11 65535 443\r\nGET /").unwrap();
        assert_eq!(parsed.consumed, 51);
        assert_eq!(parsed.source, Some("255.255.255.255:65535".parse().unwrap()));
        assert_eq!(parsed.destination, Some("192.168.0.11:443".parse().unwrap()));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Parsed::new(15, None)));
        let longest = ["ffff"; 8].join(":");
        let line = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
        assert_eq!(line.len(), V1_MAX);
        assert_eq!(parse(line.as_bytes()), Ok(Parsed::new(V1_MAX, None)));
    }

    #[test]
    fn version_1_is_exact() {
        for (line, defect) in [
            ("GET / HTTP/1.1\r\n", Defect::NoHeader),
            ("proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", Defect::NoHeader),
            ("PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n", Defect::NoHeader),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", Defect::Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r2\r\n", Defect::Line),
            ("PROXY TCP4\rX", Defect::Line),
            ("PROXY \r\n", Defect::Syntax),
            ("PROXY TCP4\r\n", Defect::Syntax),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", Defect::Syntax),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", Defect::Syntax),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", Defect::Syntax),
            ("PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", Defect::Syntax),
            ("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", Defect::Syntax),
            ("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", Defect::Syntax),
            ("PROXY UNKNOWNS\r\n", Defect::Syntax),
            ("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", Defect::Syntax),
            ("PROXY TCP4  5.6.7.8 1 2\r\n", Defect::Address),
            ("PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", Defect::Address),
            ("PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", Defect::Address),
            ("PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", Defect::Address),
            ("PROXY TCP4 ::1 ::2 1 2\r\n", Defect::Address),
            ("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", Defect::Address),
            ("PROXY TCP6 [::1] ::2 1 2\r\n", Defect::Address),
            ("PROXY TCP6 fe80::1%1 ::2 1 2\r\n", Defect::Address),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", Defect::Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 00\r\n", Defect::Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", Defect::Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", Defect::Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", Defect::Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n", Defect::Port),
        ] {
            assert_eq!(invalid(line.as_bytes()), defect, "{line:?}");
        }
        let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX - 15));
        assert_eq!(invalid(too_long.as_bytes()), Defect::Line);
        assert_eq!(invalid(&too_long.as_bytes()[..V1_MAX]), Defect::Line);
        assert_eq!(invalid(b"PROXY TCP4 \xff 5.6.7.8 1 2\r\n"), Defect::Syntax);
    }

    #[test]
    fn version_2_is_exact() {
        let block = [0; 300];
        assert_eq!(invalid(&v2_raw(0x11, 0x11, &block)), Defect::Version);
        assert_eq!(invalid(&v2_raw(0x31, 0x11, &block)), Defect::Version);
        assert_eq!(invalid(&v2_raw(0x22, 0x11, &block)), Defect::Command);
        for family in [0x01, 0x02, 0x10, 0x13, 0x20, 0x23, 0x30, 0x33, 0x41, 0xff] {
            assert_eq!(invalid(&v2_raw(0x21, family, &block)), Defect::Family, "{family:#x}");
        }
        for (family, size) in [(0x11, 12), (0x12, 12), (0x21, 36), (0x22, 36), (0x31, 216), (0x32, 216)] {
            assert_eq!(invalid(&v2_raw(0x21, family, &block[..size - 1])), Defect::Length, "{family:#x}");
            assert!(parse(&v2_raw(0x21, family, &block[..size])).is_ok(), "{family:#x}");
        }
        assert!(parse(&v2_raw(0x21, 0x00, &[0; V2_MAX_LENGTH])).is_ok());
        assert_eq!(invalid(&v2_raw(0x21, 0x00, &[0; V2_MAX_LENGTH + 1])), Defect::Length);
        // A bad header is refused by its first bad byte, not when it is complete.
        assert_eq!(invalid(&v2_raw(0x31, 0x11, &block)[..13]), Defect::Version);
        assert_eq!(invalid(&v2_raw(0x21, 0x41, &block)[..14]), Defect::Family);
        assert_eq!(invalid(b"\r\n\r\nX"), Defect::NoHeader);
    }

    #[test]
    fn what_is_not_tcp_has_no_address() {
        for family in [0x00, 0x12, 0x22, 0x31, 0x32] {
            let parsed = parse(&v2_raw(0x21, family, &[1; 216])).unwrap();
            assert_eq!((parsed.source, parsed.destination), (None, None), "{family:#x}");
        }
    }

    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn reading_takes_the_header_and_no_more() {
        let (from, to) = ("192.0.2.1:4000".parse().unwrap(), "192.0.2.2:443".parse().unwrap());
        let six: (SocketAddr, SocketAddr) =
            ("[2001:db8::1]:4000".parse().unwrap(), "[2001:db8::2]:443".parse().unwrap());
        let big = vec![7; V2_MAX_LENGTH - 36];
        for header in [v1(from, to), v2(from, to, b""), v2(six.0, six.1, &big), b"PROXY UNKNOWN\r\n".to_vec()] {
            let (mut near, mut far) = connection().await;
            near.write_all(&[&header, b"\x16hello".as_slice()].concat()).await.unwrap();
            near.shutdown().await.unwrap();
            assert_eq!(read(&mut far).await.unwrap(), parse(&header).unwrap());
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"\x16hello");
        }
    }

    #[tokio::test]
    async fn a_header_may_come_in_pieces() {
        let (from, to) = ("192.0.2.1:4000".parse().unwrap(), "192.0.2.2:443".parse().unwrap());
        for header in [v1(from, to), v2(from, to, b"extension")] {
            let (mut near, mut far) = connection().await;
            near.set_nodelay(true).unwrap();
            let reader = async {
                let parsed = read(&mut far).await.unwrap();
                (parsed, far.read_u8().await.unwrap())
            };
            let writer = async {
                for byte in &header {
                    near.write_u8(*byte).await.unwrap();
                    tokio::task::yield_now().await;
                }
                near.write_u8(b'!').await.unwrap();
            };
            let (got, ()) = tokio::join!(reader, writer);
            assert_eq!(got, (parse(&header).unwrap(), b'!'));
        }
    }

    #[tokio::test]
    async fn a_missing_or_broken_header_is_an_error() {
        for (sent, kind) in [
            (b"".as_slice(), io::ErrorKind::UnexpectedEof),
            (b"PROXY TCP4", io::ErrorKind::UnexpectedEof),
            (b"GET / HTTP/1.1\r\n", io::ErrorKind::InvalidData),
        ] {
            let (mut near, mut far) = connection().await;
            near.write_all(sent).await.unwrap();
            near.shutdown().await.unwrap();
            assert_eq!(read(&mut far).await.unwrap_err().kind(), kind, "{sent:?}");
        }
    }
}
