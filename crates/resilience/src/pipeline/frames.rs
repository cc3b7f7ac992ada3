//! What a run through the steps has taken and must give back.
//!
//! Invariant: a frame stands for the step of the same index, and every ticket in it is settled exactly once, however
//! the run ends: by its result, by a timeout, or because the future was dropped.

use std::ops::Deref;

use smallvec::SmallVec;

use crate::clock::{Moment, Reading};
use crate::hedge::HedgeProgress;
use crate::outcome::Outcome;
use crate::policy::{Ticket, abandoned};
use crate::retry::RetryProgress;

use super::Composition;

/// What one step noted when the run passed it on the way in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Frame {
    /// A guard admitted the call.
    Admitted(Ticket),
    /// A timeout runs out at this moment.
    Timed { began: Moment, ends: Moment },
    /// A retry watches the attempts; whether an earlier one reached the call.
    Retrying { progress: RetryProgress, ran: bool },
    /// A hedge starts the next copy at this moment.
    Hedging { progress: HedgeProgress, began: Moment, next: Moment },
    /// The step has nothing to do for this call.
    Idle,
}

/// The frames of a run, outermost first, for the steps from `base` on.
#[derive(Debug)]
pub(super) struct Frames<P: Deref<Target = Composition> + Clone> {
    composition: P,
    base: usize,
    list: SmallVec<[Frame; 6]>,
    /// Whether the call has begun since the innermost retry let it in.
    pub(super) ran: bool,
    /// Whether the call is being polled: still set when the run is dropped, it has panicked.
    pub(super) polling: bool,
}

impl<P: Deref<Target = Composition> + Clone> Frames<P> {
    pub(super) fn new(composition: P, base: usize) -> Self {
        Self { composition, base, list: SmallVec::new(), ran: false, polling: false }
    }

    pub(super) fn composition(&self) -> &P {
        &self.composition
    }

    /// The index of the step that comes next on the way in.
    pub(super) fn depth(&self) -> usize {
        self.base + self.list.len()
    }

    pub(super) fn base(&self) -> usize {
        self.base
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.list.push(frame);
    }

    /// Takes the innermost frame, with the index of its step.
    pub(super) fn pop(&mut self) -> Option<(usize, Frame)> {
        let frame = self.list.pop()?;
        Some((self.depth(), frame))
    }

    /// The frames with the indices of their steps, outermost first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Frame)> {
        self.list.iter().enumerate().map(|(index, frame)| (self.base + index, frame))
    }

    /// Notes something else for the step `index`, which the run has passed.
    pub(super) fn replace(&mut self, index: usize, frame: Frame) {
        self.list[index - self.base] = frame;
    }

    /// What a guard is told. A call that never began was rejected, whatever ended it; one that began and is rejected
    /// now, in a later attempt, has failed.
    pub(super) fn outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            _ if !self.ran => Outcome::Rejected,
            Outcome::Rejected => Outcome::Failure,
            outcome => outcome,
        }
    }

    /// Takes all frames from this depth inwards, with this outcome.
    pub(super) fn abandon(&mut self, depth: usize, outcome: Outcome, now: &Reading<'_>) {
        while self.depth() > depth
            && let Some((index, frame)) = self.pop()
        {
            match frame {
                Frame::Admitted(ticket) => self.composition.steps[index].settle(ticket, self.outcome(outcome), now),
                Frame::Retrying { ran, .. } => self.ran |= ran,
                _ => {}
            }
        }
    }
}

impl<P: Deref<Target = Composition> + Clone> Drop for Frames<P> {
    fn drop(&mut self) {
        if !self.list.is_empty() {
            let outcome = if self.polling { Outcome::Failure } else { abandoned() };
            let composition = self.composition.clone();
            self.abandon(self.base, outcome, &Reading::of(&composition.clock));
        }
    }
}
