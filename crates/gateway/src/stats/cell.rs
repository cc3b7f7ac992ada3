//! Single numbers with one writer and any number of readers.
//!
//! A writer does a plain load and a plain store instead of a locked read-modify-write: it is the only one that
//! writes, so nothing can slip in between. All orderings here are relaxed and pair with nothing: a reader wants each
//! number, not an order between numbers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows (and wraps after 2^64).
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(super) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number of things that are there now. Never below zero: what is taken away was put there by the same writer.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

impl Gauge {
    #[inline]
    pub(super) fn increment(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    #[inline]
    pub(super) fn decrement(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
