//! The loop: one call, or one hedged copy of it, on its way through the steps and back.
//!
//! Every policy that runs anything is run here and nowhere else. On the way in, guards admit and wraps note when they
//! have to act; at the end of the steps the call begins; on the way out every step is told what came of it, and a
//! retry may send the run back in. There is one timer, for whatever comes first.

use std::future::Future;
use std::ops::{ControlFlow, Deref};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use smallvec::SmallVec;

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading, Sleep};
use crate::deadline::{Deadline, EnteredDeadline};
use crate::error::{Code, Rejection};
use crate::hedge::Hedge;
use crate::outcome::{Classify, Outcome, RetryAdvice, Verdict};
use crate::policies::Step;
use crate::policy::{Admission, Queued, Ticket};
use crate::timeout::{Timeout, TimeoutKind};

use super::frames::{Frames, Hedging, Retrying, timed};
use super::{Attempt, Composition, Operation};

/// What a run and its copies have in common.
pub(super) struct Script<'s, O, C> {
    pub(super) composition: &'s Composition,
    pub(super) call: &'s Call<'s>,
    pub(super) classifier: &'s C,
    pub(super) operation: &'s mut O,
    /// Where tickets go that outlive the call; nothing where all are settled with it.
    pub(super) held: Option<&'s mut Notes>,
}

/// Tickets that are held beyond the end of a call, innermost first, with the indices of their steps.
pub(super) type Notes = SmallVec<[(usize, Ticket); 2]>;

impl<O, C> Script<'_, O, C> {
    /// Settles what is held after all, because the call is not over.
    fn release(&mut self, outcome: Outcome, now: &Reading<'_>) {
        if let Some(held) = &mut self.held {
            for (index, note) in held.drain(..) {
                self.composition.steps[index].settle(note, outcome, now);
            }
        }
    }
}

pin_project! {
    /// One run through the steps of a composition.
    pub(super) struct Run<P, Fut>
    where
        P: Deref<Target = Composition>,
        P: Clone,
    {
        frames: Frames<P>,
        phase: Phase,
        number: u32,
        copy: u32,
        #[pin]
        running: Option<Fut>,
        #[pin]
        timer: Option<Sleep>,
        // When the timer ends; it may be early, never late.
        alarm: Moment,
        // When the run that this one is a copy of is out of time.
        ceiling: Moment,
        // Copies that a hedge has started, each running the steps behind the hedge.
        copies: Vec<(u32, Pin<Box<Run<P, Fut>>>)>,
    }
}

/// Where a run is.
enum Phase {
    /// On the way in: the next step decides.
    Entering,
    /// In the queue of a guard.
    Queued(Queued),
    /// Admitted from a later moment on, or between two attempts.
    Waiting(Moment),
    /// At the call itself, which is of no more use after this moment.
    Calling(Moment),
    /// At its end, while copies of it still run.
    Outlived,
}

/// How a run has ended, once it has. It is written once and read where it stands: a result may be large, and every move
/// of it would be a copy. For the same reason a rejection has a place of its own.
pub(super) struct End<T, E> {
    /// What it means; nothing while the run goes on.
    pub(super) verdict: Option<Verdict>,
    /// What the call has returned, where it was that which ended the run.
    pub(super) returned: Option<Result<T, E>>,
    /// Why a policy has ended it.
    pub(super) rejection: Option<Rejection>,
}

impl<T, E> End<T, E> {
    /// Not yet.
    pub(super) const fn open() -> Self {
        Self { verdict: None, returned: None, rejection: None }
    }

    /// The call has returned.
    fn set_returned(&mut self, result: Result<T, E>, verdict: Verdict) -> Progress {
        self.returned = Some(result);
        self.verdict = Some(verdict);
        Progress::Ended
    }

    /// A policy has ended the run.
    fn set_rejected(&mut self, rejection: Rejection) -> Progress {
        self.verdict = Some(rejection.verdict());
        self.rejection = Some(rejection);
        Progress::Ended
    }
}

/// What a part of the loop has come to.
#[derive(PartialEq)]
enum Progress {
    /// The phase has changed.
    Again,
    /// Something has to happen first.
    Stuck,
    /// There is a result.
    Ended,
}

impl<P: Deref<Target = Composition> + Clone, Fut> Run<P, Fut> {
    /// A run that begins at the step `base`.
    #[inline]
    pub(super) fn new(composition: P, base: usize, copy: u32, ceiling: Moment) -> Self {
        Self {
            frames: Frames::new(composition, base),
            phase: Phase::Entering,
            number: 0,
            copy,
            running: None,
            timer: None,
            alarm: Moment::NEVER,
            ceiling,
            copies: Vec::new(),
        }
    }

    /// Goes on until the result is final.
    pub(super) fn poll<T, E, O, C>(
        mut self: Pin<&mut Self>,
        script: &mut Script<'_, O, C>,
        context: &mut Context<'_>,
        end: &mut End<T, E>,
    ) -> Poll<()>
    where
        Fut: Future<Output = Result<T, E>>,
        O: Operation<Future = Fut>,
        C: Classify<T, E>,
    {
        loop {
            let mut now = Reading::of(&script.composition.clock);
            match self.as_mut().advance(script, &now, context, end) {
                Progress::Again => continue,
                Progress::Ended => {}
                Progress::Stuck if self.as_mut().poll_copies(script, context, end) => {}
                Progress::Stuck => {
                    ready!(self.as_mut().poll_timer(script, context));
                    now = Reading::of(&script.composition.clock);
                    self.as_mut().on_time(script, &now, end);
                }
            }
            if let Some(verdict) = end.verdict {
                let answered = matches!(end.returned, Some(Ok(_)));
                if self.as_mut().leave(verdict, answered, script, &now).is_break() {
                    return Poll::Ready(());
                }
                *end = End::open();
            }
        }
    }

    /// One step onwards.
    fn advance<T, E, O, C>(
        self: Pin<&mut Self>,
        script: &mut Script<'_, O, C>,
        now: &Reading<'_>,
        context: &mut Context<'_>,
        end: &mut End<T, E>,
    ) -> Progress
    where
        Fut: Future<Output = Result<T, E>>,
        O: Operation<Future = Fut>,
        C: Classify<T, E>,
    {
        let mut this = self.project();
        match this.phase {
            Phase::Entering => match enter(this.frames, script.composition, script.call, *this.ceiling, now) {
                Ok(Some(phase)) => *this.phase = phase,
                Err(rejection) => return end.set_rejected(rejection),
                Ok(None) => {
                    *this.number += 1;
                    this.frames.ran = true;
                    let deadline = this.frames.ends().min(script.call.ends()).min(*this.ceiling);
                    let attempt = Attempt { number: *this.number, copy: *this.copy, deadline };
                    let entered = entered(&script.composition.clock, deadline);
                    this.running.set(Some(script.operation.start(attempt)));
                    drop(entered);
                    *this.phase = Phase::Calling(deadline);
                }
            },
            Phase::Queued(place) => match place.as_mut().poll(context) {
                Poll::Pending => return Progress::Stuck,
                Poll::Ready(Err(rejection)) => return end.set_rejected(rejection),
                Poll::Ready(Ok(ticket)) => {
                    *this.frames.pass() = ticket;
                    *this.phase = Phase::Entering;
                }
            },
            Phase::Calling(deadline) => {
                let Some(running) = this.running.as_mut().as_pin_mut() else { return Progress::Stuck };
                this.frames.polling = true;
                let entered = entered(&script.composition.clock, *deadline);
                let polled = running.poll(context);
                drop(entered);
                this.frames.polling = false;
                let Poll::Ready(result) = polled else { return Progress::Stuck };
                this.running.set(None);
                let verdict = script.classifier.classify(&result);
                return end.set_returned(result, verdict);
            }
            Phase::Waiting(_) | Phase::Outlived => return Progress::Stuck,
        }
        Progress::Again
    }

    /// Polls the copies that a hedge has started. The first that succeeds is the result; whether there is one.
    fn poll_copies<T, E, O, C>(
        self: Pin<&mut Self>,
        script: &mut Script<'_, O, C>,
        context: &mut Context<'_>,
        end: &mut End<T, E>,
    ) -> bool
    where
        Fut: Future<Output = Result<T, E>>,
        O: Operation<Future = Fut>,
        C: Classify<T, E>,
    {
        let mut this = self.project();
        let mut index = 0;
        while let Some((copy, run)) = this.copies.get_mut(index) {
            let mut of_copy = End::open();
            let (Poll::Ready(()), Some(verdict)) = (run.as_mut().poll(script, context, &mut of_copy), &of_copy.verdict)
            else {
                index += 1;
                continue;
            };
            let (copy, decides) = (*copy, decides(verdict));
            drop(this.copies.swap_remove(index));
            let last = this.copies.is_empty() && matches!(this.phase, Phase::Outlived);
            if decides || last {
                this.running.set(None);
                this.copies.clear();
                *this.phase = Phase::Outlived;
                let now = Reading::of(&script.composition.clock);
                let hedge = this.frames.hedging.map_or(this.frames.base(), |hedging| hedging.index);
                this.frames.abandon(hedge + 1, Outcome::Cancelled, &now);
                if let (true, Step::Hedge(policy)) = (decides, &script.composition.steps[hedge]) {
                    policy.won(copy, &now);
                }
                *end = of_copy;
                return true;
            }
            script.release(verdict.outcome, &Reading::of(&script.composition.clock));
        }
        false
    }

    /// Tells the steps, from the innermost outwards, what came of the call. One of them may send the run back in.
    fn leave<O: Operation, C>(
        self: Pin<&mut Self>,
        verdict: Verdict,
        answered: bool,
        script: &mut Script<'_, O, C>,
        now: &Reading<'_>,
    ) -> ControlFlow<()> {
        let composition = script.composition;
        let this = self.project();
        this.frames.partial = verdict.outcome != Outcome::Success && script.operation.failed_in_part();
        while let Some((index, note)) = this.frames.pop() {
            match &composition.steps[index] {
                Step::Retry(retry) => {
                    let Some(Retrying { mut progress, ran }) = this.frames.retrying.take() else { continue };
                    this.frames.ran |= ran;
                    if verdict.outcome != Outcome::Success {
                        this.frames.look_back();
                    }
                    let deadline = this.frames.ends().min(script.call.ends()).min(*this.ceiling);
                    if script.operation.repeatable()
                        && let Some(delay) = retry.next(&mut progress, &verdict, script.call, now, deadline)
                    {
                        this.frames.pass();
                        this.frames.retrying = Some(Retrying { progress, ran: this.frames.ran });
                        this.frames.ran = false;
                        script.release(verdict.outcome, now);
                        *this.phase = Phase::Waiting(now.moment().after(delay));
                        return ControlFlow::Continue(());
                    }
                }
                Step::Hedge(hedge) => {
                    let Some(hedging) = this.frames.hedging.take() else { continue };
                    if !decides(&verdict) && !this.copies.is_empty() {
                        this.frames.look_back();
                        this.frames.pass();
                        this.frames.hedging = Some(Hedging { next: Moment::NEVER, ..hedging });
                        *this.phase = Phase::Outlived;
                        script.release(verdict.outcome, now);
                        return ControlFlow::Continue(());
                    }
                    this.copies.clear();
                    hedge.record(now.moment().since(hedging.began));
                }
                Step::Timeout(timeout) => timeout.ended(TimeoutKind::Total, now, timed(&note).0),
                Step::AttemptTimeout(timeout) => timeout.ended(TimeoutKind::Attempt, now, timed(&note).0),
                guard => match &mut script.held {
                    Some(held) if answered && guard.is_concurrency() => held.push((index, note)),
                    _ => this.frames.settle(guard, note, verdict.outcome, now),
                },
            }
        }
        ControlFlow::Break(())
    }

    /// Waits for the next moment at which a step has to act.
    fn poll_timer<O, C>(self: Pin<&mut Self>, script: &Script<'_, O, C>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let mut next = this.frames.ends();
        if this.frames.base() == 0 {
            next = next.min(script.call.ends());
        }
        if let Phase::Waiting(moment) = this.phase {
            next = next.min(*moment);
        }
        if let Some(hedging) = &this.frames.hedging {
            next = next.min(hedging.next);
        }
        if next == Moment::NEVER {
            return Poll::Pending;
        }
        if this.timer.is_none() || *this.alarm > next {
            this.timer.set(Some(script.composition.clock.sleep_until(next)));
            *this.alarm = next;
        }
        if let Some(timer) = this.timer.as_mut().as_pin_mut() {
            ready!(timer.poll(context));
        }
        this.timer.set(None);
        Poll::Ready(())
    }

    /// The timer has ended: goes on where it was waited for, starts a copy, or ends what took too long.
    fn on_time<T, E, O: Operation, C>(
        self: Pin<&mut Self>,
        script: &Script<'_, O, C>,
        now: &Reading<'_>,
        end: &mut End<T, E>,
    ) {
        let mut this = self.project();
        if let Some((depth, rejection)) = expired(this.frames, script.composition, script.call, now) {
            this.running.set(None);
            this.copies.clear();
            *this.phase = Phase::Outlived;
            this.frames.partial = script.operation.failed_in_part();
            this.frames.abandon(depth, Outcome::Failure, now);
            end.set_rejected(rejection);
            return;
        }
        if let Phase::Waiting(until) = this.phase
            && *until <= now.moment()
        {
            *this.phase = Phase::Entering;
        }
        let due = this.frames.hedging.filter(|hedging| hedging.next <= now.moment());
        if let Some(mut hedging) = due
            && let Step::Hedge(hedge) = &script.composition.steps[hedging.index]
        {
            hedging.next = Moment::NEVER;
            if script.operation.repeatable() && hedge.start(&mut hedging.progress, now) {
                let ceiling = this.frames.ends().min(script.call.ends()).min(*this.ceiling);
                let copy = hedging.progress.started();
                let run = Self::new(this.frames.composition().clone(), hedging.index + 1, copy, ceiling);
                this.copies.push((copy, Box::pin(run)));
                hedging.next = hedging.progress.delay().map_or(Moment::NEVER, |delay| now.moment().after(delay));
            }
            this.frames.hedging = Some(hedging);
        }
    }
}

/// Goes through the steps inwards until one of them makes the call wait (`Some`), or the last is passed (`None`).
fn enter<P: Deref<Target = Composition> + Clone>(
    frames: &mut Frames<P>,
    composition: &Composition,
    call: &Call<'_>,
    ceiling: Moment,
    now: &Reading<'_>,
) -> Result<Option<Phase>, Rejection> {
    if frames.depth() == 0 && call.ends() != Moment::NEVER && call.ends() <= now.moment() {
        return Err(Rejection::new(Code::DeadlinePassed, &composition.name));
    }
    let mut peeked = frames.depth();
    while let Some(step) = composition.steps.get(frames.depth()) {
        if frames.depth() == peeked {
            let (barrier, behind) = (composition.barriers[peeked], peeked + 1);
            if behind < barrier.guards {
                composition.peek(behind..barrier.guards, call, now)?;
            }
            peeked = barrier.at.max(behind);
        }
        match step {
            Step::Timeout(timeout) => begin_timeout(frames, timeout, TimeoutKind::Total, now),
            Step::AttemptTimeout(timeout) => begin_timeout(frames, timeout, TimeoutKind::Attempt, now),
            Step::Retry(retry) => {
                frames.pass();
                frames.retrying = Some(Retrying { progress: retry.begin(now), ran: false });
            }
            Step::Hedge(hedge) => begin_hedge(frames, hedge, call, now),
            guard => {
                if guard.admit_at_once(call, now, frames.pass()) {
                    continue;
                }
                frames.pop();
                // Nobody waits for a guard until a timeout ends the call.
                let call = call.until(frames.ends().min(ceiling));
                if let Some(phase) = admit(frames, guard, &call, now)? {
                    return Ok(Some(phase));
                }
            }
        }
    }
    Ok(None)
}

/// Makes the deadline known to the call while it begins and while it is polled, where there is one.
#[inline]
fn entered(clock: &Clock, deadline: Moment) -> Option<EnteredDeadline<'_>> {
    (deadline < Moment::NEVER).then(|| Deadline::enter(clock, deadline))
}

/// Asks a guard that does not admit the call at once.
#[inline(never)]
fn admit<P: Deref<Target = Composition> + Clone>(
    frames: &mut Frames<P>,
    guard: &Step,
    call: &Call<'_>,
    now: &Reading<'_>,
) -> Result<Option<Phase>, Rejection> {
    match guard.admit(call, now) {
        Admission::Granted(ticket) => {
            *frames.pass() = ticket;
            Ok(None)
        }
        Admission::Later(moment, ticket) => {
            *frames.pass() = ticket;
            Ok(Some(Phase::Waiting(moment)))
        }
        Admission::Queued(place) => Ok(Some(Phase::Queued(place))),
        Admission::Rejected(rejection) => Err(rejection),
    }
}

/// Without a limit that is enforced, the time is noted all the same: the timeout may only watch.
#[inline]
fn begin_timeout<P>(frames: &mut Frames<P>, timeout: &Timeout, kind: TimeoutKind, now: &Reading<'_>)
where
    P: Deref<Target = Composition> + Clone,
{
    let began = now.moment();
    frames.pass_timeout(began, timeout.ends(kind, began));
}

fn begin_hedge<P>(frames: &mut Frames<P>, hedge: &Hedge, call: &Call<'_>, now: &Reading<'_>)
where
    P: Deref<Target = Composition> + Clone,
{
    let index = frames.depth();
    let progress = hedge.begin(call, now);
    let begin = |delay| Hedging { index, progress, began: now.moment(), next: now.moment().after(delay) };
    frames.pass();
    frames.hedging = progress.delay().map(begin);
}

/// The outermost limit that has passed: the depth from which the run is over, and why.
fn expired<P: Deref<Target = Composition> + Clone>(
    frames: &Frames<P>,
    composition: &Composition,
    call: &Call<'_>,
    now: &Reading<'_>,
) -> Option<(usize, Rejection)> {
    if frames.base() == 0 && call.ends() <= now.moment() {
        return Some((0, Rejection::new(Code::TotalTimeout, &composition.name)));
    }
    frames.iter().find_map(|(index, step, note)| {
        let (kind, timeout) = match step {
            Step::Timeout(timeout) => (TimeoutKind::Total, timeout),
            Step::AttemptTimeout(timeout) => (TimeoutKind::Attempt, timeout),
            _ => return None,
        };
        let (began, ends) = timed(note);
        let elapsed = now.moment().since(began);
        (ends <= now.moment()).then(|| (index, timeout.expired(kind, now, ends.since(began), elapsed)))
    })
}

/// Whether a result is final among hedged copies: it would not be better had another one come first.
fn decides(verdict: &Verdict) -> bool {
    match verdict.outcome {
        Outcome::Success | Outcome::Ignored => true,
        Outcome::Failure => verdict.retry == RetryAdvice::No,
        Outcome::Overload | Outcome::Cancelled | Outcome::Rejected => false,
    }
}
