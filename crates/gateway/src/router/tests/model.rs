//! A model of the router that looks at every route, and the property test that compares them.

use std::cmp::Reverse;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

/// Whether a path is a pattern's, written for clarity.
fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    let segments: Vec<_> = path.split('/').collect();
    match pattern {
        PathPattern::Any => true,
        PathPattern::Regex(source) => {
            regex::Regex::new(&format!("^(?:{source})$")).expect("it compiles").is_match(path)
        }
        PathPattern::Prefix(text) => {
            path == text || path.starts_with(&format!("{text}/")) || (text == "/" && path.starts_with('/'))
        }
        PathPattern::Template(text) => {
            let mut wanted: Vec<_> = text.split('/').collect();
            let open = wanted.last().is_some_and(|last| last.ends_with("*}"));
            if open {
                wanted.pop();
            }
            let long_enough = if open { segments.len() > wanted.len() } else { segments.len() == wanted.len() };
            long_enough
                && wanted
                    .iter()
                    .zip(&segments)
                    .all(|(wanted, segment)| wanted == segment || (wanted.starts_with('{') && !segment.is_empty()))
        }
    }
}

/// The rank of a path pattern as numbers, the smaller first.
fn path_rank(pattern: &PathPattern) -> (u8, Reverse<usize>, Reverse<usize>) {
    match pattern {
        PathPattern::Template(text) => {
            let parameters = text.matches('{').count();
            let literals = text.matches('/').count() - parameters;
            let fixed = parameters - usize::from(text.ends_with("*}"));
            (u8::from(parameters > 0), Reverse(literals), Reverse(fixed))
        }
        PathPattern::Regex(_) => (2, Reverse(0), Reverse(0)),
        PathPattern::Prefix(text) => (3, Reverse(text.len()), Reverse(0)),
        PathPattern::Any => (4, Reverse(0), Reverse(0)),
    }
}

/// The best rank of a host that is the request's.
fn host_rank(hosts: &[HostPattern], host: &str) -> Option<(u8, Reverse<usize>)> {
    if hosts.is_empty() {
        return Some((2, Reverse(0)));
    }
    let ranks = hosts.iter().filter_map(|pattern| match pattern {
        HostPattern::Exact(exact) => (exact == host).then_some((0, Reverse(0))),
        HostPattern::Suffix(end) => {
            let labels = host.strip_suffix(end.as_str())?;
            (!labels.is_empty()).then_some((1, Reverse(end.len())))
        }
    });
    ranks.min()
}

/// Which conditions hold, as the strategies below make them.
fn conditions_hold(route: &RouteMatch, request: &Described) -> bool {
    let method = if request.method == Method::HEAD && !route.methods.contains(&Method::HEAD) {
        &Method::GET
    } else {
        &request.method
    };
    let passes = |test: &Test, values: Vec<String>| match test {
        Test::Exact(value) => values.contains(value),
        Test::Present => !values.is_empty(),
        Test::Absent => values.is_empty(),
        Test::Regex(_) => unreachable!("no strategy makes it"),
    };
    let header = |field: &FieldMatch| {
        let named = request.headers.iter().filter(|(name, _)| *name == field.name);
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        passes(&field.test, named.map(|(_, value)| text(value)).collect())
    };
    let query = |parameter: &QueryMatch| {
        let pairs = request.query.as_deref().unwrap_or_default().split('&');
        let named = pairs.filter_map(|pair| pair.split_once('='));
        let values = named.filter(|(name, _)| *name == parameter.name);
        passes(&parameter.test, values.map(|(_, value)| value.into()).collect())
    };
    (route.methods.is_empty() || route.methods.contains(method))
        && route.headers.iter().all(header)
        && route.query.iter().all(query)
        && (route.clients.is_empty() || route.clients.iter().any(|net| net.contains(&request.client)))
}

/// The route that comes first of all that match.
pub(super) fn find(routes: &[RouteMatch], request: &Described) -> Option<usize> {
    let matching = routes.iter().enumerate().filter_map(|(index, route)| {
        let host = host_rank(&route.hosts, &request.host)?;
        let holds = path_matches(&route.path, &request.path) && conditions_hold(route, request);
        let rank = (
            Reverse(route.priority),
            host,
            path_rank(&route.path),
            route.methods.is_empty(),
            Reverse(route.headers.len()),
            Reverse(route.query.len()),
            route.clients.is_empty(),
            index,
        );
        holds.then_some(rank)
    });
    matching.min().map(|rank| rank.7)
}

fn path_patterns() -> impl Strategy<Value = PathPattern> {
    let template = || prop::collection::vec(select(vec!["a", "a", "b", "{}"]), 1..5);
    let end = select(vec!["", "", "", "/", "/{rest*}"]);
    let numbered = |segments: Vec<&str>| -> String {
        let named = segments.iter().enumerate().map(|(nth, text)| match *text {
            "{}" => format!("/{{p{nth}}}"),
            literal => format!("/{literal}"),
        });
        named.collect()
    };
    let texts = vec!["/", "/a", "/a/b", "/b", "/a/a/b"];
    let sources = vec![".*", "/a.*", "/[ab]/[^/]+", "/a(/b)?", "/(a|b|c)/b/.*", "/.*b"];
    prop_oneof![
        5 => (template(), end).prop_map(move |(segments, end)| {
            PathPattern::Template(numbered(segments) + end)
        }),
        3 => select(texts).prop_map(|text| PathPattern::Prefix(text.into())),
        2 => select(sources).prop_map(|source| PathPattern::Regex(source.into())),
        1 => Just(PathPattern::Any),
    ]
}

fn tests() -> impl Strategy<Value = Test> {
    select(vec![exactly("1"), exactly("2"), Test::Present, Test::Absent])
}

fn route_matches() -> impl Strategy<Value = RouteMatch> {
    let hosts = vec!["a.test", "b.a.test", "*.a.test", "*.test", "*.b.a.test"];
    let methods = vec![Method::GET, Method::HEAD, Method::POST];
    let conditions = (
        prop_oneof![2 => Just(Vec::new()), 1 => subsequence(methods, 1..3)],
        prop::collection::vec((select(vec!["x-a", "x-b"]), tests()), 0..2),
        prop::collection::vec((select(vec!["q", "r"]), tests()), 0..2),
        subsequence(vec!["192.0.2.0/24", "10.0.0.0/8"], 0..2),
    );
    let hosts = prop_oneof![2 => Just(Vec::new()), 3 => subsequence(hosts, 1..3)];
    let priority = select(vec![0, 0, 0, 0, 1, -1]);
    (hosts, path_patterns(), conditions, priority).prop_map(
        |(hosts, path, (methods, headers, query, clients), priority)| {
            let mut matches = on(path).methods(&methods).priority(priority);
            for host in hosts {
                matches = matches.at(host);
            }
            for (name, test) in headers {
                matches = matches.with_header(name, test);
            }
            for (name, test) in query {
                matches = matches.with_query(name, test);
            }
            for network in clients {
                matches = matches.from(network);
            }
            matches
        },
    )
}

fn requests() -> impl Strategy<Value = Described> {
    let hosts = vec!["a.test", "b.a.test", "c.b.a.test", "x.test", "test", "other", ""];
    let segments = prop::collection::vec(select(vec!["a", "b", "c"]), 0..5);
    let paths = (segments, any::<bool>()).prop_map(|(segments, slash)| {
        let text = format!("/{}", segments.join("/"));
        if slash && text != "/" { text + "/" } else { text }
    });
    let paths = prop_oneof![20 => paths, 1 => Just("*".to_owned())];
    let methods = vec![Method::GET, Method::HEAD, Method::POST];
    let header = (select(vec!["x-a", "x-b"]), select(vec!["1", "2"]));
    let queries = vec!["", "q=1", "r=2&q=3", "q=2&q=1", "q=&r=1"];
    let clients = vec!["192.0.2.7", "10.0.0.1", "2001:db8::1"];
    let headers = prop::collection::vec(header, 0..3);
    let rest = (select(methods), headers, select(queries), select(clients));
    (select(hosts), paths, rest).prop_map(|(host, path, (method, headers, query, client))| {
        let request = get(&path).host(host).method(method).client(client).query(query);
        let add = |request: Described, (name, value): (&'static str, &str)| request.header(name, value.as_bytes());
        headers.into_iter().fold(request, add)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn finds_what_the_model_finds(
        routes in prop::collection::vec(route_matches(), 0..25),
        requests in prop::collection::vec(requests(), 1..20),
    ) {
        let router = router(&routes);
        for request in &requests {
            let found = router.find(request);
            prop_assert_eq!(found, find(&routes, request), "{:?}", request);
            let verdicts = router.explain(request);
            let first = verdicts.iter().find(|verdict| verdict.mismatch.is_none());
            prop_assert_eq!(first.map(|verdict| verdict.route), found);
            prop_assert_eq!(verdicts.len(), routes.len());
        }
    }
}
