//! What the numbers mean that stand for routes, upstreams and endpoints in what is kept.

use std::sync::Arc;

/// The names of one configuration. Numbers stand for them while a request runs: handing on a counted name costs more
/// than all else that is kept of most requests.
#[derive(Debug, Default)]
pub(crate) struct Names {
    routes: Box<[Arc<str>]>,
    upstreams: Box<[UpstreamNames]>,
}

/// The name of an upstream, and those of its endpoints.
#[derive(Debug)]
pub(crate) struct UpstreamNames {
    pub(crate) name: Arc<str>,
    pub(crate) endpoints: Box<[Arc<str>]>,
}

/// An endpoint, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndpointPlace {
    pub(crate) upstream: usize,
    pub(crate) endpoint: usize,
}

impl Names {
    /// In the order of the configuration.
    pub(crate) fn new(routes: impl Iterator<Item = Arc<str>>, upstreams: impl Iterator<Item = UpstreamNames>) -> Self {
        Self { routes: routes.collect(), upstreams: upstreams.collect() }
    }

    pub(crate) fn route(&self, place: usize) -> Option<&Arc<str>> {
        self.routes.get(place)
    }

    pub(crate) fn upstream(&self, place: usize) -> Option<&Arc<str>> {
        self.upstreams.get(place).map(|upstream| &upstream.name)
    }

    /// How many endpoints an upstream has.
    pub(crate) fn endpoints(&self, upstream: usize) -> usize {
        self.upstreams.get(upstream).map_or(0, |upstream| upstream.endpoints.len())
    }

    pub(crate) fn endpoint(&self, place: EndpointPlace) -> Option<&Arc<str>> {
        self.upstreams.get(place.upstream)?.endpoints.get(place.endpoint)
    }
}
