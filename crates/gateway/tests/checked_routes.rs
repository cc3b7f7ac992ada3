//! What the check of a configuration lets through, the router can use.

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use tidegate_gateway::config::{Document, check};
use tidegate_gateway::router::Router;

/// Whether the router takes a route with this match; `None` when the check does not.
fn routable(matches: &serde_json::Value) -> Option<bool> {
    let document = json!({
        "listeners": [{ "address": "127.0.0.1:0" }],
        "routes": [{ "match": matches, "respond": { "status": 404 } }],
    });
    let document: Document = serde_json::from_value(document).expect("the document has the right shape");
    let plan = check(&document, Path::new("")).ok()?.plan;
    let matches: Vec<_> = plan.routes.iter().map(|route| route.matches.clone()).collect();
    Some(Router::new(&matches).is_ok())
}

/// Text from pieces that mean something in patterns.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("a"),
        Just("{a}"),
        Just("{b*}"),
        Just("{"),
        Just("}"),
        Just("*"),
        Just("."),
        Just(".."),
        Just("%2e"),
        Just("%2F"),
        Just("%"),
        Just("%7B"),
        Just(" "),
        Just("\u{e9}"),
        Just(";"),
        Just("?"),
        Just("#"),
        Just("\\"),
        Just("("),
        Just(")"),
        Just("|"),
        Just("[a-z]"),
        Just("\\w"),
        Just("\\p{L}"),
        Just("+"),
        Just("^"),
        Just("$"),
        Just("(?i)"),
        Just("(?u)"),
        Just("{2}"),
        Just("\n"),
        Just("\u{7f}"),
    ];
    let pieces = proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    (any::<bool>(), pieces).prop_map(|(slash, text)| if slash { format!("/{text}") } else { text })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_checked_pattern_can_be_routed(text in prop_oneof![pieces(), any::<String>()]) {
        for matches in [
            json!({ "path": text }),
            json!({ "prefix": text }),
            json!({ "regex": text }),
            json!({ "host": text }),
            json!({ "header": { "a": { "regex": text } } }),
            json!({ "query": { "a": { "regex": text } } }),
        ] {
            prop_assert_ne!(routable(&matches), Some(false), "{}", matches);
        }
    }
}

/// The check is not so strict that it refuses what routing documents.
#[test]
fn documented_patterns_are_let_through() {
    for matches in [
        json!({ "path": "/users/{id}" }),
        json!({ "path": "/files/{rest*}" }),
        json!({ "path": "/caf\u{e9} au lait/%7Bx%7D" }),
        json!({ "prefix": "/api/" }),
        json!({ "regex": "(?i)/v[0-9]+/.*" }),
        json!({ "host": ["*.example.test", "Example.test."] }),
        json!({ "query": { "v": { "regex": "\\p{L}+" } } }),
    ] {
        assert_eq!(routable(&matches), Some(true), "{matches}");
    }
}
