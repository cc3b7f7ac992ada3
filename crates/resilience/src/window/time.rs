//! The calls of the last while, in ten steps of it.
//!
//! A call counts from when it is recorded until the end of the step that lies one length after its own began: for more
//! than nine tenths of the length and never for longer than all of it.

use std::time::Duration;

use crate::clock::{Moment, nanos};

use super::{Counts, Mark};

/// Steps of a window.
const STEPS: u8 = 10;

/// The calls of the last while.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    /// Nanoseconds of a step.
    step: u64,
    /// The number of the newest step since the origin of the clock.
    newest: u64,
    /// What was recorded in each of the last steps; that of number `n` stands at `n % STEPS`.
    steps: [Counts; STEPS as usize],
    /// The sum of them.
    total: Counts,
}

impl TimeWindow {
    pub(crate) fn new(length: Duration) -> Self {
        let step = (nanos(length) / u64::from(STEPS)).max(1);
        Self { step, newest: 0, steps: Default::default(), total: Counts::default() }
    }

    /// Forgets the steps that are over. A moment before the newest step is as good as that step.
    pub(crate) fn advance(&mut self, now: Moment) {
        let newest = now.as_nanos() / self.step;
        let passed = newest.saturating_sub(self.newest);
        for number in 0..passed.min(u64::from(STEPS)) {
            let over = std::mem::take(self.at(newest - number));
            self.total.calls -= over.calls;
            self.total.failed -= over.failed;
            self.total.slow -= over.slow;
        }
        self.newest = self.newest.max(newest);
    }

    /// The end of the newest step.
    pub(crate) fn turn(&self) -> Moment {
        Moment::from_nanos(self.newest.saturating_add(1).saturating_mul(self.step))
    }

    fn at(&mut self, number: u64) -> &mut Counts {
        &mut self.steps[usize::try_from(number % u64::from(STEPS)).expect("less than ten")]
    }

    pub(crate) fn record_successes(&mut self, number: u64) {
        self.at(self.newest).calls += number;
        self.total.calls += number;
    }

    pub(crate) fn record(&mut self, mark: Mark) {
        self.at(self.newest).add(mark);
        self.total.add(mark);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.total
    }

    pub(crate) fn clear(&mut self) {
        (self.steps, self.total) = Default::default();
    }
}
