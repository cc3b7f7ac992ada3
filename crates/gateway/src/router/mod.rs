//! Which route answers a request.
//!
//! Of all routes whose tests a request passes, the first in the order of precedence answers it:
//!
//! 1. `priority`: higher goes first;
//! 2. host: a name, then wildcards from long to short, then no host;
//! 3. path: without parameters, then templates (more literal segments first, then more parameters, a
//!    remainder not counted), then regular expressions, then prefixes from long to short, then none;
//! 4. conditions: a route with methods, then more header tests, then more query tests, then a route with
//!    client networks;
//! 5. the order in which the routes are written.
//!
//! A route that fails a test gives way to the next. `docs/routing.md` says the same to users, with examples.
//!
//! **How ten thousand routes cost no more than ten.** Each pair of a route and one of its hosts has a
//! *place* in that order, a number. Routes lie in one [`Bucket`] per host; a request looks at the bucket of
//! its host, at those of the wildcards above it (one look-up per label), and at the one without host. In a
//! bucket, a tree of path segments leads to the lists of routes whose path fits; a regular expression lies
//! where the text it begins with ends, and many of them in one place are one automaton. Only in those lists
//! are conditions tested, in order, and a list or subtree whose first place comes after the best match so
//! far is not looked at. What a request costs thus grows with its own labels and segments and with the
//! number of routes of the very same host and path.
//!
//! A router is built once per configuration and never changes. [`Router::find`] allocates only where more
//! than eight regular expressions lie in one place, and to decode an escaped query value for a regular
//! expression.

mod bucket;
mod conditions;
mod order;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use http::{HeaderName, Method};

use crate::config::plan::{HostPattern, RouteMatch};
use crate::path::TargetFault;
use bucket::{Bucket, Entry, Search};
use conditions::Conditions;
use order::Rank;
use pattern::Pattern;

/// Tables that are filled from the configuration only. Clients choose the keys that are looked up, not
/// those that are stored, so they cannot make collisions pile up and a seedless hash is safe.
type Table<T> = HashMap<Box<str>, T, FixedState>;

/// Segments of the deepest path pattern. It bounds the recursion along the tree.
pub const MAX_SEGMENTS: usize = 128;

/// What routing needs to know of a request.
pub trait Request {
    /// The host in lower case, without port and final dot, as [`authority::parse`](crate::authority::parse)
    /// gives it; empty when the request names none.
    fn host(&self) -> &str;
    /// The path in normal form, as [`path`](crate::path) makes it; `*` for the asterisk form.
    fn path(&self) -> &str;
    /// The method.
    fn method(&self) -> &Method;
    /// The values of all fields of this name, in received order.
    fn header(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]>;
    /// What follows the `?` of the target, as received.
    fn query(&self) -> Option<&str>;
    /// The address of the client, as found behind trusted proxies.
    fn client(&self) -> IpAddr;
}

/// All routes of a configuration, laid out for look-up.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Route>,
    /// Routes under each of their hosts, by precedence; an [`Entry`]'s place is an index into it.
    order: Vec<Placed>,
    exact: Table<Bucket>,
    /// By suffix with its leading dot.
    suffix: Table<Bucket>,
    any: Bucket,
}

#[derive(Debug)]
struct Route {
    hosts: Vec<HostPattern>,
    pattern: Pattern,
    conditions: Conditions,
}

/// A route under one of its hosts; `None` when it has no hosts.
#[derive(Debug)]
struct Placed {
    route: usize,
    host: Option<HostPattern>,
}

/// Why a route did not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch<'a> {
    /// None of its hosts is the request's.
    Host,
    /// Its path is another.
    Path,
    /// The method is not among its methods.
    Method,
    /// The test on this field fails.
    Header(&'a HeaderName),
    /// The test on this query parameter fails.
    Query(&'a str),
    /// The client is in none of its networks.
    Client,
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("the host does not match"),
            Self::Path => f.write_str("the path does not match"),
            Self::Method => f.write_str("the method does not match"),
            Self::Header(name) => write!(f, "header '{name}' does not match"),
            Self::Query(name) => write!(f, "query parameter '{name}' does not match"),
            Self::Client => f.write_str("the client address does not match"),
        }
    }
}

/// What [`Router::explain`] says about one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The route's index.
    pub route: usize,
    /// The first test that failed; `None` when the route matches.
    pub mismatch: Option<Mismatch<'a>>,
}

/// A router that could not be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// The index of the route at fault.
    pub route: usize,
    /// What is wrong with it.
    pub fault: PatternFault,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternFault {
    /// A path or prefix does not begin with `/`.
    NoSlash,
    /// A path or prefix has an empty segment, or `.` or `..`; no normal path has them.
    Segment,
    /// A path or prefix has text that no normal path has.
    Path(TargetFault),
    /// `{` or `}` where it names no parameter: a parameter is a whole segment `{name}`, a remainder is a
    /// last segment `{name*}`, names differ, and a prefix has neither.
    Parameter,
    /// More than [`MAX_SEGMENTS`] segments.
    TooDeep,
    /// A regular expression that does not compile.
    Regex(String),
}

impl fmt::Display for PatternFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlash => f.write_str("the path does not begin with '/'"),
            Self::Segment => f.write_str("the path has an empty segment, '.' or '..'"),
            Self::Path(fault) => fault.fmt(f),
            Self::Parameter => f.write_str(
                "braces must enclose a whole segment of a path: '{name}', or '{name*}' at its end, each \
                 name once",
            ),
            Self::TooDeep => write!(f, "the path has more than {MAX_SEGMENTS} segments"),
            Self::Regex(message) => f.write_str(message),
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}: {}", self.route, self.fault)
    }
}

impl std::error::Error for PatternFault {}
impl std::error::Error for BuildError {}

impl Router {
    /// Lays out the routes. An index that the router gives is an index into `routes`.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] for the first route with a pattern that cannot match a normal path, or that does
    /// not compile.
    pub fn new(routes: &[RouteMatch]) -> Result<Self, BuildError> {
        let mut compiled = Vec::with_capacity(routes.len());
        let mut ranked = Vec::with_capacity(routes.len());
        for (index, matches) in routes.iter().enumerate() {
            let route = Route::compile(matches).map_err(|fault| BuildError { route: index, fault })?;
            for host in route.hosts_or_none() {
                let rank = Rank::new(matches, host, &route.pattern, index);
                let host = host.cloned();
                ranked.push((rank, Placed { route: index, host }));
            }
            compiled.push(route);
        }
        ranked.sort_by(|one, other| one.0.cmp(&other.0));
        let mut router = Self {
            routes: compiled,
            order: ranked.into_iter().map(|(_, placed)| placed).collect(),
            exact: Table::default(),
            suffix: Table::default(),
            any: Bucket::default(),
        };
        router.fill()?;
        Ok(router)
    }

    /// Inserts all entries in the order of their places, so that every list is sorted, then seals the
    /// buckets.
    fn fill(&mut self) -> Result<(), BuildError> {
        for (place, Placed { route, host }) in self.order.iter().enumerate() {
            let bucket = match host {
                Some(HostPattern::Exact(host)) => self.exact.entry(host.as_str().into()).or_default(),
                Some(HostPattern::Suffix(end)) => self.suffix.entry(end.as_str().into()).or_default(),
                None => &mut self.any,
            };
            let entry = Entry { place, route: *route };
            bucket.insert(&self.routes[*route].pattern, entry);
        }
        let named = self.exact.values_mut().chain(self.suffix.values_mut());
        named.chain([&mut self.any]).try_for_each(|bucket| bucket.seal(&self.routes))
    }

    /// The index of the route that answers the request.
    pub fn find(&self, request: &impl Request) -> Option<usize> {
        let mut search = Search::new(&self.routes, request);
        let host = request.host();
        if let Some(bucket) = self.exact.get(host) {
            bucket.search(&mut search);
        }
        if !self.suffix.is_empty() {
            for (dot, _) in host.match_indices('.') {
                if let Some(bucket) = self.suffix.get(&host[dot..]) {
                    bucket.search(&mut search);
                }
            }
        }
        self.any.search(&mut search);
        search.found()
    }

    /// The parts of a path that the parameters of a route stand for, still percent-encoded: those of a
    /// template, or the named groups of a regular expression. Empty when the path is not the route's.
    pub fn captures<'a>(&'a self, route: usize, path: &'a str) -> Vec<(&'a str, &'a str)> {
        let route = self.routes.get(route);
        route.map_or_else(Vec::new, |route| route.pattern.captures(path))
    }

    /// Every route with the first test it fails, in the order of precedence. The first without a mismatch
    /// is the one that [`find`](Self::find) finds.
    pub fn explain(&self, request: &impl Request) -> Vec<Verdict<'_>> {
        let mut told = vec![false; self.routes.len()];
        let mut verdicts = Vec::with_capacity(self.routes.len());
        for placed in &self.order {
            let route = &self.routes[placed.route];
            let here = host_matches(placed.host.as_ref(), request.host());
            if told[placed.route] || (!here && route.has_host(request.host())) {
                continue;
            }
            told[placed.route] = true;
            verdicts.push(Verdict { route: placed.route, mismatch: route.mismatch(request) });
        }
        verdicts
    }
}

impl Route {
    fn compile(matches: &RouteMatch) -> Result<Self, PatternFault> {
        Ok(Self {
            hosts: matches.hosts.clone(),
            pattern: Pattern::compile(&matches.path)?,
            conditions: Conditions::compile(matches)?,
        })
    }

    fn hosts_or_none(&self) -> impl Iterator<Item = Option<&HostPattern>> {
        let none = self.hosts.is_empty().then_some(None);
        self.hosts.iter().map(Some).chain(none)
    }

    fn has_host(&self, host: &str) -> bool {
        self.hosts_or_none().any(|pattern| host_matches(pattern, host))
    }

    fn mismatch(&self, request: &impl Request) -> Option<Mismatch<'_>> {
        if !self.has_host(request.host()) {
            return Some(Mismatch::Host);
        }
        if !self.pattern.matches(request.path()) {
            return Some(Mismatch::Path);
        }
        self.conditions.mismatch(request)
    }
}

fn host_matches(pattern: Option<&HostPattern>, host: &str) -> bool {
    match pattern {
        None => true,
        Some(HostPattern::Exact(exact)) => exact == host,
        Some(HostPattern::Suffix(end)) => host.len() > end.len() && host.ends_with(end.as_str()),
    }
}
