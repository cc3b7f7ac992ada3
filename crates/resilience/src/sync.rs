//! The atomics and locks of the policies: those of every day, or, for the models that try every order of them
//! (`cargo xtask models`), those of `loom`.

#[cfg(not(tidegate_models))]
pub(crate) use std::sync::atomic;

#[cfg(not(tidegate_models))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

#[cfg(tidegate_models)]
pub(crate) use loom::sync::{MutexGuard, atomic};

/// The lock of `loom`, with the face of `parking_lot`.
#[cfg(tidegate_models)]
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(tidegate_models)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("a model ends with the first panic")
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}
