//! The policies that stand around the requests of a route.
//!
//! The library has them as pipelines, where a policy is written in one place and used in others. Here each route has the
//! whole list, as its requests meet it.

use tidegate_resilience::{Document, PolicyOptions, StepOptions};

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
        let steps = own_names(name, &options.steps).zip(&options.steps);
        let applied = steps.filter_map(|(name, step)| {
            let options = match step {
                StepOptions::Policy(options) => options,
                StepOptions::Use(name) => named(&self.policies, name)?,
            };
            Some(Applied { name, options })
        });
        applied.collect()
    }
}

/// The options of the policy of this name.
fn named<'d>(document: &'d Document, name: &str) -> Option<&'d PolicyOptions> {
    document.policies.get(name).or_else(|| {
        let (pipeline, _) = name.rsplit_once('/')?;
        let steps = &document.pipelines.get(pipeline)?.steps;
        let mut own = own_names(pipeline, steps).zip(steps);
        own.find_map(|(own, step)| match step {
            StepOptions::Policy(options) if own == name => Some(options),
            _ => None,
        })
    })
}

/// What the policies of a pipeline are called.
fn own_names<'s>(pipeline: &'s str, steps: &'s [StepOptions]) -> impl Iterator<Item = String> + 's {
    let name = move |(index, step): (usize, &StepOptions)| match step {
        StepOptions::Use(name) => name.clone(),
        StepOptions::Policy(options) => {
            let kind = options.kind();
            let same = |other: &&StepOptions| matches!(other, StepOptions::Policy(other) if other.kind() == kind);
            let count = steps[..=index].iter().filter(same).count();
            Document::own_name(pipeline, kind, u32::try_from(count).unwrap_or(u32::MAX))
        }
    };
    steps.iter().enumerate().map(name)
}
