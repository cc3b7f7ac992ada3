//! The last calls by number.
//!
//! Only calls that failed or were slow are kept one by one, with their place in the order of all calls. They leave the
//! window when so many others have come after them; the successes between them are no more than the gaps.

use std::collections::VecDeque;

use super::{Counts, Mark};

/// The last so many calls. At most as many marks are kept: 16 bytes each.
#[derive(Debug)]
pub(crate) struct CallWindow {
    size: u64,
    /// How many calls were recorded since it was cleared.
    recorded: u64,
    /// The calls in the window that failed or were slow, oldest first.
    marked: VecDeque<Marked>,
    /// How many of those failed, and how many were slow.
    failed: u64,
    slow: u64,
}

#[derive(Debug)]
struct Marked {
    /// How many calls were recorded up to and with this one.
    place: u64,
    mark: Mark,
}

impl CallWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self { size: u64::from(size.max(1)), recorded: 0, marked: VecDeque::new(), failed: 0, slow: 0 }
    }

    pub(crate) fn record_successes(&mut self, number: u64) {
        self.recorded += number;
        self.forget();
    }

    pub(crate) fn record(&mut self, mark: Mark) {
        self.recorded += 1;
        self.forget();
        if mark != Mark::default() {
            self.marked.push_back(Marked { place: self.recorded, mark });
            self.failed += u64::from(mark.failed);
            self.slow += u64::from(mark.slow);
        }
    }

    fn forget(&mut self) {
        while let Some(oldest) = self.marked.front()
            && oldest.place + self.size <= self.recorded
        {
            self.failed -= u64::from(oldest.mark.failed);
            self.slow -= u64::from(oldest.mark.slow);
            self.marked.pop_front();
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { calls: self.recorded.min(self.size), failed: self.failed, slow: self.slow }
    }

    pub(crate) fn clear(&mut self) {
        self.marked.clear();
        (self.recorded, self.failed, self.slow) = (0, 0, 0);
    }
}
