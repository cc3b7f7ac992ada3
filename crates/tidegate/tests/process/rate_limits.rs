//! Limits in front of routes and listeners, as clients notice them.

use std::process::Command;
use std::{fs, thread};

use tidegate_testkit::client::RawClient;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::http1::Response;
use tidegate_testkit::recorder::{Recorder, Step, response};

use crate::reload::{admin, is_reloaded, reload};
use crate::rig::{BINARY, check_problem};

/// A gateway that answers by itself; all windows in these tests are longer than any test.
fn config(workers: usize, listener: &str, routes: &str) -> String {
    format!(
        "workers: {workers}\n\
         log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         reload: {{ watch: false }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\"{listener} }} ]\n\
         routes:\n{routes}"
    )
}

/// A route of this path with these filters.
fn route(path: &str, filters: &str) -> String {
    format!("- {{ match: {{ path: {path} }}, filters: [ {filters} ], respond: {{ status: 200, body: ok }} }}\n")
}

fn request(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n")
}

/// A request on a connection of its own.
fn ask(gateway: &Gateway, path: &str, fields: &str) -> Response {
    RawClient::connect(gateway.address(0)).exchange(request(path, fields))
}

/// How many of so many requests pass; all others are refused by a limit.
fn passed(gateway: &Gateway, count: usize, path: &str, fields: &str) -> usize {
    let mut client = RawClient::connect(gateway.address(0));
    let answers = (0..count).map(|_| client.exchange(request(path, fields)));
    let passed = answers.filter(|answer| {
        assert!(matches!(answer.status, 200 | 429), "{answer:?}");
        answer.status == 200
    });
    passed.count()
}

fn end(gateway: Gateway) {
    let ended = gateway.terminate();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}

/// The number of a parameter in the value of a field.
fn parameter(value: &str, name: &str) -> u64 {
    let mut parameters = value.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    let (_, number) = parameters.find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name} in {value}"));
    number.parse().unwrap_or_else(|_| panic!("{value}"))
}

#[test]
fn ten_pass_and_the_next_is_told_when_to_come_back() {
    let filters = "{ rate_limit: { name: per-client, fixed_window: { limit: 10, window: 1h }, by: [client_address] } }";
    let gateway = Gateway::start(BINARY, &config(2, "", &route("/limited", filters)));
    for left in (0..10).rev() {
        let answer = ask(&gateway, "/limited", "");
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_eq!(answer.fields.first("ratelimit-policy"), Some(r#""per-client";q=10;w=3600"#));
        let standing = answer.fields.first("ratelimit").expect("it is told").to_owned();
        assert!(standing.starts_with(r#""per-client";r="#), "{standing}");
        assert_eq!(parameter(&standing, "r"), left);
        assert!((1..=3600).contains(&parameter(&standing, "t")), "{standing}");
    }
    let answer = ask(&gateway, "/limited", "");
    assert_eq!(answer.status, 429);
    check_problem(&answer);
    assert_eq!(answer.json()["error_code"], "RATE_001");
    let standing = answer.fields.first("ratelimit").expect("it is told").to_owned();
    assert_eq!(parameter(&standing, "r"), 0);
    let retry: u64 = answer.fields.first("retry-after").and_then(|text| text.parse().ok()).expect("a number");
    assert!(retry.abs_diff(parameter(&standing, "t")) <= 1, "{answer:?}");
    end(gateway);
}

#[test]
fn keys_keep_clients_apart() {
    let limit = "fixed_window: { limit: 2, window: 1h }, headers: false";
    let routes = route("/user", &format!("{{ rate_limit: {{ {limit}, by: [\"header:x-user\"] }} }}"))
        + &route("/both", &format!("{{ rate_limit: {{ {limit}, by: [\"cookie:sid\", method] }} }}"))
        + &route("/all", &format!("{{ rate_limit: {{ {limit} }} }}"));
    let gateway = Gateway::start(BINARY, &config(2, "", &routes));
    for fields in ["X-User: ann\r\n", "X-User: bob\r\n", ""] {
        assert_eq!(passed(&gateway, 5, "/user", fields), 2, "{fields}");
    }
    for fields in ["Cookie: sid=1\r\n", "Cookie: a=b; sid=2\r\n", "Cookie: a=b\r\n"] {
        assert_eq!(passed(&gateway, 5, "/both", fields), 2, "{fields}");
    }
    assert_eq!(
        passed(&gateway, 5, "/both", "Cookie: c=d\r\n"),
        0,
        "who has no such cookie counts with all who have none"
    );
    assert_eq!(passed(&gateway, 5, "/all", "X-User: ann\r\n"), 2);
    let answer = ask(&gateway, "/all", "X-User: bob\r\n");
    assert_eq!(answer.status, 429);
    assert!(!answer.fields.has("ratelimit") && !answer.fields.has("ratelimit-policy"), "{answer:?}");
    end(gateway);
}

#[test]
fn the_tightest_of_several_limits_answers_and_the_others_do_not_count() {
    let filters = "{ rate_limit: { name: wide, fixed_window: { limit: 20, window: 10h } } }, \
                   { rate_limit: { name: narrow, fixed_window: { limit: 3, window: 1h }, by: [\"header:x-user\"] } }";
    let gateway = Gateway::start(BINARY, &config(2, "", &route("/", filters)));
    assert_eq!(passed(&gateway, 30, "/", "X-User: ann\r\n"), 3);
    let refused = ask(&gateway, "/", "X-User: ann\r\n");
    let standing = refused.fields.first("ratelimit").expect("it is told");
    assert!(standing.starts_with(r#""narrow";r=0;"#) && standing.contains(r#", "wide";r=17;"#), "{standing}");
    assert_eq!(refused.fields.first("ratelimit-policy"), Some(r#""narrow";q=3;w=3600, "wide";q=20;w=36000"#));
    // Of the wide one only what passed is used.
    for user in 0..8 {
        let expected = if user < 5 { 3 } else { [2, 0, 0][user - 5] };
        assert_eq!(passed(&gateway, 4, "/", &format!("X-User: {user}\r\n")), expected, "user {user}");
    }
    let refused = ask(&gateway, "/", "X-User: ann\r\n");
    let standing = refused.fields.first("ratelimit").expect("it is told");
    let retry: u64 = refused.fields.first("retry-after").and_then(|text| text.parse().ok()).expect("a number");
    assert!(
        standing.starts_with(r#""wide";r=0;"#) && retry > 3600,
        "both refuse, the wide one for longer: {refused:?}"
    );
    end(gateway);
}

#[test]
fn one_name_is_one_limit_and_may_cost_more_elsewhere() {
    let limit = |more| {
        format!(
            "{{ rate_limit: {{ name: shared, fixed_window: {{ limit: 10, window: 1h }}, by: [client_address]{more} }} }}"
        )
    };
    let routes = route("/cheap", &limit("")) + &route("/dear", &limit(", cost: 4"));
    let gateway = Gateway::start(BINARY, &config(2, "", &routes));
    assert_eq!(passed(&gateway, 3, "/dear", ""), 2);
    assert_eq!(passed(&gateway, 5, "/cheap", ""), 2);
    end(gateway);
}

#[test]
fn a_limit_of_a_listener_counts_whatever_comes_there() {
    let listener = ", filters: [ { rate_limit: { name: door, fixed_window: { limit: 4, window: 1h } } } ]";
    let filters = "{ rate_limit: { name: inner, fixed_window: { limit: 2, window: 1h } } }";
    let gateway = Gateway::start(BINARY, &config(1, listener, &route("/limited", filters)));
    let missing = ask(&gateway, "/missing", "");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.fields.first("ratelimit-policy"), Some(r#""door";q=4;w=3600"#));
    assert_eq!(passed(&gateway, 5, "/limited", ""), 2, "what the route refuses does not count at the door");
    assert_eq!(ask(&gateway, "/missing", "").status, 404);
    assert_eq!(ask(&gateway, "/missing", "").status, 429);
    end(gateway);
}

#[test]
fn who_only_counts_refuses_nobody_and_says_nothing() {
    let filters = "{ rate_limit: { mode: metrics_only, fixed_window: { limit: 1, window: 1h } } }";
    let gateway = Gateway::start(BINARY, &config(1, "", &route("/", filters)));
    assert_eq!(passed(&gateway, 5, "/", ""), 5);
    assert!(!ask(&gateway, "/", "").fields.has("ratelimit"));
    end(gateway);
}

#[test]
fn who_may_wait_waits_for_its_turn() {
    let bucket = "token_bucket: { rate: 1, per: 300ms, burst: 1 }";
    let routes = route("/wait", &format!("{{ rate_limit: {{ {bucket}, max_wait: 1h }} }}"))
        + &route("/paced", "{ rate_limit: { leaky_bucket: { rate: 1, per: 300ms, queue: 5 } } }")
        + &route("/never", "{ rate_limit: { leaky_bucket: { rate: 1, per: 1h, queue: 0 } } }");
    let gateway = Gateway::start(BINARY, &config(1, "", &routes));
    for path in ["/wait", "/paced"] {
        assert_eq!(passed(&gateway, 3, path, ""), 3, "{path}");
    }
    assert_eq!(passed(&gateway, 3, "/never", ""), 1);
    end(gateway);
}

#[test]
fn limits_of_an_upstream_stay_beside_those_of_the_gateway() {
    let recorder = Recorder::with(|_| {
        let fields = [("RateLimit", r#""app";r=1;t=5"#), ("RateLimit-Policy", r#""app";q=2;w=5"#)];
        vec![Step::Send(response("200 OK", &fields, "x")), Step::AwaitRequest]
    });
    let routes = format!(
        "- {{ match: {{ prefix: / }}, upstream: app, filters: [ {{ rate_limit: {{ name: own, fixed_window: {{ limit: 5, window: 1h }} }} }} ] }}\n\
         upstreams: {{ app: {{ endpoints: [ \"{}\" ] }} }}\n",
        recorder.address()
    );
    let gateway = Gateway::start(BINARY, &config(1, "", &routes));
    let answer = ask(&gateway, "/", "");
    let policies: Vec<_> = answer.fields.all("ratelimit-policy").collect();
    assert_eq!(policies, [r#""app";q=2;w=5"#, r#""own";q=5;w=3600"#]);
    assert_eq!(answer.fields.all("ratelimit").next(), Some(r#""app";r=1;t=5"#));
    end(gateway);
}

#[test]
fn reloads_keep_what_was_counted() {
    let named = |limit: usize| {
        format!(
            "{{ rate_limit: {{ name: per-client, fixed_window: {{ limit: {limit}, window: 1h }}, by: [client_address] }} }}"
        )
    };
    let routes = |limit, more: &str| route("/limited", &named(limit)) + &route("/plain", "") + more;
    let gateway = Gateway::start(BINARY, &config(2, "", &routes(5, "")));
    assert_eq!(passed(&gateway, 3, "/limited", ""), 3);
    gateway.rewrite_config(&config(2, "", &routes(5, &route("/more", ""))));
    reload(&gateway, is_reloaded);
    assert_eq!(ask(&gateway, "/more", "").status, 200);
    assert_eq!(passed(&gateway, 5, "/limited", ""), 2, "two of five were left");
    gateway.rewrite_config(&config(2, "", &routes(8, "")));
    reload(&gateway, is_reloaded);
    let answer = ask(&gateway, "/limited", "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.fields.first("ratelimit-policy"), Some(r#""per-client";q=8;w=3600"#));
    assert_eq!(passed(&gateway, 5, "/limited", ""), 2, "three more than before, of which one is gone");
    end(gateway);
}

#[test]
fn a_reload_keeps_and_forgets_what_diff_says() {
    const BEFORE: &str = "name: old, fixed_window: { limit: 5, window: 1h }, by: [client_address]";
    let config = |limit: &str| config(1, "", &route("/limited", &format!("{{ rate_limit: {{ {limit} }} }}")));
    let folder = tempfile::tempdir().expect("a folder");
    let [old, new] = ["old.yaml", "new.yaml"].map(|name| folder.path().join(name));
    fs::write(&old, config(BEFORE)).expect("the file is written");
    for (after, words, left) in [
        (BEFORE.replace("limit: 5", "limit: 8"), "fixed_window.limit 5 -> 8; keeps its state", 5),
        (BEFORE.replace("fixed_window: { limit: 5, window: 1h }", "token_bucket: { rate: 5, per: 1h }"), "keeps", 2),
        (BEFORE.replace("[client_address]", "[host]"), "by client_address -> host; its count begins anew", 5),
        (BEFORE.replace("[client_address]", "[]"), "by client_address -> none; its count begins anew", 5),
        (BEFORE.replace("old", "new"), "limit `new` takes the place of `old`, and begins from nothing", 5),
    ] {
        fs::write(&new, config(&after)).expect("the file is written");
        let diff = Command::new(BINARY).arg("diff").args([&old, &new]).output().expect("the program runs");
        let said = String::from_utf8_lossy(&diff.stdout);
        assert!(said.contains(words), "{words} in {said}");
        let gateway = Gateway::start(BINARY, &config(BEFORE));
        assert_eq!(passed(&gateway, 3, "/limited", ""), 3);
        gateway.rewrite_config(&config(&after));
        reload(&gateway, is_reloaded);
        assert_eq!(passed(&gateway, 9, "/limited", ""), left, "{after}");
        end(gateway);
    }
}

#[test]
fn no_more_pass_than_the_limit_says_whichever_worker_answers() {
    const CLIENTS: usize = 16;
    const REQUESTS: usize = 125;
    let limit = "fixed_window: { limit: 500, window: 1h }";
    let routes = route("/all", &format!("{{ rate_limit: {{ {limit} }} }}"))
        + &route("/key", &format!("{{ rate_limit: {{ {limit}, by: [host, \"header:x-user\"] }} }}"));
    let gateway = Gateway::start(BINARY, &config(4, "", &routes));
    for path in ["/all", "/key"] {
        let passed: usize = thread::scope(|scope| {
            let clients: Vec<_> =
                (0..CLIENTS).map(|_| scope.spawn(|| passed(&gateway, REQUESTS, path, "X-User: ann\r\n"))).collect();
            clients.into_iter().map(|client| client.join().expect("a client")).sum()
        });
        assert_eq!(passed, 500, "{path}: of {} requests", CLIENTS * REQUESTS);
    }
    end(gateway);
}

#[test]
fn a_flood_of_keys_takes_no_memory_and_nothing_from_who_is_known() {
    const KEYS: usize = 100_000;
    const BATCH: usize = 100;
    let limit = "fixed_window: { limit: 5, window: 1h }, by: [\"header:x-user\"], max_keys: 1000, name: flooded";
    let gateway = Gateway::start(BINARY, &config(2, "", &route("/", &format!("{{ rate_limit: {{ {limit} }} }}"))));
    let flood = |keys: std::ops::Range<usize>| {
        let mut client = RawClient::connect(gateway.address(0));
        let mut passed = 0;
        for first in keys.step_by(BATCH) {
            let batch: String =
                (first..first + BATCH).map(|key| request("/", &format!("X-User: {key:0>200}\r\n"))).collect();
            client.send(batch);
            for _ in 0..BATCH {
                passed += usize::from(client.read_response("GET").expect("an answer").status == 200);
            }
        }
        passed
    };
    assert_eq!(passed(&gateway, 2, "/", "X-User: known\r\n"), 2);
    assert!(flood(0..2 * BATCH) > 0, "who is new is let in while there is place");
    let before = gateway.resident_bytes();
    let passed_by_flood: usize = thread::scope(|scope| {
        let quarters = (0..4).map(|quarter| quarter * KEYS / 4..(quarter + 1) * KEYS / 4);
        let floods: Vec<_> = quarters.map(|keys| scope.spawn(|| flood(keys))).collect();
        floods.into_iter().map(|flood| flood.join().expect("a flood")).sum()
    });
    let grown = gateway.resident_bytes().saturating_sub(before);
    let (_, metrics) = admin(&gateway, "/metrics");
    let followed =
        metrics.lines().find_map(|line| line.strip_prefix(r#"tidegate_keyed_rate_limiter_keys{policy="flooded"} "#));
    let followed: f64 = followed.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{metrics}"));
    assert!((900.0..=1000.0).contains(&followed), "{followed} keys are followed");
    assert!(grown < 10 << 20, "{grown} bytes for keys of {} bytes in all", KEYS * 200);
    assert!((1..=1100).contains(&passed_by_flood), "{passed_by_flood} of {KEYS} keys that come once passed");
    assert_eq!(passed(&gateway, 5, "/", "X-User: known\r\n"), 3, "who is known has what was left");
    assert_eq!(ask(&gateway, "/", &format!("X-User: {KEYS}\r\n")).status, 429, "there is no place for who is new");
    end(gateway);
}
