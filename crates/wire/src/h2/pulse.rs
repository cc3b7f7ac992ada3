//! Whether a quiet peer is still there: a PING now and then, and an answer within its time.

use h2::{Ping, PingPong};
use std::fmt;
use std::task::Context;
use std::time::{Duration, Instant};

/// The pings of one connection.
pub struct Pulse {
    pings: PingPong,
    interval: Duration,
    timeout: Duration,
    /// When the peer was heard last.
    heard: Instant,
    /// How much it had sent then.
    received: u64,
    /// When a ping was sent that is not answered yet.
    asked: Option<Instant>,
}

/// The peer has not been heard in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dead;

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("heard", &self.heard).field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Pulse {
    /// Pings a peer that was quiet for `interval` and gives it `timeout` to be heard again.
    #[must_use]
    pub fn new(pings: PingPong, interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self { pings, interval, timeout, heard: now, received: 0, asked: None }
    }

    /// Pings where it is time to; returns when to ask again. `received` is how many bytes the peer has
    /// sent so far: whoever sends anything is alive.
    ///
    /// # Errors
    /// [`Dead`] once the peer was not heard for longer than it may be quiet.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Instant, received: u64) -> Result<Instant, Dead> {
        if received != self.received {
            self.received = received;
            self.heard = now;
        }
        // An error means that the connection ends already.
        if self.asked.is_some() && self.pings.poll_pong(cx).is_ready() {
            self.asked = None;
            self.heard = now;
        }
        if self.asked.is_none() && now.saturating_duration_since(self.heard) >= self.interval {
            // It fails only on a connection that has ended; whoever drives it notices that.
            let _ = self.pings.send_ping(Ping::opaque());
            self.asked = Some(now);
        }
        match self.asked {
            None => Ok(self.heard + self.interval),
            Some(asked) => {
                let until = asked.max(self.heard) + self.timeout;
                if until <= now { Err(Dead) } else { Ok(until) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;
    use h2::{client, server};
    use std::future::{Future, poll_fn};
    use std::pin::Pin;
    use std::task::Poll;
    use tokio::io::DuplexStream;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(10);

    struct Pair {
        near: client::Connection<DuplexStream, Bytes>,
        far: server::Connection<DuplexStream, Bytes>,
        _sender: client::SendRequest<Bytes>,
    }

    impl Pair {
        async fn connect() -> Self {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let (near, far) = tokio::join!(client::handshake(near), server::handshake(far));
            let (sender, near) = near.unwrap();
            Self { near, far: far.unwrap(), _sender: sender }
        }

        /// Moves what either side has to say; the far side only where it is `alive`.
        async fn run(&mut self, alive: bool) {
            for _ in 0..8 {
                poll_fn(|cx| {
                    assert!(Pin::new(&mut self.near).poll(cx).is_pending());
                    assert!(!alive || self.far.poll_closed(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
            }
        }
    }

    #[tokio::test]
    async fn a_quiet_peer_is_asked_and_has_its_time_to_answer() {
        let mut pair = Pair::connect().await;
        let start = Instant::now();
        let mut pulse = Pulse::new(pair.near.ping_pong().unwrap(), INTERVAL, TIMEOUT, start);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut look = |pulse: &mut Pulse, at: Duration, received| pulse.poll(&mut cx, start + at, received);
        assert_eq!(look(&mut pulse, Duration::ZERO, 0), Ok(start + INTERVAL));
        // Heard meanwhile, it is not asked.
        assert_eq!(look(&mut pulse, TIMEOUT, 9), Ok(start + TIMEOUT + INTERVAL));
        let asked = TIMEOUT + INTERVAL;
        assert_eq!(look(&mut pulse, asked, 9), Ok(start + asked + TIMEOUT));
        pair.run(true).await;
        let answered = asked + Duration::from_secs(1);
        assert_eq!(look(&mut pulse, answered, 9), Ok(start + answered + INTERVAL));
        let asked = answered + INTERVAL;
        assert_eq!(look(&mut pulse, asked, 9), Ok(start + asked + TIMEOUT));
        pair.run(false).await;
        // Whoever sends anything is alive, though it owes an answer.
        let late = asked + TIMEOUT;
        assert_eq!(look(&mut pulse, late, 10), Ok(start + late + TIMEOUT));
        assert_eq!(look(&mut pulse, late + TIMEOUT, 10), Err(Dead));
    }
}
