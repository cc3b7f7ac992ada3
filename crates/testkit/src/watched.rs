//! A value that several threads change and a test waits on.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::PATIENCE;

/// A value behind a lock, with everybody who waits for a change of it.
#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    /// The value as it is now. What panicked while it held the lock has left a value that is still
    /// good to be looked at.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value and wakes those who wait.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `look` finds something; `None` after [`PATIENCE`].
    pub(crate) fn wait<R>(&self, look: impl Fn(&T) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + PATIENCE;
        let mut value = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match look(&value) {
                Some(found) => return Some(found),
                None if left.is_zero() => return None,
                None => value = self.changed.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0,
            }
        }
    }
}
