//! Which requests belong together, and the cookie that keeps a client at its endpoint.

use super::Exchange;
use crate::balance::Ask;
use crate::balance::hash::Hasher;
use crate::config::document::SameSite;
use crate::config::plan::{Balance, HashBy, Scheme, StickyCookie};
use crate::hex;
use crate::rate_limit::cookie;
use crate::upstream::Upstream;
use std::net::IpAddr;
use tidegate_wire::name::Known;

/// Digits of the name of an endpoint in a cookie.
const DIGITS: usize = 16;

impl Exchange<'_> {
    /// What this request has in common with others that go to the same endpoint. It is read before
    /// the gateway adds fields of its own.
    pub(super) fn affinity(&self, upstream: &Upstream) -> Option<u64> {
        let fields = &self.scratch.request.fields;
        let hash = |value| Hasher::FIXED.hash(value);
        match &upstream.plan.balance {
            Balance::IpHash | Balance::Maglev(HashBy::ClientAddress) => Some(by_address(self.context.origin.client())),
            Balance::Maglev(HashBy::Header(name)) => fields.named(name.as_str()).next().map(hash),
            Balance::Maglev(HashBy::Cookie(name)) => cookie(fields, name).map(hash),
            Balance::Maglev(HashBy::Path) => self.scratch.request.target.get(..self.context.path).map(hash),
            Balance::StickyCookie(sticky) => cookie(fields, &sticky.name).and_then(endpoint_id),
            _ => None,
        }
    }

    /// Sets the cookie where the endpoint that answered is not the one that the client has named.
    pub(super) fn stick(&mut self, upstream: &Upstream, ask: &Ask) {
        if let Balance::StickyCookie(sticky) = &upstream.plan.balance
            && let Some(id) = upstream.cookie(ask).filter(|id| ask.key != Some(*id))
        {
            let tls = self.context.origin.scheme() == Scheme::Https;
            self.scratch.response.fields.add(Known::SetCookie, |out| write(sticky, id, tls, out));
        }
    }
}

/// An IPv6 host has a network of 64 bits to itself, and takes another address in it when it likes.
fn by_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => Hasher::FIXED.hash(&address.octets()),
        IpAddr::V6(address) => Hasher::FIXED.hash(&address.octets()[..8]),
    }
}

fn endpoint_id(value: &[u8]) -> Option<u64> {
    let id = hex::decode(value).filter(|_| value.len() == DIGITS)?;
    u64::try_from(id).ok()
}

fn write(sticky: &StickyCookie, id: u64, tls: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(sticky.name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(&hex::encode::<DIGITS>(id.into()));
    out.extend_from_slice(b"; Path=");
    out.extend_from_slice(sticky.path.as_bytes());
    if let Some(ttl) = sticky.ttl {
        out.extend_from_slice(b"; Max-Age=");
        out.extend_from_slice(ttl.as_secs().to_string().as_bytes());
    }
    if sticky.secure.unwrap_or(tls) {
        out.extend_from_slice(b"; Secure");
    }
    if sticky.http_only {
        out.extend_from_slice(b"; HttpOnly");
    }
    out.extend_from_slice(match sticky.same_site {
        SameSite::Strict => b"; SameSite=Strict".as_slice(),
        SameSite::Lax => b"; SameSite=Lax",
        SameSite::None => b"; SameSite=None",
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_the_gateway_writes_names_an_endpoint() {
        assert_eq!(endpoint_id(b"00000000000000ff"), Some(255));
        for value in [b"ff".as_slice(), b"00000000000000FF", b"000000000000000ff", b"\"0000000000000ff\"", b""] {
            assert_eq!(endpoint_id(value), None, "{value:?}");
        }
    }

    #[test]
    fn a_host_is_known_by_its_network() {
        let key = |text: &str| by_address(text.parse().expect("an address"));
        assert_eq!(key("2001:db8:0:1::5"), key("2001:db8:0:1:ffff::9"));
        assert_ne!(key("2001:db8:0:1::5"), key("2001:db8:0:2::5"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn attributes_are_those_that_were_asked_for() {
        let plain = StickyCookie {
            name: "at".into(),
            key: "k".into(),
            ttl: None,
            path: "/".into(),
            secure: None,
            http_only: true,
            same_site: SameSite::Lax,
        };
        let written = |sticky: &StickyCookie, tls| {
            let mut out = Vec::new();
            write(sticky, 0xabc, tls, &mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(&plain, false), "at=0000000000000abc; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(written(&plain, true), "at=0000000000000abc; Path=/; Secure; HttpOnly; SameSite=Lax");
        let full = StickyCookie {
            ttl: Some(Duration::from_secs(3600)),
            path: "/shop".into(),
            secure: Some(true),
            http_only: false,
            same_site: SameSite::None,
            ..plain
        };
        assert_eq!(written(&full, false), "at=0000000000000abc; Path=/shop; Max-Age=3600; Secure; SameSite=None");
    }
}
