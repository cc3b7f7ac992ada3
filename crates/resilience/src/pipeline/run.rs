//! The loop: one call, or one hedged copy of it, on its way through the steps and back.
//!
//! Every policy that runs anything is run here and nowhere else. On the way in, guards admit and wraps note when they
//! have to act; at the end of the steps the call begins; on the way out every step is told what came of it, and a
//! retry may send the run back in. There is one timer, for whatever comes first.

use std::future::Future;
use std::ops::{ControlFlow, Deref};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::call::Call;
use crate::clock::{Moment, Reading, Sleep};
use crate::deadline::Deadline;
use crate::error::{Code, Error, Rejection};
use crate::outcome::{Classify, Outcome, RetryAdvice, Verdict};
use crate::policies::Step;
use crate::policy::{Admission, Queued};
use crate::timeout::TimeoutKind;

use super::frames::{Frame, Frames};
use super::{Attempt, Composition, Operation};

/// What a run and its copies have in common.
pub(super) struct Script<'s, O, C> {
    pub(super) composition: &'s Composition,
    pub(super) call: &'s Call<'s>,
    pub(super) classifier: &'s C,
    pub(super) operation: &'s mut O,
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

/// What came of a run, with its meaning. It is written once and read where it stands: a result may be large, and every
/// move of it would be a copy.
pub(super) struct Ended<T, E> {
    pub(super) result: Result<T, Error<E>>,
    pub(super) verdict: Verdict,
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
        ended: &mut Option<Ended<T, E>>,
    ) -> Poll<()>
    where
        Fut: Future<Output = Result<T, E>>,
        O: Operation<Future = Fut>,
        C: Classify<T, E>,
    {
        loop {
            let mut now = Reading::of(&script.composition.clock);
            match self.as_mut().advance(script, &now, context, ended) {
                Progress::Again => continue,
                Progress::Ended => {}
                Progress::Stuck if self.as_mut().poll_copies(script, context, ended) => {}
                Progress::Stuck => {
                    ready!(self.as_mut().poll_timer(script, context));
                    now = Reading::of(&script.composition.clock);
                    self.as_mut().on_time(script, &now, ended);
                }
            }
            if let Some(Ended { verdict, .. }) = ended {
                if self.as_mut().leave(*verdict, script, &now).is_break() {
                    return Poll::Ready(());
                }
                *ended = None;
            }
        }
    }

    /// One step onwards.
    fn advance<T, E, O, C>(
        self: Pin<&mut Self>,
        script: &mut Script<'_, O, C>,
        now: &Reading<'_>,
        context: &mut Context<'_>,
        ended: &mut Option<Ended<T, E>>,
    ) -> Progress
    where
        Fut: Future<Output = Result<T, E>>,
        O: Operation<Future = Fut>,
        C: Classify<T, E>,
    {
        let mut this = self.project();
        match this.phase {
            Phase::Entering => match enter(this.frames, script.composition, script.call, now) {
                Ok(Some(phase)) => *this.phase = phase,
                Err(rejection) => return reject(ended, rejection),
                Ok(None) => {
                    *this.number += 1;
                    this.frames.ran = true;
                    let deadline = ends(this.frames, script.call).min(*this.ceiling);
                    let attempt = Attempt { number: *this.number, copy: *this.copy, deadline };
                    this.running.set(Some(script.operation.start(attempt)));
                    *this.phase = Phase::Calling(deadline);
                }
            },
            Phase::Queued(place) => match place.as_mut().poll(context) {
                Poll::Pending => return Progress::Stuck,
                Poll::Ready(Err(rejection)) => return reject(ended, rejection),
                Poll::Ready(Ok(ticket)) => {
                    this.frames.push(Frame::Admitted(ticket));
                    *this.phase = Phase::Entering;
                }
            },
            Phase::Calling(deadline) => {
                let Some(running) = this.running.as_mut().as_pin_mut() else { return Progress::Stuck };
                this.frames.polling = true;
                let entered =
                    (*deadline < Moment::NEVER).then(|| Deadline::enter(&script.composition.clock, *deadline));
                let polled = running.poll(context);
                drop(entered);
                this.frames.polling = false;
                let Poll::Ready(result) = polled else { return Progress::Stuck };
                this.running.set(None);
                let verdict = script.classifier.classify(&result);
                *ended = Some(Ended { result: result.map_err(Error::Call), verdict });
                return Progress::Ended;
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
        ended: &mut Option<Ended<T, E>>,
    ) -> bool
    where
        Fut: Future<Output = Result<T, E>>,
        O: Operation<Future = Fut>,
        C: Classify<T, E>,
    {
        let mut this = self.project();
        let mut index = 0;
        while let Some((copy, run)) = this.copies.get_mut(index) {
            let mut of_copy = None;
            let (Poll::Ready(()), Some(Ended { verdict, .. })) =
                (run.as_mut().poll(script, context, &mut of_copy), &of_copy)
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
                let hedge = hedge_of(this.frames);
                this.frames.abandon(hedge + 1, Outcome::Cancelled, &now);
                if let (true, Step::Hedge(policy)) = (decides, &script.composition.steps[hedge]) {
                    policy.won(copy, &now);
                }
                *ended = of_copy;
                return true;
            }
        }
        false
    }

    /// Tells the steps, from the innermost outwards, what came of the call. One of them may send the run back in.
    fn leave<O: Operation, C>(
        self: Pin<&mut Self>,
        verdict: Verdict,
        script: &Script<'_, O, C>,
        now: &Reading<'_>,
    ) -> ControlFlow<()> {
        let this = self.project();
        while let Some((index, frame)) = this.frames.pop() {
            match (&script.composition.steps[index], frame) {
                (step, Frame::Admitted(ticket)) => step.settle(ticket, this.frames.outcome(verdict.outcome), now),
                (Step::Retry(retry), Frame::Retrying { mut progress, ran }) => {
                    this.frames.ran |= ran;
                    let deadline = ends(this.frames, script.call).min(*this.ceiling);
                    if script.operation.repeatable()
                        && let Some(delay) = retry.next(&mut progress, &verdict, script.call, now, deadline)
                    {
                        this.frames.push(Frame::Retrying { progress, ran: this.frames.ran });
                        this.frames.ran = false;
                        *this.phase = Phase::Waiting(now.moment().after(delay));
                        return ControlFlow::Continue(());
                    }
                }
                (Step::Hedge(hedge), Frame::Hedging { progress, began, .. }) => {
                    if !decides(&verdict) && !this.copies.is_empty() {
                        this.frames.push(Frame::Hedging { progress, began, next: Moment::NEVER });
                        *this.phase = Phase::Outlived;
                        return ControlFlow::Continue(());
                    }
                    this.copies.clear();
                    hedge.record(now.moment().since(began));
                }
                (Step::Timeout(timeout), Frame::Timed { began, .. }) => timeout.ended(TimeoutKind::Total, now, began),
                (Step::AttemptTimeout(timeout), Frame::Timed { began, .. }) => {
                    timeout.ended(TimeoutKind::Attempt, now, began);
                }
                _ => {}
            }
        }
        ControlFlow::Break(())
    }

    /// Waits for the next moment at which a step has to act.
    fn poll_timer<O, C>(self: Pin<&mut Self>, script: &Script<'_, O, C>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let mut next = if this.frames.base() == 0 { script.call.ends() } else { Moment::NEVER };
        if let Phase::Waiting(moment) = this.phase {
            next = next.min(*moment);
        }
        for (_, frame) in this.frames.iter() {
            if let Frame::Hedging { next: moment, .. } | Frame::Timed { ends: moment, .. } = frame {
                next = next.min(*moment);
            }
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
        ended: &mut Option<Ended<T, E>>,
    ) {
        let mut this = self.project();
        if let Some((depth, rejection)) = expired(this.frames, script.composition, script.call, now) {
            this.running.set(None);
            this.copies.clear();
            *this.phase = Phase::Outlived;
            this.frames.abandon(depth, Outcome::Failure, now);
            reject(ended, rejection);
            return;
        }
        if let Phase::Waiting(until) = this.phase
            && *until <= now.moment()
        {
            *this.phase = Phase::Entering;
        }
        let due = this.frames.iter().find_map(|(index, frame)| match *frame {
            Frame::Hedging { progress, began, next } if next <= now.moment() => Some((index, progress, began)),
            _ => None,
        });
        if let Some((index, mut progress, began)) = due
            && let Step::Hedge(hedge) = &script.composition.steps[index]
        {
            let mut next = Moment::NEVER;
            if script.operation.repeatable() && hedge.start(&mut progress, now) {
                let ceiling = ends(this.frames, script.call).min(*this.ceiling);
                let copy = progress.started();
                let run = Self::new(this.frames.composition().clone(), index + 1, copy, ceiling);
                this.copies.push((copy, Box::pin(run)));
                next = progress.delay().map_or(Moment::NEVER, |delay| now.moment().after(delay));
            }
            this.frames.replace(index, Frame::Hedging { progress, began, next });
        }
    }
}

/// Goes through the steps inwards until one of them makes the call wait (`Some`), or the last is passed (`None`).
fn enter<P: Deref<Target = Composition> + Clone>(
    frames: &mut Frames<P>,
    composition: &Composition,
    call: &Call<'_>,
    now: &Reading<'_>,
) -> Result<Option<Phase>, Rejection> {
    if frames.depth() == 0 && call.ends() != Moment::NEVER && call.ends() <= now.moment() {
        return Err(Rejection::new(Code::DeadlinePassed, &composition.name));
    }
    let mut peeked = frames.depth();
    while let Some(step) = composition.steps.get(frames.depth()) {
        if frames.depth() == peeked {
            peeked = composition.peek_behind(peeked, call, now)?;
        }
        let frame = match step {
            Step::Timeout(timeout) => timed(timeout.total(), now),
            Step::AttemptTimeout(timeout) => timed(timeout.attempt(), now),
            Step::Retry(retry) => Frame::Retrying { progress: retry.begin(now), ran: false },
            Step::Hedge(hedge) => {
                let progress = hedge.begin(call, now);
                progress.delay().map_or(Frame::Idle, |delay| Frame::Hedging {
                    progress,
                    began: now.moment(),
                    next: now.moment().after(delay),
                })
            }
            guard => match guard.admit(call, now) {
                Admission::Granted(ticket) => Frame::Admitted(ticket),
                Admission::Queued(place) => return Ok(Some(Phase::Queued(place))),
                Admission::Rejected(rejection) => return Err(rejection),
                Admission::Later(moment, ticket) => {
                    frames.push(Frame::Admitted(ticket));
                    return Ok(Some(Phase::Waiting(moment)));
                }
            },
        };
        frames.push(frame);
    }
    Ok(None)
}

/// Without a limit that is enforced, the time is noted all the same: the timeout may only watch.
fn timed(limit: Option<Duration>, now: &Reading<'_>) -> Frame {
    let began = now.moment();
    Frame::Timed { began, ends: limit.map_or(Moment::NEVER, |limit| began.after(limit)) }
}

/// When the call, in this attempt, is out of time.
fn ends<P: Deref<Target = Composition> + Clone>(frames: &Frames<P>, call: &Call<'_>) -> Moment {
    frames.iter().fold(call.ends(), |first, (_, frame)| match frame {
        Frame::Timed { ends, .. } => first.min(*ends),
        _ => first,
    })
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
    frames.iter().find_map(|(index, frame)| {
        let Frame::Timed { began, ends } = *frame else { return None };
        let (kind, timeout) = match &composition.steps[index] {
            Step::Timeout(timeout) => (TimeoutKind::Total, timeout),
            Step::AttemptTimeout(timeout) => (TimeoutKind::Attempt, timeout),
            _ => return None,
        };
        let elapsed = now.moment().since(began);
        (ends <= now.moment()).then(|| (index, timeout.expired(kind, now, ends.since(began), elapsed)))
    })
}

/// The index of the hedge that the copies of this run belong to.
fn hedge_of<P: Deref<Target = Composition> + Clone>(frames: &Frames<P>) -> usize {
    let hedge = frames.iter().find(|(_, frame)| matches!(frame, Frame::Hedging { .. }));
    hedge.map_or(frames.base(), |(index, _)| index)
}

/// Whether a result is final among hedged copies: it would not be better had another one come first.
fn decides(verdict: &Verdict) -> bool {
    match verdict.outcome {
        Outcome::Success | Outcome::Ignored => true,
        Outcome::Failure => verdict.retry == RetryAdvice::No,
        Outcome::Overload | Outcome::Cancelled | Outcome::Rejected => false,
    }
}

/// A policy has ended the run.
fn reject<T, E>(ended: &mut Option<Ended<T, E>>, rejection: Rejection) -> Progress {
    let verdict = rejection.verdict();
    *ended = Some(Ended { result: Err(Error::Rejected(rejection)), verdict });
    Progress::Ended
}
