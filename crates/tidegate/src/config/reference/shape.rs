//! What a JSON Schema says about one option, in the words of the reference.

use serde_json::Value;

/// The words of an enumeration, each with what it means.
pub(super) fn words(schema: &Value) -> Option<Vec<(&str, String)>> {
    schema["oneOf"].as_array()?.iter().map(|choice| Some((choice["const"].as_str()?, sentence(choice)))).collect()
}

/// The kinds of which a map with one entry names one: each with its value, and the choice as a whole.
pub(super) fn kinds(schema: &Value) -> Option<Vec<(&str, &Value, &Value)>> {
    let choices = schema["oneOf"].as_array()?.iter().map(|choice| {
        let mut options = choice["properties"].as_object()?.iter();
        match (options.next(), options.next()) {
            (Some((kind, value)), None) if !value["const"].is_string() => Some((kind.as_str(), value, choice)),
            _ => None,
        }
    });
    choices.collect()
}

/// The option that says which of several maps one is.
pub(super) fn tag(schema: &Value) -> Option<&str> {
    let choices = schema["oneOf"].as_array()?;
    let options = choices.first()?["properties"].as_object()?;
    let (tag, _) = options.iter().find(|(_, option)| option["const"].is_string())?;
    choices.iter().all(|choice| fixed(choice, tag).is_some()).then_some(tag)
}

/// What `option` is in a map where it can be nothing else.
pub(super) fn fixed<'s>(map: &'s Value, option: &str) -> Option<&'s str> {
    map["properties"][option]["const"].as_str()
}

/// What may be written for an option that holds neither list nor map.
pub(super) fn scalar(schema: &Value) -> String {
    match (schema["x-kind"].as_str(), schema["type"].as_str()) {
        (Some(kind), _) => match schema["x-range"].as_str() {
            Some(range) => format!("{kind}, {range}"),
            None => kind.to_owned(),
        },
        (None, Some("boolean")) => "`true`, `false`".to_owned(),
        (None, Some("integer")) => match (&schema["minimum"], &schema["maximum"]) {
            (Value::Number(min), Value::Number(max)) => format!("{min} to {max}"),
            _ => "whole number".to_owned(),
        },
        (None, Some("number")) => "number".to_owned(),
        // A map without options.
        (None, Some("object")) => "`{}`".to_owned(),
        _ => "text".to_owned(),
    }
}

/// The default of an option, or that it has to be written. `own` is what its schema refers to.
pub(super) fn default(name: &str, option: &Value, own: &Value, map: &Value) -> String {
    let required = map["required"].as_array().is_some_and(|keys| keys.iter().any(|key| key == name));
    match &option["default"] {
        _ if required => "required".to_owned(),
        Value::Null if sentence(option).contains("Default") => "in the text".to_owned(),
        Value::Null => "none".to_owned(),
        Value::Object(written) if !written.is_empty() => match tag(own) {
            Some(tag) => format!("`{tag}: {}`", plain(&written[tag])),
            None if kinds(own).is_some() => format!("`{}`", plain(&option["default"])),
            None => "as below".to_owned(),
        },
        value => format!("`{}`", plain(value)),
    }
}

/// A value as one would write it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(map) if !map.is_empty() => {
            let entries: Vec<_> = map.iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        // 2 rather than 2.0.
        value => value.as_f64().map_or_else(|| value.to_string(), |number| number.to_string()),
    }
}

/// A description on one line.
pub(super) fn sentence(schema: &Value) -> String {
    let description = schema["description"].as_str().unwrap_or_default();
    let lines: Vec<_> = description.lines().filter(|line| !line.is_empty()).collect();
    lines.join(" ").replace('|', "\\|")
}

/// The anchor that readers of Markdown derive from a heading.
pub(super) fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-');
    heading.to_lowercase().chars().filter(kept).collect()
}
