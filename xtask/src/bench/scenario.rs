//! What the candidates are asked to do.

use crate::Outcome;

/// One kind of load. Everything is closed-loop over kept connections: a new request when the answer
/// has come.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) protocol: Protocol,
    pub(super) connections: u16,
    pub(super) path: &'static str,
    /// A POST with a body of so many bytes; 0 is a GET.
    pub(super) request_bytes: usize,
    /// The body that the service answers with.
    pub(super) answer_bytes: u64,
}

/// How the client speaks. The service is always reached by HTTP/1.1 without TLS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Protocol {
    Http1,
    TlsHttp1,
    TlsHttp2,
}

/// The answer to `/`.
pub(super) const SMALL: u64 = 128;
/// The files, by path.
pub(super) const FILES: [(&str, u64); 2] = [("/100k", 100 << 10), ("/1m", 1 << 20)];

const GET: Scenario = Scenario {
    name: "get",
    about: "GET, 128-byte answer, HTTP/1.1, 64 connections",
    protocol: Protocol::Http1,
    connections: 64,
    path: "/",
    request_bytes: 0,
    answer_bytes: SMALL,
};

/// All scenarios, in the order of the tables.
pub(super) const SCENARIOS: &[Scenario] = &[
    GET,
    Scenario {
        name: "post-10k",
        about: "POST of 10 KiB, 128-byte answer, HTTP/1.1, 64 connections",
        request_bytes: 10 << 10,
        ..GET
    },
    Scenario {
        name: "body-100k",
        about: "GET, 100 KiB answer, HTTP/1.1, 16 connections",
        connections: 16,
        path: FILES[0].0,
        answer_bytes: FILES[0].1,
        ..GET
    },
    Scenario {
        name: "body-1m",
        about: "GET, 1 MiB answer, HTTP/1.1, 16 connections",
        connections: 16,
        path: FILES[1].0,
        answer_bytes: FILES[1].1,
        ..GET
    },
    Scenario {
        name: "tls-h1",
        about: "GET, 128-byte answer, HTTP/1.1 over TLS 1.3, 64 connections",
        protocol: Protocol::TlsHttp1,
        ..GET
    },
    Scenario {
        name: "tls-h2",
        about: "GET, 128-byte answer, HTTP/2 over TLS 1.3, 8 connections of 16 streams",
        protocol: Protocol::TlsHttp2,
        connections: 8,
        ..GET
    },
];

/// Streams at a time on each connection of HTTP/2.
pub(super) const STREAMS: u16 = 16;

/// The fields that an everyday request carries besides `Host`.
pub(super) const FIELDS: &[&str] = &[
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Accept: application/json, text/plain;q=0.9, */*;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.8,pt;q=0.5",
    "Cookie: session=Zm9yIGV2ZXJ5IHRpZGUgdGhlcmUgaXMgYSBnYXRl; theme=sea; consent=necessary",
    "Referer: https://harbour.example.test/boats?berth=12",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Site: same-origin",
    "traceparent: 00-6b1f0ad4c3b8477c9c9ad9b3f1d0e5a7-2f8c1d9e0b7a6453-01",
];

impl Scenario {
    /// The scenario of that name.
    pub(super) fn named(name: &str) -> Outcome<&'static Self> {
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        Ok(found.ok_or_else(|| format!("no scenario {name}"))?)
    }
}
