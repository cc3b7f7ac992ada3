//! What came of the calls of one operation, and how long they took.
//!
//! A [`Recorder`] is for functions that no policy stands around, or to see a function from outside of its policies.
//! [`#[instrumented]`](crate::instrumented) uses it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Moment, Reading, nanos};
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::outcome::{ByResult, Classify, Outcome};
use crate::policy::{Environment, abandoned};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts the calls of one operation. Cheap to clone: clones are the same.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    environment: Environment,
    emitter: Emitter,
    succeeded: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    nanos: AtomicU64,
    longest: AtomicU64,
}

/// What a [`Recorder`] has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecorderStats {
    /// Calls that succeeded.
    pub succeeded: u64,
    /// Calls that failed, or panicked.
    pub failed: u64,
    /// Calls that were dropped before their end.
    pub cancelled: u64,
    /// How long all of them took together.
    pub total: Duration,
    /// How long the longest took.
    pub longest: Duration,
}

impl Recorder {
    /// A recorder for the operation of this name.
    pub fn new(name: impl Into<Name>) -> Self {
        Self::in_environment(name, &Environment::default())
    }

    /// A recorder with this clock, which tells of every call as `operation.executed`.
    pub fn in_environment(name: impl Into<Name>, environment: &Environment) -> Self {
        Self(Arc::new(Inner {
            emitter: environment.emitter(&name.into()),
            environment: environment.clone(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            longest: AtomicU64::new(0),
        }))
    }

    /// The name of the operation.
    pub fn name(&self) -> &Name {
        self.0.emitter.policy()
    }

    /// Records a call from now until the recording ends or is dropped.
    pub fn begin(&self) -> Recording {
        Recording { began: self.0.environment.clock.now(), recorder: self.clone(), ended: false }
    }

    /// What has been recorded.
    pub fn stats(&self) -> RecorderStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecorderStats {
            succeeded: read(&self.0.succeeded),
            failed: read(&self.0.failed),
            cancelled: read(&self.0.cancelled),
            total: Duration::from_nanos(read(&self.0.nanos)),
            longest: Duration::from_nanos(read(&self.0.longest)),
        }
    }

    fn record(&self, outcome: Outcome, began: Moment) {
        let now = Reading::of(&self.0.environment.clock);
        let duration = now.moment().since(began);
        let counter = match outcome {
            Outcome::Success | Outcome::Ignored => &self.0.succeeded,
            Outcome::Failure | Outcome::Overload | Outcome::Rejected => &self.0.failed,
            Outcome::Cancelled => &self.0.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.0.nanos.fetch_add(nanos(duration), Ordering::Relaxed);
        self.0.longest.fetch_max(nanos(duration), Ordering::Relaxed);
        self.0.emitter.emit(&now, || Happening::OperationExecuted { outcome, duration });
    }
}

/// A call that is being recorded. Made by [`Recorder::begin`].
#[must_use = "a dropped recording is of a cancelled call"]
#[derive(Debug)]
pub struct Recording {
    recorder: Recorder,
    began: Moment,
    ended: bool,
}

impl Recording {
    /// The call has ended like this.
    pub fn end(mut self, outcome: Outcome) {
        self.ended = true;
        self.recorder.record(outcome, self.began);
    }

    /// The call has ended with this result.
    pub fn end_with<T, E>(self, result: &Result<T, E>) {
        self.end(ByResult.classify(result).outcome);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.ended {
            self.recorder.record(abandoned(), self.began);
        }
    }
}

#[cfg(all(test, not(tidegate_models)))]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn every_call_is_recorded_once_however_it_ends() {
        let time = Clock::manual();
        let environment = Environment { clock: time.clock(), ..Environment::default() };
        let listener = environment.events.subscribe(8);
        let recorder = Recorder::in_environment("orders.list", &environment);
        for (outcome, millis) in [(Some(Outcome::Success), 1), (Some(Outcome::Failure), 5), (None, 2)] {
            let recording = recorder.begin();
            time.advance(Duration::from_millis(millis));
            match outcome {
                Some(outcome) => recording.end(outcome),
                None => drop(recording),
            }
        }
        assert_eq!(
            recorder.stats(),
            RecorderStats {
                succeeded: 1,
                failed: 1,
                cancelled: 1,
                total: Duration::from_millis(8),
                longest: Duration::from_millis(5),
            }
        );
        let told: Vec<_> = std::iter::from_fn(|| listener.try_next()).map(|event| event.happening.name()).collect();
        assert_eq!(told, ["operation.executed"; 3]);
    }
}
