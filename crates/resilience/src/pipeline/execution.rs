//! A call under way through a pipeline: the future that callers see.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::call::Call;
use crate::clock::{Moment, Reading};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::event::Happening;
use crate::outcome::{Classify, Outcome};

use super::run::{End, Notes, Run, Script};
use super::{Composition, Operation};

pin_project! {
    /// A call under way through a [`Pipeline`](super::Pipeline). Dropped at any point, it gives back all it has taken.
    #[must_use = "futures do nothing unless polled"]
    pub struct Execution<'k, P, C, O>
    where
        P: Deref<Target = Composition>,
        P: Clone,
        O: Operation,
    {
        composition: P,
        classifier: C,
        call: Call<'k>,
        operation: O,
        begun: Option<Moment>,
        #[pin]
        run: Run<P, O::Future>,
    }
}

impl<'k, P: Deref<Target = Composition> + Clone, C, O: Operation> Execution<'k, P, C, O> {
    #[inline]
    pub(super) fn new(composition: P, classifier: C, call: Call<'k>, operation: O) -> Self {
        let call = call.deadline(Deadline::current(&composition.clock));
        let run = Run::new(composition.clone(), 0, 0, Moment::NEVER);
        Self { composition, classifier, call, operation, begun: None, run }
    }

    /// The same call, whose result comes with its places in bulkheads and adaptive limits: see [`Held`].
    #[inline]
    pub fn holding(self) -> Holding<'k, P, C, O> {
        Holding { execution: self }
    }

    fn poll_held<T, E>(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        held: Option<(&mut Notes, &mut Outcome)>,
    ) -> Poll<Result<T, Error<E>>>
    where
        C: Classify<T, E>,
        O: Operation<Future: Future<Output = Result<T, E>>>,
    {
        let this = self.project();
        let composition: &Composition = this.composition;
        if this.begun.is_none() && composition.emitter.heard() {
            *this.begun = Some(composition.clock.now());
        }
        let (held, outcome) = held.unzip();
        let mut script =
            Script { composition, call: this.call, classifier: this.classifier, operation: this.operation, held };
        let mut end = End::open();
        ready!(this.run.poll(&mut script, context, &mut end));
        if let (Some(begun), Some(verdict)) = (*this.begun, end.verdict) {
            let now = Reading::of(&composition.clock);
            composition.emitter.emit(&now, || Happening::ProtectionExecuted {
                outcome: verdict.outcome,
                duration: now.moment().since(begun),
            });
        }
        if let (Some(outcome), Some(verdict)) = (outcome, end.verdict) {
            *outcome = verdict.outcome;
        }
        match (end.returned, end.rejection) {
            (Some(result), _) => Poll::Ready(result.map_err(Error::Call)),
            (None, Some(rejection)) => Poll::Ready(Err(Error::Rejected(rejection))),
            (None, None) => Poll::Pending,
        }
    }
}

impl<'k, P, C, O, T, E> Future for Execution<'k, P, C, O>
where
    P: Deref<Target = Composition> + Clone,
    C: Classify<T, E>,
    O: Operation<Future: Future<Output = Result<T, E>>>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_held(context, None)
    }
}

pin_project! {
    /// A call under way whose result comes with its places in bulkheads and adaptive limits: see [`Held`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Holding<'k, P, C, O>
    where
        P: Deref<Target = Composition>,
        P: Clone,
        O: Operation,
    {
        #[pin]
        execution: Execution<'k, P, C, O>,
    }
}

impl<'k, P, C, O, T, E> Future for Holding<'k, P, C, O>
where
    P: Deref<Target = Composition> + Clone,
    C: Classify<T, E>,
    O: Operation<Future: Future<Output = Result<T, E>>>,
{
    type Output = Result<(T, Held<P>), Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut execution = self.project().execution;
        // Nothing is held while the call is under way.
        let (mut notes, mut outcome) = (Notes::new(), Outcome::Cancelled);
        let result = ready!(execution.as_mut().poll_held(context, Some((&mut notes, &mut outcome))));
        let composition = execution.project().composition.clone();
        Poll::Ready(result.map(|answer| (answer, Held { composition, outcome, notes })))
    }
}

/// What a call still uses after it has returned: an answer whose body is yet to come, a stream, a transaction.
///
/// Its places in [bulkheads](crate::Bulkhead) and [adaptive limits](crate::Adaptive) are given back when this is
/// dropped, and the time that the call took ends then. All other policies are told what came of the call when it
/// returned.
#[must_use = "the places are given back when it is dropped"]
pub struct Held<P: Deref<Target = Composition>> {
    composition: P,
    outcome: Outcome,
    notes: Notes,
}

impl<P: Deref<Target = Composition>> Held<P> {
    /// Gives the places back, and says that the call has failed after all.
    pub fn failed(mut self) {
        self.outcome = Outcome::Failure;
    }
}

impl<P: Deref<Target = Composition>> Drop for Held<P> {
    fn drop(&mut self) {
        if !self.notes.is_empty() {
            let now = Reading::of(&self.composition.clock);
            for (index, note) in self.notes.drain(..) {
                self.composition.steps[index].settle(note, self.outcome, &now);
            }
        }
    }
}

impl<P: Deref<Target = Composition>> fmt::Debug for Held<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Held").field("places", &self.notes.len()).finish_non_exhaustive()
    }
}

impl<P: Deref<Target = Composition> + Clone, C, O: Operation> fmt::Debug for Holding<'_, P, C, O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Holding").field("execution", &self.execution).finish_non_exhaustive()
    }
}

impl<P: Deref<Target = Composition> + Clone, C, O: Operation> fmt::Debug for Execution<'_, P, C, O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Execution").field("pipeline", &self.composition.name).finish_non_exhaustive()
    }
}
