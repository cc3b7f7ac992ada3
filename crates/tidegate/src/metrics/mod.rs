//! The numbers of `gateway::stats` and of the policies as Prometheus and OpenMetrics text.
//!
//! [`Exposition`] renders on the control thread, so that a scrape never delays a request. What is exposed, under
//! which names, is one table in `catalogue`, and the one of `tidegate-prometheus` for policies, so that they are called
//! the same in every program. docs/metrics.md shows both tables, and the files in `ops` use no other names.

mod catalogue;
mod classic;
mod collect;
mod negotiate;
#[cfg(test)]
mod ops;

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry as Encoding;
use tidegate_gateway::health::Directory;
use tidegate_gateway::stats::Registry;
use tidegate_prometheus::Policies;

pub(crate) use negotiate::Format;

/// Renders all metrics of one process.
#[derive(Debug)]
pub(crate) struct Exposition {
    encoding: Encoding,
}

impl Exposition {
    pub(crate) fn new(
        registry: Arc<Registry>,
        health: Arc<Directory>,
        policies: &tidegate_resilience::Registry,
    ) -> Self {
        let mut encoding = Encoding::default();
        encoding.register_collector(Box::new(collect::Source::new(registry, health)));
        encoding.register_collector(Box::new(Policies::of(policies)));
        Self { encoding }
    }

    /// All metrics as of now.
    ///
    /// # Errors
    ///
    /// None in practice: writing to a string cannot fail, but the encoder's interface says it might.
    pub(crate) fn render(&self, format: Format) -> Result<String, std::fmt::Error> {
        let mut openmetrics = String::new();
        text::encode(&mut openmetrics, &self.encoding)?;
        Ok(match format {
            Format::OpenMetrics => openmetrics,
            Format::Classic => classic::from_openmetrics(&openmetrics),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use prometheus_client::metrics::MetricType;
    use tidegate_gateway::config::check;
    use tidegate_gateway::snapshot::Snapshot;
    use tidegate_gateway::stats::{Failure, FallbackKind, KeyResult, Protocol};
    use tidegate_prometheus::Kind;
    use tidegate_resilience::Environment;

    use super::*;

    /// A registry in which every metric has at least one sample. The held gauges come along.
    pub(super) fn busy() -> (Exposition, impl Sized) {
        let registry = Arc::new(Registry::new(2));
        registry.process().reloaded(1, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        registry.process().reload_failed("2 mistakes", SystemTime::UNIX_EPOCH);
        registry.process().access_log().add_dropped();
        let route = registry.route("users", Some("app")).meter(0);
        route.finished(200, Duration::from_millis(3), 10, 2_000);
        route.finished(503, Duration::from_secs(90), 0, 100);
        route.key(KeyResult::Replayed);
        route.fell_back(FallbackKind::Respond);
        registry.route("users", Some("app")).meter(1).finished(200, Duration::from_millis(2), 0, 0);
        let upstream = registry.upstream("app").meter(1);
        upstream.answered(200, Duration::from_micros(400));
        upstream.failed(Failure::Reset);
        let listener = registry.listener("127.0.0.1:8080").meter(0);
        listener.request(Protocol::H2);
        let held = (upstream.sent(), upstream.connected(), listener.accepted());
        let health = directory(&registry);
        (Exposition::new(registry, health, &policies()), (route, held))
    }

    /// One policy of each kind.
    fn policies() -> tidegate_resilience::Registry {
        let limit = serde_json::json!({ "fixed_window": { "limit": 10, "window": "60s" } });
        let document = serde_json::from_value(serde_json::json!({
            "policies": {
                "all": { "rate_limit": limit },
                "each": { "keyed_rate_limit": limit },
                "circuit": { "circuit_breaker": {} },
                "places": { "bulkhead": { "max_concurrent": 7 } },
                "adaptive": { "adaptive": {} },
                "time": { "timeout": { "total": "1s" } },
                "again": { "retry": { "attempts": 2 } },
                "twice": { "hedge": {} },
                "trouble": { "chaos": {} },
            },
        }));
        let document = document.expect("a document");
        tidegate_resilience::Registry::new(&document, &Environment::default()).expect("valid")
    }

    /// What is known of two endpoints of which one drains.
    fn directory(registry: &Registry) -> Arc<Directory> {
        let document = serde_json::from_value(serde_json::json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "upstreams": { "app": { "endpoints": ["10.0.0.1:80", { "address": "10.0.0.2:80", "drain": true }] } },
        }));
        let checked = check(&document.expect("a document"), Path::new("")).expect("a plan");
        let snapshot = Snapshot::build(checked.plan, registry, None).expect("nothing is read from files");
        let directory = Directory::default();
        directory.publish(snapshot.health());
        Arc::new(directory)
    }

    /// The names and labels of all samples, without the suffixes and the label that histograms add.
    fn exposed(text: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut exposed = BTreeMap::<_, BTreeSet<_>>::new();
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, _value) = sample.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let labels = labels.trim_end_matches('}').split(',').filter_map(|label| Some(label.split_once('=')?.0));
            exposed.entry(name.to_owned()).or_default().extend(labels.filter(|name| *name != "le").map(str::to_owned));
        }
        exposed
    }

    /// The names of all metrics, each with its labels.
    pub(super) fn catalogue() -> BTreeMap<String, BTreeSet<String>> {
        let own = catalogue::ALL.iter().map(|metric| (metric.exposed_name(), owned(metric.labels.iter().copied())));
        let policies = tidegate_prometheus::CATALOGUE.iter();
        own.chain(policies.map(|metric| (metric.exposed_name(), owned(metric.labels())))).collect()
    }

    fn owned(labels: impl Iterator<Item = &'static str>) -> BTreeSet<String> {
        labels.map(str::to_owned).collect()
    }

    #[test]
    fn exactly_the_catalogue_is_exposed() {
        let (exposition, _held) = busy();
        let catalogue = catalogue();
        assert_eq!(catalogue.len(), catalogue::ALL.len() + tidegate_prometheus::CATALOGUE.len(), "a name twice");
        for format in [Format::OpenMetrics, Format::Classic] {
            assert_eq!(exposed(&exposition.render(format).expect("text")), catalogue, "{format:?}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_registry() {
        let (exposition, held) = busy();
        let text = exposition.render(Format::OpenMetrics).expect("text");
        for sample in [
            r#"tidegate_requests_total{route="users",upstream="app",code_class="2xx"} 2"#,
            r#"tidegate_requests_total{route="users",upstream="app",code_class="4xx"} 0"#,
            r#"tidegate_request_duration_seconds_sum{route="users",upstream="app",code_class="2xx"} 0.005"#,
            r#"tidegate_request_duration_seconds_bucket{le="0.001",route="users",upstream="app",code_class="2xx"} 0"#,
            r#"tidegate_request_duration_seconds_bucket{le="0.0025",route="users",upstream="app",code_class="2xx"} 1"#,
            r#"tidegate_request_duration_seconds_bucket{le="0.005",route="users",upstream="app",code_class="2xx"} 2"#,
            r#"tidegate_request_duration_seconds_bucket{le="60.0",route="users",upstream="app",code_class="5xx"} 0"#,
            r#"tidegate_request_duration_seconds_bucket{le="+Inf",route="users",upstream="app",code_class="5xx"} 1"#,
            r#"tidegate_response_body_bytes_total{route="users",upstream="app"} 2100"#,
            r#"tidegate_idempotent_requests_total{route="users",upstream="app",result="replayed"} 1"#,
            r#"tidegate_idempotent_requests_total{route="users",upstream="app",result="kept"} 0"#,
            r#"tidegate_fallback_answers_total{route="users",upstream="app",kind="respond"} 1"#,
            r#"tidegate_fallback_answers_total{route="users",upstream="app",kind="upstream"} 0"#,
            r#"tidegate_upstream_failures_total{upstream="app",kind="reset"} 1"#,
            r#"tidegate_upstream_requests_in_flight{upstream="app"} 1"#,
            r#"tidegate_listener_requests_total{listener="127.0.0.1:8080",protocol="h2"} 1"#,
            r#"tidegate_config_reloads_total{result="failure"} 1"#,
            r#"tidegate_endpoint_state{upstream="app",endpoint="10.0.0.1:80",state="unchecked"} 1"#,
            r#"tidegate_endpoint_state{upstream="app",endpoint="10.0.0.2:80",state="unchecked"} 0"#,
            r#"tidegate_endpoint_state{upstream="app",endpoint="10.0.0.2:80",state="draining"} 1"#,
            r#"tidegate_endpoint_probes_total{upstream="app",endpoint="10.0.0.1:80",result="passed"} 0"#,
            "tidegate_config_generation 1",
            "tidegate_config_last_reload_successful 0",
            "tidegate_config_last_reload_success_timestamp_seconds 1700000000.0",
            r#"tidegate_access_log_records_total{result="dropped"} 1"#,
            "tidegate_workers 2",
            r#"tidegate_bulkhead_max_concurrent{policy="places"} 7.0"#,
            r#"tidegate_circuit_breaker_state{policy="circuit",state="closed"} 1.0"#,
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample}\nin\n{text}");
        }
        drop(held);
        let text = exposition.render(Format::OpenMetrics).expect("text");
        assert!(!text.contains("users") && !text.contains("8080"), "{text}");
    }

    #[test]
    fn a_class_that_never_came_has_no_histogram() {
        let (exposition, _held) = busy();
        let text = exposition.render(Format::OpenMetrics).expect("text");
        assert!(!text.contains(r#"_duration_seconds_count{route="users",upstream="app",code_class="4xx"}"#), "{text}");
    }

    #[test]
    fn hostile_names_stay_inside_their_label() {
        let registry = Arc::new(Registry::new(1));
        let route = registry.route("a\"} 1\nevil_total 9", Some("\\"));
        let text = Exposition::new(registry, Arc::default(), &policies()).render(Format::Classic).expect("text");
        assert!(text.contains(r#"{route="a\"} 1\nevil_total 9",upstream="\\",code_class="2xx"} 0"#), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("evil")), "{text}");
        drop(route);
    }

    #[test]
    fn the_document_lists_the_catalogue() {
        let document = include_str!("../../../../docs/metrics.md");
        let rows: Vec<_> = document.lines().filter(|line| line.starts_with("| `")).collect();
        let own = catalogue::ALL.iter().map(|metric| {
            let kind = match metric.kind {
                MetricType::Info => "gauge",
                ref kind => kind.as_str(),
            };
            row(&metric.exposed_name(), kind, metric.labels.iter().copied(), metric.help)
        });
        let policies = tidegate_prometheus::CATALOGUE.iter().map(|metric| {
            let kind = if metric.kind() == Kind::Counter { "counter" } else { "gauge" };
            row(&metric.exposed_name(), kind, metric.labels(), &format!("{}.", metric.help()))
        });
        let expected: Vec<_> = own.chain(policies).collect();
        assert!(rows == expected, "the table of docs/metrics.md should be\n{}", expected.join("\n"));
    }

    fn row(name: &str, kind: &str, labels: impl Iterator<Item = &'static str>, help: &str) -> String {
        let labels: Vec<_> = labels.map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
    }
}
