//! Frame heads (RFC 9113 §4.1), read from bytes as they pass. Payloads are not looked at.

/// Frame types (RFC 9113 §6).
pub(super) mod kind {
    pub(in crate::h2) const DATA: u8 = 0;
    pub(in crate::h2) const HEADERS: u8 = 1;
    pub(in crate::h2) const RST_STREAM: u8 = 3;
    pub(in crate::h2) const SETTINGS: u8 = 4;
    pub(in crate::h2) const GOAWAY: u8 = 7;
}

/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
const FIRST_FLAG: u8 = 0x1;

/// Length of a frame head.
const HEAD: usize = 9;

/// A frame head with the error code of RST_STREAM.
const HEAD_AND_CODE: usize = HEAD + 4;

/// What the peers say first (RFC 9113 §3.4), where the bytes of a client pass.
const PREFACE: usize = 24;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: u8,
    pub(super) length: u32,
    pub(super) stream: u32,
    flags: u8,
    /// The error code of RST_STREAM; zero in all other frames.
    pub(super) code: u32,
}

impl FrameHead {
    /// Whether a DATA or HEADERS frame ends its stream.
    pub(super) fn ends_stream(self) -> bool {
        self.flags & FIRST_FLAG != 0
    }

    /// Whether a SETTINGS or PING frame acknowledges one of ours.
    pub(super) fn is_ack(self) -> bool {
        self.flags & FIRST_FLAG != 0
    }
}

/// Finds the frame heads in a stream of bytes.
#[derive(Debug)]
pub(super) struct FrameReader {
    /// Bytes that are no part of a head.
    skip: usize,
    head: [u8; HEAD_AND_CODE],
    have: usize,
}

impl FrameReader {
    /// For the bytes that a client sends.
    pub(super) fn of_client() -> Self {
        Self { skip: PREFACE, ..Self::of_server() }
    }

    /// For the bytes that a server sends.
    pub(super) fn of_server() -> Self {
        Self { skip: 0, head: [0; HEAD_AND_CODE], have: 0 }
    }

    /// Goes over the next bytes and tells of each head that they complete.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(FrameHead)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (self.wanted() - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have >= HEAD && self.have == self.wanted() {
                let head = self.parse();
                self.skip = (head.length as usize).saturating_sub(self.have - HEAD);
                self.have = 0;
                each(head);
            }
        }
    }

    /// How many bytes must be there before a head can be told.
    fn wanted(&self) -> usize {
        let resets = self.have >= HEAD && self.head[3] == kind::RST_STREAM && self.length() >= 4;
        if resets { HEAD_AND_CODE } else { HEAD }
    }

    fn length(&self) -> u32 {
        u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]])
    }

    fn parse(&self) -> FrameHead {
        let code = match self.have {
            HEAD_AND_CODE => u32::from_be_bytes([self.head[9], self.head[10], self.head[11], self.head[12]]),
            _ => 0,
        };
        // RFC 9113 §4.1: the highest bit is reserved.
        let stream = u32::from_be_bytes([self.head[5] & 0x7f, self.head[6], self.head[7], self.head[8]]);
        FrameHead { kind: self.head[3], length: self.length(), stream, flags: self.head[4], code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn heads_are_found_however_the_bytes_are_cut() {
        let mut stream = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        stream.extend(frame(kind::SETTINGS, 0, &[]));
        stream.extend(frame(kind::DATA, 1, &[7; 300]));
        stream.extend(frame(kind::RST_STREAM, 0, &[0, 0, 0, 8]));
        stream.extend(frame(kind::RST_STREAM, 0, &[0, 0]));
        stream.extend(frame(kind::HEADERS, 5, &[3; 70_000]));
        let expected = [
            FrameHead { kind: kind::SETTINGS, length: 0, stream: 1, flags: 0, code: 0 },
            FrameHead { kind: kind::DATA, length: 300, stream: 1, flags: 1, code: 0 },
            FrameHead { kind: kind::RST_STREAM, length: 4, stream: 1, flags: 0, code: 8 },
            FrameHead { kind: kind::RST_STREAM, length: 2, stream: 1, flags: 0, code: 0 },
            FrameHead { kind: kind::HEADERS, length: 70_000, stream: 1, flags: 5, code: 0 },
        ];
        for size in [1, 2, 9, 10, 13, 64, 1000, stream.len()] {
            let mut reader = FrameReader::of_client();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                reader.read(piece, |head| found.push(head));
            }
            assert_eq!(found, expected, "pieces of {size}");
        }
    }
}
