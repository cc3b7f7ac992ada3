//! What was decided about a request, besides the endpoints that it was sent to.
//!
//! Of most requests there is nothing to tell: those that are let through take no memory here.
//!
//! Bound: [`Decisions::LIMIT`] decisions. Beyond, the last one takes the place of the one before it: it says why there
//! was this answer.

use std::sync::Arc;
use std::time::Duration;
use tidegate_resilience::{Code, Name, Rejection};

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It had to wait for its turn at a rate limit, for so long.
    Waited(Duration),
    /// A policy did not let it through.
    Refused {
        /// As in metrics.
        policy: Name,
        /// Why.
        code: Code,
    },
    /// A policy put an end to it: its time was up.
    Ended {
        /// As in metrics.
        policy: Name,
        /// Why.
        code: Code,
    },
    /// The fallback of its route stood in.
    FellBack(StandIn),
    /// It was answered with what was kept for its `Idempotency-Key`.
    Replayed,
}

/// What a fallback has instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StandIn {
    /// The answer that is written in the configuration.
    Answer,
    /// Another upstream, by its name.
    Upstream(Arc<str>),
}

impl From<&Rejection> for Decision {
    fn from(rejection: &Rejection) -> Self {
        let (policy, code) = (rejection.policy().clone(), rejection.code());
        match code {
            Code::AttemptTimeout | Code::TotalTimeout => Self::Ended { policy, code },
            _ => Self::Refused { policy, code },
        }
    }
}

/// The decisions about one request, in their order. Boxed, because few have any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decisions(Option<Box<Made>>);

/// The first of them, which is the only one of most, and the others.
#[derive(Debug, Clone)]
struct Made {
    first: Decision,
    further: Vec<Decision>,
}

impl Decisions {
    /// How many decisions are kept.
    pub(super) const LIMIT: usize = 8;

    /// Adds a decision; the same one again, as of several attempts, is kept once.
    pub(super) fn push(&mut self, decision: Decision) {
        let Some(made) = &mut self.0 else {
            self.0 = Some(Box::new(Made { first: decision, further: Vec::new() }));
            return;
        };
        if *made.further.last().unwrap_or(&made.first) == decision {
            return;
        }
        if made.further.len() == Self::LIMIT - 1 {
            made.further.pop();
        }
        made.further.push(decision);
    }

    /// The decisions about another part of the request come after these; none is left there.
    pub(super) fn follow(&mut self, other: &mut Self) {
        if let Some(made) = other.0.take() {
            std::iter::once(made.first).chain(made.further).for_each(|decision| self.push(decision));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Decision> {
        self.0.iter().flat_map(|made| std::iter::once(&made.first).chain(&made.further))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waited(seconds: u64) -> Decision {
        Decision::Waited(Duration::from_secs(seconds))
    }

    fn kept(decisions: &Decisions) -> Vec<Decision> {
        decisions.iter().cloned().collect()
    }

    #[test]
    fn a_request_of_which_nothing_was_decided_takes_one_pointer() {
        assert_eq!(size_of::<Decisions>(), size_of::<usize>());
        assert!(kept(&Decisions::default()).is_empty());
    }

    #[test]
    fn decisions_keep_their_order_and_are_not_repeated() {
        let mut decisions = Decisions::default();
        for decision in [waited(1), waited(1), Decision::Replayed, Decision::Replayed, waited(1)] {
            decisions.push(decision);
        }
        assert_eq!(kept(&decisions), [waited(1), Decision::Replayed, waited(1)]);
    }

    #[test]
    fn beyond_the_limit_the_last_decision_stays() {
        let mut decisions = Decisions::default();
        (0..20).for_each(|second| decisions.push(waited(second)));
        assert_eq!(kept(&decisions), [0, 1, 2, 3, 4, 5, 6, 19].map(waited));
    }

    #[test]
    fn a_policy_refuses_or_puts_an_end_to_a_request() {
        let policy = Name::from("app/timeout");
        for (code, ends) in [(Code::TotalTimeout, true), (Code::AttemptTimeout, true), (Code::BreakerOpen, false)] {
            let policy = policy.clone();
            let expected = match ends {
                true => Decision::Ended { policy: policy.clone(), code },
                false => Decision::Refused { policy: policy.clone(), code },
            };
            assert_eq!(Decision::from(&Rejection::new(code, &policy)), expected);
        }
    }
}
