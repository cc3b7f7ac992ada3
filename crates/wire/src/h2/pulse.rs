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
