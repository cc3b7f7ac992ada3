//! The rules of matching and precedence, case by case; `model` has the property test.

mod model;

use std::net::Ipv4Addr;

use super::*;
use crate::config::plan::{FieldMatch, PathPattern, QueryMatch, Test};

/// A request described by a test.
#[derive(Debug, Clone)]
struct Described {
    host: String,
    path: String,
    method: Method,
    headers: Vec<(HeaderName, Vec<u8>)>,
    query: Option<String>,
    client: IpAddr,
}

impl Request for Described {
    fn host(&self) -> &str {
        &self.host
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn method(&self) -> &Method {
        &self.method
    }

    fn header(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let named = self.headers.iter().filter(move |field| field.0 == *name);
        named.map(|field| field.1.as_slice())
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn client(&self) -> IpAddr {
        self.client
    }
}

/// A GET for this path.
fn get(path: &str) -> Described {
    Described {
        host: "a.test".into(),
        path: path.into(),
        method: Method::GET,
        headers: Vec::new(),
        query: None,
        client: Ipv4Addr::new(192, 0, 2, 1).into(),
    }
}

impl Described {
    fn host(self, host: &str) -> Self {
        let host = host.into();
        Self { host, ..self }
    }

    fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    fn header(mut self, name: &'static str, value: &[u8]) -> Self {
        let name = HeaderName::from_static(name);
        self.headers.push((name, value.to_vec()));
        self
    }

    fn query(self, query: &str) -> Self {
        let query = Some(query.into());
        Self { query, ..self }
    }

    fn client(self, client: &str) -> Self {
        let client = client.parse().expect("it is an address");
        Self { client, ..self }
    }
}

/// A route for every request.
fn route() -> RouteMatch {
    RouteMatch {
        hosts: Vec::new(),
        path: PathPattern::Any,
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        clients: Vec::new(),
        priority: 0,
    }
}

fn on(path: PathPattern) -> RouteMatch {
    RouteMatch { path, ..route() }
}

fn path(text: &str) -> RouteMatch {
    on(PathPattern::Template(text.into()))
}

fn prefix(text: &str) -> RouteMatch {
    on(PathPattern::Prefix(text.into()))
}

fn regex(text: &str) -> RouteMatch {
    on(PathPattern::Regex(text.into()))
}

impl RouteMatch {
    fn at(mut self, host: &str) -> Self {
        self.hosts.push(match host.strip_prefix('*') {
            Some(end) => HostPattern::Suffix(end.into()),
            None => HostPattern::Exact(host.into()),
        });
        self
    }

    fn methods(self, methods: &[Method]) -> Self {
        let methods = methods.to_vec();
        Self { methods, ..self }
    }

    fn with_header(mut self, name: &'static str, test: Test) -> Self {
        let name = HeaderName::from_static(name);
        self.headers.push(FieldMatch { name, test });
        self
    }

    fn with_query(mut self, name: &str, test: Test) -> Self {
        let name = name.into();
        self.query.push(QueryMatch { name, test });
        self
    }

    fn from(mut self, network: &str) -> Self {
        let network = network.parse().expect("it is a network");
        self.clients.push(network);
        self
    }

    fn priority(self, priority: i32) -> Self {
        Self { priority, ..self }
    }
}

fn exactly(value: &str) -> Test {
    Test::Exact(value.into())
}

fn router(routes: &[RouteMatch]) -> Router {
    Router::new(routes).expect("the routes are valid")
}

/// Whether a route alone takes a request.
fn takes(route: &RouteMatch, request: &Described) -> bool {
    router(std::slice::from_ref(route)).find(request).is_some()
}

fn assert_takes(route: &RouteMatch, yes: &[&str], no: &[&str]) {
    for path in yes {
        assert!(takes(route, &get(path)), "{:?} {path}", route.path);
    }
    for path in no {
        assert!(!takes(route, &get(path)), "{:?} {path}", route.path);
    }
}

/// Checks that of routes that all match, those written first in `routes` win, in whatever order they are
/// given to the router.
fn assert_order(routes: &[RouteMatch], request: &Described) {
    for (nth, one) in routes.iter().enumerate() {
        assert!(takes(one, request), "route {nth} does not match at all");
        for later in &routes[nth + 1..] {
            let one_first = router(&[one.clone(), later.clone()]);
            assert_eq!(one_first.find(request), Some(0), "{one:?} {later:?}");
            let later_first = router(&[later.clone(), one.clone()]);
            assert_eq!(later_first.find(request), Some(1), "{one:?} {later:?}");
        }
    }
}

#[test]
fn templates_match_whole_paths() {
    assert_takes(
        &path("/users/{id}"),
        &["/users/42", "/users/a%2Fb", "/users/;x"],
        &["/users", "/users/", "/users/1/", "/users/1/x", "/user/1", "/"],
    );
    assert_takes(&path("/a"), &["/a"], &["/a/", "/A", "/ab", "/", "*"]);
    assert_takes(&path("/a/"), &["/a/"], &["/a", "/a/b"]);
    assert_takes(&path("/"), &["/"], &["/a", "*"]);
    assert_takes(&path("/files/{rest*}"), &["/files/", "/files/a", "/files/a/b/"], &["/files", "/filesx/a"]);
    assert_takes(&path("/{all*}"), &["/", "/a/b"], &["*"]);
    assert_takes(&path("/{a}/x/{b}/"), &["/1/x/2/"], &["/1/x/2", "/1/y/2/"]);
}

#[test]
fn prefixes_match_whole_segments() {
    assert_takes(
        &prefix("/api"),
        &["/api", "/api/", "/api/x/y"],
        &["/apix", "/ap", "/", "/api;v=1", "/api%2Fx", "/x/api"],
    );
    assert_takes(&prefix("/api/"), &["/api", "/api/x"], &["/apix", "/"]);
    assert_takes(&prefix("/"), &["/", "/a", "/a/b/"], &["*"]);
    assert_takes(&prefix("/a/b"), &["/a/b", "/a/b/c"], &["/a", "/a/", "/a/bc"]);
}

#[test]
fn regexes_match_the_whole_path() {
    assert_takes(&regex("/v[0-9]+/users"), &["/v1/users", "/v22/users"], &["/v1/users/", "/x/v1/users", "/v/users"]);
    assert_takes(&regex("/a|/b"), &["/a", "/b"], &["/ab", "/a/b"]);
    assert_takes(&regex("(?i)/a"), &["/a", "/A"], &["/b"]);
    assert_takes(&regex(r"\*"), &["*"], &["/"]);
}

#[test]
fn any_path_includes_the_asterisk() {
    assert_takes(&route(), &["*", "/", "/a/b"], &[]);
}

#[test]
fn patterns_meet_paths_in_normal_form() {
    assert_takes(&path("/café"), &["/caf%C3%A9"], &[]);
    assert_takes(&path("/caf%c3%a9/{x}"), &["/caf%C3%A9/1"], &[]);
    assert_takes(&path("/my file"), &["/my%20file"], &[]);
    assert_takes(&prefix("/%7euser/a|b"), &["/~user/a%7Cb/c"], &[]);
    assert_takes(&path("/%7Bid%7D"), &["/%7Bid%7D"], &["/1"]);
}

#[test]
fn refuses_patterns_that_match_no_normal_path() {
    let fault = |route: RouteMatch| Router::new(&[path("/"), route]).map(drop);
    let at = |fault| Err(BuildError { route: 1, fault });
    for text in ["", "a", "*", "{id}"] {
        assert_eq!(fault(path(text)), at(PatternFault::NoSlash), "{text}");
        assert_eq!(fault(prefix(text)), at(PatternFault::NoSlash), "{text}");
    }
    for text in ["/a//b", "//", "/./a", "/a/..", "/%2e", "//{x}"] {
        assert_eq!(fault(path(text)), at(PatternFault::Segment), "{text}");
    }
    assert_eq!(fault(prefix("/a//")), at(PatternFault::Segment));
    for text in [
        "/{}",
        "/{*}",
        "/{1a}",
        "/{a b}",
        "/v{n}",
        "/{a}x",
        "/{a}/{a}",
        "/{a*}/b",
        "/{a*}/",
        "/{a",
        "/a}",
        "/{{a}}",
        "/{a}/{a*}",
    ] {
        assert_eq!(fault(path(text)), at(PatternFault::Parameter), "{text}");
    }
    assert_eq!(fault(prefix("/{a}")), at(PatternFault::Parameter));
    for (text, reason) in [
        ("/a?b", TargetFault::Byte),
        ("/a#b", TargetFault::Byte),
        ("/a\\b", TargetFault::Byte),
        ("/100%", TargetFault::Escape),
        ("/a\tb", TargetFault::Control),
        ("/%c0%ae", TargetFault::Utf8),
        ("/..;/b", TargetFault::DotSegment),
        ("/%2e%2e/b", TargetFault::AboveRoot),
    ] {
        assert_eq!(fault(path(text)), at(PatternFault::Path(reason)), "{text}");
        assert_eq!(fault(prefix(text)), at(PatternFault::Path(reason)), "{text}");
    }
    let deepest = "/x".repeat(MAX_SEGMENTS);
    assert_eq!(fault(path(&deepest)), Ok(()));
    assert_eq!(fault(path(&format!("{deepest}/x"))), at(PatternFault::TooDeep));
    for text in ["(", "/a)|(/b", "[é]"] {
        let refused = fault(regex(text));
        assert!(matches!(refused, Err(BuildError { route: 1, fault: PatternFault::Regex(_) })), "{text}");
    }
    let test = Test::Regex("a)|(b".into());
    assert!(fault(route().with_header("x", test.clone())).is_err());
    assert!(fault(route().with_query("x", test)).is_err());
}

#[test]
fn hosts_are_exact_or_end_in_a_suffix() {
    let named = route().at("a.test").at("*.b.test");
    for host in ["a.test", "x.b.test", "y.x.b.test"] {
        assert!(takes(&named, &get("/").host(host)), "{host}");
    }
    for host in ["x.a.test", "b.test", "xb.test", "b.test.x", ""] {
        assert!(!takes(&named, &get("/").host(host)), "{host}");
    }
    assert!(takes(&route(), &get("/").host("")));
}

#[test]
fn a_route_for_get_takes_head() {
    let only_get = route().methods(&[Method::GET]);
    assert!(takes(&only_get, &get("/").method(Method::HEAD)));
    assert!(!takes(&only_get, &get("/").method(Method::POST)));
    let only_head = route().methods(&[Method::HEAD]);
    assert!(!takes(&only_head, &get("/")));
}

#[test]
fn a_header_test_passes_when_any_value_does() {
    let blue = route().with_header("x-team", exactly("blue"));
    assert!(takes(&blue, &get("/").header("x-team", b"blue")));
    let two = get("/").header("x-team", b"red").header("x-team", b"blue");
    assert!(takes(&blue, &two));
    for other in ["Blue", "blue ", "red", "blue,red"] {
        let request = get("/").header("x-team", other.as_bytes());
        assert!(!takes(&blue, &request), "{other}");
    }
    assert!(!takes(&blue, &get("/").header("x-other", b"blue")));

    let regex = route().with_header("x-team", Test::Regex("b.*|r".into()));
    assert!(takes(&regex, &get("/").header("x-team", b"blue")));
    assert!(!takes(&regex, &get("/").header("x-team", b"red")));
    assert!(!takes(&regex, &get("/").header("x-team", b"b\xff")));

    let present = route().with_header("x-team", Test::Present);
    assert!(takes(&present, &get("/").header("x-team", b"")));
    assert!(!takes(&present, &get("/")));

    let absent = route().with_header("x-team", Test::Absent);
    assert!(takes(&absent, &get("/")));
    assert!(!takes(&absent, &get("/").header("x-team", b"")));
}

#[test]
fn query_tests_see_decoded_parameters() {
    let two = route().with_query("a b", exactly("é 2"));
    for query in ["a+b=%c3%a9+2", "x&a%20b=%C3%A9%202", "a+b=1&a+b=%c3%a9+2"] {
        assert!(takes(&two, &get("/").query(query)), "{query}");
    }
    for query in ["", "a+b", "a+b=%c3%a9", "a%2520b=%c3%a9+2", "A+b=%c3%a9+2"] {
        assert!(!takes(&two, &get("/").query(query)), "{query}");
    }
    let empty = route().with_query("flag", exactly(""));
    assert!(takes(&empty, &get("/").query("flag")));
    assert!(takes(&empty, &get("/").query("x=1&flag=&y")));
    assert!(!takes(&empty, &get("/").query("flag=1")));

    let percent = route().with_query("q", exactly("100% =x"));
    assert!(takes(&percent, &get("/").query("q=100%+=x")));

    let regex = route().with_query("v", Test::Regex("[0-9]+( beta)?".into()));
    assert!(takes(&regex, &get("/").query("v=2")));
    assert!(takes(&regex, &get("/").query("v=2+beta")));
    assert!(!takes(&regex, &get("/").query("v=2b")));

    let absent = route().with_query("v", Test::Absent);
    assert!(takes(&absent, &get("/")));
    assert!(!takes(&absent, &get("/").query("v")));
}

#[test]
fn clients_are_in_any_of_the_networks() {
    let inside = route().from("10.0.0.0/8").from("2001:db8::/32");
    for client in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
        assert!(takes(&inside, &get("/").client(client)), "{client}");
    }
    for client in ["11.0.0.1", "::ffff:11.0.0.1", "2001:db9::1"] {
        assert!(!takes(&inside, &get("/").client(client)), "{client}");
    }
}

#[test]
fn priority_goes_before_everything() {
    assert_order(
        &[
            route().priority(1),
            path("/a/b").at("a.test").methods(&[Method::GET]),
            prefix("/a").at("a.test").priority(-1),
        ],
        &get("/a/b"),
    );
}

#[test]
fn hosts_go_before_paths() {
    assert_order(
        &[
            route().at("c.b.a.test"),
            route().at("x.test").at("*.b.a.test"),
            path("/a").at("*.a.test"),
            route().at("*.test"),
            path("/a").methods(&[Method::GET]),
        ],
        &get("/a").host("c.b.a.test"),
    );
}

#[test]
fn paths_go_from_exact_to_any() {
    assert_order(
        &[
            path("/a/b/c"),
            path("/a/b/{x}"),
            path("/{x}/{y}/c"),
            path("/{x}/{y}/{z}"),
            path("/{x}/{y}/{z*}"),
            path("/{x}/{y*}"),
            path("/{x*}"),
            regex("/a/.*"),
            prefix("/a/b/c"),
            prefix("/a/b"),
            prefix("/a"),
            prefix("/"),
            route().methods(&[Method::GET]),
        ],
        &get("/a/b/c"),
    );
}

#[test]
fn templates_with_more_parameters_go_first() {
    assert_order(&[path("/a/{x}"), path("/a/{x*}")], &get("/a/b"));
    assert_order(&[path("/a/{x}/{y*}"), path("/a/{x*}")], &get("/a/b/c"));
}

#[test]
fn more_conditions_go_first() {
    let present = || Test::Present;
    let request = get("/a").header("x-a", b"1").header("x-b", b"1").query("q&r");
    assert_order(
        &[
            route().methods(&[Method::GET]),
            route().with_header("x-a", present()).with_header("x-b", present()),
            route().with_header("x-a", present()).with_query("q", present()),
            route().with_header("x-a", present()),
            route().with_query("q", present()).with_query("r", present()),
            route().with_query("q", present()).from("192.0.2.0/24"),
            route().with_query("q", present()),
            route().from("0.0.0.0/0"),
            route(),
        ],
        &request,
    );
}

#[test]
fn written_order_goes_last() {
    let routes = [path("/{x}/b"), path("/a/{y}"), path("/{z}/b")];
    assert_eq!(router(&routes).find(&get("/a/b")), Some(0));
    assert_eq!(router(&routes[1..]).find(&get("/a/b")), Some(0));
    let same = [regex("/a.*"), regex("/.*b"), regex("/a.*")];
    assert_eq!(router(&same).find(&get("/a/b")), Some(0));
}

#[test]
fn a_route_that_fails_gives_way_to_the_next() {
    let never = || exactly("never");
    let routes = [
        path("/a/b").with_header("x", never()),
        path("/a/{x}").with_header("x", never()),
        regex("/a/.").with_header("x", never()),
        regex("/a/.").with_query("x", never()),
        regex("/x"),
        regex("/a/b").methods(&[Method::POST]),
        regex("/./b"),
        regex("/a/b"),
        prefix("/a"),
    ];
    assert_eq!(router(&routes).find(&get("/a/b")), Some(6));
    let post = get("/a/b").method(Method::POST);
    assert_eq!(router(&routes).find(&post), Some(5));
}

#[test]
fn many_expressions_in_one_place_keep_their_order() {
    let longer_than = |n: u32| {
        let wanted = if n.is_multiple_of(3) { "never" } else { "1" };
        let test = exactly(wanted);
        regex(&format!("/[a-z]{{{},}}", 30 - n)).with_header("x-a", test)
    };
    let routes: Vec<_> = (0..30).map(longer_than).collect();
    let router = router(&routes);
    for length in 0..32 {
        let path = format!("/{}", "x".repeat(length));
        let request = get(&path).header("x-a", b"1");
        assert_eq!(router.find(&request), model::find(&routes, &request), "{path}");
    }
}

#[test]
fn captures_are_found_on_demand() {
    let router = router(&[
        path("/users/{id}/files/{path*}"),
        regex("/v(?<major>[0-9]+)(\\.(?<minor>[0-9]+))?/.*"),
        prefix("/users"),
    ]);
    let path = "/users/a%20b/files/x/y";
    let expected = vec![("id", "a%20b"), ("path", "x/y")];
    assert_eq!(router.captures(0, path), expected);
    assert_eq!(router.captures(0, "/users/1/files"), Vec::new());
    assert_eq!(router.captures(1, "/v2/x"), vec![("major", "2")]);
    let expected = vec![("major", "2"), ("minor", "1")];
    assert_eq!(router.captures(1, "/v2.1/x"), expected);
    assert_eq!(router.captures(1, "/x"), Vec::new());
    assert_eq!(router.captures(2, path), Vec::new());
    assert_eq!(router.captures(9, path), Vec::new());
}

#[test]
fn explains_every_route_in_order() {
    let router = router(&[
        prefix("/"),
        path("/b").at("a.test"),
        path("/a").methods(&[Method::POST]),
        path("/a").at("*.test").with_header("x-a", Test::Present),
        path("/a").at("b.test"),
        regex("/a").with_query("q", Test::Present),
        route().from("10.0.0.0/8").priority(1),
    ]);
    let verdicts = router.explain(&get("/a"));
    let told: Vec<_> = verdicts.iter().map(|v| (v.route, v.mismatch)).collect();
    let name = HeaderName::from_static("x-a");
    assert_eq!(
        told,
        vec![
            (6, Some(Mismatch::Client)),
            (1, Some(Mismatch::Path)),
            (4, Some(Mismatch::Host)),
            (3, Some(Mismatch::Header(&name))),
            (2, Some(Mismatch::Method)),
            (5, Some(Mismatch::Query("q"))),
            (0, None),
        ]
    );
}

#[test]
fn an_empty_router_finds_nothing() {
    assert_eq!(router(&[]).find(&get("/")), None);
    assert_eq!(router(&[]).explain(&get("/")), Vec::new());
}

/// Prints the time of one look-up with 10 and with 10,000 routes of each kind:
/// `cargo test --release -p tidegate-gateway router::tests::look_up_times -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement: it prints and asserts nothing about time"]
fn look_up_times() {
    type Make = fn(usize) -> RouteMatch;
    type Ask = fn(usize) -> Described;
    let kinds: [(&str, Make, Ask); 7] = [
        ("exact path", |n| path(&format!("/service-{n}/v1/items")), |n| get(&format!("/service-{n}/v1/items"))),
        (
            "parameters",
            |n| path(&format!("/service-{n}/{{id}}/items/{{item}}")),
            |n| get(&format!("/service-{n}/42/items/7")),
        ),
        ("prefix", |n| prefix(&format!("/service-{n}/v1")), |n| get(&format!("/service-{n}/v1/items/7"))),
        (
            "exact host",
            |n| prefix("/").at(&format!("service-{n}.example.test")),
            |n| get("/v1/items/7").host(&format!("service-{n}.example.test")),
        ),
        (
            "wildcard host",
            |n| prefix("/").at(&format!("*.service-{n}.example.test")),
            |n| get("/v1/items/7").host(&format!("www.service-{n}.example.test")),
        ),
        ("regex", |n| regex(&format!("/service-{n}/v[0-9]+/.*")), |n| get(&format!("/service-{n}/v1/items/7"))),
        (
            "regex without literal beginning",
            |n| regex(&format!("/v[0-9]+/service-{n}/.*")),
            |n| get(&format!("/v1/service-{n}/items/7")),
        ),
    ];
    for (kind, make, ask) in kinds {
        for count in [10, 10_000] {
            let started = std::time::Instant::now();
            let router = router(&(0..count).map(make).collect::<Vec<_>>());
            let built = started.elapsed();
            let requests: Vec<_> = (0..64).map(|n| (n * 7919 % count, ask(n * 7919 % count))).collect();
            let look_ups = u32::try_from(requests.len()).expect("there are 64");
            // The best of many short rounds: what the look-up costs when nothing else disturbs it.
            let rounds = (0..2_000).map(|_| {
                let started = std::time::Instant::now();
                for (route, request) in &requests {
                    assert_eq!(std::hint::black_box(&router).find(request), Some(*route));
                }
                started.elapsed() / look_ups
            });
            let each = rounds.min().unwrap_or_default();
            println!("{kind}, {count} routes: {each:?} each, built in {built:?}");
        }
    }
}
