//! Requests that the `h2` crate refuses by itself, which nobody else learns of: malformed ones, those
//! with a header list over the limit, and streams beyond the allowed number.
//!
//! They show in the frames: a stream that a client has opened is answered or reset although the gateway
//! was never given its request.

use super::frame::{FrameHead, kind};

/// How many streams that were not accepted yet are remembered; `h2` keeps fewer waiting.
const REMEMBERED: usize = 1024;

/// The streams of one connection that are neither accepted nor refused yet, and how many were refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    waiting: Vec<u32>,
    last: u32,
    count: u64,
}

impl Refusals {
    /// How many requests were refused.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Notes a frame of the client: the first HEADERS of a stream opens it, later ones are trailers.
    pub(super) fn received(&mut self, head: FrameHead) {
        if head.kind == kind::HEADERS && head.stream > self.last {
            self.last = head.stream;
            if self.waiting.len() == REMEMBERED {
                self.waiting.remove(0);
            }
            self.waiting.push(head.stream);
        }
    }

    /// Notes that the gateway was given the request of `stream`.
    pub(super) fn accepted(&mut self, stream: u32) {
        self.take(stream);
    }

    /// Notes a frame to the client.
    pub(super) fn sent(&mut self, head: FrameHead) {
        if matches!(head.kind, kind::HEADERS | kind::RST_STREAM) && self.take(head.stream) {
            self.count += 1;
        }
    }

    /// Requests are nearly always accepted in the order in which they came.
    fn take(&mut self, stream: u32) -> bool {
        let found = self.waiting.iter().position(|waiting| *waiting == stream);
        found.map(|position| self.waiting.remove(position)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2::frame::FrameReader;

    fn head(kind: u8, stream: u8) -> FrameHead {
        let mut found = Vec::new();
        let bytes = [0, 0, 4, kind, 0, 0, 0, 0, stream, 0, 0, 0, 1];
        FrameReader::of_server().read(&bytes, |head| found.push(head));
        found[0]
    }

    #[test]
    fn what_is_answered_without_having_been_accepted_was_refused() {
        let mut refusals = Refusals::default();
        for stream in [1, 3, 5, 7] {
            refusals.received(head(kind::HEADERS, stream));
        }
        refusals.accepted(1);
        refusals.accepted(5);
        for (kind, stream, count) in [
            (kind::HEADERS, 1, 0),
            (kind::RST_STREAM, 1, 0),
            (kind::HEADERS, 3, 1),
            (kind::RST_STREAM, 3, 1),
            (kind::DATA, 5, 1),
            (kind::RST_STREAM, 5, 1),
            (kind::RST_STREAM, 7, 2),
        ] {
            refusals.sent(head(kind, stream));
            assert_eq!(refusals.count(), count, "frame {kind} on stream {stream}");
        }
        // Trailers of a stream open no other one.
        refusals.received(head(kind::HEADERS, 5));
        refusals.sent(head(kind::RST_STREAM, 5));
        assert_eq!(refusals.count(), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut refusals = Refusals::default();
        let mut opening = head(kind::HEADERS, 1);
        for _ in 0..=REMEMBERED {
            refusals.received(opening);
            opening.stream += 2;
        }
        assert_eq!(refusals.waiting.len(), REMEMBERED);
    }
}
