//! What probes say about one endpoint, and when the next one is due.

use crate::config::plan::HealthCheck;
use std::time::Duration;

/// What the probes so far have come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verdict {
    /// None has told yet: requests are welcome.
    #[default]
    Unchecked,
    /// Enough passed.
    Healthy,
    /// Enough failed in a row: no requests.
    Unhealthy,
}

/// The probes of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Probing {
    verdict: Verdict,
    /// Passed probes since the last one that failed.
    passes: u32,
    /// Failed probes since the last one that passed.
    failures: u32,
}

impl Probing {
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Takes the outcome of a probe; returns the verdict if it is another one now.
    ///
    /// The first probe that passes settles the matter for an endpoint that nothing was known about.
    pub(crate) fn record(&mut self, check: &HealthCheck, passed: bool) -> Option<Verdict> {
        if passed {
            (self.passes, self.failures) = (self.passes.saturating_add(1), 0);
        } else {
            (self.passes, self.failures) = (0, self.failures.saturating_add(1));
        }
        let verdict = match self.verdict {
            Verdict::Unchecked if passed => Verdict::Healthy,
            Verdict::Unhealthy if self.passes >= check.healthy_after => Verdict::Healthy,
            _ if self.failures >= check.unhealthy_after => Verdict::Unhealthy,
            same => same,
        };
        let before = std::mem::replace(&mut self.verdict, verdict);
        (before != verdict).then_some(verdict)
    }

    /// How long to wait until the next probe. `chance` is from 0 to 1 and spreads the probes of endpoints that were
    /// configured together: a tenth less, up to a tenth more.
    ///
    /// An endpoint that keeps failing is asked half as often each time, down to once in `max_interval`.
    pub(crate) fn pause(&self, check: &HealthCheck, chance: f64) -> Duration {
        let doublings = match self.verdict {
            Verdict::Unhealthy => self.failures.saturating_sub(check.unhealthy_after).min(31),
            Verdict::Unchecked | Verdict::Healthy => 0,
        };
        let pause = check.interval.saturating_mul(1 << doublings).min(check.max_interval);
        pause.mul_f64(0.9 + 0.2 * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::Probe;
    use proptest::prelude::*;

    fn check(unhealthy_after: u32, healthy_after: u32) -> HealthCheck {
        HealthCheck {
            probe: Probe::Tcp,
            interval: Duration::from_secs(5),
            max_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(1),
            unhealthy_after,
            healthy_after,
        }
    }

    /// The verdict after these outcomes, from the rules as they are documented.
    fn model(check: &HealthCheck, outcomes: &[bool]) -> Verdict {
        let mut verdict = Verdict::Unchecked;
        for end in 1..=outcomes.len() {
            let last = outcomes[end - 1];
            let run = outcomes[..end].iter().rev().take_while(|outcome| **outcome == last).count();
            let run = u32::try_from(run).expect("short");
            if last && (verdict == Verdict::Unchecked || run >= check.healthy_after) {
                verdict = Verdict::Healthy;
            }
            if !last && run >= check.unhealthy_after {
                verdict = Verdict::Unhealthy;
            }
        }
        verdict
    }

    proptest! {
        #[test]
        fn the_verdict_follows_the_rules(
            outcomes in prop::collection::vec(any::<bool>(), 0..60),
            unhealthy_after in 1_u32..5,
            healthy_after in 1_u32..5,
        ) {
            let check = check(unhealthy_after, healthy_after);
            let mut probing = Probing::default();
            for end in 0..outcomes.len() {
                let before = probing.verdict();
                let change = probing.record(&check, outcomes[end]);
                prop_assert_eq!(probing.verdict(), model(&check, &outcomes[..=end]));
                prop_assert_eq!(change, (before != probing.verdict()).then_some(probing.verdict()));
            }
        }

        #[test]
        fn pauses_stay_within_their_bounds(
            outcomes in prop::collection::vec(any::<bool>(), 0..60),
            chance in 0.0..=1.0,
        ) {
            let check = check(3, 1);
            let mut probing = Probing::default();
            for passed in outcomes {
                probing.record(&check, passed);
                let pause = probing.pause(&check, chance);
                prop_assert!(pause >= check.interval.mul_f64(0.899) && pause <= check.max_interval.mul_f64(1.101));
                prop_assert!(!passed || pause <= check.interval.mul_f64(1.101), "a pass ends the backoff");
            }
        }
    }

    #[test]
    fn an_endpoint_that_keeps_failing_is_asked_less_and_less() {
        let check = check(2, 1);
        let mut probing = Probing::default();
        let pauses: Vec<_> = (0..7)
            .map(|_| {
                probing.record(&check, false);
                probing.pause(&check, 0.5).as_secs_f64().round()
            })
            .collect();
        assert_eq!(pauses, [5.0, 5.0, 10.0, 20.0, 30.0, 30.0, 30.0]);
    }
}
