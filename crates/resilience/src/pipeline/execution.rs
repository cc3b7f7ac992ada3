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
use crate::outcome::Classify;

use super::run::{End, Run, Script};
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
    pub(super) fn new(composition: P, classifier: C, call: Call<'k>, operation: O) -> Self {
        let call = call.deadline(Deadline::current(&composition.clock));
        let run = Run::new(composition.clone(), 0, 0, Moment::NEVER);
        Self { composition, classifier, call, operation, begun: None, run }
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
        let this = self.project();
        let composition: &Composition = this.composition;
        if this.begun.is_none() && composition.emitter.heard() {
            *this.begun = Some(composition.clock.now());
        }
        let mut script =
            Script { composition, call: this.call, classifier: this.classifier, operation: this.operation };
        let mut end = End::open();
        ready!(this.run.poll(&mut script, context, &mut end));
        if let (Some(begun), Some(verdict)) = (*this.begun, end.verdict) {
            let now = Reading::of(&composition.clock);
            composition.emitter.emit(&now, || Happening::ProtectionExecuted {
                outcome: verdict.outcome,
                duration: now.moment().since(begun),
            });
        }
        match (end.returned, end.rejection) {
            (Some(result), _) => Poll::Ready(result.map_err(Error::Call)),
            (None, Some(rejection)) => Poll::Ready(Err(Error::Rejected(rejection))),
            (None, None) => Poll::Pending,
        }
    }
}

impl<P: Deref<Target = Composition> + Clone, C, O: Operation> fmt::Debug for Execution<'_, P, C, O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Execution").field("pipeline", &self.composition.name).finish_non_exhaustive()
    }
}
