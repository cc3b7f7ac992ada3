//! The body of a request, kept while it is sent for the first time so that it can be sent again.

use tidegate_wire::fields::Fields;

/// A body as far as it has been read. Bounded: what grows longer is not kept.
#[derive(Debug)]
pub(super) struct Replay {
    bytes: Vec<u8>,
    limit: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The client has not sent all of it.
    Reading,
    /// This is all, with these trailers.
    Whole(Option<Fields>),
    /// It is longer than what may be kept.
    Lost,
}

/// What comes next of a body.
#[derive(Debug)]
pub(super) enum Next<'r> {
    /// These bytes.
    Bytes(&'r [u8]),
    /// Its end, with trailers.
    End(Option<&'r Fields>),
    /// What the client sends.
    Unread,
}

impl Replay {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, state: State::Reading }
    }

    /// What is kept.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The trailers, where all of it is kept.
    pub(super) fn trailers(&self) -> Option<&Fields> {
        match &self.state {
            State::Whole(trailers) => trailers.as_ref(),
            State::Reading | State::Lost => None,
        }
    }

    /// What follows after so many bytes.
    pub(super) fn next(&self, position: u64) -> Next<'_> {
        let rest = usize::try_from(position).ok().and_then(|position| self.bytes.get(position..));
        match (rest, &self.state) {
            (Some(rest), _) if !rest.is_empty() => Next::Bytes(rest),
            (Some(_), State::Whole(trailers)) => Next::End(trailers.as_ref()),
            _ => Next::Unread,
        }
    }

    /// Keeps what was just read of the client.
    pub(super) fn keep(&mut self, piece: &[u8]) {
        if self.bytes.len() + piece.len() > self.limit {
            self.state = State::Lost;
            self.bytes = Vec::new();
        } else if !matches!(self.state, State::Lost) {
            self.bytes.extend_from_slice(piece);
        }
    }

    /// The client has sent all of it.
    pub(super) fn end(&mut self, trailers: Option<&Fields>) {
        if !matches!(self.state, State::Lost) {
            self.state = State::Whole(trailers.cloned());
        }
    }

    /// Whether it can be sent again, now or, unless it must be there as a `whole`, while the client sends the rest.
    pub(super) fn is_intact(&self, whole: bool) -> bool {
        match self.state {
            State::Reading => !whole,
            State::Whole(_) => true,
            State::Lost => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_up_to_the_limit() {
        let mut replay = Replay::new(4);
        assert!(matches!(replay.next(0), Next::Unread));
        replay.keep(b"ab");
        assert!(matches!(replay.next(0), Next::Bytes(b"ab")));
        assert!(matches!(replay.next(1), Next::Bytes(b"b")));
        assert!(matches!(replay.next(2), Next::Unread));
        assert!(replay.is_intact(false) && !replay.is_intact(true));
        replay.keep(b"cd");
        replay.end(None);
        assert!(matches!(replay.next(3), Next::Bytes(b"d")));
        assert!(matches!(replay.next(4), Next::End(None)));
        assert!(replay.is_intact(true));
    }

    #[test]
    fn a_body_that_is_too_long_is_not_kept_at_all() {
        let mut replay = Replay::new(4);
        replay.keep(b"abc");
        replay.keep(b"de");
        assert!(!replay.is_intact(false));
        replay.keep(b"f");
        replay.end(None);
        assert!(!replay.is_intact(false));
        assert!(matches!(replay.next(5), Next::Unread));
        assert!(replay.bytes.capacity() == 0);
    }
}
