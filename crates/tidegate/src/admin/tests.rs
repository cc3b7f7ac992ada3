//! The admin pages over real sockets.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// A running server. It ends when it is stopped or dropped.
struct Server {
    address: SocketAddr,
    registry: Arc<Registry>,
    readiness: Arc<Readiness>,
    health: Arc<Directory>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(limits: Limits) -> Self {
        let registry = Arc::new(Registry::new(1));
        let readiness = Arc::new(Readiness::default());
        let health = Arc::new(Directory::default());
        let names = vec!["gate.example".into()];
        let state = AdminState::new(
            Arc::clone(&registry),
            Arc::clone(&readiness),
            Arc::clone(&health),
            Arc::default(),
            policies(),
            names,
        );
        let router = router(state);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let ended = tokio::spawn(serve(listener, router, limits, shutdown));
        Self { address, registry, readiness, health, stop, ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    async fn exchange(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("a request sent");
        Answer::parse(&read_to_end(&mut stream).await)
    }

    async fn request(&self, method: &str, target: &str) -> Answer {
        self.exchange(&format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.request("GET", target).await
    }
}

/// One policy.
fn policies() -> tidegate_resilience::Registry {
    let document = serde_json::json!({ "policies": { "all": { "bulkhead": { "max_concurrent": 7 } } } });
    let document = serde_json::from_value(document).expect("a document");
    tidegate_resilience::Registry::new(&document, &tidegate_resilience::Environment::default()).expect("valid")
}

/// What came until the end; a reset is an end too.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).expect("UTF-8")
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

#[test]
fn readiness_follows_the_phase_and_liveness_does_not() {
    run(async {
        let server = Server::start(Limits::default());
        let ready = server.get("/readyz").await;
        assert_eq!((ready.status, ready.body.as_str()), (503, "starting: no configuration is in force yet\n"));
        server.readiness.ready();
        assert_eq!(server.get("/readyz").await.status, 200);
        assert_eq!(server.get("/healthz").await.status, 200);
        server.readiness.drain();
        let ready = server.get("/readyz").await;
        assert_eq!((ready.status, ready.body.as_str()), (503, "draining: the process is about to end\n"));
        assert_eq!(server.get("/healthz").await.status, 503);
        assert_eq!(server.get("/livez").await.status, 200);
    });
}

#[test]
fn health_tells_about_the_last_reload() {
    run(async {
        let server = Server::start(Limits::default());
        server.readiness.ready();
        let process = server.registry.process();
        assert_eq!(server.get("/healthz").await.json()["config"]["last_reload"], Value::Null);
        process.reloaded(1, SystemTime::UNIX_EPOCH);
        process.reload_failed("2 mistakes", SystemTime::UNIX_EPOCH + Duration::from_secs(60));
        let answer = server.get("/healthz").await;
        assert_eq!(answer.status, 200, "the configuration before it serves on");
        let health = answer.json();
        assert_eq!((&health["status"], &health["version"]), (&"ready".into(), &env!("CARGO_PKG_VERSION").into()));
        assert_eq!(health["config"]["generation"], 1);
        let last = serde_json::json!({ "result": "failure", "at": "1970-01-01T00:01:00Z", "error": "2 mistakes" });
        assert_eq!(health["config"]["last_reload"], last);
        assert_eq!(health.get("details"), None);
    });
}

#[test]
fn verbose_health_lists_listeners_upstreams_and_policies() {
    run(async {
        let server = Server::start(Limits::default());
        let upstream = server.registry.upstream("app").meter(0);
        let listener = server.registry.listener("[::]:80").meter(0);
        let _held = (upstream.connected(), listener.accepted());
        let details = &server.get("/healthz?verbose").await.json()["details"];
        assert_eq!(details["workers"], 1);
        assert_eq!(details["upstreams"][0]["name"], "app");
        assert_eq!(details["upstreams"][0]["open_connections"], 1);
        assert_eq!(details["listeners"][0]["name"], "[::]:80");
        assert_eq!(details["listeners"][0]["open_connections"], 1);
        let policy = &details["policies"][0];
        assert_eq!((&policy["name"], &policy["kind"]), (&"all".into(), &"bulkhead".into()));
        assert_eq!((&policy["max_concurrent"], &policy["active"]), (&7.into(), &0.into()));
    });
}

#[test]
fn verbose_health_lists_endpoints() {
    use tidegate_gateway::config::check;
    use tidegate_gateway::snapshot::Snapshot;
    run(async {
        let server = Server::start(Limits::default());
        let document = serde_json::from_value(serde_json::json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "upstreams": { "app": { "endpoints": ["10.0.0.1:80", { "address": "10.0.0.2:80", "drain": true }] } },
        }));
        let plan = check(&document.expect("a document"), std::path::Path::new("")).expect("a plan").plan;
        let snapshot = Snapshot::build(plan, &server.registry, None).expect("nothing is read from files");
        server.health.publish(snapshot.health());
        let upstream = server.get("/healthz?verbose").await.json()["details"]["upstreams"][0].clone();
        assert_eq!(upstream["usable_endpoints"], 1);
        let (first, second) = (&upstream["endpoints"][0], &upstream["endpoints"][1]);
        assert_eq!((&first["address"], &first["state"]), (&"10.0.0.1:80".into(), &"unchecked".into()));
        assert_eq!((&second["address"], &second["state"]), (&"10.0.0.2:80".into(), &"draining".into()));
        assert_eq!((&first["reason"], &first["last_probe"]), (&Value::Null, &Value::Null));
        assert_eq!(second["reason"], "the configuration says so");
        assert!(first["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{first}");
    });
}

#[test]
fn metrics_come_in_the_format_that_is_accepted() {
    run(async {
        let server = Server::start(Limits::default());
        let plain = server.get("/metrics").await;
        assert_eq!(plain.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert!(plain.body.contains("\n# TYPE tidegate_config_reloads_total counter\n"), "{}", plain.body);
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\
                       Connection: close\r\n\r\n";
        let openmetrics = server.exchange(request).await;
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(openmetrics.field("content-type"), Some(content_type));
        assert!(openmetrics.body.ends_with("# EOF\n"), "{}", openmetrics.body);
    });
}

#[test]
fn the_index_lists_every_page_and_needs_no_network() {
    run(async {
        let server = Server::start(Limits::default());
        let index = server.get("/").await;
        assert_eq!(index.field("content-type"), Some("text/html; charset=utf-8"));
        for page in ["/livez", "/readyz", "/healthz", "/metrics", "/exchanges"] {
            assert!(index.body.contains(&format!("href=\"{page}\"")), "{page}");
        }
        assert!(!index.body.contains("{{") && !index.body.contains("://"), "{}", index.body);
    });
}

#[test]
fn exchanges_are_asked_for_in_words_that_are_known() {
    run(async {
        let server = Server::start(Limits::default());
        for query in ["", "?limit=1", "?limit=1000", "?status=5xx", "?status=404&route=a%20b"] {
            let answer = server.get(&format!("/exchanges{query}")).await;
            assert_eq!((answer.status, &answer.json()["exchanges"]), (200, &serde_json::json!([])), "{query}");
        }
        for query in
            ["limit=0", "limit=1001", "limit=-1", "limit=x", "status=6xx", "status=", "rout=a", "limit=1&limit=2"]
        {
            let answer = server.get(&format!("/exchanges?{query}")).await;
            assert_eq!((answer.status, &answer.json()["status"]), (400, &400.into()), "{query}");
        }
        let unknown = server.get("/exchanges/a/b").await;
        let detail = "no exchange is remembered: `recent` is off";
        assert_eq!((unknown.status, &unknown.json()["detail"]), (404, &detail.into()));
    });
}

#[test]
fn head_answers_without_a_body() {
    run(async {
        let server = Server::start(Limits::default());
        for page in ["/", "/livez", "/readyz", "/healthz", "/metrics", "/exchanges", "/exchanges/x", "/nothing"] {
            let (get, head) = (server.get(page).await, server.request("HEAD", page).await);
            assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{page}");
        }
    });
}

#[test]
fn other_pages_and_methods_are_refused_with_a_reason() {
    run(async {
        let server = Server::start(Limits::default());
        let missing = server.get("/metrics/").await;
        assert_eq!((missing.status, &missing.json()["status"]), (404, &404.into()));
        assert_eq!(missing.field("content-type"), Some("application/problem+json"));
        let post = server.request("POST", "/metrics").await;
        assert_eq!((post.status, &post.json()["title"]), (405, &"Method Not Allowed".into()));
        assert_eq!(post.field("allow"), Some("get,head"));
    });
}

#[test]
fn foreign_pages_get_nothing() {
    run(async {
        let server = Server::start(Limits::default());
        for (fields, status) in [
            ("Host: evil.example", 403),
            ("Host: 127.0.0.1\r\nOrigin: http://evil.example", 403),
            ("Host: 127.0.0.1\r\nOrigin: null", 403),
            ("X: no host", 400),
            ("Host: 127.0.0.1\r\nHost: 127.0.0.1", 400),
            ("Host: gate.example:9901", 200),
        ] {
            for page in ["/livez", "/metrics", "/nothing"] {
                let request = format!("GET {page} HTTP/1.1\r\n{fields}\r\nConnection: close\r\n\r\n");
                let answer = server.exchange(&request).await;
                let expected = if page == "/nothing" && status == 200 { 404 } else { status };
                assert_eq!(answer.status, expected, "{fields:?} {page}");
                assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
            }
        }
        assert_eq!(server.exchange("GET /livez HTTP/1.0\r\n\r\n").await.status, 200);
    });
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    run(async {
        let server = Server::start(Limits { head: Duration::from_millis(20), ..Limits::default() });
        let mut stream = server.connect().await;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").await.expect("a start sent");
        let answer = read_to_end(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    });
}

#[test]
fn no_connection_outlives_its_time() {
    run(async {
        let forever = Duration::from_secs(3600);
        let lifetime = Duration::from_millis(20);
        let server = Server::start(Limits { lifetime, grace: lifetime, head: forever, ..Limits::default() });
        let mut stream = server.connect().await;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("a request sent");
        // Ends at all, that is the test: nothing else closes a connection that is kept alive.
        read_to_end(&mut stream).await;
    });
}

#[test]
fn a_client_that_does_not_read_loses_its_place() {
    run(async {
        let time = Duration::from_millis(20);
        let server = Server::start(Limits { connections: 1, lifetime: time, grace: time, ..Limits::default() });
        // Metrics of some ten megabytes: more than the socket buffers between the two take in.
        let meters: Vec<_> = (0..2_000).map(|n| server.registry.route(&format!("r{n}"), None).meter(0)).collect();
        for meter in &meters {
            [200, 404, 500].into_iter().for_each(|status| meter.finished(status, time, 0, 0));
        }
        let mut silent = server.connect().await;
        silent.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("a request sent");
        let mut byte = [0];
        silent.read_exact(&mut byte).await.expect("an answer that has begun");
        assert_eq!(server.exchange("GET /livez HTTP/1.0\r\n\r\n").await.status, 200);
    });
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    run(async {
        let server = Server::start(Limits { connections: 1, ..Limits::default() });
        let mut first = server.connect().await;
        first.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("a request sent");
        let mut start = [0; 12];
        first.read_exact(&mut start).await.expect("an answer");
        let mut second = server.connect().await;
        second.write_all(b"GET /livez HTTP/1.0\r\n\r\n").await.expect("a request sent");
        let mut byte = [0];
        let early = tokio::time::timeout(Duration::from_millis(20), second.read(&mut byte)).await;
        assert!(early.is_err(), "answered beyond the limit");
        drop(first);
        assert!(read_to_end(&mut second).await.ends_with("alive\n"));
    });
}

#[test]
fn shutdown_closes_idle_connections_and_the_listener() {
    run(async {
        let server = Server::start(Limits::default());
        let mut stream = server.connect().await;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("a request sent");
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.expect("an answer");
        server.stop.send(()).expect("a running server");
        server.ended.await.expect("no panic").expect("no error");
        assert!(read_to_end(&mut stream).await.ends_with("alive\n"));
        assert!(TcpStream::connect(server.address).await.is_err());
    });
}
