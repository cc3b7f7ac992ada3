#![allow(clippy::unwrap_used)]

use std::iter;

use proptest::prelude::*;

use super::*;

fn nets() -> Vec<IpNet> {
    ["10.0.0.0/8", "192.0.2.7/32", "2001:db8:1::/48"].map(|net| net.parse().unwrap()).to_vec()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn peer(address: &str) -> Peer {
    Peer { address: ip(address), scheme: Scheme::Http }
}

fn lines<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> {
    lines.iter().map(|line| line.as_bytes())
}

fn x_forwarded(address: &str, fors: &[&str], protos: &[&str], hosts: &[&str]) -> Origin {
    let values = XForwarded { addresses: lines(fors), schemes: lines(protos), hosts: lines(hosts) };
    Origin::from_x_forwarded(peer(address), &nets(), values)
}

fn forwarded(address: &str, values: &[&str]) -> Origin {
    Origin::from_forwarded(peer(address), &nets(), lines(values))
}

fn x_forwarded_for(origin: &Origin) -> String {
    let mut out = Vec::new();
    origin.write_x_forwarded_for(&mut out);
    String::from_utf8(out).unwrap()
}

fn forwarded_value(origin: &Origin, host: &str) -> String {
    let mut out = Vec::new();
    origin.write_forwarded(host.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

/// An iterator that must not be asked.
fn untouchable() -> impl Iterator<Item = &'static [u8]> {
    iter::from_fn(|| panic!("the values of an untrusted peer were looked at"))
}

#[test]
fn an_untrusted_peer_is_the_client_whatever_it_says() {
    let values = XForwarded { addresses: untouchable(), schemes: untouchable(), hosts: untouchable() };
    let origin = Origin::from_x_forwarded(peer("203.0.113.9"), &nets(), values);
    assert_eq!(origin, Origin::direct(peer("203.0.113.9")));
    let origin = Origin::from_forwarded(peer("203.0.113.9"), &nets(), untouchable());
    assert_eq!(origin, Origin::direct(peer("203.0.113.9")));
    assert_eq!(origin.hops.capacity(), 0, "nothing is allocated");
    assert_eq!(x_forwarded_for(&origin), "203.0.113.9");
    assert_eq!(forwarded_value(&origin, "a.test"), "for=203.0.113.9;proto=http;host=a.test");
}

#[test]
fn the_walk_ends_at_the_rightmost_untrusted_address() {
    for (values, client, outgoing) in [
        (&[][..], "10.0.0.1", "10.0.0.1"),
        (&["203.0.113.5"], "203.0.113.5", "203.0.113.5, 10.0.0.1"),
        (&["6.6.6.6, 203.0.113.5"], "203.0.113.5", "203.0.113.5, 10.0.0.1"),
        (&["6.6.6.6, 203.0.113.5 ,10.1.1.1,\t192.0.2.7"], "203.0.113.5", "203.0.113.5, 10.1.1.1, 192.0.2.7, 10.0.0.1"),
        (&["6.6.6.6", "203.0.113.5", "10.1.1.1"], "203.0.113.5", "203.0.113.5, 10.1.1.1, 10.0.0.1"),
        (&["10.2.2.2, 10.1.1.1"], "10.2.2.2", "10.2.2.2, 10.1.1.1, 10.0.0.1"),
        (&["2001:db8:2::1, 2001:db8:1::1"], "2001:db8:2::1", "2001:db8:2::1, 2001:db8:1::1, 10.0.0.1"),
        (&["::ffff:203.0.113.5, ::ffff:10.1.1.1"], "203.0.113.5", "203.0.113.5, 10.1.1.1, 10.0.0.1"),
        (&["203.0.113.5:4711, 10.1.1.1:80"], "203.0.113.5", "203.0.113.5, 10.1.1.1, 10.0.0.1"),
        (&["[2001:db8:2::1]:4711, [2001:db8:1::1]"], "2001:db8:2::1", "2001:db8:2::1, 2001:db8:1::1, 10.0.0.1"),
    ] {
        let origin = x_forwarded("10.0.0.1", values, &[], &[]);
        assert_eq!(origin.client(), ip(client), "{values:?}");
        assert_eq!(x_forwarded_for(&origin), outgoing, "{values:?}");
    }
}

#[test]
fn a_malformed_entry_ends_the_walk() {
    for entry in [
        "",
        "unknown",
        "localhost",
        "10.0.0",
        "010.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:x",
        "10.0.0.1:65536",
        "10.0.0.1:+1",
        "10.0.0.1 10.0.0.2",
        "[10.0.0.1]",
        "[::1",
        "::1]",
        "[::1]x",
        "fe80::1%eth0",
        "\"10.0.0.1\"",
        "\u{e9}",
    ] {
        let line = format!("203.0.113.5, {entry}, 10.1.1.1");
        assert_eq!(x_forwarded("10.0.0.1", &[&line], &[], &[]).client(), ip("10.1.1.1"), "{entry:?}");
        assert_eq!(x_forwarded("10.0.0.1", &["203.0.113.5", entry], &[], &[]).client(), ip("10.0.0.1"), "{entry:?}");
    }
}

#[test]
fn a_peer_in_ipv6_clothes_is_its_ipv4_self() {
    let origin = x_forwarded("::ffff:10.0.0.1", &["203.0.113.5"], &[], &[]);
    assert_eq!(x_forwarded_for(&origin), "203.0.113.5, 10.0.0.1");
    assert!(!is_trusted(ip("11.0.0.1"), &nets()));
    assert!(!is_trusted(ip("10.0.0.1"), &[]));
}

#[test]
fn a_chain_has_a_bound() {
    let line = vec!["10.1.1.1"; MAX_HOPS + 20].join(",");
    let origin = x_forwarded("10.0.0.1", &[&line], &[], &[]);
    assert_eq!(x_forwarded_for(&origin).split(',').count(), MAX_HOPS + 1);
    // Of many lines the last ones count.
    let mut many = vec!["6.6.6.6"];
    many.extend(["10.1.1.1"; MAX_LINES]);
    let origin = x_forwarded("10.0.0.1", &many, &[], &[]);
    assert_eq!(x_forwarded_for(&origin).split(',').count(), MAX_LINES + 1);
    assert_eq!(origin.client(), ip("10.1.1.1"));
}

#[test]
fn scheme_and_host_are_those_in_the_clients_place() {
    for (fors, protos, scheme) in [
        ("203.0.113.5", "https", Scheme::Https),
        ("203.0.113.5", "HTTPS", Scheme::Https),
        ("203.0.113.5", "wss", Scheme::Https),
        ("203.0.113.5", "http", Scheme::Http),
        ("203.0.113.5", "http, https", Scheme::Https),
        ("203.0.113.5, 10.1.1.1", "https, http", Scheme::Https),
        ("203.0.113.5, 10.1.1.1", "http, https, http", Scheme::Https),
        ("203.0.113.5, 10.1.1.1", "https", Scheme::Https),
        ("203.0.113.5", "gopher", Scheme::Http),
        ("203.0.113.5", "https,", Scheme::Http),
        ("junk", "https", Scheme::Https),
    ] {
        assert_eq!(x_forwarded("10.0.0.1", &[fors], &[protos], &[]).scheme(), scheme, "{fors} {protos}");
    }
    let origin = x_forwarded("10.0.0.1", &["203.0.113.5, 10.1.1.1"], &[], &["forged, real.test:8443, inner"]);
    assert_eq!(origin.host(), Some(b"real.test:8443".as_slice()));
    for bad in ["", "a b", "a/b", "user@host", "a\"b", "a;b", "a\\b", &"a".repeat(MAX_HOST + 1)] {
        assert_eq!(x_forwarded("10.0.0.1", &["203.0.113.5"], &[], &[bad]).host(), None, "{bad:?}");
    }
    let tls = Peer { address: ip("10.0.0.1"), scheme: Scheme::Https };
    let values = XForwarded { addresses: iter::empty(), schemes: iter::empty(), hosts: iter::empty() };
    assert_eq!(Origin::from_x_forwarded(tls, &nets(), values).scheme(), Scheme::Https);
}

#[test]
fn forwarded_is_walked_alike() {
    for (values, client) in [
        (&[][..], "10.0.0.1"),
        (&["for=203.0.113.5"], "203.0.113.5"),
        (&["For=203.0.113.5;by=10.0.0.1;proto=https"], "203.0.113.5"),
        (&["for=6.6.6.6, for=203.0.113.5, for=10.1.1.1"], "203.0.113.5"),
        (&["for=6.6.6.6", "for=203.0.113.5,for=10.1.1.1"], "203.0.113.5"),
        (&["for=\"203.0.113.5:4711\""], "203.0.113.5"),
        (&["for=\"203.0.113.5:_port\""], "203.0.113.5"),
        (&["for=\"[2001:db8:2::1]:4711\""], "2001:db8:2::1"),
        (&["for=\"[2001:db8:2::1]\""], "2001:db8:2::1"),
        (&["for=203.0.113.5;ext=\"a,b;c=\\\"d\\\\\""], "203.0.113.5"),
        (&["for=203.0.113.5;;"], "203.0.113.5"),
        // Where somebody hides, or writes nonsense, the last good address counts.
        (&["for=203.0.113.5, for=unknown, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=_hidden, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, by=10.2.2.2, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, , for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=10.2.2.2;for=10.3.3.3, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=10.2.2.2;FOR=10.3.3.3, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for = 10.2.2.2, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=10.2.2.2; proto=http, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=[2001:db8:1::1], for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=\"2001:db8:1::1\", for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=10.2.2.2:80, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=\"\\10.2.2.2\", for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, =10.2.2.2, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=\"10.2.2.2\"x, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.5, for=\"10.2.2.2\u{1}\", for=10.1.1.1"], "10.1.1.1"),
    ] {
        assert_eq!(forwarded("10.0.0.1", values).client(), ip(client), "{values:?}");
    }
}

#[test]
fn an_open_quotation_mark_does_not_swallow_what_proxies_append() {
    for start in ["for=\"", "for=\"\\\"", "\"", "for=\"x\\", "ext=\"a,b", "for=6.6.6.6;ext=\"\\\\\\\""] {
        let line = format!("{start}, for=203.0.113.5;proto=https, for=\"10.1.1.1:80\"");
        let origin = forwarded("10.0.0.1", &[&line]);
        assert_eq!((origin.client(), origin.scheme()), (ip("203.0.113.5"), Scheme::Https), "{line}");
    }
}

#[test]
fn forwarded_brings_scheme_and_host_of_the_clients_element() {
    let line = "for=6.6.6.6;proto=http;host=forged, for=203.0.113.5;proto=https;host=\"real.test:8443\", for=10.1.1.1";
    let origin = forwarded("10.0.0.1", &[line]);
    assert_eq!(origin.scheme(), Scheme::Https);
    assert_eq!(origin.host(), Some(b"real.test:8443".as_slice()));
    let expected = "for=203.0.113.5;proto=https;host=\"real.test:8443\", for=10.1.1.1, for=10.0.0.1";
    assert_eq!(forwarded_value(&origin, "inner.test"), expected);
}

#[test]
fn forwarded_quotes_what_needs_it_and_leaves_out_what_cannot_be_a_host() {
    let six = Origin::direct(Peer { address: ip("2001:db8::1"), scheme: Scheme::Https });
    assert_eq!(forwarded_value(&six, "[::1]:80"), "for=\"[2001:db8::1]\";proto=https;host=\"[::1]:80\"");
    for bad in ["", "a\"b", "a,for=6.6.6.6", "a b"] {
        assert_eq!(forwarded_value(&six, bad), "for=\"[2001:db8::1]\";proto=https", "{bad:?}");
    }
}

proptest! {
    #[test]
    fn addresses_are_written_as_the_standard_library_does(address: IpAddr) {
        let mut out = Vec::new();
        write_address(&mut out, address);
        prop_assert_eq!(String::from_utf8(out).unwrap(), address.to_string());
    }

    #[test]
    fn what_we_write_we_read(
        chain in prop::collection::vec(prop_oneof![
            any::<[u8; 3]>().prop_map(|[a, b, c]| IpAddr::from([10, a, b, c])),
            any::<u16>().prop_map(|last| IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, last])),
        ], 0..10),
        client in any::<IpAddr>().prop_filter("untrusted", |client| !is_trusted(*client, &nets())),
        junk in "[ -~]{0,60}",
    ) {
        let mut hops = chain;
        hops.push(client.to_canonical());
        let sent = Origin { peer: ip("10.0.0.1"), hops, scheme: Scheme::Https, host: Some(b"a.test:1".as_slice().into()) };

        let line = format!("{junk},{}", x_forwarded_for(&sent));
        let read = x_forwarded("10.9.9.9", &[&line], &["https"], &["a.test:1"]);
        prop_assert_eq!(read.client(), client.to_canonical());
        prop_assert_eq!(x_forwarded_for(&read), format!("{}, 10.9.9.9", x_forwarded_for(&sent)));

        let line = format!("{junk},{}", forwarded_value(&sent, ""));
        let read = forwarded("10.9.9.9", &[&line]);
        prop_assert_eq!(read.client(), client.to_canonical());
        prop_assert_eq!((read.scheme(), read.host()), (sent.scheme(), sent.host()));
        prop_assert_eq!(forwarded_value(&read, ""), format!("{}, for=10.9.9.9", forwarded_value(&sent, "")));
    }

    #[test]
    fn no_value_panics(value in prop::collection::vec(any::<u8>(), 0..200)) {
        let values = || iter::once(value.as_slice());
        Origin::from_forwarded(peer("10.0.0.1"), &nets(), values());
        let values = XForwarded { addresses: values(), schemes: values(), hosts: values() };
        Origin::from_x_forwarded(peer("10.0.0.1"), &nets(), values);
    }
}
