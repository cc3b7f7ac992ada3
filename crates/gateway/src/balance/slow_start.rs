//! How much an endpoint is given that has just come (back): caches are cold, and pools are empty.

use std::time::{Duration, Instant};

/// What an endpoint is given at once.
const LEAST: f64 = 0.1;

/// The share of its load for an endpoint that has been usable since `since`: a tenth at first, and from
/// there in a straight line to all of it after `window`. `None` has always been usable.
pub(crate) fn share(since: Option<Instant>, window: Duration, now: Instant) -> f64 {
    match since {
        Some(since) if !window.is_zero() => {
            let age = now.saturating_duration_since(since).as_secs_f64();
            (age / window.as_secs_f64()).clamp(LEAST, 1.0)
        }
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_from_a_tenth_to_all() {
        let since = Instant::now();
        let window = Duration::from_secs(30);
        let after = |seconds| share(Some(since), window, since + Duration::from_secs(seconds));
        assert_eq!([after(0), after(1), after(15), after(30), after(300)], [0.1, 0.1, 0.5, 1.0, 1.0]);
        assert_eq!(share(None, window, since), 1.0);
        assert_eq!(share(Some(since), Duration::ZERO, since), 1.0);
    }
}
