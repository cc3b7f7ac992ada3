//! The statistics of every policy as named figures, for whoever shows them: metrics, a dashboard, a log line.
//!
//! Names and meanings are those of the policies' own `stats()`. Nothing here knows a metrics vendor.

use std::time::Duration;

use crate::adaptive::AdaptiveStats;
use crate::bulkhead::BulkheadStats;
use crate::chaos::ChaosStats;
use crate::circuit_breaker::CircuitBreakerStats;
use crate::event::CircuitState;
use crate::hedge::HedgeStats;
use crate::policies::Step;
use crate::rate_limit::RateLimitStats;
use crate::retry::RetryStats;
use crate::timeout::TimeoutStats;

/// One number that a policy can say of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// What it is, without the component: `calls`, `state`.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: FigureKind,
    /// In which of several cases: `success`, `open`. Empty where there is only one.
    pub case: &'static str,
    /// The number: a count, a share from 0 to 1, or seconds.
    pub value: f64,
}

/// What kind of number a [`Figure`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FigureKind {
    /// It only grows while the policy lives.
    Counter,
    /// It goes up and down.
    Gauge,
}
