//! What a client does that is of no use, weighed against what it is served.
//!
//! A frame that carries nothing costs its sender a dozen bytes and the gateway a look-up, a wake-up or
//! an answer; a request that is reset as soon as it was sent costs the gateway work and its sender
//! nothing. Both are allowed to a degree that honest clients keep, and they are forgotten with time
//! and with every byte and answer that moves. Covered are floods of PING, SETTINGS, PRIORITY,
//! WINDOW_UPDATE, unknown and empty frames, rapid resets (CVE-2023-44487), and resets that the
//! gateway is provoked to send (CVE-2025-8671).

use super::frame::{FrameHead, kind};
use h2::Reason;
use std::time::Instant;

/// Frames of no use that a client may be ahead with.
const FRAMES: u32 = 4096;

/// How many of them are forgotten in a second.
const FRAMES_PER_SECOND: u32 = 256;

/// What a frame weighs that makes the gateway look at every open stream.
const HEAVY: u32 = 16;

/// Bytes of content, in either direction, that make up for one frame.
const BYTES_PER_FRAME: u32 = 256;

/// How many frames an answer makes up for.
const FRAMES_PER_ANSWER: u32 = 8;

/// How many resets a client may cause.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// Resets without an answer that a client may be ahead with, by its own frames or ours.
    pub resets: u32,
    /// How many of them are forgotten in a second; more than zero.
    pub resets_per_second: u32,
}

/// How a client has behaved so far.
#[derive(Debug)]
pub(super) struct Conduct {
    frames: Account,
    resets: Account,
}

impl Conduct {
    pub(super) fn new(tolerance: Tolerance, now: Instant) -> Self {
        Self {
            frames: Account::new(FRAMES, FRAMES_PER_SECOND, now),
            resets: Account::new(tolerance.resets, tolerance.resets_per_second, now),
        }
    }

    /// Whether more was done than is tolerated.
    pub(super) fn is_bad(&self) -> bool {
        self.frames.overdrawn || self.resets.overdrawn
    }

    /// Weighs a frame that the client sent.
    pub(super) fn received(&mut self, head: FrameHead, clock: impl Fn() -> Instant) {
        match head.kind {
            kind::DATA if head.length > 0 => self.frames.earn(head.length / BYTES_PER_FRAME),
            kind::DATA if head.ends_stream() => {}
            // A request; how many may be open is bounded elsewhere.
            kind::HEADERS => {}
            kind::RST_STREAM => self.resets.spend(1, clock),
            kind::SETTINGS if !head.is_ack() => self.frames.spend(HEAVY, clock),
            kind::GOAWAY => self.frames.spend(HEAVY, clock),
            _ => self.frames.spend(1, clock),
        }
    }

    /// Weighs a frame that was sent to the client.
    pub(super) fn sent(&mut self, head: FrameHead, clock: impl Fn() -> Instant) {
        match head.kind {
            kind::DATA => self.frames.earn(head.length / BYTES_PER_FRAME),
            kind::HEADERS => {
                self.frames.earn(FRAMES_PER_ANSWER);
                self.resets.earn(1);
            }
            kind::RST_STREAM if is_provoked(head.code.into()) => self.resets.spend(1, clock),
            _ => {}
        }
    }
}

/// Whether a reset of ours answers something that the client must not do. The others end an answer
/// that was cut, or a request that was answered before it had come in full.
fn is_provoked(reason: Reason) -> bool {
    !matches!(reason, Reason::NO_ERROR | Reason::CANCEL | Reason::INTERNAL_ERROR)
}

/// A bucket that is drawn on, and refilled by time and by use.
#[derive(Debug)]
struct Account {
    spent: u32,
    most: u32,
    per_second: u32,
    /// Until when the time that passed is accounted for.
    settled: Instant,
    overdrawn: bool,
}

impl Account {
    fn new(most: u32, per_second: u32, now: Instant) -> Self {
        Self { spent: 0, most, per_second: per_second.max(1), settled: now, overdrawn: false }
    }

    fn earn(&mut self, count: u32) {
        self.spent = self.spent.saturating_sub(count);
    }

    /// The clock is read only by who has spent it all.
    fn spend(&mut self, count: u32, clock: impl Fn() -> Instant) {
        self.spent = self.spent.saturating_add(count);
        if self.spent > self.most {
            self.settle(clock());
            self.overdrawn |= self.spent > self.most;
        }
    }

    fn settle(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.settled);
        let earned = passed.as_micros().saturating_mul(self.per_second.into()) / 1_000_000;
        // Less than one is left to grow.
        if earned > 0 {
            self.earn(u32::try_from(earned).unwrap_or(u32::MAX));
            self.settled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2::frame::FrameReader;
    use std::time::Duration;

    const TOLERANCE: Tolerance = Tolerance { resets: 10, resets_per_second: 5 };
    const PING: u8 = 6;

    fn head(kind: u8, flags: u8, payload: &[u8]) -> FrameHead {
        let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        let mut found = Vec::new();
        FrameReader::of_server().read(&bytes, |head| found.push(head));
        found[0]
    }

    fn reset(reason: Reason) -> FrameHead {
        head(kind::RST_STREAM, 0, &u32::from(reason).to_be_bytes())
    }

    #[test]
    fn a_flood_is_noticed_and_a_trickle_is_not() {
        let start = Instant::now();
        for (kind, weight) in [(PING, 1), (2, 1), (8, 1), (kind::DATA, 1), (9, 1), (99, 1), (kind::SETTINGS, HEAVY)] {
            let mut flood = Conduct::new(TOLERANCE, start);
            for _ in 0..FRAMES / weight {
                flood.received(head(kind, 0, &[]), || start);
            }
            assert!(!flood.is_bad(), "kind {kind}");
            flood.received(head(kind, 0, &[]), || start);
            assert!(flood.is_bad(), "kind {kind}");
            let mut trickle = Conduct::new(TOLERANCE, start);
            for second in 0..FRAMES * 4 {
                trickle.received(head(kind, 0, &[]), || start + Duration::from_secs(second.into()));
            }
            assert!(!trickle.is_bad(), "kind {kind}");
        }
    }

    #[test]
    fn content_makes_up_for_frames() {
        let start = Instant::now();
        let mut conduct = Conduct::new(TOLERANCE, start);
        for _ in 0..FRAMES * 10 {
            conduct.sent(head(kind::DATA, 0, &[0; 600]), || start);
            conduct.received(head(8, 0, &[]), || start);
            conduct.received(head(8, 0, &[]), || start);
        }
        assert!(!conduct.is_bad());
        for _ in 0..=FRAMES {
            conduct.sent(head(kind::DATA, 0, &[0]), || start);
            conduct.received(head(8, 0, &[]), || start);
        }
        assert!(conduct.is_bad(), "a byte for each WINDOW_UPDATE is not content");
    }

    #[test]
    fn resets_are_made_up_for_by_answers_and_by_time() {
        let start = Instant::now();
        for (received, sent) in [(true, Reason::NO_ERROR), (false, Reason::PROTOCOL_ERROR)] {
            let cause = |conduct: &mut Conduct, now: Instant| match received {
                true => conduct.received(reset(Reason::CANCEL), || now),
                false => conduct.sent(reset(sent), || now),
            };
            let mut conduct = Conduct::new(TOLERANCE, start);
            for _ in 0..100 {
                cause(&mut conduct, start);
                conduct.sent(head(kind::HEADERS, 4, &[]), || start);
            }
            (0..TOLERANCE.resets).for_each(|_| cause(&mut conduct, start));
            assert!(!conduct.is_bad());
            let later = start + Duration::from_secs(1);
            (0..TOLERANCE.resets_per_second).for_each(|_| cause(&mut conduct, later));
            assert!(!conduct.is_bad());
            cause(&mut conduct, later);
            assert!(conduct.is_bad());
        }
    }

    #[test]
    fn resets_that_are_not_the_clients_fault_cost_it_nothing() {
        let start = Instant::now();
        let mut conduct = Conduct::new(TOLERANCE, start);
        for _ in 0..100 {
            for reason in [Reason::NO_ERROR, Reason::INTERNAL_ERROR, Reason::CANCEL] {
                conduct.sent(reset(reason), || start);
            }
        }
        assert!(!conduct.is_bad());
    }
}
