//! A body that is read to its end before anything is done with it.
//!
//! Bounded: what would grow beyond the limit is left where it is, so that whoever wanted all of it can still pass it on.

use super::pump::{Pace, Patience};
use super::replay::Replay;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tidegate_wire::h1::BodyError;
use tidegate_wire::peer::Peer;

/// A body on its way in.
#[derive(Debug)]
pub(super) struct Intake {
    replay: Replay,
    limit: u64,
    /// When the last poll was.
    polled: Instant,
    /// When bytes came last.
    progress: Instant,
    /// How long the source has been waited for in all.
    waited: Duration,
}

/// How far a body was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// To its end.
    Whole,
    /// Up to the limit, and there is more.
    TooLong,
}

impl Intake {
    pub(super) fn new(limit: usize, now: Instant) -> Self {
        let (polled, progress) = (now, now);
        Self { replay: Replay::new(limit), limit: limit as u64, polled, progress, waited: Duration::ZERO }
    }

    /// Reads what is there; ready at the end of the body, or where it is too long.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        source: &mut Peer,
    ) -> Poll<Result<Taken, BodyError>> {
        self.waited += now.saturating_duration_since(self.polled);
        self.polled = now;
        loop {
            match source.poll_piece(cx)? {
                Poll::Ready(Some(piece)) => {
                    let at_least = self.read().saturating_add(piece.length as u64).saturating_add(piece.following);
                    if at_least > self.limit {
                        return Poll::Ready(Ok(Taken::TooLong));
                    }
                    self.replay.keep(source.piece(piece.length));
                    source.consume(piece.length);
                    self.progress = now;
                }
                Poll::Ready(None) => {
                    let trailers = source.take_trailers()?;
                    self.replay.end(trailers.as_ref());
                    return Poll::Ready(Ok(Taken::Whole));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Counts what somebody else has moved as progress of the source: it was busy with that.
    pub(super) fn excuse(&mut self, progress: Instant) {
        self.progress = self.progress.max(progress);
    }

    /// When the source has had time enough.
    pub(super) fn deadline(&self, patience: Patience) -> Option<Instant> {
        let Self { progress, polled, waited, .. } = *self;
        patience.ends(Pace { moved: self.read(), progress, polled, waited })
    }

    /// How many bytes were read.
    pub(super) fn read(&self) -> u64 {
        self.replay.bytes().len() as u64
    }

    /// What was read, to be sent from there.
    pub(super) fn into_replay(self) -> Rc<RefCell<Replay>> {
        Rc::new(RefCell::new(self.replay))
    }

    /// What was read.
    pub(super) fn replay(&self) -> &Replay {
        &self.replay
    }
}
