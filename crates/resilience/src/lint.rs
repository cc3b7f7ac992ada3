//! What is wrong with an order of policies, found before the first call.
//!
//! Every finding has a code and says why. [`Level::Error`] is what cannot do what it says; [`Level::Warning`] is what
//! has a use now and then, and a cost that is easily overlooked.

#[cfg(all(test, not(tidegate_models)))]
mod tests;

use std::fmt;
use std::time::Duration;

use crate::clock::nanos;
use crate::policies::{MAX_STEPS, Step};
use crate::retry::Retry;
use crate::timeout::Timeout;

/// One thing that is wrong or doubtful about a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of mistake.
    pub code: Lint,
    /// How bad.
    pub level: Level,
    /// The step, counted as they are written, from the outermost; 0 is the first.
    pub step: usize,
    /// What is wrong with this step, and why.
    pub message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// It works, at a cost that should be wanted.
    Warning,
    /// It cannot do what it says.
    Error,
}

/// Declares [`Lint`] with the level and the name of each.
macro_rules! lints {
    ($($(#[$doc:meta])* $lint:ident: $level:ident $name:literal;)*) => {
        /// The kinds of mistakes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Lint {
            $($(#[$doc])* $lint,)*
        }

        impl Lint {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$lint),*];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$lint => $name,)* }
            }

            /// How bad it is.
            pub const fn level(self) -> Level {
                match self { $(Self::$lint => Level::$level,)* }
            }
        }
    };
}

lints! {
    /// More steps than a pipeline may have.
    TooManySteps: Error "too_many_steps";
    /// The same policy twice: it would count every call twice, or wait for itself.
    SamePolicyTwice: Error "same_policy_twice";
    /// A retry around a retry: the attempts multiply.
    NestedRetries: Error "nested_retries";
    /// A hedge around a hedge: the copies multiply.
    NestedHedges: Error "nested_hedges";
    /// A total limit inside a retry or hedge limits one attempt, and what it ends is not tried again.
    TotalInsideRetry: Error "total_inside_retry";
    /// An attempt may take as long as the whole call, or longer: its own limit never ends it.
    AttemptOutlivesTotal: Error "attempt_outlives_total";
    /// The delays between the attempts alone may take longer than the whole call.
    BackoffOutlivesTotal: Warning "backoff_outlives_total";
    /// The attempts together may take longer than the whole call, so that the last never end.
    AttemptsOutliveTotal: Warning "attempts_outlive_total";
    /// A breaker around a retry sees one result for all attempts, and the retry goes on while it would be open.
    BreakerOutsideRetry: Warning "breaker_outside_retry";
    /// A bulkhead around a retry keeps its place through every delay.
    BulkheadOutsideRetry: Warning "bulkhead_outside_retry";
    /// A hedge around a retry copies the attempts and their delays too.
    HedgeOutsideRetry: Warning "hedge_outside_retry";
    /// A rate limit inside a retry counts every attempt, and its rejections are tried again.
    LimitInsideRetry: Warning "limit_inside_retry";
    /// Nothing ends an attempt that hangs.
    RetryWithoutTimeout: Warning "retry_without_timeout";
    /// A hedge only copies idempotent calls, and these are not said to be.
    HedgeNotIdempotent: Warning "hedge_not_idempotent";
    /// A bulkhead around a breaker makes calls queue that an open breaker rejects at once.
    BreakerInsideBulkhead: Warning "breaker_inside_bulkhead";
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} [{}]", self.message, self.code.name())
    }
}

/// Every finding about these steps, outermost first. The steps are as they run, with the limits of the attempts in
/// their places; the findings count them as they are written.
pub(crate) fn check(steps: &[Step], idempotent: bool) -> Vec<Finding> {
    let mut order = Order { steps, findings: Vec::new() };
    order.length();
    order.repeated();
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Retry(retry) => order.retry(index, retry),
            Step::Hedge(_) => order.hedge(index, idempotent),
            Step::Timeout(timeout) => order.timeout(index, timeout),
            Step::AttemptTimeout(timeout) => order.attempt_timeout(index, timeout),
            Step::CircuitBreaker(_) => order.breaker(index),
            Step::Bulkhead(_) | Step::Adaptive(_) => order.bulkhead(index),
            Step::RateLimit(_) | Step::KeyedRateLimit(_) => order.limit(index),
            Step::Chaos(_) | Step::Guard(_) => {}
        }
    }
    order.findings.sort_by_key(|finding| finding.step);
    order.findings
}

struct Order<'s> {
    steps: &'s [Step],
    findings: Vec<Finding>,
}

impl Order<'_> {
    fn report(&mut self, code: Lint, step: usize, message: String) {
        self.findings.push(Finding { code, level: code.level(), step: self.written(step), message });
    }

    /// Which of the steps that are written `index` is: the limit of each attempt is a part of its timeout.
    fn written(&self, index: usize) -> usize {
        let before = |index: usize| self.steps[..index].iter().filter(|step| is_written(step)).count();
        match &self.steps[index] {
            Step::AttemptTimeout(attempt) => {
                let is_whole = |step: &Step| matches!(step, Step::Timeout(whole) if whole.name() == attempt.name());
                before(self.steps.iter().position(is_whole).unwrap_or(index))
            }
            _ => before(index),
        }
    }

    /// The first step outside of `index` that is like this.
    fn outside(&self, index: usize, like: impl Fn(&Step) -> bool) -> Option<&Step> {
        self.steps[..index].iter().find(|step| like(step))
    }

    /// The first step inside of `index` that is like this.
    fn inside(&self, index: usize, like: impl Fn(&Step) -> bool) -> Option<&Step> {
        self.steps[index + 1..].iter().find(|step| like(step))
    }

    /// The shortest total limit around `index`.
    fn total_around(&self, index: usize) -> Option<Duration> {
        self.steps[..index]
            .iter()
            .filter_map(|step| match step {
                Step::Timeout(timeout) => timeout.total(),
                _ => None,
            })
            .min()
    }

    /// The shortest limit of an attempt inside `index`.
    fn attempt_inside(&self, index: usize) -> Option<Duration> {
        self.steps[index..]
            .iter()
            .filter_map(|step| match step {
                Step::AttemptTimeout(timeout) => timeout.attempt(),
                _ => None,
            })
            .min()
    }

    fn length(&mut self) {
        let mut written = self.steps.iter().enumerate().filter(|(_, step)| is_written(step));
        let first_too_many = written.nth(MAX_STEPS).map(|(index, _)| index);
        if let Some(index) = first_too_many {
            let count = MAX_STEPS + 1 + written.count();
            self.report(Lint::TooManySteps, index, format!("there are {count} steps, and {MAX_STEPS} at most"));
        }
    }

    fn repeated(&mut self) {
        for (index, step) in self.steps.iter().enumerate().filter(|(_, step)| is_written(step)) {
            let same = |other: &Step| other.component() == step.component() && other.name() == step.name();
            if self.outside(index, same).is_some() {
                self.report(
                    Lint::SamePolicyTwice,
                    index,
                    format!("{step:?} stands here twice and would count every call twice"),
                );
            }
        }
    }

    fn retry(&mut self, index: usize, retry: &Retry) {
        let attempts = retry.options().attempts;
        if let Some(Step::Retry(outer)) = self.outside(index, is_retry) {
            let all = u64::from(attempts) * u64::from(outer.options().attempts);
            self.report(
                Lint::NestedRetries,
                index,
                format!("a retry inside a retry makes up to {all} attempts of one call"),
            );
        }
        if self.outside(index, is_hedge).is_some() {
            self.report(
                Lint::HedgeOutsideRetry,
                index,
                "every hedged copy makes all attempts of its own; put the hedge inside the retry".into(),
            );
        }
        let (total, attempt) = (self.total_around(index), self.attempt_inside(index));
        if total.is_none() && attempt.is_none() {
            self.report(
                Lint::RetryWithoutTimeout,
                index,
                "nothing ends an attempt that hangs, and so it is never tried again".into(),
            );
        }
        let Some(total) = total else { return };
        let backoff = retry.longest_wait().unwrap_or_default();
        if backoff >= total {
            self.report(
                Lint::BackoffOutlivesTotal,
                index,
                format!("the delays between {attempts} attempts take up to {backoff:?}, and the whole call may take {total:?}"),
            );
        } else if let Some(attempt) = attempt {
            let worst = Duration::from_nanos(nanos(attempt).saturating_mul(attempts.into())).saturating_add(backoff);
            if worst > total {
                self.report(
                    Lint::AttemptsOutliveTotal,
                    index,
                    format!("{attempts} attempts of {attempt:?} and their delays take up to {worst:?}, and the whole call may take {total:?}"),
                );
            }
        }
    }

    fn hedge(&mut self, index: usize, idempotent: bool) {
        if self.outside(index, is_hedge).is_some() {
            self.report(Lint::NestedHedges, index, "a hedge inside a hedge copies the copies".into());
        }
        if !idempotent {
            self.report(
                Lint::HedgeNotIdempotent,
                index,
                "only calls that are marked idempotent are hedged; say so for the pipeline, or for each call".into(),
            );
        }
    }

    fn timeout(&mut self, index: usize, timeout: &Timeout) {
        if timeout.total().is_some() && self.outside(index, |step| is_retry(step) || is_hedge(step)).is_some() {
            self.report(
                Lint::TotalInsideRetry,
                index,
                "a total limit in here limits one attempt, and what it ends is not tried again; write `attempt` for that".into(),
            );
        }
    }

    /// A limit that is as long as the total is a mistake too: the total ends the call first.
    fn attempt_timeout(&mut self, index: usize, timeout: &Timeout) {
        if let (Some(attempt), Some(total)) = (timeout.attempt(), self.total_around(index))
            && attempt >= total
        {
            self.report(
                Lint::AttemptOutlivesTotal,
                index,
                format!(
                    "an attempt may take {attempt:?}, and the whole call {total:?}: the attempt's limit never ends it"
                ),
            );
        }
    }

    fn breaker(&mut self, index: usize) {
        if self.inside(index, is_retry).is_some() {
            self.report(
                Lint::BreakerOutsideRetry,
                index,
                "the breaker sees one result for all attempts and cannot stop them; put it inside the retry".into(),
            );
        }
    }

    fn bulkhead(&mut self, index: usize) {
        if self.inside(index, is_retry).is_some() {
            self.report(
                Lint::BulkheadOutsideRetry,
                index,
                "a call keeps its place while it waits between attempts; put the limit inside the retry".into(),
            );
        }
        if matches!(self.steps[index], Step::Bulkhead(_))
            && self.inside(index, |step| matches!(step, Step::CircuitBreaker(_))).is_some()
        {
            self.report(
                Lint::BreakerInsideBulkhead,
                index,
                "calls queue here that an open breaker would reject at once; put the breaker outside".into(),
            );
        }
    }

    fn limit(&mut self, index: usize) {
        if self.outside(index, is_retry).is_some() {
            self.report(
                Lint::LimitInsideRetry,
                index,
                "every attempt counts, and a rejection is tried again; put the rate limit outside the retry".into(),
            );
        }
    }
}

fn is_written(step: &Step) -> bool {
    !matches!(step, Step::AttemptTimeout(_))
}

fn is_retry(step: &Step) -> bool {
    matches!(step, Step::Retry(_))
}

fn is_hedge(step: &Step) -> bool {
    matches!(step, Step::Hedge(_))
}
