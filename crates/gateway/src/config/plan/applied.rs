//! The policies that stand around the requests of a route.
//!
//! The library has them as pipelines, where a policy is written in one place and used in others. Here each route has the
//! whole list, as its requests meet it.

use tidegate_resilience::PolicyOptions;

use super::{Plan, Route, Upstream};

/// A policy around the requests of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied<'p> {
    /// As in metrics and in `/healthz?verbose`.
    pub name: String,
    /// With every default.
    pub options: &'p PolicyOptions,
}

impl Plan {
    /// The policies around the requests of one of its routes, outermost first.
    pub fn policies_of(&self, route: &Route) -> Vec<Applied<'_>> {
        route.protection.as_deref().map(|pipeline| self.pipeline(pipeline)).unwrap_or_default()
    }

    /// The policies around requests that go to an upstream as fallback, outermost first.
    pub fn policies_of_upstream(&self, upstream: &Upstream) -> Vec<Applied<'_>> {
        self.pipeline(&upstream.name)
    }

    fn pipeline(&self, name: &str) -> Vec<Applied<'_>> {
        let Some(options) = self.policies.pipelines.get(name) else { return Vec::new() };
        let steps = options.policy_names(name).into_iter().zip(&options.steps);
        let applied = steps.filter_map(|(name, step)| Some(Applied { name, options: self.policies.policy_of(step)? }));
        applied.collect()
    }
}
