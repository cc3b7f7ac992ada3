//! Builds pipelines, and refuses those whose order cannot work.

use std::fmt;

use crate::lint::{Finding, Level, check};
use crate::name::Name;
use crate::policies::Step;
use crate::policy::Environment;
use crate::timeout::Timeout;

use super::Pipeline;

/// Builds a [`Pipeline`]: policies outermost first. The usual order is rate limit, timeout, retry, circuit breaker,
/// bulkhead.
#[derive(Debug)]
pub struct PipelineBuilder {
    name: Name,
    steps: Vec<Step>,
    environment: Environment,
    idempotent: bool,
}

impl PipelineBuilder {
    pub(super) fn new(name: Name) -> Self {
        Self { name, steps: Vec::new(), environment: Environment::default(), idempotent: false }
    }

    /// Adds a policy further in than those before.
    #[must_use]
    pub fn step(mut self, step: impl Into<Step>) -> Self {
        self.steps.push(step.into());
        self
    }

    /// Takes time and events from this environment; the policies should have the same clock.
    #[must_use]
    pub fn environment(mut self, environment: &Environment) -> Self {
        self.environment = environment.clone();
        self
    }

    /// Says that the calls do no more when run twice than when run once, so that a hedge makes sense.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Everything that is wrong or doubtful about the order, outermost first.
    pub fn findings(&self) -> Vec<Finding> {
        check(&placed(self.steps.clone()), self.idempotent)
    }

    /// The pipeline.
    ///
    /// # Errors
    ///
    /// Every mistake of [`Level::Error`] at once. Warnings are only in [`PipelineBuilder::findings`].
    pub fn build(self) -> Result<Pipeline, PipelineError> {
        let steps = placed(self.steps);
        let mistakes: Vec<_> =
            check(&steps, self.idempotent).into_iter().filter(|finding| finding.level == Level::Error).collect();
        if mistakes.is_empty() {
            Ok(Pipeline::new(self.name, steps, &self.environment))
        } else {
            Err(PipelineError { pipeline: self.name, mistakes })
        }
    }
}

/// Puts the limit of each attempt where it belongs: behind the last retry, hedge and circuit breaker, so that every
/// attempt has its own and the breaker sees what took too long.
pub(crate) fn placed(mut steps: Vec<Step>) -> Vec<Step> {
    let attempts: Vec<Timeout> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Timeout(timeout) if timeout.attempt().is_some() => Some(timeout.clone()),
            _ => None,
        })
        .collect();
    share_budget(&mut steps);
    for timeout in attempts {
        let behind = steps.iter().rposition(|step| {
            matches!(step, Step::Retry(_) | Step::Hedge(_) | Step::CircuitBreaker(_) | Step::Timeout(_))
        });
        steps.insert(behind.map_or(0, |index| index + 1), Step::AttemptTimeout(timeout));
    }
    steps
}

/// Lets a hedge inside a retry take from the retry's budget, so that retries and copies together stay within it.
fn share_budget(steps: &mut [Step]) {
    let mut budget = None;
    for step in steps {
        match step {
            Step::Retry(retry) => budget = Some(retry.budget().clone()),
            Step::Hedge(hedge) => {
                if let Some(budget) = &budget {
                    *step = Step::Hedge(hedge.clone().with_budget(budget.clone()));
                }
            }
            _ => {}
        }
    }
}

/// A pipeline that cannot work, with every reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineError {
    /// The pipeline.
    pub pipeline: Name,
    /// What is wrong, outermost first. At least one.
    pub mistakes: Vec<Finding>,
}

impl fmt::Display for PipelineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the pipeline `{}` cannot work:", self.pipeline)?;
        self.mistakes.iter().try_for_each(|mistake| write!(formatter, " {mistake};"))
    }
}

impl std::error::Error for PipelineError {}
