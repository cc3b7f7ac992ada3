//! One direction of a relay: body pieces from one peer to the other.
//!
//! A pump holds no bytes of its own. It moves what the source has buffered into the sink and stops
//! when either side has to wait, so that a slow reader slows the writer down and nothing piles up.

use super::hygiene;
use super::replay::{Next, Replay};
use crate::config::plan::MinimumRate;
use crate::timer::{after, nearer};
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tidegate_wire::fields::Fields;
use tidegate_wire::peer::Peer;

/// How much one poll moves before other connections of the worker have their turn. A source and a sink that are both
/// fast are never waited for; without an end to its turn, one download would keep all others waiting for megabytes.
const TURN: u64 = 512 * 1024;

/// One direction of a relay.
#[derive(Debug)]
pub(super) struct Pump {
    state: State,
    /// Body bytes moved.
    pub(super) moved: u64,
    limit: Option<u64>,
    /// What the last poll was left waiting for.
    pub(super) waits: Waits,
    /// When the last poll was.
    polled: Instant,
    /// When bytes moved last.
    progress: Instant,
    /// How long the source and the sink have been waited for in all.
    waited: [Duration; 2],
    /// Where the source's bytes are kept, so that another pump can move them again.
    replay: Option<Rc<RefCell<Replay>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Moving,
    Flushing,
    Done,
    /// Given up: the sink wants no more.
    Abandoned,
}

/// What became of an attempt to move what is kept.
enum Progress {
    Moved,
    /// The sink takes nothing now.
    Stuck,
    NothingKept,
}

/// Which side a pump waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    Source,
    Sink,
}

/// Why a pump stopped before the end.
#[derive(Debug)]
pub(super) enum PumpError {
    /// The source broke off.
    Source,
    /// The sink is gone.
    Sink,
    /// The body is longer than allowed.
    TooLarge,
}

/// How long one side may be waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Without any progress.
    pub(super) idle: Option<Duration>,
    /// On average.
    pub(super) rate: Option<MinimumRate>,
}

/// How a side has moved that is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Bytes in all.
    pub(super) moved: u64,
    /// When it moved last.
    pub(super) progress: Instant,
    /// When it was looked at last.
    pub(super) polled: Instant,
    /// How long it had been waited for then, in all.
    pub(super) waited: Duration,
}

impl Patience {
    /// Somebody else's patience runs out first.
    pub(super) const ENDLESS: Self = Self { idle: None, rate: None };

    /// When a side has had time enough.
    ///
    /// The rate is an average over the time in which only that side was waited for: after the grace it must have moved
    /// `minimum` bytes for each second of it.
    pub(super) fn ends(&self, pace: Pace) -> Option<Instant> {
        let by_rate = self.rate.and_then(|rate| after(pace.polled, Some(rate.patience(pace.moved, pace.waited))));
        nearer(after(pace.progress, self.idle), by_rate)
    }
}

impl Pump {
    pub(super) fn new(limit: Option<u64>, now: Instant) -> Self {
        Self {
            state: State::Moving,
            moved: 0,
            limit,
            waits: Waits::Source,
            polled: now,
            progress: now,
            waited: [Duration::ZERO; 2],
            replay: None,
        }
    }

    /// The same, beginning with what is kept, and keeping what it reads.
    pub(super) fn replaying(self, replay: Option<Rc<RefCell<Replay>>>) -> Self {
        Self { replay, ..self }
    }

    /// When bytes moved last.
    pub(super) fn progress(&self) -> Instant {
        self.progress
    }

    /// Counts the other direction's progress as that of a source that is waited for.
    pub(super) fn excuse(&mut self, progress: Instant) {
        if self.waits == Waits::Source {
            self.progress = self.progress.max(progress);
        }
    }

    /// Whether the body has been moved in full and flushed.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Abandoned)
    }

    /// Stops for good: the sink wants no more.
    pub(super) fn abandon(&mut self) {
        self.state = State::Abandoned;
    }

    /// Moves what can be moved; ready at the end of the body.
    ///
    /// `clean` removes from the trailer section what must not pass.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        source: &mut Peer,
        sink: &mut Peer,
        clean: fn(&mut Fields),
    ) -> Poll<Result<(), PumpError>> {
        if self.is_over() {
            return Poll::Ready(Ok(()));
        }
        // One that never has to wait asks no differences of times.
        if now != self.polled {
            self.waited[self.waits as usize] += now.saturating_duration_since(self.polled);
            self.polled = now;
        }
        let before = self.moved;
        let result = self.turn(cx, source, sink, clean);
        if self.moved != before || self.state == State::Done {
            self.progress = now;
        }
        result
    }

    /// Moves what can be moved of a request body beside an answer that is awaited or under way. A sink that reads no
    /// further is no failure: it may have answered on what it has read.
    pub(super) fn carry(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        source: &mut Peer,
        sink: &mut Peer,
    ) -> Result<(), PumpError> {
        match self.poll(cx, now, source, sink, hygiene::clean_request_trailers) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(PumpError::Sink)) => {
                self.abandon();
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Peer,
        sink: &mut Peer,
        clean: fn(&mut Fields),
    ) -> Poll<Result<(), PumpError>> {
        let end_of_turn = self.moved.saturating_add(TURN);
        while self.state == State::Moving {
            if self.moved >= end_of_turn {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.replay.is_some() {
                match self.again(cx, sink, clean)? {
                    Progress::Moved => continue,
                    Progress::Stuck => return Poll::Pending,
                    Progress::NothingKept => {}
                }
            }
            match source.poll_piece(cx).map_err(|_| PumpError::Source)? {
                Poll::Ready(Some(piece)) => {
                    let at_least = self.moved.saturating_add(piece.length as u64).saturating_add(piece.following);
                    if self.limit.is_some_and(|limit| at_least > limit) {
                        return Poll::Ready(Err(PumpError::TooLarge));
                    }
                    let sent =
                        sink.poll_send(cx, source.piece(piece.length), piece.last).map_err(|_| PumpError::Sink)?;
                    let Poll::Ready(count) = sent else {
                        self.waits = Waits::Sink;
                        return Poll::Pending;
                    };
                    if let Some(replay) = &self.replay {
                        replay.borrow_mut().keep(source.piece(count));
                    }
                    source.consume(count);
                    self.moved += count as u64;
                }
                Poll::Ready(None) => {
                    let mut trailers = source.take_trailers().map_err(|_| PumpError::Source)?;
                    if let Some(replay) = &self.replay {
                        replay.borrow_mut().end(trailers.as_ref());
                    }
                    trailers.iter_mut().for_each(clean);
                    sink.finish(trailers.as_ref()).map_err(|_| PumpError::Sink)?;
                    self.state = State::Flushing;
                }
                Poll::Pending => {
                    let flushed = sink.poll_flush(cx).map_err(|_| PumpError::Sink)?.is_ready();
                    self.waits = if flushed { Waits::Source } else { Waits::Sink };
                    return Poll::Pending;
                }
            }
        }
        if sink.poll_flush(cx).map_err(|_| PumpError::Sink)?.is_pending() {
            self.waits = Waits::Sink;
            return Poll::Pending;
        }
        self.state = State::Done;
        Poll::Ready(Ok(()))
    }

    /// Moves what is kept of the body, or the end of it.
    fn again(&mut self, cx: &mut Context<'_>, sink: &mut Peer, clean: fn(&mut Fields)) -> Result<Progress, PumpError> {
        let Some(replay) = &self.replay else { return Ok(Progress::NothingKept) };
        match replay.borrow().next(self.moved) {
            Next::Unread => Ok(Progress::NothingKept),
            Next::Bytes(rest) => match sink.poll_send(cx, rest, false).map_err(|_| PumpError::Sink)? {
                Poll::Ready(count) => {
                    self.moved += count as u64;
                    Ok(Progress::Moved)
                }
                Poll::Pending => {
                    self.waits = Waits::Sink;
                    Ok(Progress::Stuck)
                }
            },
            Next::End(trailers) => {
                let mut trailers = trailers.cloned();
                trailers.iter_mut().for_each(clean);
                sink.finish(trailers.as_ref()).map_err(|_| PumpError::Sink)?;
                self.state = State::Flushing;
                Ok(Progress::Moved)
            }
        }
    }

    /// When the side that is waited for has had time enough.
    pub(super) fn deadline(&self, source: Patience, sink: Patience) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let patience = match self.waits {
            Waits::Source => source,
            Waits::Sink => sink,
        };
        let Self { moved, progress, polled, .. } = *self;
        patience.ends(Pace { moved, progress, polled, waited: self.waited[self.waits as usize] })
    }
}
