//! Who sent a request, and over which scheme, when proxies stand in between; and how the next one is told.
//!
//! Anyone can write `X-Forwarded-For`. What a peer says about others counts only when the peer is a trusted proxy, and
//! each trusted proxy appends the address that it saw. So the chain is walked from the right: as long as an address
//! belongs to a trusted proxy, the entry to its left is believed too. The first address that does not is the client,
//! and everything left of it is that client's own invention. A malformed entry ends the walk as well; the last good
//! address counts.
//!
//! What goes out is written anew from the addresses that were believed: nothing that was not believed is passed on,
//! so an upstream that looks at the leftmost entry sees the client and not a forgery.
//!
//! A listener reads one of the two notations, never both: most proxies write one and pass the other through as the
//! client sent it. Requests are routed by their target; `X-Forwarded-Host` is only handed on.

mod names;
mod rfc7239;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::plan::Scheme;

pub use self::names::is_spoofable;

/// The longest chain that is believed. No real one is close; a forged one is cut here.
const MAX_HOPS: usize = 32;
/// The most field lines of one name that are looked at, counted from the last.
const MAX_LINES: usize = 8;
/// The longest host that is handed on: a DNS name and a port.
const MAX_HOST: usize = 253 + 6;

/// A scheme as proxies write it; some name the WebSocket schemes instead.
fn parse_scheme(text: &[u8]) -> Option<Scheme> {
    let is = |name: &str| text.eq_ignore_ascii_case(name.as_bytes());
    if is("https") || is("wss") {
        Some(Scheme::Https)
    } else if is("http") || is("ws") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// Whoever opened the connection that a request came on, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address; one that the PROXY protocol gave counts as the peer's.
    pub address: IpAddr,
    /// The scheme on our side.
    pub scheme: Scheme,
}

/// Whether `address` is in one of the networks. IPv4 addresses in IPv6 clothes (`::ffff:192.0.2.1`) count as IPv4.
#[must_use]
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The values of the fields that proxies write, in the order received; all lines of a name, each perhaps a list.
#[derive(Clone, Copy, Debug)]
pub struct XForwarded<F, P, H> {
    /// `X-Forwarded-For`.
    pub addresses: F,
    /// `X-Forwarded-Proto`.
    pub schemes: P,
    /// `X-Forwarded-Host`.
    pub hosts: H,
}

/// Where a request comes from, as far as it can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    peer: IpAddr,
    /// What was believed left of the peer, the nearest first. Empty, and not allocated, for an untrusted peer.
    hops: Vec<IpAddr>,
    scheme: Scheme,
    host: Option<Box<[u8]>>,
}

impl Origin {
    /// A request whose peer is the client.
    #[must_use]
    pub fn direct(peer: Peer) -> Self {
        Self { peer: peer.address.to_canonical(), hops: Vec::new(), scheme: peer.scheme, host: None }
    }

    /// Reads `X-Forwarded-*` if the peer is trusted; otherwise the values are not even looked at.
    ///
    /// Scheme and host are those of the entry in the client's place, or the leftmost when there are fewer: some
    /// proxies append to these lists and others keep one value.
    pub fn from_x_forwarded<'a>(
        peer: Peer,
        trusted: &[IpNet],
        values: XForwarded<
            impl Iterator<Item = &'a [u8]>,
            impl Iterator<Item = &'a [u8]>,
            impl Iterator<Item = &'a [u8]>,
        >,
    ) -> Self {
        let mut origin = Self::direct(peer);
        if !is_trusted(origin.peer, trusted) {
            return origin;
        }
        let lines = LastLines::of(values.addresses);
        origin.walk(trusted, entries(&lines).map(address));
        let place = origin.hops.len().saturating_sub(1);
        let lines = LastLines::of(values.schemes);
        let scheme = in_place(entries(&lines), place).and_then(parse_scheme);
        origin.scheme = scheme.unwrap_or(peer.scheme);
        let lines = LastLines::of(values.hosts);
        origin.host = in_place(entries(&lines), place).and_then(host).map(Into::into);
        origin
    }

    /// Reads `Forwarded` (RFC 7239) if the peer is trusted; otherwise the values are not even looked at.
    ///
    /// Scheme and host are those of the client's element.
    pub fn from_forwarded<'a>(peer: Peer, trusted: &[IpNet], values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut origin = Self::direct(peer);
        if !is_trusted(origin.peer, trusted) {
            return origin;
        }
        let lines = LastLines::of(values);
        let elements = || lines.reversed().flat_map(rfc7239::elements_from_the_right);
        origin.walk(trusted, elements().map(|element| element?.address));
        let place = origin.hops.len().saturating_sub(1);
        if let Some(element) = elements().nth(place).flatten() {
            origin.scheme = element.scheme.unwrap_or(peer.scheme);
            origin.host = element.host.map(Into::into);
        }
        origin
    }

    /// Follows the chain from the right through trusted proxies, up to the client.
    fn walk(&mut self, trusted: &[IpNet], chain: impl Iterator<Item = Option<IpAddr>>) {
        for address in chain.map_while(|address| address).take(MAX_HOPS) {
            self.hops.push(address);
            if !is_trusted(address, trusted) {
                return;
            }
        }
    }

    /// The client's address.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.hops.last().copied().unwrap_or(self.peer)
    }

    /// The scheme that the client used; also the value of `X-Forwarded-Proto`.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host that the client asked a trusted proxy for. Without one it is the request's own.
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        self.host.as_deref()
    }

    /// Appends the value of `X-Forwarded-For`: the client first, the peer last.
    pub fn write_x_forwarded_for(&self, out: &mut Vec<u8>) {
        for hop in self.hops.iter().rev() {
            write_address(out, *hop);
            out.extend_from_slice(b", ");
        }
        write_address(out, self.peer);
    }

    /// Appends the value of `Forwarded`: an element for each address, the client's with the scheme, and the host of
    /// [`Origin::host`] or else `host`.
    ///
    /// A host that cannot be one is left out.
    pub fn write_forwarded(&self, host: &[u8], out: &mut Vec<u8>) {
        rfc7239::write_node(out, self.client());
        out.extend_from_slice(b";proto=");
        out.extend_from_slice(self.scheme.as_str().as_bytes());
        rfc7239::write_host(out, self.host().unwrap_or(host));
        let others = self.hops.iter().rev().skip(1).copied();
        let peer = (!self.hops.is_empty()).then_some(self.peer);
        for address in others.chain(peer) {
            out.extend_from_slice(b", ");
            rfc7239::write_node(out, address);
        }
    }
}

/// The last few lines of a field, in order, without allocating.
struct LastLines<'a> {
    lines: [&'a [u8]; MAX_LINES],
    count: usize,
}

impl<'a> LastLines<'a> {
    fn of(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut last = Self { lines: [&[]; MAX_LINES], count: 0 };
        for value in values {
            last.lines[last.count % MAX_LINES] = value;
            last.count += 1;
        }
        last
    }

    fn reversed(&self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.count).rev().take(MAX_LINES).map(|number| self.lines[number % MAX_LINES])
    }
}

/// The entries of a comma-separated list over several lines, from the right.
fn entries<'a>(lines: &LastLines<'a>) -> impl Iterator<Item = &'a [u8]> {
    lines.reversed().flat_map(|line| line.rsplit(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

/// The entry at `place`, or the last one before it.
fn in_place<T>(entries: impl Iterator<Item = T>, place: usize) -> Option<T> {
    entries.take(place + 1).last()
}

/// An entry of `X-Forwarded-For`: an address, which some proxies write with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let bare = || std::str::from_utf8(entry).ok()?.parse::<Ipv6Addr>().ok();
    node(entry).or_else(|| bare().map(IpAddr::from)).map(|address| address.to_canonical())
}

/// An IPv4 address, or an IPv6 address in brackets; perhaps with a port (RFC 7239 section 6).
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        is_port(port).then(|| address.parse::<Ipv6Addr>().ok())?.map(IpAddr::from)
    } else {
        let (address, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        is_port(port).then(|| address.parse::<Ipv4Addr>().ok())?.map(IpAddr::from)
    }
}

/// Nothing, or a colon with a number or an obfuscated port.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    match port.strip_prefix('_') {
        Some(name) => {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    }
}

/// A host that is safe to hand on: letters, digits and what separates labels, addresses and ports.
fn host(text: &[u8]) -> Option<&[u8]> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
    let fits = !text.is_empty() && text.len() <= MAX_HOST;
    (fits && text.iter().all(is_plain)).then_some(text)
}

/// As `Display` does; IPv4, which nearly every request needs, without its machinery.
fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            write_octet(out, a);
            for octet in [b, c, d] {
                out.push(b'.');
                write_octet(out, octet);
            }
        }
        IpAddr::V6(address) => write!(out, "{address}").expect("writing to a vector does not fail"),
    }
}

fn write_octet(out: &mut Vec<u8>, octet: u8) {
    if octet >= 100 {
        out.push(b'0' + octet / 100);
    }
    if octet >= 10 {
        out.push(b'0' + octet / 10 % 10);
    }
    out.push(b'0' + octet % 10);
}

#[cfg(test)]
mod tests;
