//! The program as a shell sees it: arguments in, text and exit codes out.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn tidegate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("APP", "app.test:80")
        .output()
        .expect("the program starts")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("the output is text")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("the output is text")
}

const VALID: &str = "
listeners: [ { address: 127.0.0.1:0 }, { address: 127.0.0.1:0 } ]
upstreams: { app: { endpoints: [ \"${APP}\" ] } }
routes: [ { upstream: app } ]
";

#[test]
fn validate_says_what_a_valid_file_has() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tidegate.yaml"), VALID).expect("the file is written");
    let expected = "tidegate.yaml is valid: 2 listeners, 1 upstream, 1 route\n";
    for arguments in [&["validate"][..], &["validate", "tidegate.yaml"]] {
        let output = tidegate(folder.path(), arguments);
        assert_eq!(stdout(&output), expected);
        assert_eq!(stderr(&output), "");
        assert_eq!(output.status.code(), Some(0));
    }
}

const ROUTES: &str = "
listeners: [ { address: 127.0.0.1:0 } ]
upstreams: { app: { endpoints: [ \"${APP}\", { address: \"10.0.0.2:80\", weight: 3 } ] } }
routes:
  - { name: denied, match: { path: /denied }, respond: { status: 403 } }
  - { name: api, match: { host: \"*.example.test\", prefix: /api, header: { x-team: blue } }, upstream: app }
  - { name: all, match: { prefix: / }, upstream: app, timeouts: { total: 3s } }
";

#[test]
fn explain_says_which_route_answers_and_why_no_other_does() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tidegate.yaml"), ROUTES).expect("the file is written");
    let explain = |arguments: &[&str]| {
        let output = tidegate(folder.path(), &[&["explain"], arguments].concat());
        assert_eq!((stderr(&output), output.status.code()), ("", Some(0)));
        stdout(&output).to_owned()
    };
    assert_eq!(
        explain(&["POST http://shop.example.test/a/../api/x?y", "/denied"]),
        "\
POST http://shop.example.test/a/../api/x?y
  host shop.example.test, path /api/x
  route `all` sends it to upstream `app`
    endpoints  app.test:80, 10.0.0.2:80 (weight 3)
    balance    in turn, by weight
    ejection   after 5 failures in a row or for a success rate far below the others'; 30s at first, 50% of the endpoints at most
    time       5s for a connection, 60s for the head of the answer, 60s without progress of its body, 3s in all
    body       as large as the listener allows
    twice      may be only while no endpoint can have acted on it: POST is not idempotent, and the route does not say so; 2 attempts at most
    policies   the first is the outermost
      retry  app/retry  default  attempts 2, backoff exponential (base 25ms, factor 2, cap 250ms), retry_after_cap 1s, budget (ratio 9%, min_per_second 3, window 10s)
  `api` comes before: header 'x-team' does not match
  `denied` comes before: the path does not match

/denied
  host localhost, path /denied
  route `denied` answers it by itself with 403 Forbidden
  `api` comes before: the host does not match
  `all` would answer it too, but comes later
"
    );
    let with_field = explain(&["-H", "X-Team: blue", "http://shop.example.test/api"]);
    assert!(with_field.contains("route `api` sends it to upstream `app`"), "{with_field}");
    let encoded = explain(&["/%2fx"]);
    assert!(encoded.contains("route `all` would answer it\n  refused with 400 Bad Request: "), "{encoded}");
    let smuggled = explain(&["GET /x\r\nHost: other.test"]);
    assert!(smuggled.contains("refused with 400 Bad Request: "), "{smuggled}");
}

const PROTECTED: &str = "
listeners: [ { address: 127.0.0.1:0 } ]
policies:
  database: { circuit_breaker: { consecutive_failures: 10, open_for: 5s } }
upstreams:
  shop:
    endpoints: [ 10.0.0.1:80, { address: 10.0.0.2:80, tier: 1 } ]
    balance: { maglev: { by: header:x-user } }
    health_check: { path: /health }
    outlier: off
    replay: 1MiB
    protect:
      - timeout: { total: 2s, attempt: 500ms }
      - retry: { attempts: 3 }
      - use: database
      - bulkhead: { max_concurrent: 64, queue: 16 }
  spare: { endpoints: [ 10.0.0.3:80 ], protect: [ { use: shop/bulkhead } ] }
routes:
  - name: search
    match: { prefix: /search }
    upstream: shop
    protect: [ { rate_limit: { token_bucket: { rate: 200 } } } ]
    fallback: { upstream: spare }
  - { name: pay, match: { path: /pay }, upstream: shop, idempotent: true, fallback: { respond: { status: 503 }, statuses: [] } }
  - { name: rest, upstream: spare }
";

#[test]
fn explain_says_what_protects_a_request() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tidegate.yaml"), PROTECTED).expect("the file is written");
    let explain = |request: &str| {
        let output = tidegate(folder.path(), &["explain", request]);
        assert_eq!((stderr(&output), output.status.code()), ("", Some(0)));
        stdout(&output).to_owned()
    };
    assert_eq!(
        explain("/search"),
        "\
/search
  host localhost, path /search
  route `search` sends it to upstream `shop`
    endpoints  10.0.0.1:80, 10.0.0.2:80 (tier 1)
    balance    the same endpoint for the same field `x-user`
    health     GET /health every 5s, within 1s; out after 3 that fail, back after 1 that pass
    time       5s for a connection, 60s for the head of the answer, 60s without progress of its body, no limit in all
    body       as large as the listener allows; up to 1MiB of it are kept to be sent again
    twice      may be, since GET is idempotent; 3 attempts at most
    policies   the first is the outermost
      rate_limit       route search/rate_limit  route     token_bucket (rate 200, per 1s)
      timeout          shop/timeout             upstream  total 2s, attempt 500ms
      retry            shop/retry               upstream  attempts 3, backoff exponential (base 100ms, factor 2, cap 10s)
      circuit_breaker  database                 shared    consecutive_failures 10, failure_rate 50%, min_calls 20, open_for 5s
      bulkhead         shop/bulkhead            upstream  max_concurrent 64, queue 16, max_wait 100ms
    fallback   upstream `spare`, where there is no answer or one with 502-504
  `pay` comes before: the path does not match
  `rest` would answer it too, but comes later
"
    );
    let has = |request: &str, lines: &[&str]| {
        let text = explain(request);
        lines.iter().for_each(|line| assert!(text.contains(line), "{line} in {text}"));
    };
    let spare =
        "fallback   upstream `spare`, while no endpoint can have acted on the request, where there is no answer";
    has("POST /search", &["    body       as large as the listener allows\n", spare]);
    let answer = "fallback   an answer with 503 Service Unavailable, where there is no answer\n";
    has("POST /pay", &["twice      may be, since the route is `idempotent`; 3 attempts at most", answer, "1MiB of it"]);
    has("/x", &["twice      may be, since GET is idempotent; but no policy asks for it", "shop/bulkhead  shared  max"]);
}

#[test]
fn explain_says_which_limits_a_request_meets() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "
listeners:
  - { address: 127.0.0.1:0, filters: [ { rate_limit: { token_bucket: { rate: 50, burst: 200 } } } ] }
routes:
  - match: { prefix: /login }
    filters:
      - rate_limit: { name: logins, fixed_window: { limit: 10, window: 1m }, by: [client_address, \"header:X-User\"], cost: 2 }
    respond: { status: 200 }
";
    fs::write(folder.path().join("tidegate.yaml"), text).expect("the file is written");
    let output = tidegate(folder.path(), &["explain", "/login"]);
    assert_eq!(
        stdout(&output),
        "\
/login
  host localhost, path /login
  route `prefix /login` answers it by itself with 200 OK
    limit      `listener-127.0.0.1-0`: 200 in 4s, on listener 127.0.0.1:0
    limit      `logins`: 10 in 60s by client_address and header:x-user, of which a request takes 2
"
    );
}

#[test]
fn diff_says_what_a_change_means() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("old.yaml"), ROUTES).expect("the file is written");
    let text = ROUTES.replace("prefix: /api", "prefix: /v2").replace("total: 3s", "total: 2s");
    let text = text.replace("app: { ", "app: { outlier: off, ");
    fs::write(folder.path().join("new.yaml"), text).expect("the file is written");
    let output = tidegate(folder.path(), &["diff", "old.yaml", "new.yaml"]);
    assert_eq!((stderr(&output), output.status.code()), ("", Some(0)));
    assert_eq!(
        stdout(&output),
        "\
requests that another route answers
  GET http://x.example.test/api with x-team: blue: `api` -> `all`
  GET http://x.example.test/api/x with x-team: blue: `api` -> `all`
  GET http://x.example.test/v2 with x-team: blue: `all` -> `api`
  GET http://x.example.test/v2/x with x-team: blue: `all` -> `api`
protection that is lost
  upstreams.app.outlier: {...} -> off
limits that allow less
  routes[all].timeouts.total: 3s -> 2s
other changes
  routes[api].match.prefix: /api -> /v2
"
    );
    let output = tidegate(folder.path(), &["diff", "--format", "json", "old.yaml", "new.yaml"]);
    let report: serde_json::Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(report["options"][0]["meaning"], "protection_lost");
    let same = tidegate(folder.path(), &["diff", "old.yaml", "old.yaml"]);
    assert_eq!(stdout(&same), "no difference\n");
    let missing = tidegate(folder.path(), &["diff", "old.yaml", "missing.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn diff_says_what_becomes_of_protection() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("old.yaml"), PROTECTED).expect("the file is written");
    let diff = |changes: &[(&str, &str)], arguments: &[&str]| {
        let change = |text: String, (from, to): &(&str, &str)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        };
        let new = changes.iter().fold(PROTECTED.to_owned(), change);
        fs::write(folder.path().join("new.yaml"), new).expect("the file is written");
        let output = tidegate(folder.path(), &[&["diff", "old.yaml", "new.yaml"], arguments].concat());
        assert_eq!((stderr(&output), output.status.code()), ("", Some(0)));
        stdout(&output).to_owned()
    };
    let retry = "      - retry: { attempts: 3 }\n";
    let database = "      - use: database\n";

    // A step in between is no change of those behind it.
    let inserted = diff(&[(retry, &format!("      - rate_limit: {{ token_bucket: {{ rate: 5 }} }}\n{retry}"))], &[]);
    let expected = "protection that is new\n  rate_limit `shop/rate_limit` is new (routes `search`, `pay`)\n";
    assert_eq!(inserted, expected);

    let changes = [
        ("total: 2s, attempt: 500ms", "total: 1s, attempt: 800ms"),
        (database, ""),
        ("queue: 16", "queue: 32, mode: metrics_only"),
        ("fallback: { upstream: spare }", "idempotent: true"),
    ];
    let expected = "\
protection that is lost
  circuit_breaker `database` is gone (routes `search`, `pay`)
  bulkhead `shop/bulkhead`: mode enabled -> metrics_only; keeps its state
  routes[search].fallback: removed
limits that allow less
  timeout `shop/timeout`: total 2s -> 1s
limits that allow more
  bulkhead `shop/bulkhead`: queue 16 -> 32; keeps its state
  timeout `shop/timeout`: attempt 500ms -> 800ms
  routes[search].idempotent: false -> true (POST and PATCH requests may be sent twice from now on)
";
    // The policy is not used, and stays.
    assert_eq!(diff(&changes, &[]), expected);

    let moved = format!("      - circuit_breaker: {{ open_for: 10s, window: {{ calls: 100 }} }}\n{retry}");
    let expected = "\
limits that allow less
  circuit_breaker `shop/circuit_breaker` instead of `database`: consecutive_failures 10 -> 5, open_for 5s -> 10s (routes `search`, `pay`)
limits that allow more
  retry `shop/retry`: attempts 3 -> 4, budget (ratio 20%, min_per_second 3, window 10s) -> off; keeps its state
other changes
  circuit_breaker `shop/circuit_breaker` takes the place of `database`, and begins from nothing: window (time 10s) -> (calls 100) (routes `search`, `pay`)
  the order retry > circuit_breaker becomes circuit_breaker > retry (routes `search`, `pay`)
";
    let changes = [(retry, moved.as_str()), (database, ""), ("attempts: 3", "attempts: 4, budget: off")];
    assert_eq!(diff(&changes, &[]), expected);

    let window =
        ("consecutive_failures: 10, open_for: 5s", "consecutive_failures: 10, open_for: 5s, window: { calls: 50 }");
    let expected = "\
protection that is new
  retry `spare/retry` is new (route `rest`)
other changes
  circuit_breaker `database`: window (time 10s) -> (calls 50); its count begins anew
  upstream `spare` has no `protect` any more, and so the default policies
";
    let found = diff(&[window, (", protect: [ { use: shop/bulkhead } ]", "")], &[]);
    assert!(
        found.starts_with("protection that is lost\n  bulkhead `shop/bulkhead` is gone (route `rest`)\n"),
        "{found}"
    );
    assert!(found.ends_with(expected), "{found}");

    let report = diff(&[(database, "")], &["--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let lost = serde_json::json!({
        "policy": "database",
        "listeners": [],
        "routes": ["search", "pay"],
        "words": "circuit_breaker `database` is gone (routes `search`, `pay`)",
        "meaning": "protection_lost",
    });
    assert_eq!(report["policies"], serde_json::json!([lost]));
}

#[test]
fn explain_shows_programs_every_option() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("routes.yaml"), ROUTES).expect("the file is written");
    let output = tidegate(folder.path(), &["explain", "--config", "routes.yaml", "--format", "json", "/x"]);
    let explained: serde_json::Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(explained[0]["answered_by"], "all");
    assert_eq!(explained[0]["route"]["timeouts"]["total"], "3s");
    assert_eq!(explained[0]["upstream"]["options"]["endpoints"][1]["weight"], 3);
    assert_eq!(explained[0]["routes"].as_array().expect("a list").len(), 3);
    let protection = &explained[0]["protection"];
    assert_eq!(protection["policies"][0]["name"], "app/retry");
    assert_eq!(protection["policies"][0]["from"], "default");
    assert_eq!(protection["policies"][0]["options"]["attempts"], 2);
    assert_eq!((&protection["most_attempts"], &protection["body_kept"]), (&2.into(), &65_536.into()));
}

#[test]
fn validate_says_what_is_wrong_and_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = VALID.replace("upstream:", "upstrem:");
    fs::write(folder.path().join("a.yaml"), text).expect("the file is written");
    let output = tidegate(folder.path(), &["validate", "a.yaml"]);
    assert_eq!(stdout(&output), "");
    assert_eq!(
        stderr(&output),
        "\
error: routes[0].upstrem: unknown key `upstrem`
 --> a.yaml:4:13
  |
4 | routes: [ { upstrem: app } ]
  |             ^^^^^^^
  |
  = help: did you mean `upstream`?

"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn warnings_are_said_but_do_not_fail() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = VALID.replace("routes: [ { upstream: app } ]", "");
    fs::write(folder.path().join("a.yaml"), text).expect("the file is written");
    let output = tidegate(folder.path(), &["validate", "a.yaml"]);
    assert!(stderr(&output).starts_with("warning: has no routes"), "{}", stderr(&output));
    assert!(stdout(&output).ends_with("2 listeners, 1 upstream, 0 routes\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn validate_speaks_json() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.yaml"), VALID).expect("the file is written");
    let json = |file: &str| {
        let output = tidegate(folder.path(), &["validate", "--format", "json", file]);
        assert_eq!(stderr(&output), "");
        let report: serde_json::Value = serde_json::from_str(stdout(&output)).expect("JSON");
        (output.status.code(), report)
    };
    let (code, report) = json("a.yaml");
    assert_eq!(code, Some(0));
    assert_eq!(report, serde_json::json!({ "file": "a.yaml", "valid": true, "problems": [] }));
    let (code, report) = json("none.yaml");
    assert_eq!(code, Some(1));
    assert_eq!(report["valid"], false);
    assert_eq!(report["problems"][0]["file"], "none.yaml");
    assert_eq!(report["problems"][0]["line"], serde_json::Value::Null);
}

#[test]
fn usage_errors_have_their_own_code() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [&["vaildate"][..], &["validate", "--what"], &["validate", "a", "b"], &[]] {
        let output = tidegate(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn printing_commands_print() {
    let folder = tempfile::tempdir().expect("a folder");
    let printed = |arguments: &[&str]| {
        let output = tidegate(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        stdout(&output).to_owned()
    };
    assert_eq!(printed(&["version"]), concat!("tidegate ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(printed(&["--version"]), printed(&["version"]));
    assert!(printed(&["completions", "bash"]).contains("complete -F"));
    let schema: serde_json::Value = serde_json::from_str(&printed(&["schema"])).expect("JSON");
    assert_eq!(schema["title"], "Tidegate configuration");
    assert!(!printed(&["--help"]).contains("reference"), "a hidden command");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("schema")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(stderr(&output), "");
}
