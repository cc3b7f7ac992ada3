//! The policies that stand around the requests of a route, by name, and their options in a line (`options`).
//!
//! A plan has them as pipelines, where a policy is written in one place and used in others. Here each route has the
//! whole list, as its requests meet it. Nothing is decided here.

mod options;

use tidegate_gateway::config::plan::{Action, Plan, Route};
use tidegate_resilience::{Document, PolicyOptions, StepOptions};

use crate::config::Loaded;

pub(crate) use options::{line, shown, written};

/// A policy around the requests of a route.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied<'p> {
    /// As in metrics and in `/healthz?verbose`.
    pub(crate) name: String,
    pub(crate) options: &'p PolicyOptions,
}

/// Where a policy is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// At the route.
    Route,
    /// At the upstream.
    Upstream,
    /// Nowhere: upstreams have it unless they say otherwise.
    Default,
    /// Somewhere else, where others use it too.
    Shared,
}

impl Origin {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Default => "default",
            Self::Shared => "shared",
        }
    }
}

/// The policies around the requests of a route, outermost first.
pub(crate) fn applied<'p>(plan: &'p Plan, route: &Route) -> Vec<Applied<'p>> {
    let Some(pipeline) = route.protection.as_deref() else { return Vec::new() };
    let Some(options) = plan.policies.pipelines.get(pipeline) else { return Vec::new() };
    let steps = own_names(pipeline, &options.steps).zip(&options.steps);
    let applied = steps.filter_map(|(name, step)| {
        let options = match step {
            StepOptions::Policy(options) => options,
            StepOptions::Use(name) => named(&plan.policies, name)?,
        };
        Some(Applied { name, options })
    });
    applied.collect()
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

/// Where a policy of a route is written.
pub(crate) fn origin(loaded: &Loaded, route: &Route, policy: &str) -> Origin {
    let Some((pipeline, _)) = policy.rsplit_once('/') else { return Origin::Shared };
    let upstream = match route.action {
        Action::Forward(index) => loaded.plan.upstreams.get(index),
        Action::Respond(_) | Action::Redirect(_) => None,
    };
    let upstream = upstream.filter(|upstream| *upstream.name == *pipeline);
    match upstream.map(|upstream| loaded.document.upstreams.get(&*upstream.name)) {
        Some(Some(written)) if written.protect.is_none() => Origin::Default,
        Some(_) => Origin::Upstream,
        None if route.protection.as_deref() == Some(pipeline) => Origin::Route,
        None => Origin::Shared,
    }
}
