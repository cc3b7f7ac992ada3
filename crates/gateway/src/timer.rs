//! One deadline per connection, armed lazily.
//!
//! A request sets half a dozen deadlines and meets almost all of them. So a deadline is only a
//! value here; the runtime's timer behind it is touched when it fires or when a deadline comes
//! nearer than what it is armed for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// A deadline that can be moved at no cost.
#[derive(Debug, Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
}

impl Timer {
    /// Ready once `deadline` has passed; never with none.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>, now: Instant) -> Poll<()> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        if deadline <= now {
            return Poll::Ready(());
        }
        if self.armed.is_none_or(|armed| armed > deadline || armed <= now) {
            self.arm(deadline);
        }
        let Some(sleep) = &mut self.sleep else {
            return Poll::Pending;
        };
        while sleep.as_mut().poll(cx).is_ready() {
            // It was armed for an earlier deadline that has moved since; the clock of the runtime is
            // coarser than `now`, so the deadline itself may have come too.
            if self.armed == Some(deadline) {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
            self.armed = Some(deadline);
        }
        Poll::Pending
    }

    fn arm(&mut self, deadline: Instant) {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(deadline.into()),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline.into()))),
        }
        self.armed = Some(deadline);
    }

    /// Waits until `deadline` while driving `work`; `None` when the deadline came first.
    pub async fn bound<T>(&mut self, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll(cx, Some(deadline), Instant::now()).map(|()| None)
        })
        .await
    }
}

/// The nearer of two deadlines.
#[must_use]
pub fn nearer(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// `now + wait`, or none where the wait is none or beyond the clock.
#[must_use]
pub fn after(now: Instant, wait: Option<Duration>) -> Option<Instant> {
    now.checked_add(wait?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_away_does_not_fire() {
        let mut timer = Timer::default();
        let base = tokio::time::Instant::now();
        let at = |seconds: u64| Some((base + Duration::from_secs(seconds)).into_std());
        let mut polls = 0;
        std::future::poll_fn(|cx| {
            polls += 1;
            let now = tokio::time::Instant::now().into_std();
            let deadline = if polls == 1 { at(5) } else { at(9) };
            timer.poll(cx, deadline, now)
        })
        .await;
        assert_eq!(base.elapsed(), Duration::from_secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_comes_nearer_fires_in_time() {
        let mut timer = Timer::default();
        let base = tokio::time::Instant::now();
        let now = base.into_std();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(timer.poll(&mut cx, Some(now + Duration::from_secs(60)), now).is_pending());
        let near = now + Duration::from_secs(1);
        assert_eq!(timer.bound(near, std::future::pending::<()>()).await, None);
        assert_eq!(base.elapsed(), Duration::from_secs(1));
    }
}
