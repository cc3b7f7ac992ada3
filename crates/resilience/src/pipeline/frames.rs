//! What a run through the steps has taken and must give back.
//!
//! Invariant: a note stands for the step of the same index, and every ticket of a guard is settled exactly once, however
//! the run ends: by its result, by a timeout, or because the future was dropped.

use std::ops::Deref;

use crate::clock::{Moment, Reading};
use crate::hedge::HedgeProgress;
use crate::outcome::Outcome;
use crate::policies::Step;
use crate::policy::{Ticket, abandoned};
use crate::retry::RetryProgress;

use super::Composition;

/// So many notes stand in the run itself, the others on the heap.
const INLINE: usize = 6;

/// What the steps noted when the run passed them on the way in, outermost first, from the step `base` on.
///
/// A note is a [`Ticket`]: that of a guard, or, for a timeout, when it began and when it ends. Notes are written where
/// they stand, field by field. Put together elsewhere and handed on from place to place, as variants of an enumeration
/// for example, they would cost more than all guards need to admit a call.
#[derive(Debug)]
pub(super) struct Frames<P: Deref<Target = Composition> + Clone> {
    composition: P,
    base: usize,
    count: usize,
    first: [Ticket; INLINE],
    others: Vec<Ticket>,
    /// When the first of the timeouts that were passed ends. Still so when the run is on its way out: see
    /// [`Frames::look_back`].
    ends: Moment,
    /// The retry that was passed; there is at most one in a pipeline.
    pub(super) retrying: Option<Retrying>,
    /// The hedge that was passed, where the call may have copies; there is at most one in a pipeline.
    pub(super) hedging: Option<Hedging>,
    /// Whether the call has begun since the innermost retry let it in.
    pub(super) ran: bool,
    /// Whether the failure that ends the call is that of a part: see [`Operation::failed_in_part`].
    ///
    /// [`Operation::failed_in_part`]: super::Operation::failed_in_part
    pub(super) partial: bool,
    /// Whether the call is being polled: still set when the run is dropped, it has panicked.
    pub(super) polling: bool,
}

/// A retry watches the attempts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retrying {
    pub(super) progress: RetryProgress,
    /// Whether an earlier attempt reached the call.
    pub(super) ran: bool,
}

/// A hedge starts the next copy at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hedging {
    /// Which step it is.
    pub(super) index: usize,
    pub(super) progress: HedgeProgress,
    pub(super) began: Moment,
    pub(super) next: Moment,
}

/// When a timeout began and ends, as its note says.
pub(super) fn timed(note: &Ticket) -> (Moment, Moment) {
    (note.at, Moment::from_nanos(note.amount))
}

impl<P: Deref<Target = Composition> + Clone> Frames<P> {
    #[inline]
    pub(super) fn new(composition: P, base: usize) -> Self {
        Self {
            composition,
            base,
            count: 0,
            first: [Ticket::BLANK; INLINE],
            others: Vec::new(),
            ends: Moment::NEVER,
            retrying: None,
            hedging: None,
            ran: false,
            partial: false,
            polling: false,
        }
    }

    pub(super) fn composition(&self) -> &P {
        &self.composition
    }

    /// The index of the step that comes next on the way in.
    #[inline]
    pub(super) fn depth(&self) -> usize {
        self.base + self.count
    }

    pub(super) fn base(&self) -> usize {
        self.base
    }

    #[inline]
    fn note(&mut self, place: usize) -> &mut Ticket {
        if place < INLINE { &mut self.first[place] } else { &mut self.others[place - INLINE] }
    }

    /// Passes the next step; its note is to be written.
    #[inline]
    pub(super) fn pass(&mut self) -> &mut Ticket {
        let place = self.count;
        self.count += 1;
        if place >= INLINE {
            self.others.push(Ticket::BLANK);
        }
        let note = self.note(place);
        *note = Ticket::BLANK;
        note
    }

    /// Passes a timeout that ends then.
    #[inline]
    pub(super) fn pass_timeout(&mut self, began: Moment, ends: Moment) {
        let note = self.pass();
        note.at = began;
        note.amount = ends.as_nanos();
        self.ends = self.ends.min(ends);
    }

    /// When the first of the timeouts that were passed ends.
    #[inline]
    pub(super) fn ends(&self) -> Moment {
        self.ends
    }

    /// Looks which timeouts there still are, before the run stays where it is or goes in again.
    pub(super) fn look_back(&mut self) {
        self.ends = self.iter().fold(Moment::NEVER, |first, (_, step, note)| match step {
            Step::Timeout(_) | Step::AttemptTimeout(_) => first.min(timed(note).1),
            _ => first,
        });
    }

    /// Goes back out of the innermost step that was passed: its index and its note.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<(usize, Ticket)> {
        self.count = self.count.checked_sub(1)?;
        let note = *self.note(self.count);
        if self.count >= INLINE {
            self.others.pop();
        }
        Some((self.depth(), note))
    }

    /// The steps that were passed, with their indices and notes, outermost first.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Step, &Ticket)> {
        let notes = self.first[..self.count.min(INLINE)].iter().chain(&self.others);
        let steps = self.composition.steps[self.base..].iter().enumerate();
        steps.zip(notes).map(|((index, step), note)| (self.base + index, step, note))
    }

    /// Tells a guard what came of the call.
    pub(super) fn settle(&self, guard: &Step, note: Ticket, outcome: Outcome, now: &Reading<'_>) {
        let outcome = match (guard, self.outcome(outcome)) {
            (Step::CircuitBreaker(_), Outcome::Failure | Outcome::Overload) if self.partial => Outcome::Ignored,
            (_, outcome) => outcome,
        };
        guard.settle(note, outcome, now);
    }

    /// What a guard is told. A call that never began was rejected, whatever ended it; one that began and is rejected
    /// now, in a later attempt, has failed.
    fn outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            _ if !self.ran => Outcome::Rejected,
            Outcome::Rejected => Outcome::Failure,
            outcome => outcome,
        }
    }

    /// Goes back to this depth, with this outcome.
    pub(super) fn abandon(&mut self, depth: usize, outcome: Outcome, now: &Reading<'_>) {
        while self.depth() > depth
            && let Some((index, note)) = self.pop()
        {
            match &self.composition.steps[index] {
                Step::Retry(_) => self.ran |= self.retrying.take().is_some_and(|retrying| retrying.ran),
                Step::Hedge(_) => self.hedging = None,
                step => self.settle(step, note, outcome, now),
            }
        }
        self.look_back();
    }
}

impl<P: Deref<Target = Composition> + Clone> Drop for Frames<P> {
    fn drop(&mut self) {
        if self.count > 0 {
            let outcome = if self.polling { Outcome::Failure } else { abandoned() };
            let composition = self.composition.clone();
            self.abandon(self.base, outcome, &Reading::of(&composition.clock));
        }
    }
}
