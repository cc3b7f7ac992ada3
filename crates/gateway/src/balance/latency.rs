//! How long an endpoint takes to answer: a moving average that believes bad news at once.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// In seconds: after so long without an answer the average is down to a third (1/e).
const DECAY: f64 = 10.0;

/// Less than this, in seconds, is forgotten: nothing is known then.
const NOTHING: f64 = 1e-6;

/// A moving average of latencies, weighted by time. A latency above it replaces it, one below moves it;
/// with no news it falls, so that an endpoint that was slow is tried again.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// In seconds, and when that was so.
    known: Cell<Option<(f64, Instant)>>,
}

impl Latency {
    pub(crate) fn observe(&self, latency: Duration, now: Instant) {
        let latency = latency.as_secs_f64();
        let average = match self.known.get() {
            Some((average, at)) if latency < average => {
                let kept = kept(at, now);
                average * kept + latency * (1.0 - kept)
            }
            _ => latency,
        };
        self.known.set(Some((average, now)));
    }

    /// What is to be expected now; zero where nothing is known.
    pub(crate) fn expected(&self, now: Instant) -> Duration {
        let average = self.known.get().map_or(0.0, |(average, at)| average * kept(at, now));
        if average < NOTHING { Duration::ZERO } else { Duration::from_secs_f64(average) }
    }
}

/// The part of an average that is left after a time.
fn kept(since: Instant, now: Instant) -> f64 {
    (-now.saturating_duration_since(since).as_secs_f64() / DECAY).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn bad_news_count_at_once_and_good_news_slowly() {
        let start = Instant::now();
        let latency = Latency::default();
        assert_eq!(latency.expected(start), Duration::ZERO);
        latency.observe(ms(10), start);
        latency.observe(ms(200), start);
        assert_eq!(latency.expected(start), ms(200));
        latency.observe(ms(10), start + ms(10));
        assert!(latency.expected(start + ms(10)) > ms(190));
    }

    #[test]
    fn without_news_it_falls() {
        let start = Instant::now();
        let latency = Latency::default();
        latency.observe(ms(100), start);
        let later = latency.expected(start + Duration::from_secs(10));
        assert!(ms(36) < later && later < ms(38), "{later:?}");
        assert_eq!(latency.expected(start + Duration::from_secs(600)), Duration::ZERO);
        // A clock that is behind changes nothing.
        latency.observe(ms(50), start);
        assert_eq!(latency.expected(start), ms(100));
    }
}
