//! What a policy counts calls with: the last ones, by number or by time, in windows that slide.
//!
//! Nearly every call of a healthy service is a success, and a success is only one more. So successes are counted
//! apart, in a [`Tally`] that any thread adds to without a lock, and the rest stands in plain structures behind the
//! lock of whoever owns them: a window of the last calls ([`CallWindow`]) or of the last while ([`TimeWindow`]), into
//! which the owner moves what the tally has counted before anything else happens to the window.
//!
//! Invariant: as long as the owner does so, and takes the lock for the first success of each [step](TimeWindow) of a
//! window by time, the counts are exactly those of the calls in the order in which they were recorded.

mod calls;
mod tally;
mod time;

use std::time::Duration;

pub(crate) use calls::CallWindow;
pub(crate) use tally::Tally;
pub(crate) use time::TimeWindow;

use crate::clock::Moment;

/// What is noted of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

/// What a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    pub(crate) slow: u64,
}

impl Counts {
    /// Whether any of the calls failed or was slow.
    pub(crate) fn has_marks(self) -> bool {
        self.failed + self.slow > 0
    }

    fn add(&mut self, mark: Mark) {
        self.calls += 1;
        self.failed += u64::from(mark.failed);
        self.slow += u64::from(mark.slow);
    }
}

/// A window of either kind.
#[derive(Debug)]
pub(crate) enum Window {
    Calls(CallWindow),
    Time(Box<TimeWindow>),
}

impl Window {
    /// The last `calls` calls; at least one.
    pub(crate) fn of_calls(calls: u32) -> Self {
        Self::Calls(CallWindow::new(calls))
    }

    /// The calls of the last `length`, in ten steps of it.
    pub(crate) fn of_time(length: Duration) -> Self {
        Self::Time(Box::new(TimeWindow::new(length)))
    }

    /// Slides to `now`. What is recorded from here on counts as of then.
    pub(crate) fn advance(&mut self, now: Moment) {
        if let Self::Time(window) = self {
            window.advance(now);
        }
    }

    /// When it has to slide before anything is recorded; [`Moment::NEVER`] where time does not matter.
    pub(crate) fn turn(&self) -> Moment {
        match self {
            Self::Calls(_) => Moment::NEVER,
            Self::Time(window) => window.turn(),
        }
    }

    /// Counts so many calls that neither failed nor were slow.
    pub(crate) fn record_successes(&mut self, number: u64) {
        match self {
            Self::Calls(window) => window.record_successes(number),
            Self::Time(window) => window.record_successes(number),
        }
    }

    /// Counts one call.
    pub(crate) fn record(&mut self, mark: Mark) {
        match self {
            Self::Calls(window) => window.record(mark),
            Self::Time(window) => window.record(mark),
        }
    }

    /// What it holds.
    pub(crate) fn counts(&self) -> Counts {
        match self {
            Self::Calls(window) => window.counts(),
            Self::Time(window) => window.counts(),
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Calls(window) => window.clear(),
            Self::Time(window) => window.clear(),
        }
    }
}

#[cfg(all(test, not(tidegate_models)))]
mod tests;
