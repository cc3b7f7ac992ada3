//! Texts in, plans or diagnostics out.

mod hostile;
mod mistakes;
mod published;

use super::*;

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".to_owned()),
        "WORKERS" => Some("3".to_owned()),
        "WORD" => Some("many".to_owned()),
        "LIST" => Some("[1, 2]".to_owned()),
        "MAP" => Some("x\n  balance: least_requests".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn load_text(text: &str, format: Format) -> Result<Loaded, Diagnostics> {
    load_str("gateway", text, format, &environment)
}

fn yaml(text: &str) -> Loaded {
    load_text(text, Format::Yaml).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Every diagnostic as `line:column message`, and ` | help` where there is some.
fn lines(found: &Diagnostics) -> Vec<String> {
    let line = |diagnostic: &Diagnostic| {
        let (line, column) = diagnostic.position().unwrap_or_default();
        let message = diagnostic.message();
        match diagnostic.advice() {
            Some(help) => format!("{line}:{column} {message} | {help}"),
            None => format!("{line}:{column} {message}"),
        }
    };
    found.iter().map(line).collect()
}

fn errors(text: &str, format: Format) -> Vec<String> {
    match load_text(text, format) {
        Ok(_) => Vec::new(),
        Err(found) => lines(&found),
    }
}

const YAML: &str = r#"
workers: ${WORKERS}
listeners:
  - { address: 127.0.0.1:${PORT:-1}, limits: { body: unlimited, head: 8KiB } }
admin: off
upstreams:
  app:
    endpoints: [ "10.0.0.1:${PORT}", { address: "app.test:80", weight: 3 } ]
    tls: {}
    timeouts: { response: off, connect: 250ms }
    protect:
      - timeout: { total: 2s, attempt: 0.5s }
      - retry: { attempts: ${WORKERS}, backoff: { strategy: constant, delay: 10ms } }
      - use: db
policies:
  db: { circuit_breaker: { failure_rate: 0.25, consecutive_failures: off } }
routes:
  - match: { host: "*.example.test", path: "/users/{id}", method: GET, header: { x-n: "1" } }
    upstream: app
    max_body: 65536
  - respond: { status: 404, headers: { x-a: b }, body: "none \u00e9\n" }
    priority: -1
"#;

const JSON: &str = r#"{
  "$schema": "tidegate.schema.json",
  "workers": "${WORKERS}",
  "listeners": [
    { "address": "127.0.0.1:${PORT:-1}", "limits": { "body": "unlimited", "head": "8KiB" } }
  ],
  "admin": "off",
  "upstreams": {
    "app": {
      "endpoints": ["10.0.0.1:${PORT}", { "address": "app.test:80", "weight": 3 }],
      "tls": {},
      "timeouts": { "response": "off", "connect": "250ms" },
      "protect": [
        { "timeout": { "total": "2s", "attempt": "0.5s" } },
        { "retry": { "attempts": "${WORKERS}", "backoff": { "strategy": "constant", "delay": "10ms" } } },
        { "use": "db" }
      ]
    }
  },
  "policies": { "db": { "circuit_breaker": { "failure_rate": 0.25, "consecutive_failures": "off" } } },
  "routes": [
    {
      "match": { "host": "*.example.test", "path": "/users/{id}", "method": "GET", "header": { "x-n": "1" } },
      "upstream": "app",
      "max_body": 65536
    },
    { "respond": { "status": 404, "headers": { "x-a": "b" }, "body": "none \u00e9\n" }, "priority": -1 }
  ]
}"#;

const TOML: &str = r#"
workers = "${WORKERS}"
admin = "off"

[[listeners]]
address = "127.0.0.1:${PORT:-1}"
limits = { body = "unlimited", head = "8KiB" }

[upstreams.app]
endpoints = ["10.0.0.1:${PORT}", { address = "app.test:80", weight = 3 }]
tls = {}
timeouts.response = "off"
timeouts.connect = "250ms"
protect = [
  { timeout = { total = "2s", attempt = "0.5s" } },
  { retry = { attempts = "${WORKERS}", backoff = { strategy = "constant", delay = "10ms" } } },
  { use = "db" },
]

[policies.db.circuit_breaker]
failure_rate = 0.25
consecutive_failures = "off"

[[routes]]
upstream = "app"
max_body = 0x1_0000
[routes.match]
host = "*.example.test"
path = "/users/{id}"
method = "GET"
header = { x-n = "1" }

[[routes]]
priority = -1
[routes.respond]
status = 404
headers = { x-a = "b" }
body = "none \u00e9\n"
"#;

#[test]
fn all_formats_give_the_same_plan() {
    let plan = yaml(YAML).plan;
    assert_eq!(plan.workers.get(), 3);
    assert_eq!(plan.listeners[0].address.port(), 8080);
    for (text, format) in [(JSON, Format::Json), (TOML, Format::Toml)] {
        let loaded = load_text(text, format).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.plan, plan, "{format:?}");
        assert!(loaded.warnings.is_empty());
    }
}

#[test]
fn line_ends_and_byte_order_marks_change_nothing() {
    let plan = yaml(YAML).plan;
    assert_eq!(yaml(&YAML.replace('\n', "\r\n")).plan, plan);
    assert_eq!(yaml(&format!("\u{feff}{YAML}")).plan, plan);
    let json = format!("\u{feff}{}", JSON.replace('\n', "\r\n"));
    let loaded = load_text(&json, Format::Json).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.plan, plan);
}

#[test]
fn the_format_is_in_the_ending() {
    for (path, format) in [
        ("a.yaml", Some(Format::Yaml)),
        ("b/a.yml", Some(Format::Yaml)),
        ("a.json", Some(Format::Json)),
        ("a.toml", Some(Format::Toml)),
        ("a.conf", None),
        ("yaml", None),
    ] {
        assert_eq!(Format::of(Path::new(path)), format, "{path}");
    }
}

#[test]
fn a_repeated_value_is_read_each_time() {
    let plan = yaml(
        "
listeners:
  - { address: 127.0.0.1:0, limits: &small { head: 2KiB } }
  - { address: 127.0.0.1:0, limits: *small }
routes: [{ respond: { status: 404 } }]
",
    )
    .plan;
    assert_eq!(plan.listeners[1].limits.head, 2048);
}

#[test]
fn warnings_have_their_place() {
    let loaded = yaml(
        "
listeners: [ { address: 127.0.0.1:0 } ]
upstreams:
  spare: { endpoints: [ spare:80 ] }
routes:
  - respond: { status: 404 }
",
    );
    assert_eq!(lines(&loaded.warnings), ["4:3 upstreams.spare: the upstream `spare` is never used"]);
    let first = loaded.warnings.iter().next().map(Diagnostic::severity);
    assert_eq!(first, Some(Severity::Warning));
}

#[test]
fn files_are_looked_for_beside_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.yaml");
    let text = "
listeners:
  - address: 127.0.0.1:0
    tls: { certificates: [ { certificate: own.pem, key: . } ] }
routes: [ { respond: { status: 404 } } ]
";
    std::fs::write(&path, text).expect("the file is written");
    std::fs::write(folder.path().join("own.pem"), "x").expect("the file is written");
    let errors = load(&path, &environment).expect_err("a folder is no key");
    let expected = "4:57 listeners[0].tls.certificates[0].key: the file cannot be read: ";
    let lines = lines(&errors);
    assert!(lines.len() == 1 && lines[0].starts_with(expected), "{lines:?}");

    std::fs::write(&path, text.replace("key: .", "key: own.pem")).expect("the file is written");
    let plan = load(&path, &environment).expect("both files are there").plan;
    let tls = plan.listeners[0].tls.as_ref().expect("the listener has TLS");
    assert_eq!(tls.certificates[0].certificate, folder.path().join("own.pem"));
}

#[test]
fn files_that_cannot_be_read_are_reported() {
    for (path, expected) in [
        ("/does/not/exist.yaml", "cannot be read: No such file or directory"),
        ("/", "has none of the endings that say its format"),
        ("gateway.conf", "has none of the endings that say its format"),
    ] {
        let errors = load(Path::new(path), &environment).expect_err("no such file");
        assert!(errors.to_string().contains(expected), "{errors}");
    }
}
