//! What is right by itself and harmful together.

use serde_json::{Value, json};

use super::{checked, warnings};

/// The warnings about one route to one upstream, with these keys over theirs.
fn of(upstream: &Value, route: &Value) -> Vec<String> {
    let over = |mut base: Value, changes: &Value| {
        for (key, value) in changes.as_object().into_iter().flatten() {
            base[key] = value.clone();
        }
        base
    };
    let app = over(json!({ "endpoints": ["app:80"] }), upstream);
    let route = over(json!({ "name": "r", "upstream": "app" }), route);
    let spare = json!({ "endpoints": ["spare:80"], "protect": [{ "retry": { "attempts": 4 } }] });
    let rest = json!({ "name": "s", "match": { "path": "/spare" }, "upstream": "spare" });
    warnings(json!({ "upstreams": { "app": app, "spare": spare }, "routes": [route, rest] }))
}

fn post() -> Value {
    json!({ "method": ["POST", "PATCH"] })
}

#[test]
fn what_sends_again_what_may_not_be_sent_twice() {
    let hedge = json!({ "protect": [{ "hedge": {} }] });
    let found = of(&hedge, &json!({ "match": post() }));
    assert_eq!(
        found,
        ["routes[0].upstream: hedges nothing: POST and PATCH may not be sent twice [hedge_not_idempotent]"]
    );
    let none = Vec::<String>::new();
    assert_eq!(of(&hedge, &json!({ "match": post(), "idempotent": true })), none);
    assert_eq!(of(&hedge, &json!({ "match": { "method": ["POST", "GET"] } })), none);
    assert_eq!(of(&hedge, &json!({})), none);
    let own = json!({ "match": post(), "protect": [{ "timeout": {} }, { "retry": { "attempts": 2 } }] });
    let own = of(&json!({ "timeouts": { "response": "5s" } }), &own);
    assert_eq!(
        own,
        ["routes[0].protect[1]: tries again only what no endpoint has accepted: POST and PATCH may not be sent twice"]
    );
    // The retry of the upstream is there for other routes, too.
    assert_eq!(of(&json!({}), &json!({ "match": post() })), none);
    let fallback = of(&json!({}), &json!({ "match": post(), "fallback": { "upstream": "spare" } }));
    assert_eq!(
        fallback,
        [
            "routes[0].fallback.upstream: is asked only where no endpoint has accepted the request: POST and PATCH may not \
          be sent twice"
        ]
    );
}

#[test]
fn what_is_guarded_and_may_be_sent_twice() {
    let guarded = |idempotent: bool, methods: &[&str]| {
        let guard = json!({ "idempotency": { "by": ["path"], "methods": methods } });
        of(&json!({}), &json!({ "idempotent": idempotent, "filters": [guard] }))
    };
    assert_eq!(
        guarded(true, &["PUT", "POST"]),
        ["routes[0].idempotent: lets policies send a POST twice, which `idempotency` has sent once"]
    );
    assert_eq!(guarded(false, &["POST"]), [""; 0]);
    assert_eq!(guarded(true, &["PUT"]), [""; 0]);
}

#[test]
fn attempts_that_do_not_fit_into_the_time() {
    let retry = |response: &str| json!({ "protect": [{ "retry": {} }], "timeouts": { "response": response } });
    let total = |total: &str| json!({ "timeouts": { "total": total } });
    assert_eq!(
        of(&retry("60s"), &total("10s")),
        ["routes[0].timeouts.total: an attempt may take 60s (`timeouts.response`), and all of them together 10s \
          (`timeouts.total`): one that hangs is never tried again"]
    );
    assert_eq!(
        of(&retry("4s"), &total("10s")),
        [
            "routes[0].timeouts.total: 3 attempts of 4s (`timeouts.response`) and the waits between them take up to 12.3s, \
          and all together may take 10s (`timeouts.total`)"
        ]
    );
    assert_eq!(of(&retry("3s"), &total("10s")), Vec::<String>::new());
    // Nobody has asked for the retry that there is by default.
    assert_eq!(of(&json!({}), &total("10s")), Vec::<String>::new());
    let steps = |timeout: Value| json!({ "protect": [{ "timeout": timeout }, { "retry": {} }] });
    assert_eq!(
        of(&steps(json!({ "total": "2s" })), &json!({})),
        ["routes[0].upstream: an attempt may take 60s (`timeouts.response`), and all of them together 2s \
          (`timeout.total`): one that hangs is never tried again"]
    );
    assert_eq!(of(&steps(json!({ "total": "2s", "attempt": "500ms" })), &json!({})), Vec::<String>::new());
    assert_eq!(
        of(&steps(json!({ "total": "20s", "attempt": "5s" })), &total("15s")),
        [
            "routes[0].timeouts.total: 3 attempts of 5s (`timeout.attempt`) and the waits between them take up to 15.3s, \
          and all together may take 15s (`timeouts.total`)"
        ]
    );
}

#[test]
fn the_help_names_a_time_that_fits() {
    let retry = json!({ "endpoints": ["app:80"], "protect": [{ "retry": {} }], "timeouts": { "response": "4s" } });
    let route = json!({ "upstream": "app", "timeouts": { "total": "10s" } });
    let found = checked(json!({ "upstreams": { "app": retry }, "routes": [route] })).warnings;
    assert_eq!(found[0].help.as_deref(), Some("give an attempt 3.233s at most, by `timeout: { attempt: ... }`"));
}

#[test]
fn attempts_that_multiply_or_add_up() {
    let hedged = |attempts: u32| {
        json!({ "protect": [
            { "timeout": { "total": "60s", "attempt": "1s" } },
            { "retry": { "attempts": attempts } },
            { "hedge": { "max": 2 } },
        ] })
    };
    assert_eq!(
        of(&hedged(3), &json!({})),
        ["routes[0].upstream: one request may be sent 9 times: 3 of the retry, each with 3 of the hedge"]
    );
    assert_eq!(of(&hedged(2), &json!({})), Vec::<String>::new());
    let found = of(&hedged(3), &json!({ "match": post() }));
    assert!(found.iter().all(|warning| !warning.contains("may be sent 9 times")), "{found:?}");
    let fallback = json!({ "fallback": { "upstream": "spare" } });
    assert_eq!(
        of(&json!({ "protect": [{ "retry": {} }] }), &fallback),
        ["routes[0].fallback.upstream: one request may be sent 7 times: 3 times to `app`, and then 4 times to `spare`"]
    );
    assert_eq!(of(&json!({}), &fallback), Vec::<String>::new());
}

#[test]
fn requests_that_come_back() {
    let circle = |listener: &str, endpoint: &str, protect: Value| {
        warnings(json!({
            "listeners": [{ "address": listener }],
            "upstreams": { "app": { "endpoints": [endpoint], "protect": protect } },
        }))
    };
    let retry = json!([{ "retry": { "attempts": 3 } }]);
    assert_eq!(
        circle("0.0.0.0:8080", "127.0.0.1:8080", retry.clone()),
        [
            "upstreams.app.endpoints[0]: is a listener of this gateway (0.0.0.0:8080): requests come back here, and attempts \
          multiply: 9 for each with every turn"
        ]
    );
    assert_eq!(
        circle("10.0.0.1:8080", "10.0.0.1:8080", json!([])),
        ["upstreams.app.endpoints[0]: is a listener of this gateway (10.0.0.1:8080): requests come back here"]
    );
    assert_eq!(circle("127.0.0.1:8080", "127.0.0.1:8081", retry.clone()), Vec::<String>::new());
    assert_eq!(circle("0.0.0.0:8080", "10.0.0.1:8080", retry), Vec::<String>::new());
}

#[test]
fn what_is_written_for_nobody() {
    assert_eq!(
        warnings(json!({ "policies": { "db": { "bulkhead": {} }, "used": { "timeout": {} } },
            "routes": [{ "upstream": "app", "protect": [{ "use": "used" }] }] })),
        ["policies.db: the policy `db` is never used"]
    );
    let replay = |protect: Value, route: Value| of(&json!({ "protect": protect, "replay": "1MiB" }), &route);
    assert_eq!(
        replay(json!([]), json!({})),
        ["upstreams.app.replay: keeps bodies for nothing: no policy and no fallback sends a request again"]
    );
    assert_eq!(replay(json!([{ "retry": {} }]), json!({})), Vec::<String>::new());
    assert_eq!(replay(json!([]), json!({ "fallback": { "upstream": "spare" } })), Vec::<String>::new());
}
