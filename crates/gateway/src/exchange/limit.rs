//! Step 5: the limits of the listener and of the route, all of which a request has to pass.
//!
//! Every request that was read counts, also one that no route answers or that is refused for its path or body: whoever
//! sends those is to be slowed down too.

use super::Exchange;
use super::affinity::cookie;
use crate::config::plan::KeyPart;
use crate::fault::Fault;
use crate::rate_limit::{Ask, Held, LimitScratch, Turn, admit, push_number};
use crate::recent::Decision;
use crate::scratch::Scratch;
use crate::timer::Timer;
use crate::worker::Local;
use http::Method;
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::task::Poll;
use tidegate_resilience::{Clock, Moment, Reading};
use tidegate_wire::fields::Fields;
use tidegate_wire::peer::Peer;

/// What stands between the parts of a key. No part of a request can hold it.
const BETWEEN: char = '\n';

impl Exchange<'_> {
    /// Has the request counted, and perhaps waits for its turn.
    pub(super) async fn limit(&mut self, peer: &mut Peer, timer: &mut Timer, local: &Local) -> Result<(), Fault> {
        let client = self.client;
        let route = self.context.route.map(|route| (&local.snapshot.routes[route].plan, local.rate_limits(route)));
        let of_listener = &client.listener.rate_limits;
        if of_listener.is_empty() && route.is_none_or(|(_, limits)| limits.is_empty()) {
            return Ok(());
        }
        let limits = of_listener.iter().chain(route.into_iter().flat_map(|(_, limits)| limits.iter()));
        let route = route.map(|(plan, _)| plan);
        let Scratch { request, host, limits: LimitScratch { keys, telling }, .. } = &mut *self.scratch;
        let subject = Subject {
            fields: &request.fields,
            method: &request.method,
            host,
            path: request.target.get(..self.context.path).unwrap_or_default(),
            route: route.map_or("", |route| &*route.name),
            client: self.context.origin.client(),
        };
        keys.clear();
        limits.clone().for_each(|limit| keys.push(|key| subject.write(&limit.by, key)));
        let (keys, now) = (&*keys, Clock::system().now());
        let total = route.and_then(|route| route.timeouts.total);
        let deadline =
            total.map_or(Moment::NEVER, |total| now.after(total.saturating_sub(timer.now() - self.context.started)));
        let asks = limits.enumerate().map(|(place, limit)| Ask { limit, key: keys.key(place), deadline });
        let turn = admit(&asks, &Reading::taken(now));
        telling.write(asks);
        self.context.limited = true;
        match turn {
            Ok(Turn::Now) => Ok(()),
            Ok(Turn::At(moment, held)) => {
                self.context.trail.decided(Decision::Waited(moment.since(now)));
                Box::pin(wait(peer, timer, moment, held)).await
            }
            Err(rejection) => {
                self.context.retry_after = rejection.retry_after();
                self.context.trail.decided(Decision::from(&rejection));
                // What the client may have sent behind a request to change the protocol is nobody's message.
                self.context.close |= self.context.upgrade.is_some();
                Err(Fault::Protected(rejection.code()))
            }
        }
    }

    /// Tells the client of the limits that were asked, whoever answers. What an upstream says of its own stays beside
    /// that: each field is a list, and the client has to keep to all of it.
    pub(super) fn tell_limits(&mut self) {
        let telling = &self.scratch.limits.telling;
        if self.context.limited && !telling.standing.is_empty() {
            let fields = &mut self.scratch.response.fields;
            fields.append("ratelimit-policy", telling.policy.as_bytes());
            fields.append("ratelimit", telling.standing.as_bytes());
        }
    }
}

/// Waits until the request may go on. A client that goes away gives its turn back.
async fn wait(peer: &mut Peer, timer: &mut Timer, moment: Moment, held: Held<'_>) -> Result<(), Fault> {
    timer.refresh();
    let until = timer.now() + moment.since(Clock::system().now());
    let came = timer.drive(|cx, timer| match peer.poll_lost(cx) {
        true => Poll::Ready(Err(Fault::ClientLeft)),
        false => timer.poll(cx, Some(until)).map(Ok),
    });
    came.await?;
    held.keep();
    Ok(())
}

/// What keys are made of.
pub(super) struct Subject<'s> {
    pub(super) fields: &'s Fields,
    pub(super) method: &'s Method,
    pub(super) host: &'s str,
    pub(super) path: &'s [u8],
    /// Empty where no route answers.
    pub(super) route: &'s str,
    pub(super) client: IpAddr,
}

impl Subject<'_> {
    pub(super) fn write(&self, by: &[KeyPart], key: &mut String) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::{self, Quota};
    use crate::rate_limit::RateLimits;
    use http::HeaderName;
    use std::time::Duration;
    use tidegate_resilience::{Document, Environment, PolicyOptions, RateLimitOptions, Registry, TokenBucket};

    const SECOND: Duration = Duration::from_secs(1);

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

    /// Prints what one limit by key costs a request:
    /// `cargo test --release -p tidegate-gateway limit::tests::the_cost -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement: it prints and asserts nothing about time"]
    fn the_cost_of_a_limit() {
        const REQUESTS: u32 = 5_000_000;
        let options = RateLimitOptions::token_bucket(TokenBucket { rate: 1_000_000, per: SECOND, burst: None });
        let document = Document {
            policies: [("per-client".to_owned(), PolicyOptions::KeyedRateLimit(options))].into(),
            ..Document::default()
        };
        let registry = Registry::new(&document, &Environment::default()).expect("valid");
        let plan = plan::RateLimit {
            policy: "per-client".into(),
            by: vec![KeyPart::ClientAddress(64)],
            cost: 1,
            quota: Quota { limit: 1_000_000, window: SECOND },
            told: true,
        };
        let limits = RateLimits::build(&registry.view(), &[plan]);
        let (fields, mut scratch, mut response) = (Fields::default(), LimitScratch::default(), Fields::default());
        let started = std::time::Instant::now();
        for request in 0..REQUESTS {
            let client = IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + request % 1000));
            let subject = Subject { fields: &fields, method: &Method::GET, host: "", path: b"/", route: "", client };
            let LimitScratch { keys, telling } = &mut scratch;
            keys.clear();
            limits.iter().for_each(|limit| keys.push(|key| subject.write(&limit.by, key)));
            let keys = &*keys;
            let ask = |(place, limit)| Ask { limit, key: keys.key(place), deadline: Moment::NEVER };
            let asks = limits.iter().enumerate().map(ask);
            assert!(admit(&asks, &Reading::taken(Clock::system().now())).is_ok());
            telling.write(asks);
            response.clear();
            response.append("ratelimit-policy", telling.policy.as_bytes());
            response.append("ratelimit", telling.standing.as_bytes());
        }
        println!("{:?} for a request", started.elapsed() / REQUESTS);
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
}
