//! Policies as an operator sees them: in metrics, in the health page and in the log.

use serde_json::Value;
use tidegate_prometheus::CATALOGUE;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::recorder::{Recorder, Step, response};

use crate::reload::{admin, is_reloaded, reload};
use crate::rig::BINARY;

/// An upstream that answers `/well` with 200, `/broken` with 500 and `/busy` with 503.
fn upstream() -> Recorder {
    Recorder::with(|seen| {
        let line = match &*seen.target {
            "/broken" => "500 Broken",
            "/busy" => "503 Busy",
            _ => "200 OK",
        };
        vec![Step::AwaitRequest, Step::Send(response(line, &[], "told"))]
    })
}

/// Two upstreams that are the same server, and policies of every kind around them.
fn config(recorder: &Recorder, places: u32) -> String {
    let address = recorder.address();
    format!(
        r#"
workers: 1
log: {{ format: json }}
reload: {{ watch: false }}
admin: {{ address: "127.0.0.1:0" }}
shutdown: {{ drain: 200ms }}
listeners: [ {{ address: "127.0.0.1:0" }} ]
policies:
  each: {{ keyed_rate_limit: {{ fixed_window: {{ limit: 5, window: 1h }} }} }}
  shared: {{ adaptive: {{}} }}
upstreams:
  app:
    endpoints: [ "{address}" ]
    outlier: off
    protect:
      - circuit_breaker: {{ consecutive_failures: 2, open_for: 1h, open_max: 1h }}
      - bulkhead: {{ max_concurrent: {places} }}
      - chaos: {{}}
  other:
    endpoints: [ "{address}" ]
    outlier: off
    protect:
      - hedge: {{ delay: 1h }}
      - use: shared
routes:
  - name: twice
    match: {{ path: /busy }}
    upstream: other
    protect:
      - rate_limit: {{ fixed_window: {{ limit: 1, window: 100d }} }}
      - timeout: {{ total: 1m }}
      - retry: {{ attempts: 2 }}
  - {{ match: {{ prefix: / }}, upstream: app }}
"#
    )
}

fn send(gateway: &Gateway, target: &str) -> u16 {
    RawClient::connect(gateway.address(0)).get(target).status
}

fn metrics(gateway: &Gateway) -> String {
    admin(gateway, "/metrics").1
}

/// What `/healthz?verbose` says of a policy.
fn policy(gateway: &Gateway, name: &str) -> Value {
    let health: Value = serde_json::from_str(&admin(gateway, "/healthz?verbose").1).expect("JSON");
    let policies = health["details"]["policies"].as_array().expect("a list");
    let found = policies.iter().find(|policy| policy["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {policies:?}")).clone()
}

#[test]
fn every_kind_of_policy_has_all_its_metrics() {
    let recorder = upstream();
    let gateway = Gateway::start(BINARY, &config(&recorder, 7));
    assert_eq!(["/well", "/busy", "/busy"].map(|target| send(&gateway, target)), [200, 503, 429]);
    let text = metrics(&gateway);
    for metric in CATALOGUE {
        let name = metric.exposed_name();
        let sample = format!("{name}{{policy=\"");
        assert!(text.lines().any(|line| line.starts_with(&sample)), "{name}\nin\n{text}");
    }
    for sample in [
        r#"tidegate_rate_limiter_calls_total{policy="route twice/rate_limit",result="allowed"} 1.0"#,
        r#"tidegate_rate_limiter_calls_total{policy="route twice/rate_limit",result="denied"} 1.0"#,
        r#"tidegate_circuit_breaker_calls_total{policy="app/circuit_breaker",result="succeeded"} 1.0"#,
        r#"tidegate_bulkhead_calls_total{policy="app/bulkhead",result="admitted"} 1.0"#,
        r#"tidegate_bulkhead_active{policy="app/bulkhead"} 0.0"#,
        r#"tidegate_retry_events_total{policy="route twice/retry",event="retried"} 1.0"#,
        r#"tidegate_retry_events_total{policy="route twice/retry",event="exhausted"} 1.0"#,
        r#"tidegate_retry_budget_withdrawn{policy="route twice/retry"} 1.0"#,
        r#"tidegate_adaptive_admitted_total{policy="shared"} 2.0"#,
        r#"tidegate_keyed_rate_limiter_keys{policy="each"} 0.0"#,
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}\nin\n{text}");
    }
}

#[test]
fn a_circuit_that_opens_is_told_everywhere() {
    let recorder = upstream();
    let gateway = Gateway::start(BINARY, &config(&recorder, 7));
    assert_eq!(policy(&gateway, "app/circuit_breaker")["state"], "closed");
    let statuses = ["/well", "/broken", "/broken", "/rejected"].map(|target| send(&gateway, target));
    assert_eq!(statuses, [200, 500, 500, 503]);
    assert_eq!(recorder.requests().len(), 3);

    let line = gateway.wait_for_log("the open circuit", |line| line.says("circuit open"));
    let told = ["level", "event", "policy", "from", "to", "changes"].map(|name| line.text_of(name).unwrap_or_default());
    assert_eq!(told, ["WARN", "circuit_breaker.state_changed", "app/circuit_breaker", "closed", "open", "1"]);

    let breaker = policy(&gateway, "app/circuit_breaker");
    assert_eq!((&breaker["kind"], &breaker["state"]), (&"circuit_breaker".into(), &"open".into()));
    let text = metrics(&gateway);
    for sample in [
        r#"tidegate_circuit_breaker_state{policy="app/circuit_breaker",state="open"} 1.0"#,
        r#"tidegate_circuit_breaker_state{policy="app/circuit_breaker",state="closed"} 0.0"#,
        r#"tidegate_circuit_breaker_state_changes_total{policy="app/circuit_breaker"} 1.0"#,
        r#"tidegate_circuit_breaker_calls_total{policy="app/circuit_breaker",result="rejected"} 1.0"#,
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}\nin\n{text}");
    }
    assert_eq!(gateway.log().matches("state_changed").count(), 1, "one circuit, one change");
}

#[test]
fn what_is_shown_follows_a_reload_and_counts_on() {
    let recorder = upstream();
    let gateway = Gateway::start(BINARY, &config(&recorder, 7));
    assert_eq!(send(&gateway, "/well"), 200);
    let before = gateway.log_length();
    gateway.rewrite_config(&config(&recorder, 9));
    reload(&gateway, is_reloaded);
    let applied = gateway.wait_for_log_after(before, "the policies", |line| line.says("policies changed"));
    assert_eq!(applied.text_of("event").as_deref(), Some("registry.applied"));
    assert_eq!(send(&gateway, "/well"), 200);
    let bulkhead = policy(&gateway, "app/bulkhead");
    assert_eq!((&bulkhead["max_concurrent"], &bulkhead["admitted"]), (&9.into(), &2.into()));
    let text = metrics(&gateway);
    for sample in [
        r#"tidegate_bulkhead_max_concurrent{policy="app/bulkhead"} 9.0"#,
        r#"tidegate_bulkhead_calls_total{policy="app/bulkhead",result="admitted"} 2.0"#,
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}\nin\n{text}");
    }
}
