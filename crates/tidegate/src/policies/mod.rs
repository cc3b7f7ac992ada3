//! The policies that stand around the requests of a route: where they are written, and their options in a line
//! (`options`). Nothing is decided here.

mod options;

use tidegate_gateway::config::plan::{Action, Route};

use crate::config::Loaded;

pub(crate) use options::{line, shown, written};

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
