//! Whether the process wants requests.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No configuration is in force yet.
    Starting,
    /// Requests are welcome.
    Ready,
    /// The process is about to end; load balancers should look elsewhere.
    Draining,
}

impl Phase {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// The phase, set by whoever runs the process and read by the admin pages. It only goes forward.
// Relaxed: the phase stands for itself, nothing is published with it.
#[derive(Debug, Default)]
pub(crate) struct Readiness(AtomicU8);

impl Readiness {
    /// The first configuration is in force and the listeners accept. Does nothing once draining has begun.
    pub(crate) fn ready(&self) {
        self.0.fetch_max(READY, Relaxed);
    }

    /// The end is near. There is no way back.
    pub(crate) fn drain(&self) {
        self.0.fetch_max(DRAINING, Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.0.load(Relaxed) {
            STARTING => Phase::Starting,
            READY => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_only_goes_forward() {
        let readiness = Readiness::default();
        assert_eq!(readiness.phase(), Phase::Starting);
        readiness.ready();
        assert_eq!(readiness.phase(), Phase::Ready);
        readiness.drain();
        readiness.ready();
        assert_eq!(readiness.phase(), Phase::Draining);
    }
}
