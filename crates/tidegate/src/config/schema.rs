//! The JSON Schema of the configuration, for editors.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value};
use tidegate_gateway::config::Document;

/// The JSON Schema (draft 2020-12) of a configuration.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(without_null))
        .with_transform(RecursiveTransform(without_rust));
    let mut schema = settings.into_generator().into_root_schema_for::<Document>();
    schema.insert("title".to_owned(), "Tidegate configuration".into());
    schema.to_value()
}

/// Takes `null` out, which the loader does not take for an option that is left out.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    let types = object.get("type").and_then(Value::as_array);
    if let Some(types) = types.map(|types| types.iter().filter(|name| *name != "null")) {
        let types: Vec<_> = types.cloned().collect();
        let types = one(&types).unwrap_or(Value::Array(types));
        object.insert("type".to_owned(), types);
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let Some(Value::Object(only)) = one(choices) {
            object.remove("anyOf");
            merge(object, only);
        }
    }
}

/// Takes out of descriptions what only readers of the source can use: examples in Rust, and links to items.
fn without_rust(schema: &mut Schema) {
    let Some(Value::String(description)) = schema.get_mut("description") else {
        return;
    };
    let prose = description.split("```").step_by(2).collect::<String>();
    *description = unlinked(prose.trim_end());
}

/// The text with `[item](path::of::item)` and `` [`item`] `` as `item`. Other brackets stay.
fn unlinked(text: &str) -> String {
    let Some((before, rest)) = text.split_once('[') else {
        return text.to_owned();
    };
    let Some((label, after)) = rest.split_once(']') else {
        return text.to_owned();
    };
    let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
    match target {
        Some((target, after)) if target.contains("::") => format!("{before}{label}{}", unlinked(after)),
        None if label.starts_with('`') && label.ends_with('`') => format!("{before}{label}{}", unlinked(after)),
        _ => format!("{before}[{}", unlinked(rest)),
    }
}

fn one(values: &[Value]) -> Option<Value> {
    match values {
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// Adds what is not there yet.
fn merge(object: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        object.entry(key).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::unlinked;

    #[test]
    fn links_of_the_source_become_their_text() {
        for (written, plain) in [
            (
                "a call that is [idempotent](crate::Call::idempotent) or [`Jitter`]",
                "a call that is idempotent or `Jitter`",
            ),
            ("see ([`Chaos::fault`](crate::Chaos::fault)), or `off`", "see (`Chaos::fault`), or `off`"),
            ("`[]` allows none, `[::1]:80` is one", "`[]` allows none, `[::1]:80` is one"),
            ("[RFC 9110](https://example.test/9110) stays", "[RFC 9110](https://example.test/9110) stays"),
            ("open [ and `[`", "open [ and `[`"),
        ] {
            assert_eq!(unlinked(written), plain);
        }
    }
}
