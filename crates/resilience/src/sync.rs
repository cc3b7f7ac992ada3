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

/// Runs a model in every order, or in those with at most so many preemptions, and prints how many there were.
#[cfg(all(test, tidegate_models))]
pub(crate) fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    let orders = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&orders);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{} orders", orders.load(Ordering::Relaxed));
}
