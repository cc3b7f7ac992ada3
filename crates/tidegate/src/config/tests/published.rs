//! What is published beside the program: examples, schema and reference.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::*;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_examples_are_valid_and_without_warnings() {
    let folder = fs::read_dir(project().join("examples")).expect("there are examples");
    let mut seen = 0;
    for file in folder {
        let path = file.expect("the folder can be read").path();
        let loaded = load(&path, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        // The complete example shows more policies than anything in it uses, and says so.
        let complete = path.ends_with("tidegate.yaml");
        let meant = |warning: &&str| complete && warning.contains(" policies.") && warning.contains("is never used");
        let warnings = lines(&loaded.warnings);
        let odd: Vec<_> = warnings.iter().map(String::as_str).filter(|warning| !meant(warning)).collect();
        assert!(odd.is_empty(), "{odd:?}");
        seen += 1;
    }
    assert!(seen >= 2, "the minimal example and the complete one");
}

/// The complete example with the lines that are commented out, which have no space behind the `#`.
fn complete_example() -> String {
    let text = fs::read_to_string(project().join("examples/tidegate.yaml")).expect("it is there");
    let uncommented = text.lines().map(|line| {
        let option = line.trim_start().strip_prefix('#');
        let option = option.filter(|option| !option.is_empty() && !option.starts_with(' '));
        match option {
            Some(_) => line.replacen('#', "", 1),
            None => line.to_owned(),
        }
    });
    uncommented.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_complete_example_shows_every_option() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("tls")).expect("a folder is made");
    for name in ["example.test.pem", "example.test.key", "internal-ca.pem", "gateway.pem", "gateway.key"] {
        fs::write(folder.path().join("tls").join(name), "").expect("a file is written");
    }
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, complete_example()).expect("the example is written");
    load(&path, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));

    let source = Source::new("example", &complete_example()).expect("the example is text");
    let (tree, _) = yaml::parse(&source).expect("the example is YAML");
    let mut shown = BTreeSet::new();
    keys(&tree, tree.root().expect("the example has content"), &mut shown);
    let mut known = BTreeSet::new();
    properties(&schema(), &mut known);
    let missing: Vec<_> = known.difference(&shown).collect();
    // Its first line says the same in a comment.
    assert_eq!(missing, ["$schema"]);
}

/// Every key of every map.
fn keys(tree: &tree::Tree, id: tree::NodeId, into: &mut BTreeSet<String>) {
    for entry in tree.entries(id) {
        into.insert(entry.key.clone());
        keys(tree, entry.value, into);
    }
    for item in tree.items(id) {
        keys(tree, item, into);
    }
}

/// Every name of every option.
fn properties(schema: &Value, into: &mut BTreeSet<String>) {
    if let Some(options) = schema["properties"].as_object() {
        into.extend(options.keys().cloned());
    }
    match schema {
        Value::Object(map) => map.values().for_each(|value| properties(value, into)),
        Value::Array(list) => list.iter().for_each(|value| properties(value, into)),
        _ => {}
    }
}

#[test]
fn the_example_has_the_defaults_that_it_claims() {
    let example = load(&project().join("examples/tidegate.yaml"), &|_| None).expect("it is valid");
    let minimal = load(&project().join("examples/minimal.yaml"), &|_| None).expect("it is valid");
    let (shown, default) = (&example.plan.listeners[0], &minimal.plan.listeners[0]);
    assert_eq!(shown.limits, default.limits);
    assert_eq!(shown.timeouts, default.timeouts);
    assert_eq!(shown.http2, default.http2);
    let (shown, default) = (&example.plan.upstreams[1], &minimal.plan.upstreams[0]);
    assert_eq!(&*shown.name, "app");
    assert_eq!(shown.pool, default.pool);
    assert_eq!(shown.timeouts, default.timeouts);
    assert_eq!(shown.outlier, default.outlier);
    let (shown, default) = (example.document, minimal.document);
    assert_eq!(shown.admin, default.admin);
    assert_eq!(shown.headers, default.headers);
    assert_eq!(shown.shutdown, default.shutdown);
    assert_eq!(shown.reload, default.reload);
    assert_eq!(shown.log, default.log);
    let policies = "
        listeners: [ { address: 127.0.0.1:0 } ]
        policies:
          database-breaker: { circuit_breaker: {} }
          database-places: { bulkhead: {} }
          measured-places: { adaptive: {} }
          patient-retry: { retry: {} }
          copy-of-slow: { hedge: {} }";
    for (name, default) in yaml(policies).document.policies {
        assert_eq!(shown.policies[&name], default, "{name}");
    }
    let log = tidegate_gateway::config::document::AccessLog::default();
    assert_eq!(shown.access_log.0, Some(log));
}

#[test]
fn the_reference_is_up_to_date() {
    let published = fs::read_to_string(project().join("docs/reference.md")).expect("it is there");
    assert!(published == reference(), "run `cargo run -p tidegate -- reference > docs/reference.md`");
}

#[test]
fn every_link_of_the_reference_leads_to_a_section() {
    let text = reference();
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let sections: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with("##")))
        .map(|title| title.to_lowercase().chars().filter(kept).collect())
        .collect();
    let links: Vec<_> = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 20 && links.contains(&"policies") && links.contains(&"retrybackoff"));
    for link in links {
        assert!(sections.contains(link), "{link}");
    }
}

#[test]
fn every_option_is_described_and_nothing_may_be_null() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], serde_json::json!(["listeners"]));
    described("the document", &schema);
    let definitions = schema["$defs"].as_object().expect("there are definitions");
    for (name, definition) in definitions {
        described(name, definition);
    }
    assert!(!schema.to_string().contains("null"), "{schema}");
}

fn described(name: &str, schema: &Value) {
    assert!(schema["description"].is_string(), "{name}");
    for (option, schema) in schema["properties"].as_object().into_iter().flatten() {
        assert!(schema["description"].is_string(), "{name}.{option}");
    }
}
