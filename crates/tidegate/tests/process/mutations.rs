//! Thousands of requests with random damage, from a seed that is stated: whatever the gateway makes of
//! them, what it forwards means one thing, and it is what the client said by the RFC.

use tidegate_testkit::http1::{Broken, Source, find};
use tidegate_testkit::judge::{self, Dialect, Hosts, Request, STRICT};
use tidegate_testkit::recorder::{Recorder, Seen};
use tidegate_testkit::shown;

use crate::rig::{Options, Rig};

const INPUTS: u64 = 4000;

/// A small generator (xorshift64*), so that an input can be made again from its seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap_or(usize::MAX) % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a [u8]]) -> &'a [u8] {
        choices[self.below(choices.len())]
    }
}

const REQUESTS: &[&[u8]] = &[
    b"GET /a-SEED- HTTP/1.1\r\nHost: honest.test\r\nAccept: */*\r\n\r\n",
    b"POST /b-SEED- HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 11\r\n\r\nhello world",
    b"POST /c-SEED- HTTP/1.1\r\nHost: honest.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
    b"POST /d-SEED- HTTP/1.1\r\nHost: honest.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"PUT /e-SEED- HTTP/1.1\r\nContent-Length: 0\r\nHost: honest.test\r\nConnection: keep-alive\r\n\r\n",
    b"POST /f-SEED- HTTP/1.0\r\nHost: honest.test\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
    b"POST /g-SEED- HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 52\r\nExpect: 100-continue\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: honest.test\r\nX: 12345\r\n",
];

/// What attackers put in.
const BYTES: &[&[u8]] = &[
    b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r\n", b"\0", b" ", b"\t", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xa0",
    b"\xff", b":", b",", b";", b"_", b"-", b"+", b"0", b"5", b"x", b"\"",
];

const LINES: &[&[u8]] = &[
    b"Content-Length: 5\r\n",
    b"Content-Length: 11\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length:\r\n",
    b"content-length: 4294967307\r\n",
    b"Content-Length: +11\r\n",
    b"Content_Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"transfer-encoding: Chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b" Transfer-Encoding: chunked\r\n",
    b" folded\r\n",
    b"X: y\n",
    b"X: y\r",
    b"Host: other.test\r\n",
    b"Connection: Content-Length\r\n",
    b"Connection: Transfer-Encoding\r\n",
    b"Connection: close\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"X: \"\r\n",
    b"\r\n",
    b"\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b"1_0\r\n",
    b"GET /smuggled HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\n",
];

/// One to three requests in a row with one to four injuries.
fn input(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::new();
    for _ in 0..=random.below(2) {
        bytes.extend(named(random.pick(REQUESTS), seed));
    }
    for _ in 0..=random.below(3) {
        injure(&mut bytes, &mut random);
    }
    bytes.extend(named(b"GET /smuggled-SEED- HTTP/1.1\r\nHost: honest.test\r\n\r\n", seed));
    bytes
}

/// A request with the seed in its target. What was cut may reach the upstream late, and must not be taken
/// for a part of the next input.
fn named(request: &[u8], seed: u64) -> Vec<u8> {
    let at = find(request, b"SEED").expect("every request has a place for it");
    [&request[..at], seed.to_string().as_bytes(), &request[at + 4..]].concat()
}

fn is_late(target: &str, seed: u64) -> bool {
    (seed.saturating_sub(5)..seed).any(|earlier| target.contains(&format!("-{earlier}-")))
}

fn injure(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    let line_starts: Vec<usize> = (0..bytes.len()).filter(|&at| at > 0 && bytes[at - 1] == b'\n').collect();
    let line = if line_starts.is_empty() { 0 } else { line_starts[random.below(line_starts.len())] };
    match random.below(8) {
        0 => drop(bytes.splice(at..at, random.pick(BYTES).to_vec())),
        1 => bytes[at] = random.pick(BYTES)[0],
        2 => drop(bytes.remove(at)),
        3 | 4 => drop(bytes.splice(line..line, random.pick(LINES).to_vec())),
        5 => {
            // A line once more.
            let end =
                bytes[line..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| line + length + 1);
            let copy = bytes[line..end].to_vec();
            drop(bytes.splice(line..line, copy));
        }
        6 if line > 1 => {
            // Another line end.
            let from = if bytes[line - 2] == b'\r' { line - 2 } else { line - 1 };
            drop(bytes.splice(from..line, random.pick(BYTES).to_vec()));
        }
        _ => bytes[at] ^= 1 << random.below(8),
    }
}

#[test]
fn damaged_requests_are_forwarded_as_what_they_are_or_not_at_all() {
    let rig = Rig::with(Recorder::start(), &Options { listener: "timeouts: { linger: 100ms }", ..Options::default() });
    let (mut forwarded, mut answered) = (0, 0);
    for seed in 0..INPUTS {
        let input = input(seed);
        let mark = rig.recorder.mark();
        let mut client = rig.connect();
        client.send(&input);
        client.half_close();
        let (said, _) = client.read_to_end();
        let statuses = statuses(&said).unwrap_or_else(|reason| panic!("seed {seed}: {reason} in {}", shown(&said)));
        let mut seen = rig.recorder.requests_since(&mark);
        seen.retain(|seen| !is_late(&seen.target, seed));
        answered += statuses.len();
        forwarded += seen.len();
        if let Err(reason) = check(&input, &seen, &statuses) {
            panic!("seed {seed}: {reason}\nsent {}\nforwarded {seen:#?}\nanswered {statuses:?}", shown(&input));
        }
    }
    let inputs = usize::try_from(INPUTS).unwrap_or(usize::MAX);
    assert!(
        forwarded > inputs / 4 && answered > inputs,
        "{forwarded} forwarded, {answered} answered: the test shows little"
    );
    rig.probe("/probe");
    conclude(rig);
}

/// The status codes of final answers; what comes must be whole messages.
fn statuses(said: &[u8]) -> Result<Vec<u16>, String> {
    let mut source = Source::new(said);
    let mut statuses = Vec::new();
    loop {
        match source.read_response("GET") {
            Ok(answer) if answer.is_complete() => statuses.push(answer.status),
            Ok(cut) => return Err(format!("a cut answer: {cut:?}")),
            Err(Broken::Closed(_, rest)) if rest.is_empty() => return Ok(statuses),
            Err(broken) => return Err(format!("{broken:?}")),
        }
    }
}

/// The RFC as it tells a recipient where requests end: one empty line before a request may be ignored, and
/// a request without exactly one Host is answered with 400 and ends where it says.
const FRAMING: Dialect = Dialect { hosts: Hosts::First, skips_empty_line: true, ..STRICT };

fn check(input: &[u8], seen: &[Seen], statuses: &[u16]) -> Result<(), String> {
    let (said, refused) = judge::read_up_to_refusal(input, &FRAMING);
    // What is forwarded was said, in the order in which it was; some of it may have been refused.
    let mut rest = said.iter();
    for seen in seen {
        // A last request may be on its way when the gateway finds it broken, and is then cut.
        let is_it = |request: &&Request| {
            seen.method == request.method
                && if seen.complete {
                    request.complete && seen.body == request.body
                } else {
                    request.body.starts_with(&seen.body)
                }
        };
        if rest.find(is_it).is_none() && (seen.complete || refused.is_none()) {
            return Err(format!(
                "{} {} was forwarded, the client said {said:#?}, then {refused:?}",
                seen.method, seen.target
            ));
        }
    }
    if statuses.len() > said.len() + 1 {
        return Err(format!("{} answers to {} requests", statuses.len(), said.len()));
    }
    Ok(())
}

/// As [`Rig::conclude`], but hidden requests may have become requests of their own by the damage.
fn conclude(rig: Rig) {
    let ended = rig.gateway.terminate();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
    rig.recorder.wait_until_all_ended();
    rig.recorder.judged().unwrap_or_else(|disagreement| panic!("{disagreement}"));
}
