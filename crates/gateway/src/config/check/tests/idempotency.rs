//! Guards of idempotency keys.

use http::HeaderName;

use super::*;
use crate::config::plan::KeyPart;

/// A route with these guards.
fn guarded(guards: &Value) -> Value {
    let filters: Vec<_> =
        guards.as_array().into_iter().flatten().map(|guard| json!({ "idempotency": guard })).collect();
    json!({ "routes": [{ "upstream": "app", "filters": filters }] })
}

#[test]
fn a_guard_has_the_defaults_that_are_documented() {
    let plan = checked(guarded(&json!([{ "by": ["header:authorization"] }]))).plan;
    let guard = plan.routes[0].idempotency.as_ref().expect("it is there");
    assert_eq!(guard.by, [KeyPart::Header(HeaderName::from_static("authorization"))]);
    assert_eq!(guard.methods, [Method::POST, Method::PATCH]);
    assert!(!guard.required);
    assert_eq!((guard.max_body, guard.max_answer), (65_536, 65_536));
    assert_eq!((guard.bounds.max_keys, guard.bounds.max_memory), (100_000, 64 << 20));
    assert_eq!(guard.bounds.keep, Duration::from_secs(86_400));
    for (status, released) in
        [(200, false), (400, false), (401, true), (429, true), (500, false), (502, false), (503, true)]
    {
        assert_eq!(guard.releases(status), released, "{status}");
    }
    assert_eq!(
        guard.to_string(),
        "POST, PATCH with an `Idempotency-Key` by header:authorization; bodies up to 65536 bytes, \
         answers up to 65536 bytes kept for 86400s, at most 100000 keys in 67108864 bytes; free again after 401, 403, 408, 425, 429, 503"
    );
}

#[test]
fn a_guard_stands_beside_limits() {
    let plan = checked(json!({ "routes": [{ "upstream": "app", "filters": [
        { "idempotency": { "by": ["client_address", "path"], "methods": ["PUT"], "release": ["500-599", 404] } },
        { "rate_limit": { "fixed_window": { "limit": 5, "window": "1m" } } },
    ] }] }))
    .plan;
    let route = &plan.routes[0];
    assert_eq!(route.rate_limits.len(), 1);
    let guard = route.idempotency.as_ref().expect("it is there");
    assert_eq!(
        (&guard.by[..], &guard.methods[..]),
        (&[KeyPart::ClientAddress(64), KeyPart::Path][..], &[Method::PUT][..])
    );
    assert!(guard.releases(500) && guard.releases(404) && !guard.releases(429));
}

#[test]
fn every_mistake_has_its_place() {
    let at = "routes[0].filters[0].idempotency";
    for (guard, expected) in [
        (json!({ "by": [] }), "by: says nothing that tells clients apart"),
        (json!({ "by": ["path", "client"] }), "by[1]: `client` is no part of a request"),
        (json!({ "by": ["path"], "methods": [] }), "methods: has no method, so that it does nothing"),
        (
            json!({ "by": ["path"], "methods": ["POST", "GET"] }),
            "methods[1]: GET has no effect to guard: it may be sent as often as one likes",
        ),
        (
            json!({ "by": ["path"], "methods": ["post"] }),
            "methods[0]: `post` is another method than `POST`: methods are case-sensitive",
        ),
        (
            json!({ "by": ["path"], "max_answer": "1MiB", "max_memory": "1MiB" }),
            "max_answer: is more than half of `max_memory`, which is 1MiB",
        ),
    ] {
        assert_eq!(errors(guarded(&json!([guard]))), [format!("{at}.{expected}")]);
    }
    let guard = json!({ "by": ["path"] });
    assert_eq!(
        errors(guarded(&json!([guard, guard]))),
        ["routes[0].filters[1].idempotency: is the second of this route: a key is looked up once"]
    );
}

#[test]
fn only_a_route_that_forwards_is_guarded() {
    let filters = json!([{ "idempotency": { "by": ["path"] } }]);
    assert_eq!(
        errors(json!({ "routes": [{ "respond": { "status": 200 }, "filters": filters }] })),
        ["routes[0].filters[0].idempotency: has nothing to guard: this route answers by itself"]
    );
    assert_eq!(
        errors(json!({ "listeners": [{ "address": "127.0.0.1:0", "filters": filters }] })),
        ["listeners[0].filters[0].idempotency: is a filter of routes: only a route knows where its requests go"]
    );
}
