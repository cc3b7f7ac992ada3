//! The files in `ops` use metrics, labels and label values that exist, and no others.

mod expression;

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::metrics::MetricType;
use saphyr_parser::{Event, Parser, StrInput};
use serde_json::{Map, Value};
use tidegate_prometheus::Kind;

use super::{Format, catalogue, tests};
use expression::Expression;

const DASHBOARD: &str = include_str!("../../../../../ops/grafana-dashboard.json");
const RULES: &str = include_str!("../../../../../ops/prometheus-rules.yaml");

/// What a scrape adds to every series.
const OF_THE_SCRAPE: [&str; 2] = ["job", "instance"];

/// Labels whose values are a short list that this program writes, not the configuration.
const FIXED: [&str; 9] = ["code_class", "event", "kind", "limit", "priority", "protocol", "reason", "result", "state"];

/// What can be asked for: the names of series, each with its labels.
struct Known {
    series: BTreeMap<String, BTreeSet<String>>,
    /// The values that each label of [`FIXED`] has on each metric.
    values: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Known {
    fn new() -> Self {
        let mut series = tests::catalogue();
        let histograms = catalogue::ALL.iter().filter(|metric| matches!(metric.kind, MetricType::Histogram));
        for name in histograms.map(|metric| metric.exposed_name()) {
            let labels = series.remove(&name).expect("in the catalogue");
            for suffix in ["_bucket", "_count", "_sum"] {
                let le = (suffix == "_bucket").then(|| "le".to_owned());
                series.insert(format!("{name}{suffix}"), labels.iter().cloned().chain(le).collect());
            }
        }
        let (exposition, _held) = tests::busy();
        let text = exposition.render(Format::Classic).expect("text");
        let mut values = BTreeMap::<_, BTreeSet<_>>::new();
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, rest)) = sample.split_once('{') else { continue };
            for label in rest.split("\",").filter_map(|label| label.split_once("=\"")) {
                let value = label.1.split('"').next().unwrap_or_default();
                values.entry((name.to_owned(), label.0.to_owned())).or_default().insert(value.to_owned());
            }
        }
        Self { series, values }
    }

    /// Everything that is wrong with an expression.
    fn problems(&self, expression: &Expression) -> Vec<String> {
        let mut problems = Vec::new();
        for selector in &expression.selectors {
            let Some(labels) = self.series.get(&selector.metric) else {
                problems.push(format!("there is no {}", selector.metric));
                continue;
            };
            let used = selector.matchers.iter().map(|(label, _)| label).chain(&selector.grouped_by);
            let missing = used.filter(|label| !labels.contains(*label) && !OF_THE_SCRAPE.contains(&label.as_str()));
            problems.extend(missing.map(|label| format!("{} has no label {label}", selector.metric)));
            for (label, pattern) in selector.matchers.iter().filter(|(label, _)| FIXED.contains(&label.as_str())) {
                // Histograms show only the classes that occurred.
                let of = if label == "code_class" { "tidegate_requests_total" } else { &*selector.metric };
                let known = self.values.get(&(of.to_owned(), label.clone())).cloned().unwrap_or_default();
                let unknown = pattern.split('|').filter(|value| !known.contains(*value));
                problems.extend(unknown.map(|value| format!("{}: {label} is never {value}", selector.metric)));
            }
        }
        problems
    }

    /// The labels of what an expression results in.
    fn labels_of(&self, expression: &Expression) -> BTreeSet<String> {
        let of_series = |metric: &str| self.series.get(metric).cloned().unwrap_or_default();
        let of_scrape = || OF_THE_SCRAPE.map(str::to_owned);
        let each = expression.selectors.iter().map(|selector| match &*selector.grouped_by {
            [] if expression.is_aggregated => BTreeSet::new(),
            [] => of_series(&selector.metric).into_iter().chain(of_scrape()).collect(),
            labels => labels.iter().cloned().collect(),
        });
        each.flatten().collect()
    }
}

/// The labels that a text with `{{label}}` or `{{ $labels.label }}` shows.
fn shown(text: &str) -> BTreeSet<String> {
    let holes = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    let names = holes.map(|hole| hole.trim().trim_start_matches("$labels."));
    names.filter(|name| !name.starts_with("$value")).map(str::to_owned).collect()
}

/// Every map in a document, however deep.
fn maps(value: &Value) -> Vec<&Map<String, Value>> {
    match value {
        Value::Object(map) => [map].into_iter().chain(map.values().flat_map(maps)).collect(),
        Value::Array(items) => items.iter().flat_map(maps).collect(),
        _ => Vec::new(),
    }
}

fn text<'v>(map: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
    map.get(key)?.as_str()
}

/// YAML without tags and aliases, all scalars as text.
fn yaml(text: &str) -> Value {
    fn value<'a>(parser: &mut Parser<'a, StrInput<'a>>) -> Option<Value> {
        match next(parser) {
            Event::Scalar(text, ..) => Some(Value::String(text.into_owned())),
            Event::SequenceStart(..) => Some(std::iter::from_fn(|| value(parser)).collect()),
            Event::MappingStart(..) => {
                let mut map = Map::new();
                while let Some(Value::String(key)) = value(parser) {
                    map.insert(key, value(parser).expect("a value for each key"));
                }
                Some(map.into())
            }
            Event::SequenceEnd | Event::MappingEnd => None,
            other => panic!("{other:?} in a file of rules"),
        }
    }

    fn next<'a>(parser: &mut Parser<'a, StrInput<'a>>) -> Event<'a> {
        parser.next_event().expect("an end").expect("YAML").0
    }

    let mut parser = Parser::new_from_str(text);
    assert!(matches!(next(&mut parser), Event::StreamStart));
    assert!(matches!(next(&mut parser), Event::DocumentStart(_)));
    value(&mut parser).expect("a document")
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let known = Known::new();
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut expressions = 0;
    for map in maps(&dashboard) {
        if let Some(expression) = text(map, "expr") {
            expressions += 1;
            let parsed = Expression::parse(expression);
            assert_eq!(known.problems(&parsed), [""; 0], "{expression}");
            let shown = shown(text(map, "legendFormat").or(text(map, "titleFormat")).unwrap_or_default());
            let there = known.labels_of(&parsed);
            assert!(shown.is_subset(&there), "{shown:?} of {there:?} in {expression}");
        }
        if let Some(query) = text(map, "definition") {
            assert_eq!(known.problems(&Expression::parse(query)), [""; 0], "{query}");
        }
    }
    assert!(expressions > 60, "{expressions}");
}

#[test]
fn every_panel_has_a_title_and_its_own_place() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "an id twice in {panel}");
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
        let at = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{panel}");
        for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "two panels at {cell:?}: {}", panel["title"]);
        }
    }
}

#[test]
fn the_rules_ask_for_what_there_is() {
    let mut known = Known::new();
    let rules = yaml(RULES);
    let mut alerts = BTreeSet::new();
    for rule in maps(&rules).into_iter().filter(|map| map.contains_key("expr")) {
        let expression = text(rule, "expr").expect("text");
        let parsed = Expression::parse(expression);
        assert_eq!(known.problems(&parsed), [""; 0], "{expression}");
        let labels = known.labels_of(&parsed);
        if let Some(name) = text(rule, "record") {
            // What is recorded can be asked for by the rules after it.
            let labels = labels.into_iter().filter(|label| label != "le").collect();
            assert!(known.series.insert(name.to_owned(), labels).is_none(), "{name} twice");
            continue;
        }
        let name = text(rule, "alert").expect("an alert");
        assert!(name.starts_with("Tidegate") && alerts.insert(name), "{name} twice");
        assert!(
            ["page", "ticket", "info"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()),
            "{name}"
        );
        assert!(rule["annotations"]["summary"].is_string(), "{name}");
        for annotation in rule["annotations"].as_object().into_iter().flat_map(Map::values) {
            let shown = shown(annotation.as_str().unwrap_or_default());
            assert!(shown.is_subset(&labels), "{name}: {shown:?} of {labels:?}");
        }
    }
    assert!(alerts.len() > 20, "{alerts:?}");
}

#[test]
fn every_counter_of_policies_is_on_the_dashboard() {
    for metric in tidegate_prometheus::CATALOGUE.iter().filter(|metric| metric.kind() == Kind::Counter) {
        assert!(DASHBOARD.contains(&metric.exposed_name()), "{}", metric.exposed_name());
    }
}

#[test]
fn mistakes_are_found() {
    let known = Known::new();
    for (expression, problem) in [
        ("rate(tidegate_request_total[5m])", "there is no tidegate_request_total"),
        ("tidegate_request_duration_seconds", "there is no tidegate_request_duration_seconds"),
        ("sum by (route) (tidegate_endpoint_state)", "tidegate_endpoint_state has no label route"),
        ("tidegate_workers{job=\"a\", name=\"b\"}", "tidegate_workers has no label name"),
        ("tidegate_endpoint_state{state=~\"healthy|dead\"}", "tidegate_endpoint_state: state is never dead"),
        (
            "histogram_quantile(0.9, sum by (route, lee) (rate(tidegate_request_duration_seconds_bucket[5m])))",
            "tidegate_request_duration_seconds_bucket has no label lee",
        ),
    ] {
        assert_eq!(known.problems(&Expression::parse(expression)), [problem]);
    }
}
