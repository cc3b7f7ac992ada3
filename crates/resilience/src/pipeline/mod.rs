//! Policies around a call, outermost first, in the order in which they are written.
//!
//! ```
//! use std::time::Duration;
//! use tidegate_resilience::{
//!     CircuitBreaker, CircuitBreakerOptions, Pipeline, Retry, RetryOptions, Timeout, TimeoutOptions,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pipeline = Pipeline::builder("payments")
//!     .step(Timeout::new("payments", &TimeoutOptions { total: Some(Duration::from_secs(2)), ..Default::default() })?)
//!     .step(Retry::new("payments", &RetryOptions::default())?)
//!     .step(CircuitBreaker::new("payments", &CircuitBreakerOptions::default())?)
//!     .build()?;
//!
//! let paid = pipeline.execute(|| async { Ok::<_, std::io::Error>(42) }).await?;
//! assert_eq!(paid, 42);
//! # Ok(())
//! # }
//! ```

mod builder;
mod execution;
mod frames;
mod run;
#[cfg(all(test, not(tidegate_models)))]
mod tests;

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use builder::placed;
pub use builder::{PipelineBuilder, PipelineError};
pub use execution::{Execution, Held, Holding};

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::error::{Error, Rejection};
use crate::event::Emitter;
use crate::name::Name;
use crate::outcome::{ByResult, Classify, Outcome};
use crate::policies::Step;
use crate::policy::Environment;

/// Policies around a call. Cheap to clone: clones are the same.
///
/// Nothing is allocated for a call through up to six steps that neither queues nor is hedged.
#[derive(Debug, Clone)]
pub struct Pipeline<C = ByResult> {
    composition: Arc<Composition>,
    classifier: C,
}

/// What a pipeline runs by. Only the type of its [executions](Execution) names it.
#[derive(Debug)]
pub struct Composition {
    name: Name,
    clock: Clock,
    emitter: Emitter,
    steps: Box<[Step]>,
    /// For every step, how far all guards are asked before the first of them admits: up to the next retry or hedge from
    /// there on.
    barriers: Box<[Barrier]>,
}

/// How far guards are asked before one of them admits.
#[derive(Debug, Clone, Copy)]
struct Barrier {
    /// Behind the last guard.
    guards: usize,
    /// The retry or hedge, or the end.
    at: usize,
}

impl Composition {
    fn new(name: Name, steps: Vec<Step>, environment: &Environment) -> Self {
        let mut barrier = Barrier { guards: 0, at: steps.len() };
        let barriers = steps.iter().enumerate().rev().map(|(index, step)| {
            if matches!(step, Step::Retry(_) | Step::Hedge(_)) {
                barrier = Barrier { guards: 0, at: index };
            } else if step.is_guard() {
                barrier.guards = barrier.guards.max(index + 1);
            }
            barrier
        });
        let mut barriers: Vec<_> = barriers.collect();
        barriers.reverse();
        Self {
            emitter: environment.emitter(&name),
            name,
            clock: environment.clock.clone(),
            steps: steps.into(),
            barriers: barriers.into(),
        }
    }

    /// Asks these guards whether they would admit the call, before one in front of them is asked in earnest.
    fn peek(&self, guards: Range<usize>, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        for step in &self.steps[guards] {
            if step.peek(call, now).is_err() {
                // Asked in earnest, so that the guard counts the rejection. Should it admit the call after all, it
                // will again when its turn comes, or reject then.
                let ticket = step.try_admit(call, now)?;
                step.settle(ticket, Outcome::Rejected, now);
            }
        }
        Ok(())
    }
}

/// What a call may know of the attempt that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first, 2 for the first retry, and so on. Hedged copies count by themselves.
    pub number: u32,
    /// 0 for the original, 1 for the first hedged copy, and so on.
    pub copy: u32,
    /// When the attempt is of no more use; [`Moment::NEVER`] without any limit.
    pub deadline: Moment,
}

/// Begins a call: once for every attempt. Every `FnMut(Attempt) -> Future` is one.
pub trait Operation {
    /// The call.
    type Future: Future;

    /// Begins an attempt.
    fn start(&mut self, attempt: Attempt) -> Self::Future;

    /// Whether it can begin another one. Asked before a retry and before a hedged copy.
    fn repeatable(&self) -> bool {
        true
    }

    /// Whether the attempt that ended last failed because of one part of what is called, a machine of several for
    /// example, while the others are well. Asked after a failure; a timeout has dropped the attempt by then. Circuit
    /// breakers do not count such a failure: open, they would keep calls from the parts that are well.
    fn failed_in_part(&self) -> bool {
        false
    }
}

impl<F: FnMut(Attempt) -> Fut, Fut: Future> Operation for F {
    type Future = Fut;

    fn start(&mut self, attempt: Attempt) -> Fut {
        self(attempt)
    }
}

impl Pipeline {
    /// Begins a pipeline of this name.
    pub fn builder(name: impl Into<Name>) -> PipelineBuilder {
        PipelineBuilder::new(name.into())
    }

    /// A pipeline of one policy.
    pub fn of(step: impl Into<Step>) -> Self {
        let step = step.into();
        Self::new(step.name().clone(), vec![step], &Environment::default())
    }

    /// A pipeline of steps that are [placed] and known to go together.
    pub(crate) fn new(name: Name, steps: Vec<Step>, environment: &Environment) -> Self {
        Self { composition: Arc::new(Composition::new(name, steps, environment)), classifier: ByResult }
    }
}

impl<C> Pipeline<C> {
    /// The name.
    pub fn name(&self) -> &Name {
        &self.composition.name
    }

    /// The policies, outermost first.
    pub fn steps(&self) -> &[Step] {
        &self.composition.steps
    }

    /// Whether there is another handle of it anywhere, such as that of a call under way.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.composition) > 1
    }

    /// Whether a call may be begun more than once.
    pub fn repeats(&self) -> bool {
        self.steps().iter().any(|step| matches!(step, Step::Retry(_) | Step::Hedge(_)))
    }

    /// The same policies, not copies of them, for results that are read differently.
    pub fn classified_by<D>(&self, classifier: D) -> Pipeline<D> {
        Pipeline { composition: Arc::clone(&self.composition), classifier }
    }

    /// Runs a call through the policies. `operation` begins it, once for every attempt.
    ///
    /// # Errors
    ///
    /// The error of the last attempt, or the rejection of a policy.
    pub fn execute<T, E, F, Fut>(&self, mut operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E> + Clone,
    {
        self.execute_call(Call::new(), move |_| operation())
    }

    /// Runs this call through the policies; `operation` is told which attempt it begins.
    ///
    /// # Errors
    ///
    /// The error of the last attempt, or the rejection of a policy.
    pub fn execute_call<'p, O, T, E>(&'p self, call: Call<'p>, operation: O) -> Execution<'p, &'p Composition, C, O>
    where
        O: Operation<Future: Future<Output = Result<T, E>>>,
        C: Classify<T, E> + Clone,
    {
        Execution::new(&*self.composition, self.classifier.clone(), call, operation)
    }

    /// The same as [`Pipeline::execute_call`], as a future that does not borrow the pipeline.
    ///
    /// # Errors
    ///
    /// The error of the last attempt, or the rejection of a policy.
    pub fn execute_owned<O, T, E>(
        &self,
        call: Call<'static>,
        operation: O,
    ) -> Execution<'static, Arc<Composition>, C, O>
    where
        O: Operation<Future: Future<Output = Result<T, E>>>,
        C: Classify<T, E> + Clone,
    {
        Execution::new(Arc::clone(&self.composition), self.classifier.clone(), call, operation)
    }
}
