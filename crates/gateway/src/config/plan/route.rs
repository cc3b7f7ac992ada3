//! Routes: which requests they answer, and how.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use super::{Idempotency, RateLimit, Scheme};
use crate::config::units::Statuses;

/// What happens to the requests that match.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name in logs and metrics, unique in the plan.
    pub name: Arc<str>,
    /// Which requests it answers.
    pub matches: RouteMatch,
    /// How it answers them.
    pub action: Action,
    /// Bounds on waiting, the upstream's where the route says nothing.
    pub timeouts: RouteTimeouts,
    /// Largest request body.
    pub max_body: BodyLimit,
    /// Dangerous encodings let through in a path.
    pub allow: PathAllowances,
    /// What requests have to pass, besides the limits of the listener.
    pub rate_limits: Vec<RateLimit>,
    /// The guard of requests with an `Idempotency-Key`; `None` where there is none, and where it does not forward.
    pub idempotency: Option<Idempotency>,
    /// The pipeline of [`Plan::policies`](super::Plan::policies) that its requests run through; `None` where it does not
    /// forward, or is not protected.
    pub protection: Option<Arc<str>>,
    /// What stands in where there is no answer.
    pub fallback: Option<Fallback>,
    /// Whether a request may be sent twice whatever its method.
    pub idempotent: bool,
    /// Protocols a client may change to.
    pub upgrades: Upgrades,
}

/// Which requests a route answers: those that pass every test it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteMatch {
    /// Any of these hosts; empty matches every host.
    pub hosts: Vec<HostPattern>,
    /// This path.
    pub path: PathPattern,
    /// Any of these methods; empty matches every method.
    pub methods: Vec<Method>,
    /// All of these tests on fields.
    pub headers: Vec<FieldMatch>,
    /// All of these tests on query parameters.
    pub query: Vec<QueryMatch>,
    /// A client in any of these networks; empty matches every client.
    pub clients: Vec<IpNet>,
    /// Higher goes before lower, before any other rule of precedence; default 0.
    pub priority: i32,
}

/// A host, without a port, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Hosts that end in this, which begins with a dot and has at least one label before it: written
    /// `*.example.test`, held as `.example.test`.
    Suffix(String),
}

/// A path, compared with the normalised path of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// The whole path, where a segment `{name}` stands for any one segment that is not empty, and a last
    /// one `{name*}` for all the rest. Its text may be encoded or not.
    Template(String),
    /// The path or its beginning by whole segments: `/api` matches `/api` and `/api/x`, not `/apix`. It
    /// has no final slash, except that `/` alone matches everything.
    Prefix(String),
    /// The whole path, by a regular expression that compiles; what uses it anchors both ends.
    Regex(String),
    /// Every path.
    Any,
}

/// A test on a header field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldMatch {
    /// The field's name.
    pub name: HeaderName,
    /// The test.
    pub test: Test,
}

/// A test on a query parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueryMatch {
    /// The parameter's name, decoded.
    pub name: String,
    /// The test.
    pub test: Test,
}

/// What a field or parameter must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    /// There with exactly this value.
    Exact(String),
    /// There with a value that this regular expression, which compiles, matches as a whole.
    Regex(String),
    /// There, with any value.
    Present,
    /// Not there.
    Absent,
}

/// How a route answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// By the upstream at this index of [`Plan::upstreams`](super::Plan::upstreams).
    Forward(usize),
    /// By itself.
    Respond(Respond),
    /// By sending the client elsewhere.
    Redirect(Redirect),
}

/// What stands in for an answer that did not come.
#[derive(Debug, Clone, PartialEq)]
pub struct Fallback {
    /// Where it comes from; never [`Action::Redirect`].
    pub action: Action,
    /// For which answers it stands in, too.
    pub statuses: Vec<Statuses>,
}

/// An answer that is written in the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Respond {
    /// A final status code.
    pub status: StatusCode,
    /// Its fields, without any that framing or a connection owns.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body, empty with a status code that has none.
    pub body: Bytes,
}

/// Where a client is sent: the request's own URL with these parts changed, at least one. The query stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// The scheme, or the request's.
    pub scheme: Option<Scheme>,
    /// Host and perhaps port, or the request's.
    pub host: Option<Arc<str>>,
    /// The path, or the request's.
    pub path: Option<Arc<str>>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// Bounds on waiting that hold for one route; all `None` where the route does not forward, but `total`.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteTimeouts {
    /// From the end of the request to the end of the response head; `None` is off.
    pub response: Option<Duration>,
    /// Without progress of the response body; `None` is off.
    pub body: Option<Duration>,
    /// From the end of the request head to the end of the response; `None` is off.
    pub total: Option<Duration>,
}

/// Largest request body of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLimit {
    /// What the listener allows.
    OfListener,
    /// This many bytes.
    Bytes(u64),
    /// No bound.
    Unlimited,
}

impl BodyLimit {
    /// The bound in bytes on a listener whose own is `listener`; `None` is unlimited.
    pub fn on(self, listener: Option<u64>) -> Option<u64> {
        match self {
            Self::OfListener => listener,
            Self::Bytes(bytes) => Some(bytes),
            Self::Unlimited => None,
        }
    }
}

/// Encodings in a path that are refused unless a route lets them through: an upstream that decodes them
/// sees another path than the one that was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathAllowances {
    /// `%2f`
    pub encoded_slash: bool,
    /// `%5c`
    pub encoded_backslash: bool,
}

/// Protocols that a client may change to with `Upgrade` (or extended CONNECT).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Upgrades {
    /// WebSocket (RFC 6455, RFC 8441).
    pub websocket: bool,
}
