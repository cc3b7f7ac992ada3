//! Documents in, plans or problems out.

mod combinations;
mod idempotency;

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::config::plan::{
    Action, BodyLimit, EndpointHost, HostPattern, PathPattern, Probe, ProbeMethod, RateLimit, Test, UpstreamProtocol,
};

/// A document with one listener and one upstream, and these keys over them.
fn document(changes: Value) -> Document {
    let mut document = json!({
        "listeners": [{ "address": "127.0.0.1:0" }],
        "upstreams": { "app": { "endpoints": ["127.0.0.1:8080"] } },
        "routes": [{ "upstream": "app" }],
    });
    let Value::Object(changes) = changes else {
        panic!("the changes are a map");
    };
    for (key, value) in changes {
        document[key] = value;
    }
    serde_json::from_value(document).expect("the document has the right shape")
}

fn checked(changes: Value) -> Checked {
    check(&document(changes), Path::new("/etc/tidegate")).expect("the document is valid")
}

/// The errors, one in each line.
fn errors(changes: Value) -> Vec<String> {
    let problems = check(&document(changes), Path::new("/")).expect_err("the document is invalid");
    problems.iter().map(ToString::to_string).collect()
}

fn warnings(changes: Value) -> Vec<String> {
    let warnings = checked(changes).warnings;
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_minimal_document_has_the_defaults_that_are_documented() {
    let Checked { plan, warnings } = checked(json!({}));
    assert_eq!(warnings, []);
    assert!((1..=256).contains(&plan.workers.get()));
    let listener = &plan.listeners[0];
    assert_eq!(listener.limits.connections, 16_384);
    assert_eq!(listener.limits.head, 65_536);
    assert_eq!(listener.limits.target, 16_384);
    assert_eq!(listener.limits.body, Some(1 << 30));
    assert_eq!(listener.limits.requests_per_connection, None);
    assert_eq!(listener.timeouts.keep_alive, Duration::from_secs(75));
    assert_eq!(listener.timeouts.body_rate.map(|rate| rate.minimum), Some(240));
    assert_eq!(listener.http2.max_header_list, 65_536);
    assert_eq!(listener.http2.max_frame_size, 16_384);
    let admin = plan.admin.expect("admin is on");
    assert_eq!(admin.address.to_string(), "127.0.0.1:9901");
    assert_eq!(plan.access_log, None);
    assert!(plan.headers.request_id && !plan.headers.via && plan.headers.forwarded.x_forwarded());
    let upstream = &plan.upstreams[0];
    assert_eq!(upstream.protocol, UpstreamProtocol::Http1);
    assert_eq!(upstream.pool.max_lifetime, Some(Duration::from_secs(3600)));
    let route = &plan.routes[0];
    assert_eq!(&*route.name, "any path");
    assert_eq!(route.matches.path, PathPattern::Any);
    assert_eq!(route.timeouts.response, Some(Duration::from_secs(60)));
    assert_eq!(route.timeouts.total, None);
    assert_eq!(route.max_body, BodyLimit::OfListener);
    assert!(route.upgrades.websocket && !route.allow.encoded_slash);
}

#[test]
fn every_part_of_a_match_is_parsed() {
    let plan = checked(json!({ "routes": [{
        "match": {
            "host": ["*.Example.test", "example.test"],
            "prefix": "/api/",
            "method": "GET",
            "header": { "X-Team": "blue", "x-debug": { "present": false } },
            "query": { "v": { "regex": "[0-9]+" } },
            "client": "10.0.0.0/8",
        },
        "priority": -3,
        "upstream": "app",
    }] }))
    .plan;
    let matches = &plan.routes[0].matches;
    let suffix = HostPattern::Suffix(".example.test".to_owned());
    assert_eq!(matches.hosts, [suffix, HostPattern::Exact("example.test".to_owned())]);
    assert_eq!(matches.path, PathPattern::Prefix("/api".to_owned()));
    assert_eq!(matches.methods, [Method::GET]);
    assert_eq!(matches.headers[1].test, Test::Absent);
    assert_eq!(matches.headers[0].name, "x-team");
    assert_eq!(matches.headers[0].test, Test::Exact("blue".to_owned()));
    assert_eq!(matches.query[0].test, Test::Regex("[0-9]+".to_owned()));
    assert_eq!(matches.clients[0].to_string(), "10.0.0.0/8");
    assert_eq!(matches.priority, -3);
}

#[test]
fn all_problems_are_found_at_once() {
    let found = errors(json!({
        "listeners": [{ "address": "localhost:80", "trusted_proxies": ["10.0.0.0/8", "10.0.0.1/8"] }],
        "admin": { "address": "0.0.0.0:9901" },
        "upstreams": { "app": { "endpoints": ["http://app"], "protocol": "auto" } },
        "routes": [
            { "match": { "path": "/a", "prefix": "/b", "method": "get" }, "upstream": "ap" },
            { "respond": { "status": 204, "body": "x", "headers": { "Upgrade": "h2c" } } },
            { "match": { "regex": "(" } },
        ],
    }));
    assert_eq!(
        found,
        [
            "listeners[0].address: `localhost:80` is not an IP address with a port",
            "listeners[0].trusted_proxies[1]: `10.0.0.1/8` has bits set behind its prefix length",
            "admin.address: others can reach `0.0.0.0:9901`, and the admin listener asks nobody who they are",
            "upstreams.app.endpoints[0]: `http://app` is a URL",
            "upstreams.app.protocol: `auto` needs `tls`: without it nothing negotiates the protocol",
            "routes[0].match: has more than one of `path`, `prefix` and `regex`",
            "routes[0].match.method[0]: `get` is another method than `GET`: methods are case-sensitive",
            "routes[0].upstream: there is no upstream `ap`",
            "routes[1].respond.headers.Upgrade: the gateway writes `upgrade` by itself",
            "routes[1].respond.body: an answer with status 204 has no body",
            "routes[2].match.regex: is not a regular expression that can be used: unclosed group",
            "routes[2]: says nothing about how to answer",
        ]
    );
}

/// Each of these changes gives exactly this problem.
#[test]
fn one_mistake_gives_one_problem() {
    let route = |route: Value| json!({ "routes": [route] });
    let upstream = |key: &str, value: Value| json!({ "upstreams": { "app": { "endpoints": ["app:80"], key: value } } });
    let listener = |key: &str, value: Value| json!({ "listeners": [{ "address": "[::1]:0", key: value }] });
    let limited = |limits: Value| {
        let filters: Vec<_> =
            limits.as_array().into_iter().flatten().map(|limit| json!({ "rate_limit": limit })).collect();
        route(json!({ "upstream": "app", "filters": filters }))
    };
    let window = json!({ "limit": 5, "window": "1m" });
    for (changes, expected) in [
        (json!({ "listeners": [] }), "listeners: needs at least one listener"),
        (
            json!({ "listeners": [{ "address": "[::]:80" }, { "address": "[::]:80" }] }),
            "listeners[1].address: another listener has the address `[::]:80` already",
        ),
        (
            listener("tls", json!({ "certificates": [] })),
            "listeners[0].tls.certificates: needs at least one certificate",
        ),
        (
            listener("tls", json!({ "certificates": [{ "certificate": "", "key": "k" }] })),
            "listeners[0].tls.certificates[0].certificate: is not the path of a file",
        ),
        (
            listener("proxy_protocol", json!({ "trusted": [] })),
            "listeners[0].proxy_protocol.trusted: needs at least one network",
        ),
        (
            upstream("tls", json!({ "certificate": "c.pem" })),
            "upstreams.app.tls.certificate: `certificate` needs `key` beside it",
        ),
        (
            upstream("tls", json!({ "server_name": "a b" })),
            "upstreams.app.tls.server_name: `a b` is not a DNS name or IP address",
        ),
        (
            json!({ "upstreams": { "app": { "endpoints": [] } } }),
            "upstreams.app.endpoints: needs at least one endpoint",
        ),
        (
            json!({ "upstreams": { "app": { "endpoints": (0..1025).map(|port| format!("app:{}", port + 1)).collect::<Vec<_>>() } } }),
            "upstreams.app.endpoints: has more than 1024 endpoints",
        ),
        (
            json!({ "upstreams": { "app": { "endpoints": [{ "address": "app:80", "drain": true }] } } }),
            "upstreams.app.endpoints: every endpoint drains, so that none is left for requests",
        ),
        (
            upstream("health_check", json!({ "interval": "1s" })),
            "upstreams.app.health_check: has none of `path`, `tcp` and `grpc`",
        ),
        (
            upstream("health_check", json!({ "path": "/", "tcp": {} })),
            "upstreams.app.health_check: has more than one of `path`, `tcp` and `grpc`",
        ),
        (
            upstream("health_check", json!({ "path": "health" })),
            "upstreams.app.health_check.path: `health` is not a path to ask for",
        ),
        (
            upstream("health_check", json!({ "path": "/a b" })),
            "upstreams.app.health_check.path: `/a b` is not a path to ask for",
        ),
        (
            upstream("health_check", json!({ "path": "/", "host": "a b" })),
            "upstreams.app.health_check.host: `a b` is not a host: the host is not a name of letters, digits, '-', '.' and '_'",
        ),
        (
            upstream("health_check", json!({ "tcp": {}, "expect": [200] })),
            "upstreams.app.health_check.expect: `expect` is of use with `path` only",
        ),
        (
            upstream("health_check", json!({ "grpc": {} })),
            "upstreams.app.health_check.grpc: gRPC is spoken over HTTP/2, and this upstream speaks HTTP/1",
        ),
        (
            json!({
                "upstreams": { "a b": { "endpoints": ["app:80"] } },
                "routes": [{ "upstream": "a b" }],
            }),
            "upstreams.\"a b\": `a b` is not a name",
        ),
        (
            json!({ "routes": [{ "name": "x", "upstream": "app" }, { "name": "x", "upstream": "app" }] }),
            "routes[1].name: another route has the name `x` already",
        ),
        (
            route(json!({ "upstream": "app", "respond": { "status": 200 } })),
            "routes[0]: has more than one of `upstream`, `respond` and `redirect`",
        ),
        (route(json!({ "redirect": {} })), "routes[0].redirect: sends the client to where it already is"),
        (
            route(json!({ "redirect": { "path": "/x", "status": 304 } })),
            "routes[0].redirect.status: is not one of 301, 302, 303, 307 and 308",
        ),
        (
            route(json!({ "redirect": { "path": "//evil.test" } })),
            "routes[0].redirect.path: a path has no empty segments: `//` is read as `/`",
        ),
        (
            route(json!({ "match": { "header": { "host": "x" } }, "upstream": "app" })),
            "routes[0].match.header.host: the host is not tested as a field",
        ),
        (
            route(json!({ "match": { "header": { "x": "a\r\nb" } }, "upstream": "app" })),
            "routes[0].match.header.x: no field has this value",
        ),
        (
            route(json!({ "match": { "regex": "\\w{1000}{100}" }, "upstream": "app" })),
            "routes[0].match.regex: is not a regular expression that can be used: it takes more than 1048576 bytes compiled",
        ),
        (json!({ "access_log": { "to": "" } }), "access_log.to: is not the path of a file"),
        (
            limited(json!([{}])),
            "routes[0].filters[0].rate_limit: has none of `token_bucket`, `sliding_window`, `fixed_window` and `leaky_bucket`",
        ),
        (
            limited(json!([{ "name": "a", "fixed_window": window, "sliding_window": window }])),
            "routes[0].filters[0].rate_limit: has more than one of `token_bucket`, `sliding_window`, `fixed_window` and `leaky_bucket`",
        ),
        (
            limited(json!([{ "fixed_window": { "limit": 0, "window": "1m" } }])),
            "routes[0].filters[0].rate_limit.fixed_window.limit: must be from 1 to 4000000000",
        ),
        (
            limited(json!([{ "fixed_window": window, "max_wait": "1s", "by": ["path"] }])),
            "routes[0].filters[0].rate_limit.max_wait: is only for a `token_bucket`",
        ),
        (
            limited(json!([{ "fixed_window": window, "by": ["host", "client"] }])),
            "routes[0].filters[0].rate_limit.by[1]: `client` is no part of a request",
        ),
        (
            limited(json!([{ "fixed_window": window, "by": ["header:x-forwarded-for"] }])),
            "routes[0].filters[0].rate_limit.by[0]: the gateway removes `x-forwarded-for` before it looks at keys",
        ),
        (
            limited(json!([{ "name": "a/b", "fixed_window": window }])),
            "routes[0].filters[0].rate_limit.name: `a/b` is not a name",
        ),
        (
            limited(
                json!([{ "name": "a", "fixed_window": window }, { "name": "a", "fixed_window": window, "by": ["host"] }]),
            ),
            "routes[0].filters[1].rate_limit.name: `a` has other options at `routes[0].filters[0].rate_limit`",
        ),
        (
            json!({
                "listeners": [{ "address": "[::1]:0", "filters": [{ "rate_limit": { "name": "a", "fixed_window": window } }] }],
                "routes": [{ "upstream": "app", "filters": [{ "rate_limit": { "name": "a", "fixed_window": { "limit": 6, "window": "1m" } } }] }],
            }),
            "routes[0].filters[0].rate_limit.name: `a` has other options at `listeners[0].filters[0].rate_limit`",
        ),
        (
            json!({
                "policies": { "a": { "bulkhead": { "max_concurrent": 5 } } },
                "routes": [{ "upstream": "app", "filters": [{ "rate_limit": { "name": "a", "fixed_window": window } }] }],
            }),
            "routes[0].filters[0].rate_limit.name: a policy of `policies` has the name `a` already",
        ),
        (
            limited((0..17).map(|_| json!({ "fixed_window": window })).collect()),
            "routes[0].filters: has more than 16 filters",
        ),
    ] {
        assert_eq!(errors(changes), [expected]);
    }
}

#[test]
fn an_anchored_expression_cannot_escape_its_group() {
    let route = json!({ "routes": [{ "match": { "regex": "a)|(b" }, "upstream": "app" }] });
    assert_eq!(errors(route), ["routes[0].match.regex: is not a regular expression that can be used: unopened group"]);
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    assert_eq!(
        warnings(json!({
            "listeners": [{ "address": "127.0.0.1:0", "trusted_proxies": ["0.0.0.0/0"] }],
            "upstreams": {
                "app": { "endpoints": ["app:80", "APP:80"], "tls": { "verify": false } },
                "spare": { "endpoints": ["spare:80"] },
            },
            "routes": [
                { "name": "first", "match": { "path": "/u/{id}", "method": ["GET", "PUT"] }, "upstream": "app" },
                { "match": { "path": "/u/{name}", "method": ["PUT", "GET"] }, "upstream": "app" },
                { "match": { "path": "/u/{name}" }, "upstream": "app" },
            ],
        })),
        [
            "listeners[0].trusted_proxies[0]: trusts everybody: any client can claim any address",
            "upstreams.app.endpoints[1]: the endpoint `app:80` is in the list already",
            "upstreams.app.tls.verify: the endpoint's certificate is not verified",
            "routes[1].match: is never reached: the route `first` matches the same requests",
            "upstreams.spare: the upstream `spare` is never used",
        ]
    );
    assert_eq!(warnings(json!({ "routes": [] })), [": has no routes: every request is answered with 404"]);
}

#[test]
fn derived_names_are_unique_and_never_take_a_given_one() {
    let plan = checked(json!({ "routes": [
        { "match": { "prefix": "/a" }, "upstream": "app" },
        { "match": { "prefix": "/a", "method": "GET" }, "upstream": "app" },
        { "match": { "prefix": "/a", "method": "PUT" }, "upstream": "app" },
        { "match": { "path": "/b" }, "upstream": "app", "name": "prefix /a #2" },
        { "match": { "regex": "/c+" }, "upstream": "app" },
    ] }))
    .plan;
    let names: Vec<_> = plan.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["prefix /a", "prefix /a #3", "prefix /a #4", "prefix /a #2", "regex /c+"]);
}

#[test]
fn limits_are_policies_by_name() {
    let limit = |limit: Value| json!({ "rate_limit": limit });
    let window = json!({ "limit": 5, "window": "1m" });
    let shared = |cost| limit(json!({ "name": "shared", "fixed_window": window, "by": ["path"], "cost": cost }));
    let plain = limit(json!({ "fixed_window": window }));
    let plan = checked(json!({
        "listeners": [{ "address": "127.0.0.1:80", "filters": [plain] }],
        "policies": { "prefix-a": { "bulkhead": { "max_concurrent": 5 } } },
        "routes": [
            { "match": { "prefix": "/a" }, "upstream": "app", "filters": [plain, plain, shared(1)] },
            { "match": { "prefix": "/b" }, "respond": { "status": 200 }, "filters": [shared(3)] },
        ],
    }))
    .plan;
    let names = |limits: &[RateLimit]| limits.iter().map(|limit| limit.policy.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&plan.listeners[0].rate_limits), ["listener-127.0.0.1-80"]);
    assert_eq!(names(&plan.routes[0].rate_limits), ["prefix-a #2", "prefix-a #3", "shared"]);
    assert_eq!(names(&plan.routes[1].rate_limits), ["shared"]);
    assert_eq!(plan.routes[1].rate_limits[0].cost, 3);
    let kinds: Vec<_> = plan.policies.policies.iter().map(|(name, options)| (name.as_str(), options.kind())).collect();
    let expected = [
        ("listener-127.0.0.1-80", "rate_limit"),
        ("prefix-a", "bulkhead"),
        ("prefix-a #2", "rate_limit"),
        ("prefix-a #3", "rate_limit"),
        ("shared", "keyed_rate_limit"),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_route_overrides_the_times_of_its_upstream() {
    let plan = checked(json!({
        "upstreams": { "app": {
            "endpoints": ["app:80"],
            "timeouts": { "response": "5s", "body": "6s" },
        } },
        "routes": [{ "upstream": "app", "timeouts": { "body": "off", "total": "1m" }, "max_body": "unlimited" }],
    }))
    .plan;
    let route = &plan.routes[0];
    assert_eq!(route.timeouts.response, Some(Duration::from_secs(5)));
    assert_eq!(route.timeouts.body, None);
    assert_eq!(route.timeouts.total, Some(Duration::from_secs(60)));
    assert_eq!(route.max_body.on(Some(1)), None);
}

#[test]
fn actions_are_resolved() {
    let plan = checked(json!({
        "upstreams": { "b": { "endpoints": ["b:80"] }, "a": { "endpoints": ["[::1]:80"] } },
        "routes": [
            { "match": { "path": "/b" }, "upstream": "b" },
            { "match": { "path": "/a" }, "upstream": "a" },
            { "match": { "path": "/r" }, "respond": { "status": 403, "body": "no" } },
            { "match": { "path": "/t" }, "respond": { "status": 403, "body": "{}", "headers": { "Content-Type": "x/y" } } },
            { "match": { "path": "/m" }, "redirect": { "host": "Example.test:8443", "status": 307 } },
        ],
    }))
    .plan;
    let Action::Forward(index) = plan.routes[0].action else {
        panic!("the route forwards");
    };
    assert_eq!(&*plan.upstreams[index].name, "b");
    let host = &plan.upstreams[0].endpoints[0].host;
    assert!(matches!(host, EndpointHost::Address(address) if address.is_loopback()));
    let fields = |index: usize| match &plan.routes[index].action {
        Action::Respond(respond) => respond.headers.clone(),
        _ => panic!("the route responds"),
    };
    assert_eq!(fields(2)[0].1, "text/plain; charset=utf-8");
    assert_eq!(fields(3).len(), 1);
    let Action::Redirect(redirect) = &plan.routes[4].action else {
        panic!("the route redirects");
    };
    assert_eq!(redirect.host.as_deref(), Some("example.test:8443"));
    assert_eq!(redirect.status, StatusCode::TEMPORARY_REDIRECT);
}

#[test]
fn outliers_are_ejected_unless_somebody_says_otherwise() {
    let outlier = |upstream: Value| {
        let mut upstream = upstream;
        upstream["endpoints"] = json!(["app:80"]);
        checked(json!({ "upstreams": { "app": upstream } })).plan.upstreams[0].outlier.clone()
    };
    let default = outlier(json!({})).expect("it is on");
    assert_eq!((default.consecutive_failures, default.max_ejected), (Some(5), 50));
    assert_eq!((default.base_ejection, default.max_ejection), (Duration::from_secs(30), Duration::from_secs(300)));
    let is_failure = |status| default.failure_statuses.iter().any(|range| range.contains(status));
    assert_eq!([500, 501, 502, 503, 504, 505].map(is_failure), [false, false, true, true, true, false]);
    let rate = default.success_rate.expect("it is on");
    assert_eq!((rate.min_hosts, rate.min_requests, rate.stdev_factor), (5, 100, 1.9));
    assert_eq!(outlier(json!({ "outlier": "off" })), None);
    let changed = json!({ "outlier": { "consecutive_failures": "off", "base_ejection": "1h", "success_rate": "off" } });
    let changed = outlier(changed).expect("it is on");
    assert_eq!((changed.consecutive_failures, changed.success_rate), (None, None));
    assert_eq!(changed.max_ejection, Duration::from_secs(3600), "never less than the first one");
}

#[test]
fn a_health_check_has_the_defaults_that_are_documented() {
    let check = |check: Value| {
        let upstream = json!({ "endpoints": ["app:80"], "protocol": "http2", "health_check": check });
        checked(json!({ "upstreams": { "app": upstream } })).plan.upstreams[0].health_check.clone().expect("it is on")
    };
    let http = check(json!({ "path": "/health" }));
    assert_eq!((http.interval, http.timeout), (Duration::from_secs(5), Duration::from_secs(1)));
    assert_eq!((http.unhealthy_after, http.healthy_after), (3, 1));
    let Probe::Http { path, host, method, expect } = http.probe else { panic!("an HTTP probe") };
    assert_eq!((&*path, host, method), ("/health", None, ProbeMethod::Get));
    assert!(expect.len() == 1 && expect[0].contains(204) && !expect[0].contains(300));
    assert_eq!(check(json!({ "tcp": {} })).probe, Probe::Tcp);
    assert_eq!(check(json!({ "grpc": { "service": "a.B" } })).probe, Probe::Grpc { service: "a.B".into() });
    let slow = check(json!({ "tcp": {}, "interval": "1h" }));
    assert_eq!(slow.max_interval, slow.interval, "never less than the interval");
}

#[test]
fn files_are_found_from_the_folder_of_the_document() {
    let plan = checked(json!({ "listeners": [{
        "address": "127.0.0.1:0",
        "tls": { "certificates": [{ "certificate": "tls/cert.pem", "key": "/keys/key.pem" }] },
    }] }))
    .plan;
    let tls = plan.listeners[0].tls.as_ref().expect("the listener has TLS");
    let certificate = &tls.certificates[0];
    assert_eq!(certificate.certificate, Path::new("/etc/tidegate/tls/cert.pem"));
    assert_eq!(certificate.key, Path::new("/keys/key.pem"));
}

#[test]
fn smaller_bounds_pull_dependent_ones_down() {
    let plan = checked(json!({
        "listeners": [{ "address": "127.0.0.1:0", "limits": { "head": "8KiB" } }],
        "upstreams": { "app": { "endpoints": ["app:80"], "pool": { "max_connections": 10 } } },
    }))
    .plan;
    assert_eq!(plan.listeners[0].limits.target, 8192);
    assert_eq!(plan.listeners[0].http2.max_header_list, 8192);
    assert_eq!(plan.upstreams[0].pool.max_idle, 10);
}

#[test]
fn remote_admin_must_be_asked_for() {
    let admin = json!({ "admin": { "address": "0.0.0.0:9901", "allow_remote": true } });
    assert!(checked(admin).plan.admin.is_some());
    assert_eq!(checked(json!({ "admin": "off" })).plan.admin, None);
}

#[test]
fn a_document_survives_being_written_and_read() {
    let first = document(json!({
        "admin": "off",
        "access_log": { "to": "log.json" },
        "routes": [{
            "match": { "method": "GET", "header": { "a": { "present": true }, "b": { "regex": "x" }, "c": "d" } },
            "max_body": "10MB",
            "upstream": "app",
        }],
    }));
    let written = serde_json::to_value(&first).expect("a document is written");
    let again: Document = serde_json::from_value(written).expect("what was written is read");
    assert_eq!(again, first);
}
