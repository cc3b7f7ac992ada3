//! One clock and one deadline per connection, both lazy.
//!
//! A request sets half a dozen deadlines and meets almost all of them. So a deadline is only a
//! value here; the runtime's timer behind it is touched when it fires or when a deadline comes
//! nearer than what it is armed for. And the clock is read once when a task is woken, not at each
//! of the dozen places that want to know the time within the same few microseconds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// The time of the last wake-up, and a deadline that can be moved at no cost.
#[derive(Debug)]
pub struct Timer {
    now: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
}

impl Timer {
    /// A timer whose clock stands at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { now, sleep: None, armed: None }
    }

    /// When the task was woken last.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Reads the clock, after something else was waited for.
    pub fn refresh(&mut self) {
        self.now = tokio::time::Instant::now().into_std();
    }

    /// Drives `poll` to its end. The clock is read at each wake-up: not at the first poll, which
    /// goes on in the wake-up of what was before it.
    pub async fn drive<T>(&mut self, mut poll: impl FnMut(&mut Context<'_>, &mut Self) -> Poll<T>) -> T {
        let mut woken = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut woken, true) {
                self.refresh();
            }
            poll(cx, self)
        })
        .await
    }

    /// Ready once `deadline` has passed; never with none.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let now = self.now;
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
        self.drive(|cx, timer| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            timer.poll(cx, Some(deadline)).map(|()| None)
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
        let base = tokio::time::Instant::now();
        let mut timer = Timer::new(base.into_std());
        let at = |seconds: u64| Some((base + Duration::from_secs(seconds)).into_std());
        let mut polls = 0;
        timer
            .drive(|cx, timer| {
                polls += 1;
                timer.poll(cx, if polls == 1 { at(5) } else { at(9) })
            })
            .await;
        assert_eq!(base.elapsed(), Duration::from_secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_comes_nearer_fires_in_time() {
        let base = tokio::time::Instant::now();
        let now = base.into_std();
        let mut timer = Timer::new(now);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(timer.poll(&mut cx, Some(now + Duration::from_secs(60))).is_pending());
        let near = now + Duration::from_secs(1);
        assert_eq!(timer.bound(near, std::future::pending::<()>()).await, None);
        assert_eq!(base.elapsed(), Duration::from_secs(1));
    }
}
