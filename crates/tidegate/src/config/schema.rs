//! The JSON Schema of the configuration, for editors.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value};
use tidegate_gateway::config::Document;

/// The JSON Schema (draft 2020-12) of a configuration.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(without_null));
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
