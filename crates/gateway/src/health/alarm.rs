//! How workers wake the thread that decides.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// A bell that many may ring and one waits for. Rung again before it was heard, it rings once.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    rung: AtomicBool,
    heard: Notify,
}

impl Alarm {
    /// Only the first of several who ring at once does more than read and write a flag.
    pub(crate) fn ring(&self) {
        // Pairs with the store in `wait`: what was written before the bell rang is seen by whoever hears it.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.heard.notify_one();
        }
    }

    /// Waits until it rings, or has rung since this was last awaited.
    pub(crate) async fn wait(&self) {
        self.heard.notified().await;
        // Pairs with the swap in `ring`. From here on it can be rung again.
        self.rung.swap(false, Ordering::AcqRel);
    }
}
