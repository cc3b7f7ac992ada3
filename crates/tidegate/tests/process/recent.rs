//! What the admin listener remembers of requests, each by its id.

use serde_json::{Value, json};
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::port::RefusingPort;
use tidegate_testkit::recorder::{Recorder, Step, response};

use crate::reload::{admin, reload};
use crate::rig::BINARY;

fn config(endpoints: &str, more: &str) -> String {
    format!(
        "workers: 1\n\
         log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         reload: {{ watch: false }}\n\
         {more}\n\
         listeners: [ {{ address: \"127.0.0.1:0\", limits: {{ body: 10B }} }} ]\n\
         upstreams: {{ app: {{ endpoints: [ {endpoints} ] }} }}\n\
         routes:\n\
         - {{ name: app, match: {{ prefix: /app }}, upstream: app }}\n\
         - {{ name: own, match: {{ path: /own }}, respond: {{ status: 204 }} }}\n",
    )
}

fn start(recorder: &Recorder, more: &str) -> Gateway {
    Gateway::start(BINARY, &config(&format!("\"{}\"", recorder.address()), more))
}

/// Asks on a connection that ends afterwards: then the exchange is remembered.
fn ask(gateway: &Gateway, head: &str, id: &str, content: &str) -> u16 {
    let mut client = RawClient::connect(gateway.address(0));
    let request =
        format!("{head} HTTP/1.1\r\nHost: honest.test\r\nX-Request-Id: {id}\r\nConnection: close\r\n{content}");
    let answer = client.exchange(request);
    client.read_to_end();
    answer.status
}

fn page(gateway: &Gateway, target: &str) -> (u16, Value) {
    let (status, text) = admin(gateway, target);
    (status, serde_json::from_str(&text).expect("JSON"))
}

/// The only exchange of that id.
fn remembered(gateway: &Gateway, id: &str) -> Value {
    let (status, page) = page(gateway, &format!("/exchanges/{id}"));
    assert_eq!(status, 200, "{id}: {page}");
    let found = page["exchanges"].as_array().expect("a list");
    assert_eq!(found.len(), 1, "{page}");
    found[0].clone()
}

/// The ids that are listed, in their order.
fn listed(gateway: &Gateway, query: &str) -> Vec<String> {
    let (status, page) = page(gateway, &format!("/exchanges{query}"));
    assert_eq!(status, 200, "{query}: {page}");
    let exchanges = page["exchanges"].as_array().expect("a list");
    exchanges.iter().map(|exchange| exchange["request_id"].as_str().expect("an id").to_owned()).collect()
}

fn end(gateway: Gateway) {
    let ended = gateway.terminate();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}

#[test]
fn an_endpoint_that_gives_way_to_another_is_shown() {
    let (dead, recorder) = (RefusingPort::reserve(), Recorder::start());
    let endpoints = format!("\"{}\", \"{}\"", dead.address(), recorder.address());
    let gateway = Gateway::start(BINARY, &config(&endpoints, ""));
    let mut failed_over = 0;
    for turn in 0..4 {
        assert_eq!(ask(&gateway, "GET /app", &format!("turn-{turn}"), "\r\n"), 200);
        let exchange = remembered(&gateway, &format!("turn-{turn}"));
        assert_eq!((&exchange["route"], &exchange["upstream"]), (&"app".into(), &"app".into()));
        assert_eq!((&exchange["status"], &exchange["complete"]), (&200.into(), &true.into()));
        let attempts = exchange["attempts"].as_array().expect("a list");
        let (last, before) = attempts.split_last().expect("an attempt");
        assert_eq!((&last["endpoint"], &last["status"]), (&recorder.address().to_string().into(), &200.into()));
        assert_eq!((&last["fault"], last["took_ms"].is_number()), (&Value::Null, true), "{exchange}");
        for attempt in before {
            assert_eq!(attempt["endpoint"], dead.address().to_string());
            assert_eq!((&attempt["fault"]["code"], &attempt["status"]), (&"SVC_002".into(), &Value::Null));
            assert_eq!(attempt["fault"]["detail"], "the endpoint could not be connected to");
            assert_eq!(attempt["connected_ms"], Value::Null, "{exchange}");
            assert!(last["began_ms"].as_f64() >= attempt["began_ms"].as_f64(), "{exchange}");
            failed_over += 1;
        }
    }
    assert!(failed_over > 0, "the dead endpoint has its turn too");
    end(gateway);
}

#[test]
fn a_request_that_was_sent_twice_shows_both_attempts() {
    // A connection that ends instead of carrying a second request.
    let recorder = Recorder::with(|seen| match seen.index {
        0 => vec![Step::AwaitRequest, Step::Answer],
        _ => vec![Step::Close],
    });
    let gateway = start(&recorder, "");
    assert_eq!(ask(&gateway, "GET /app", "first", "\r\n"), 200);
    assert_eq!(ask(&gateway, "GET /app", "second", "\r\n"), 200);
    let first = remembered(&gateway, "first");
    assert_eq!(first["attempts"].as_array().map(Vec::len), Some(1));
    let second = remembered(&gateway, "second");
    let kinds = |name: &str| -> Vec<Value> {
        let attempts = second["attempts"].as_array().expect("a list");
        attempts.iter().map(|attempt| attempt[name].clone()).collect()
    };
    assert_eq!(kinds("reused_connection"), [json!(true), json!(false)]);
    assert_eq!(kinds("status"), [Value::Null, json!(200)]);
    assert_eq!(kinds("fault")[0]["code"], "SVC_004");
    end(gateway);
}

#[test]
fn a_request_that_its_client_gave_up_shows_who_was_waited_for() {
    let recorder = Recorder::start();
    recorder.on("/app/silent", vec![Step::AwaitRequest, Step::AwaitClose]);
    let gateway = start(&recorder, "");
    let mut client = RawClient::connect(gateway.address(0));
    client.send("GET /app/silent HTTP/1.1\r\nHost: honest.test\r\nX-Request-Id: left\r\n\r\n");
    let seen = recorder.wait_for_target("/app/silent");
    client.reset();
    recorder.wait_until_ended(seen.connection);
    // The only worker has done with the one before when it answers another.
    assert_eq!(ask(&gateway, "GET /own", "after", "\r\n"), 204);
    let left = remembered(&gateway, "left");
    assert_eq!((&left["status"], &left["complete"]), (&Value::Null, &false.into()));
    assert_eq!((&left["route"], &left["fault"]["code"]), (&"app".into(), &"VAL_011".into()));
    let attempt = &left["attempts"][0];
    assert_eq!(attempt["endpoint"], recorder.address().to_string());
    assert_eq!((&attempt["fault"]["code"], attempt["connected_ms"].is_number()), (&"VAL_011".into(), true));
    end(gateway);
}

#[test]
fn answers_of_the_gateway_itself_show_why() {
    let recorder = Recorder::start();
    let gateway = start(&recorder, "");
    assert_eq!(ask(&gateway, "GET /elsewhere", "nowhere", "\r\n"), 404);
    assert_eq!(ask(&gateway, "GET /own", "alone", "\r\n"), 204);
    assert_eq!(ask(&gateway, "POST /app", "large", "Content-Length: 11\r\n\r\nhello world"), 413);
    let nowhere = remembered(&gateway, "nowhere");
    assert_eq!((&nowhere["route"], &nowhere["upstream"]), (&Value::Null, &Value::Null));
    let reason = json!({ "code": "ROUTE_001", "detail": "no route matches the request" });
    assert_eq!((&nowhere["fault"], &nowhere["attempts"]), (&reason, &json!([])));
    assert_eq!((&nowhere["method"], &nowhere["host"]), (&"GET".into(), &"honest.test".into()));
    assert_eq!((&nowhere["path"], &nowhere["client"]), (&"/elsewhere".into(), &"127.0.0.1".into()));
    let alone = remembered(&gateway, "alone");
    assert_eq!((&alone["route"], &alone["status"], &alone["fault"]), (&"own".into(), &204.into(), &Value::Null));
    let large = remembered(&gateway, "large");
    assert_eq!((&large["route"], &large["fault"]["code"]), (&"app".into(), &"VAL_008".into()));
    assert_eq!(large["attempts"], json!([]));
    end(gateway);
}

#[test]
fn a_request_that_breaks_http_is_found_by_the_id_in_its_answer() {
    let recorder = Recorder::start();
    let gateway = start(&recorder, "");
    let mut client = RawClient::connect(gateway.address(0));
    let answer = client.exchange("GET /app HTTP/1.1\r\nHost: honest.test\r\nContent-Length: 1, 2\r\n\r\n");
    client.read_to_end();
    assert_eq!(answer.status, 400);
    let id = answer.json()["request_id"].as_str().expect("an id").to_owned();
    let exchange = remembered(&gateway, &id);
    assert_eq!((&exchange["fault"]["code"], &exchange["status"]), (&"VAL_001".into(), &400.into()));
    assert_eq!(exchange["fault"]["detail"], "Content-Length is not one plain number");
    end(gateway);
}

#[test]
fn neither_fields_nor_queries_are_remembered() {
    let recorder = Recorder::start();
    let gateway = start(&recorder, "");
    let fields = "Authorization: Bearer hidden\r\nCookie: session=hidden\r\n\r\n";
    assert_eq!(ask(&gateway, "GET /app/x?token=hidden", "secret", fields), 200);
    assert_eq!(remembered(&gateway, "secret")["path"], "/app/x");
    let (_, text) = admin(&gateway, "/exchanges");
    assert!(text.contains("secret") && !text.contains("hidden") && !text.contains("token"), "{text}");
    end(gateway);
}

#[test]
fn the_last_exchanges_are_listed_by_status_and_route() {
    let recorder = Recorder::start();
    let gateway = start(&recorder, "recent: { exchanges: 4 }");
    for (head, id) in [("GET /own", "a"), ("GET /app", "b"), ("GET /none", "c"), ("GET /app", "d"), ("GET /own", "e")] {
        ask(&gateway, head, id, "\r\n");
    }
    assert_eq!(listed(&gateway, ""), ["e", "d", "c", "b"], "four are kept, the newest first");
    assert_eq!(listed(&gateway, "?limit=2"), ["e", "d"]);
    assert_eq!(listed(&gateway, "?status=4xx"), ["c"]);
    assert_eq!(listed(&gateway, "?status=204"), ["e"]);
    assert_eq!(listed(&gateway, "?route=app"), ["d", "b"]);
    assert_eq!(listed(&gateway, "?route=app&status=2xx&limit=1"), ["d"]);
    let (status, problem) = page(&gateway, "/exchanges/a");
    assert_eq!(status, 404, "{problem}");
    assert_eq!(problem["detail"], "no exchange of that id is among the last 4 of each worker");
    end(gateway);
}

#[test]
fn a_reload_changes_how_many_are_kept() {
    let recorder = Recorder::start();
    let gateway = start(&recorder, "recent: { exchanges: 2 }");
    let endpoint = format!("\"{}\"", recorder.address());
    let change = |more: &str| {
        gateway.rewrite_config(&config(&endpoint, more));
        reload(&gateway, |line| line.says("reloaded"));
    };
    ask(&gateway, "GET /own", "a", "\r\n");
    change("recent: { exchanges: 2 }\nheaders: { via: true }");
    assert_eq!(listed(&gateway, ""), ["a"], "what did not change stays");
    change("recent: off");
    ask(&gateway, "GET /own", "b", "\r\n");
    assert_eq!(page(&gateway, "/exchanges").1, json!({ "kept_per_worker": 0, "exchanges": [] }));
    change("recent: { exchanges: 1 }");
    ask(&gateway, "GET /own", "c", "\r\n");
    assert_eq!(listed(&gateway, ""), ["c"]);
    end(gateway);
}

/// With one upstream of these endpoints and options, a spare one, and one route for all that has these parts.
fn decided(endpoints: &[String], upstream: &str, spare: &str, route: &str) -> Gateway {
    let endpoints: Vec<_> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
    let endpoints = endpoints.join(", ");
    let config = format!(
        "workers: 1\n\
         log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
         upstreams: {{ spare: {{ endpoints: [ \"{spare}\" ] }}, \
                       app: {{ endpoints: [ {endpoints} ], outlier: off, {upstream} }} }}\n\
         routes: [ {{ name: all, match: {{ prefix: / }}, upstream: app, {route} }} ]\n",
    );
    Gateway::start(BINARY, &config)
}

/// Nobody answers there, and nobody is asked there.
const NO_SPARE: &str = "127.0.0.1:1";

/// Always the same answer.
fn answering(status: &'static str) -> Recorder {
    Recorder::with(move |_| vec![Step::AwaitRequest, Step::Send(response(status, &[], ""))])
}

#[test]
fn a_limit_that_refuses_is_named() {
    let recorder = Recorder::start();
    let limit = "rate_limit: { name: per-client, fixed_window: { limit: 1, window: 1h }, by: [client_address] }";
    let gateway = decided(&[recorder.address().to_string()], "", NO_SPARE, &format!("filters: [ {{ {limit} }} ]"));
    assert_eq!(ask(&gateway, "GET /", "passes", "\r\n"), 200);
    assert_eq!(ask(&gateway, "GET /", "refused", "\r\n"), 429);
    assert_eq!(remembered(&gateway, "passes")["decisions"], Value::Null, "nothing was decided");
    let decision = json!({ "decision": "refused", "policy": "per-client", "code": "rate_limiter.limited" });
    assert_eq!(remembered(&gateway, "refused")["decisions"], json!([decision]));
    end(gateway);
}

#[test]
fn a_wait_for_a_limit_is_shown() {
    let recorder = Recorder::start();
    let limit = "rate_limit: { token_bucket: { rate: 1, per: 1s, burst: 1 }, max_wait: 1h }";
    let gateway = decided(&[recorder.address().to_string()], "", NO_SPARE, &format!("filters: [ {{ {limit} }} ]"));
    for id in ["at-once", "waits"] {
        assert_eq!(ask(&gateway, "GET /", id, "\r\n"), 200);
    }
    assert_eq!(remembered(&gateway, "at-once")["decisions"], Value::Null);
    let decisions = remembered(&gateway, "waits")["decisions"].clone();
    assert_eq!(decisions[0]["decision"], "waited", "{decisions}");
    assert!(decisions[0]["wait_ms"].as_f64().is_some_and(|time| time > 0.0 && time <= 1000.0), "{decisions}");
    end(gateway);
}

#[test]
fn a_circuit_breaker_that_refuses_is_named() {
    let sick = answering("500 Internal Server Error");
    let breaker = "consecutive_failures: 1, open_for: 1h, open_max: 24h";
    let endpoints = [sick.address().to_string()];
    let gateway = decided(&endpoints, &format!("protect: [ {{ circuit_breaker: {{ {breaker} }} }} ]"), NO_SPARE, "");
    assert_eq!(ask(&gateway, "GET /", "opens", "\r\n"), 500);
    assert_eq!(ask(&gateway, "GET /", "refused", "\r\n"), 503);
    assert_eq!(remembered(&gateway, "opens")["decisions"], Value::Null);
    let refused = remembered(&gateway, "refused");
    let decision = json!({ "decision": "refused", "policy": "app/circuit_breaker", "code": "circuit_breaker.open" });
    assert_eq!((&refused["decisions"], &refused["attempts"]), (&json!([decision]), &json!([])));
    end(gateway);

    // That of a single endpoint is asked when the endpoint has been chosen.
    let gateway = decided(&endpoints, &format!("protect: [], endpoint_breaker: {{ {breaker} }}"), NO_SPARE, "");
    assert_eq!(ask(&gateway, "GET /", "opens", "\r\n"), 500);
    assert_eq!(ask(&gateway, "GET /", "refused", "\r\n"), 503);
    let refused = remembered(&gateway, "refused");
    let policy = refused["decisions"][0]["policy"].as_str().expect("a policy");
    assert!(policy.contains(&endpoints[0]), "{policy}");
    assert_eq!(refused["decisions"][0]["code"], "circuit_breaker.open");
    assert_eq!(refused["attempts"][0]["endpoints"], json!({ "of": 1, "unfit": 1, "tried": 0 }));
    end(gateway);
}

#[test]
fn a_policy_that_puts_an_end_to_a_request_is_named() {
    let silent = Recorder::with(|_| vec![Step::AwaitClose]);
    let fallback = "fallback: { respond: { status: 200 } }";
    let protect = "protect: [ { timeout: { total: 100ms } } ]";
    let gateway = decided(&[silent.address().to_string()], protect, NO_SPARE, fallback);
    assert_eq!(ask(&gateway, "GET /", "late", "\r\n"), 200);
    let late = remembered(&gateway, "late");
    let ended = json!({ "decision": "ended", "policy": "app/timeout", "code": "timeout.total" });
    assert_eq!(late["decisions"], json!([ended, { "decision": "fallback", "to": "answer" }]));
    assert_eq!(late["fault"]["code"], "SVC_007");
    end(gateway);
}

#[test]
fn another_upstream_that_stands_in_is_shown() {
    let (sick, spare) = (answering("503 Service Unavailable"), Recorder::start());
    let fallback = "fallback: { upstream: spare }";
    let gateway = decided(&[sick.address().to_string()], "protect: []", &spare.address().to_string(), fallback);
    assert_eq!(ask(&gateway, "GET /", "moved", "\r\n"), 200);
    let moved = remembered(&gateway, "moved");
    assert_eq!(moved["decisions"], json!([{ "decision": "fallback", "to": "upstream", "upstream": "spare" }]));
    let statuses = [0, 1].map(|place| moved["attempts"][place]["status"].clone());
    assert_eq!(statuses, [json!(503), json!(200)]);
    end(gateway);
}

#[test]
fn an_answer_that_was_kept_is_shown() {
    let recorder = Recorder::start();
    let filters = "filters: [ { idempotency: { by: [\"header:x-user\"] } } ]";
    let gateway = decided(&[recorder.address().to_string()], "", NO_SPARE, filters);
    let fields = "Idempotency-Key: \"k\"\r\nX-User: ann\r\nContent-Length: 0\r\n\r\n";
    for id in ["first", "again"] {
        assert_eq!(ask(&gateway, "POST /", id, fields), 200);
    }
    assert_eq!(remembered(&gateway, "first")["decisions"], Value::Null);
    let again = remembered(&gateway, "again");
    assert_eq!((&again["decisions"], &again["attempts"]), (&json!([{ "decision": "replayed" }]), &json!([])));
    end(gateway);
}

#[test]
fn an_attempt_shows_of_how_many_endpoints_it_was_chosen() {
    let (sick, well) = (answering("503 Service Unavailable"), Recorder::start());
    let endpoints = [sick.address().to_string(), well.address().to_string()];
    let retry = "protect: [ { retry: { attempts: 2, budget: off, backoff: { strategy: constant, delay: 1ms } } } ]";
    let gateway = decided(&endpoints, retry, NO_SPARE, "");
    let mut retried = 0;
    for turn in 0..4 {
        let id = format!("turn-{turn}");
        assert_eq!(ask(&gateway, "GET /", &id, "\r\n"), 200);
        let exchange = remembered(&gateway, &id);
        let attempts = exchange["attempts"].as_array().expect("a list");
        assert_eq!(attempts[0]["endpoints"], json!({ "of": 2 }), "all were fit");
        assert_eq!(exchange["decisions"], Value::Null, "another attempt is shown as that");
        if let Some(second) = attempts.get(1) {
            assert_eq!(second["endpoints"], json!({ "of": 2, "unfit": 0, "tried": 1 }));
            assert_eq!(second["endpoint"], endpoints[1]);
            retried += 1;
        }
    }
    assert!(retried > 0, "the sick endpoint has its turn too");
    end(gateway);
}
