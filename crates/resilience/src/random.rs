//! Randomness, as the policies see it: jitter, samples and growing delays draw from here, and a test gives a seed.

use std::sync::Arc;

use parking_lot::Mutex;

/// Where policies draw random numbers from. Cheap to clone; not for secrets.
#[derive(Debug, Clone, Default)]
pub struct Random(Option<Arc<Mutex<fastrand::Rng>>>);

impl Random {
    /// A generator for each thread, seeded by the operating system.
    pub const fn system() -> Self {
        Self(None)
    }

    /// One generator for all that share it, which repeats itself for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)))))
    }

    /// A number from 0 up to, but not including, 1.
    pub fn unit(&self) -> f64 {
        match &self.0 {
            None => fastrand::f64(),
            Some(seeded) => seeded.lock().f64(),
        }
    }

    /// Whether something happens that has this probability, from 0 (never) to 1 (always).
    pub fn chance(&self, probability: f64) -> bool {
        self.unit() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself() {
        let draw = |seed| {
            let random = Random::seeded(seed);
            std::array::from_fn::<_, 8, _>(|_| random.unit())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn chance_keeps_its_ends() {
        let random = Random::seeded(1);
        assert!((0..1000).all(|_| random.chance(1.0)));
        assert!(!(0..1000).any(|_| random.chance(0.0)));
    }
}
