//! The pure core: what a newcomer may do, from one word of 64 bits.
//!
//! From the lowest bit: 32 bits for how many are in, 28 for how many may be, and one each for whether calls can wait
//! at all, whether the bulkhead is disabled, whether it only counts, and whether anybody waits.

use crate::policy::Mode;

use super::options::Settings;

/// The state of a bulkhead, but for who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

/// What a newcomer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Enter; one more is in.
    Counted,
    /// Enter though there is no place, because the bulkhead only counts; one more is in.
    Beyond,
    /// Pass by: nobody counts.
    Uncounted,
}

impl Word {
    /// One that is in.
    pub(super) const ONE: u64 = 1;
    /// Somebody waits.
    pub(super) const WAITING: u64 = 1 << 63;

    const ACTIVE: u64 = 0xFFFF_FFFF;
    const SIZE_AT: u32 = 32;
    const SIZE: u64 = 0x0FFF_FFFF << Self::SIZE_AT;
    const QUEUES: u64 = 1 << 60;
    const DISABLED: u64 = 1 << 61;
    const METRICS_ONLY: u64 = 1 << 62;

    /// The state that these bits mean.
    pub(super) const fn of(bits: u64) -> Self {
        Self(bits)
    }

    /// An empty bulkhead.
    pub(super) fn empty(settings: &Settings) -> Self {
        Self(0).with(settings)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// The same with other settings. Who is in stays in.
    pub(super) fn with(self, settings: &Settings) -> Self {
        let mode = match settings.mode {
            Mode::Enabled => 0,
            Mode::Disabled => Self::DISABLED,
            Mode::MetricsOnly => Self::METRICS_ONLY,
        };
        let queues = if settings.queues() { Self::QUEUES } else { 0 };
        let size = u64::from(settings.max_concurrent) << Self::SIZE_AT;
        Self(self.0 & (Self::ACTIVE | Self::WAITING) | size | queues | mode)
    }

    /// How many are in.
    pub(super) const fn active(self) -> u32 {
        (self.0 & Self::ACTIVE) as u32
    }

    /// How many may be in.
    pub(super) const fn size(self) -> u32 {
        ((self.0 & Self::SIZE) >> Self::SIZE_AT) as u32
    }

    /// Whether calls can wait here.
    pub(super) const fn queues(self) -> bool {
        self.0 & Self::QUEUES != 0
    }

    /// Whether anybody waits.
    pub(super) const fn waiting(self) -> bool {
        self.0 & Self::WAITING != 0
    }

    /// What somebody who has just come may do. Nothing means that there is no place: who waits goes first.
    #[inline]
    pub(super) const fn enter(self) -> Option<Entry> {
        if self.waiting() { None } else { self.enter_next() }
    }

    /// What the first of those who wait may do.
    #[inline]
    pub(super) const fn enter_next(self) -> Option<Entry> {
        if self.0 & Self::DISABLED != 0 {
            Some(Entry::Uncounted)
        } else if self.active() < self.size() {
            Some(Entry::Counted)
        } else if self.0 & Self::METRICS_ONLY != 0 {
            Some(Entry::Beyond)
        } else {
            None
        }
    }
}
