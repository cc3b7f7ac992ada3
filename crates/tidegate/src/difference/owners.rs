//! Requests that another route answers.
//!
//! Nobody can try every request. Tried are those that the routes of both plans describe: for each route one with its
//! host, its path, its method and its conditions, and for a prefix one below it. What no such request shows is not seen.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use tidegate_gateway::config::Plan;
use tidegate_gateway::config::plan::{HostPattern, PathPattern, Route, RouteMatch, Test};
use tidegate_gateway::explain::Explainer;

/// A request that is answered otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// As a user would write it.
    pub(crate) request: String,
    /// The names of the routes that answer it; nothing where none does.
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// A request that a route describes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    name: String,
    head: String,
    client: IpAddr,
}

/// The requests that other routes answer from now on.
pub(crate) fn changed(before: &Plan, after: &Plan) -> Vec<Owner> {
    let (Ok(old), Ok(new)) = (Explainer::new(before), Explainer::new(after)) else { return Vec::new() };
    let mut seen = HashSet::new();
    let samples = before.routes.iter().chain(&after.routes).flat_map(samples_of);
    let samples = samples.filter(|sample| seen.insert(sample.name.clone()));
    let owner = |explainer: &Explainer<'_>, sample: &Sample| {
        explainer.answering(sample.head.as_bytes(), sample.client).ok()?.map(|route| route.name.to_string())
    };
    let compare = |sample: Sample| {
        let (before, after) = (owner(&old, &sample), owner(&new, &sample));
        (before != after).then_some(Owner { request: sample.name, before, after })
    };
    samples.filter_map(compare).collect()
}

fn samples_of(route: &Route) -> Vec<Sample> {
    paths(&route.matches.path).into_iter().filter_map(|path| sample(&route.matches, &path)).collect()
}

/// Paths that fit a pattern; none for a regular expression.
fn paths(pattern: &PathPattern) -> Vec<String> {
    match pattern {
        PathPattern::Any => vec!["/".into()],
        PathPattern::Prefix(prefix) if prefix == "/" => vec!["/".into(), "/x".into()],
        PathPattern::Prefix(prefix) => vec![prefix.clone(), format!("{prefix}/x")],
        PathPattern::Template(template) => {
            let segments = template.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment });
            vec![segments.collect::<Vec<_>>().join("/")]
        }
        PathPattern::Regex(_) => Vec::new(),
    }
}

fn sample(matches: &RouteMatch, path: &str) -> Option<Sample> {
    let method = matches.methods.first().map_or("GET", |method| method.as_str());
    let host = match matches.hosts.first() {
        Some(HostPattern::Exact(host)) => host.clone(),
        Some(HostPattern::Suffix(end)) => format!("x{end}"),
        None => "localhost".into(),
    };
    let query = matches.query.iter().map(|parameter| Some((parameter.name.as_str(), value(&parameter.test)?)));
    let query: Vec<_> = query.collect::<Option<_>>()?;
    let query: Vec<_> = query.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))).collect();
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    let mut name = match matches.hosts.is_empty() {
        true => format!("{method} {target}"),
        false => format!("{method} http://{host}{target}"),
    };
    for field in &matches.headers {
        if let Some(value) = value(&field.test)? {
            head.push_str(&format!("{}: {value}\r\n", field.name));
            name.push_str(&format!(" with {}: {value}", field.name));
        }
    }
    head.push_str("\r\n");
    let client = matches.clients.first().map_or(IpAddr::from([127, 0, 0, 1]), IpNet::addr);
    if !matches.clients.is_empty() {
        name.push_str(&format!(" from {client}"));
    }
    Some(Sample { name, head, client })
}

/// A value that passes a test; `Some(None)` where there must be none. No value for a regular expression.
fn value(test: &Test) -> Option<Option<&str>> {
    match test {
        Test::Exact(value) => Some(Some(value)),
        Test::Present => Some(Some("x")),
        Test::Absent => Some(None),
        Test::Regex(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_gateway::config::check;

    use super::*;

    fn plan(routes: &Value) -> Plan {
        let document = json!({ "listeners": [{ "address": "127.0.0.1:80" }], "routes": routes });
        let document = serde_json::from_value(document).expect("a document");
        check(&document, std::path::Path::new("")).expect("a plan").plan
    }

    fn route(name: &str, matches: &Value) -> Value {
        json!({ "name": name, "match": matches, "respond": { "status": 204 } })
    }

    fn change(before: &Value, after: &Value) -> Vec<(String, String)> {
        let name = |route: Option<String>| route.unwrap_or_else(|| "nobody".into());
        let told = |owner: Owner| (owner.request, format!("{} -> {}", name(owner.before), name(owner.after)));
        changed(&plan(before), &plan(after)).into_iter().map(told).collect()
    }

    #[test]
    fn a_new_route_takes_requests_from_the_one_behind_it() {
        let all = route("all", &json!({ "prefix": "/" }));
        let matches = json!({ "host": "*.a.test", "prefix": "/api", "method": "POST", "header": { "x-team": "blue" } });
        let found = change(&json!([all]), &json!([all, route("new", &matches)]));
        let expected = [
            ("POST http://x.a.test/api with x-team: blue", "all -> new"),
            ("POST http://x.a.test/api/x with x-team: blue", "all -> new"),
        ];
        assert_eq!(found, expected.map(|(request, owners)| (request.to_owned(), owners.to_owned())));
    }

    #[test]
    fn a_route_that_is_gone_leaves_its_requests_unanswered() {
        let found = change(&json!([route("one", &json!({ "path": "/users/{id}" }))]), &json!([]));
        assert_eq!(found, [("GET /users/x".to_owned(), "one -> nobody".to_owned())]);
    }

    #[test]
    fn an_order_that_means_the_same_changes_nobody() {
        let (one, other) = (route("one", &json!({ "path": "/a" })), route("other", &json!({ "prefix": "/" })));
        assert_eq!(change(&json!([one, other]), &json!([other, one])), []);
    }
}
