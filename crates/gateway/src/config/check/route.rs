//! Routes: their matches, names and overrides. What they answer is in `action.rs`.

mod action;

use std::collections::{BTreeMap, HashMap};

use http::{HeaderValue, Method};

use super::names::{self, Taken};
use super::pattern::{host, prefix, template, test};
use super::values::{Subject, field_name, network, regex};
use super::{Findings, Flaw, all};
use crate::config::document::{self, Allowance, Document, FieldTest, Upgrade};
use crate::config::plan::{
    Action, BodyLimit, FieldMatch, PathAllowances, PathPattern, QueryMatch, Route, RouteMatch, RouteTimeouts, Test,
    Upgrades,
};
use crate::config::problem::{DocumentPath, Problem};
use crate::config::units::Period;

pub(super) fn routes(document: &Document, at: &DocumentPath, found: &mut Findings) -> Option<Vec<Route>> {
    let places: Vec<_> = (0..document.routes.len()).map(|index| at.index(index)).collect();
    let names = document.upstreams.keys().enumerate();
    let upstreams = names.map(|(index, name)| (name.as_str(), index)).collect();
    let parts = document.routes.iter().zip(&places);
    let parts = all(parts.map(|(written, at)| {
        let matches = matches(written, &at.key("match"), found);
        let action = action::action(written, &upstreams, at, found);
        let fallback = action::fallback(written, &upstreams, &at.key("fallback"), found);
        matches.zip(action).zip(fallback)
    }));
    let given = given_names(&document.routes, &places, found);
    let (parts, mut taken) = parts.zip(given)?;
    let routes: Vec<_> = (document.routes.iter().zip(parts))
        .map(|(written, ((matches, action), fallback))| Route {
            fallback,
            ..route(document, written, matches, action, &mut taken)
        })
        .collect();
    warn_of_unreachable(&routes, &places, found);
    warn_of_unused(document, &routes, found);
    Some(routes)
}

/// Takes every name that is written, before any is derived.
fn given_names(routes: &[document::Route], places: &[DocumentPath], found: &mut Findings) -> Option<Taken> {
    let mut taken = Taken::default();
    let mut complete = true;
    for (route, place) in routes.iter().zip(places) {
        let Some(name) = &route.name else { continue };
        let unique = names::route(name).and_then(|name| match taken.take(&name) {
            true => Ok(()),
            false => Err(Flaw::new(format!("another route has the name `{name}` already"))),
        });
        complete &= found.value(&place.key("name"), unique).is_some();
    }
    complete.then_some(taken)
}

fn route(
    document: &Document,
    written: &document::Route,
    matches: RouteMatch,
    action: Action,
    taken: &mut Taken,
) -> Route {
    let allows = |allowance| written.allow.contains(&allowance);
    Route {
        name: match &written.name {
            Some(name) => name.as_str().into(),
            None => taken.take_numbered(&names::derived(&matches.path)),
        },
        matches,
        action,
        timeouts: timeouts(document, written),
        max_body: match written.max_body {
            None => BodyLimit::OfListener,
            Some(limit) => (limit.0).map_or(BodyLimit::Unlimited, |size| BodyLimit::Bytes(size.bytes())),
        },
        allow: PathAllowances {
            encoded_slash: allows(Allowance::EncodedSlash),
            encoded_backslash: allows(Allowance::EncodedBackslash),
        },
        rate_limits: Vec::new(),
        idempotency: None,
        protection: None,
        fallback: None,
        idempotent: written.idempotent,
        upgrades: Upgrades { websocket: written.upgrades.contains(&Upgrade::Websocket) },
    }
}

/// The route's own times, else those of the upstream it forwards to.
fn timeouts(document: &Document, written: &document::Route) -> RouteTimeouts {
    let upstream = written.upstream.as_ref();
    let upstream = upstream.and_then(|name| document.upstreams.get(name));
    let upstream = upstream.map(|upstream| &upstream.timeouts);
    let response = written.timeouts.response.or(upstream.map(|times| times.response));
    let body = written.timeouts.body.or(upstream.map(|times| times.body));
    RouteTimeouts {
        response: response.and_then(|time| time.0).map(Period::duration),
        body: body.and_then(|time| time.0).map(Period::duration),
        total: written.timeouts.total.0.map(Period::duration),
    }
}

fn matches(route: &document::Route, at: &DocumentPath, found: &mut Findings) -> Option<RouteMatch> {
    let written = &route.matches;
    let hosts = found.list(&at.key("host"), &written.host.0, |text| host(text));
    let path = path(written, at, found);
    let methods = found.list(&at.key("method"), &written.method.0, |text| method(text));
    let headers = fields(&written.header, &at.key("header"), found, field);
    let query =
        fields(&written.query, &at.key("query"), found, |name, test| Ok(QueryMatch { name: name.to_owned(), test }));
    let clients = found.list(&at.key("client"), &written.client.0, |text| network(text));
    Some(RouteMatch {
        hosts: hosts?,
        path: path?,
        methods: methods?,
        headers: headers?,
        query: query?,
        clients: clients?,
        priority: route.priority,
    })
}

fn path(written: &document::Match, at: &DocumentPath, found: &mut Findings) -> Option<PathPattern> {
    let path = match (&written.path, &written.prefix, &written.regex) {
        (None, None, None) => return Some(PathPattern::Any),
        (Some(path), None, None) => (at.key("path"), template(path)),
        (None, Some(path), None) => (at.key("prefix"), prefix(path)),
        (None, None, Some(text)) => (at.key("regex"), regex(text, Subject::Path).map(PathPattern::Regex)),
        _ => (at.clone(), Err(Flaw::new("has more than one of `path`, `prefix` and `regex`"))),
    };
    found.value(&path.0, path.1)
}

/// The methods that everybody knows. They are case-sensitive (RFC 9110 section 9.1).
const KNOWN: [Method; 8] = [
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

pub(super) fn method(text: &str) -> Result<Method, Flaw> {
    let known = KNOWN.iter().find(|known| known.as_str().eq_ignore_ascii_case(text));
    match (Method::from_bytes(text.as_bytes()), known) {
        (Ok(Method::CONNECT), _) => Err(Flaw::new("CONNECT is refused before routes are looked at")),
        (Ok(method), Some(known)) if method != *known => {
            Err(Flaw::new(format!("`{text}` is another method than `{known}`: methods are case-sensitive"))
                .help(format!("write `{known}`")))
        }
        (Ok(method), _) => Ok(method),
        (Err(_), _) => Err(Flaw::new(format!("`{text}` is not a method"))),
    }
}

fn fields<T>(
    written: &BTreeMap<String, FieldTest>,
    at: &DocumentPath,
    found: &mut Findings,
    field: impl Fn(&str, Test) -> Result<T, Flaw>,
) -> Option<Vec<T>> {
    all(written.iter().map(|(name, written)| {
        let value = test(written).and_then(|test| field(name, test));
        found.value(&at.key(name), value)
    }))
}

fn field(name: &str, test: Test) -> Result<FieldMatch, Flaw> {
    let name = field_name(name)?;
    if name == http::header::HOST {
        return Err(Flaw::new("the host is not tested as a field").help("use `match.host`"));
    }
    if let Test::Exact(value) = &test
        && (HeaderValue::from_str(value).is_err() || value.trim() != value)
    {
        return Err(Flaw::new("no field has this value").help("leave out control characters and spaces around it"));
    }
    Ok(FieldMatch { name, test })
}

/// A route whose match an earlier one has too never answers anything.
fn warn_of_unreachable(routes: &[Route], places: &[DocumentPath], found: &mut Findings) {
    let mut earlier = HashMap::new();
    for (route, place) in routes.iter().zip(places) {
        let first = earlier.entry(canonical(&route.matches)).or_insert(&route.name);
        if *first != &route.name {
            let message = format!("is never reached: the route `{first}` matches the same requests");
            found.warn(Problem::new(place.key("match"), message));
        }
    }
}

/// The same match for everything that differs in the order of lists or the names of parameters alone.
fn canonical(matches: &RouteMatch) -> RouteMatch {
    let mut same = matches.clone();
    if let PathPattern::Template(path) = &mut same.path {
        let segment = |segment: &str| match segment {
            _ if segment.ends_with("*}") => "{*}".to_owned(),
            _ if segment.starts_with('{') => "{}".to_owned(),
            _ => segment.to_owned(),
        };
        *path = path.split('/').map(segment).collect::<Vec<_>>().join("/");
    }
    same.hosts.sort();
    same.methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    same.headers.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    same.clients.sort();
    same
}

fn warn_of_unused(document: &Document, routes: &[Route], found: &mut Findings) {
    if routes.is_empty() {
        let message = "has no routes: every request is answered with 404";
        found.warn(Problem::new(DocumentPath::root(), message));
        return;
    }
    let mut used = vec![false; document.upstreams.len()];
    for route in routes {
        let fallback = route.fallback.as_ref().map(|fallback| &fallback.action);
        for action in [Some(&route.action), fallback].into_iter().flatten() {
            if let Action::Forward(index) = action {
                used[*index] = true;
            }
        }
    }
    for (name, used) in document.upstreams.keys().zip(used) {
        if !used {
            let place = DocumentPath::root().key("upstreams").key(name);
            let message = format!("the upstream `{name}` is never used");
            found.warn(Problem::new(place, message));
        }
    }
}
