//! The PROXY protocol from trusted peers: the address it tells, and everything it may not be.

use tidegate_testkit::recorder::Recorder;

use crate::rig::{Options, Rig, check_echo};

const TRUSTING: &str = "proxy_protocol: { trusted: [ 127.0.0.0/8 ] }, timeouts: { handshake: 300ms }";

/// The signature of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn rig() -> Rig {
    Rig::with(Recorder::start(), &Options { listener: TRUSTING, ..Options::default() })
}

fn version2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, addresses].concat()
}

#[test]
fn the_told_address_is_the_clients() {
    let rig = rig();
    let ipv4 = [192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 0, 80];
    let mut ipv6 = vec![0; 36];
    ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    ipv6[15] = 7;
    let with_tlv = [&ipv4[..], &[0x03, 0, 4, 1, 2, 3, 4]].concat();
    let headers: [(&[u8], &str); 7] = [
        (b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 12345 80\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (&version2(1, 0x11, &ipv4), "192.0.2.7"),
        (&version2(1, 0x21, &ipv6), "2001:db8::7"),
        (&version2(1, 0x11, &with_tlv), "192.0.2.7"),
        (&version2(0, 0x00, &[]), "127.0.0.1"),
    ];
    for (number, (header, address)) in headers.into_iter().enumerate() {
        for pieces in [header.len() + 1, 1, 5] {
            let target = format!("/told/{number}/{pieces}");
            let mut client = rig.connect();
            client.send_pieces(header.chunks(pieces));
            check_echo(&client.get(&target), &target);
            let seen = rig.recorder.wait_for_target(&target);
            assert_eq!(seen.fields.all("x-forwarded-for").collect::<Vec<_>>(), [address], "{}", header.escape_ascii());
            check_echo(&client.get("/again"), "/again");
        }
    }
    rig.conclude();
}

#[test]
fn what_is_no_proxy_header_ends_the_connection() {
    let rig = rig();
    let long = format!("PROXY TCP4 {} 127.0.0.1 1 2\r\n", "1".repeat(200));
    let headers: [&[u8]; 18] = [
        b"",
        b"PROXY",
        b"PROXY \r\n",
        b"proxy TCP4 192.0.2.7 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1 65536\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2 3\r\n",
        b"PROXY TCP4 192.0.2.999 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.7 127.0.0.1 1 2\r\n",
        b"PROXY  TCP4 192.0.2.7 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 01 2\r\n",
        long.as_bytes(),
        &version2(2, 0x11, &[0; 12]),
        &version2(1, 0x11, &[0; 4]),
        &version2(1, 0x41, &[0; 12]),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0",
    ];
    for header in headers {
        let mut client = rig.connect();
        client.send([header, b"GET /evil HTTP/1.1\r\nHost: honest.test\r\n\r\n"].concat());
        let (said, _) = client.read_to_end();
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{}: {}", header.escape_ascii(), tidegate_testkit::shown(&said));
    }
    assert!(rig.recorder.requests().is_empty());
    rig.conclude();
}

#[test]
fn nobody_else_is_believed() {
    let listener = "proxy_protocol: { trusted: [ 192.0.2.0/24 ] }";
    for listener in [listener, ""] {
        let rig = Rig::with(Recorder::start(), &Options { listener, ..Options::default() });
        let mut client = rig.connect();
        client.send("PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\nGET /evil HTTP/1.1\r\nHost: honest.test\r\n\r\n");
        let (said, _) = client.read_to_end();
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400"), "{}", tidegate_testkit::shown(&said));
        check_echo(&rig.connect().get("/honest"), "/honest");
        assert_eq!(rig.recorder.wait_for_target("/honest").fields.first("x-forwarded-for"), Some("127.0.0.1"));
        rig.conclude();
    }
}
