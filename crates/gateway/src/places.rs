//! The places that a listener has for connections, shared by all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// The places of one listener.
#[derive(Debug, Default)]
pub(crate) struct Places {
    taken: AtomicUsize,
    freed: Notify,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    /// A place, if fewer than `limit` are taken.
    pub(crate) fn take(self: &Arc<Self>, limit: usize) -> Option<Place> {
        // Relaxed: the count orders nothing else.
        let more = |taken| (taken < limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place(Arc::clone(self)))
    }

    /// Waits for a place; `limit` is asked again each time that one is given back.
    pub(crate) async fn wait(self: &Arc<Self>, limit: impl Fn() -> usize) -> Place {
        loop {
            let freed = self.freed.notified();
            if let Some(place) = self.take(limit()) {
                return place;
            }
            freed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_that_is_given_back_is_taken_by_who_waits() {
        let places = Arc::new(Places::default());
        let first = places.take(1);
        assert!(first.is_some());
        assert!(places.take(1).is_none());
        let waiting = places.wait(|| 1);
        let freeing = async { drop(first) };
        let (place, ()) = tokio::join!(waiting, freeing);
        assert!(places.take(1).is_none());
        drop(place);
        assert!(places.take(1).is_some());
    }
}
