//! What several policies count with: the last calls, by number or by time, in windows that slide.
//!
//! Recording a call takes no lock. Read by the thread that writes, the counts are exact; read while others write, they
//! may miss what is being written.

mod count;
mod time;

use std::time::Duration;

pub(crate) use count::CountWindow;
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

/// A window of either kind.
#[derive(Debug)]
pub(crate) enum SlidingWindow {
    Calls(CountWindow),
    Time(TimeWindow),
}

impl SlidingWindow {
    /// The last `calls` calls; at least one.
    pub(crate) fn of_calls(calls: u32) -> Self {
        Self::Calls(CountWindow::new(calls))
    }

    /// The calls of the last `length`, in ten slices of it.
    pub(crate) fn of_time(length: Duration) -> Self {
        Self::Time(TimeWindow::new(length))
    }

    /// Notes a call. `now` is only called where the window is timed.
    pub(crate) fn record(&self, mark: Mark, now: impl FnOnce() -> Moment) {
        match self {
            Self::Calls(window) => window.record(mark),
            Self::Time(window) => window.record(mark, now()),
        }
    }

    /// Whether any call in it, as of `now`, may be failed or slow. Quicker than [`SlidingWindow::counts`].
    pub(crate) fn is_clean(&self, now: impl FnOnce() -> Moment) -> bool {
        match self {
            Self::Calls(window) => window.is_clean(),
            Self::Time(window) => window.is_clean(now()),
        }
    }

    /// What it holds as of `now`.
    pub(crate) fn counts(&self, now: impl FnOnce() -> Moment) -> Counts {
        match self {
            Self::Calls(window) => window.counts(),
            Self::Time(window) => window.counts(now()),
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        match self {
            Self::Calls(window) => window.clear(),
            Self::Time(window) => window.clear(),
        }
    }
}
