//! The reference document, written from the JSON Schema and so from the comments on the options themselves.

use std::fmt::Write;

use serde_json::Value;

use super::schema;

const INTRODUCTION: &str = "\
# Configuration reference

<!-- Written by `tidegate reference` from the option types. Change those, not this file. -->

A configuration is one YAML, JSON or TOML file; its ending says which. A key that is not listed here is an
error, and so is a key without a value.

- **Times** are written with their unit: `500ms`, `2s`, `5m`, `1h`.
- **Sizes** are written with a unit (`64KiB`, `1MiB`, `10MB`) or as a plain number of bytes.
- **Networks** are written `10.0.0.0/8` or `2001:db8::/32`; an address alone is the network of itself.
- **Variables** are expanded in values, after the file has been parsed: `${NAME}`, or `${NAME:-default}` for
  one that may be unset or empty. `$$` is a dollar sign. A value with a variable takes the type that its
  option asks for.
- **Editors** complete and check with the schema that `tidegate schema` prints. Save it beside the file, and
  begin the file with `# yaml-language-server: $schema=tidegate.schema.json` (in JSON: the key `$schema`).

`tidegate validate FILE` reports everything that is wrong with a file at once.
";

/// The reference document, in Markdown.
pub fn reference() -> String {
    let schema = schema();
    let mut writer = Writer { definitions: &schema["$defs"], text: INTRODUCTION.to_owned() };
    writer.section("", &schema);
    writer.text
}

struct Writer<'s> {
    definitions: &'s Value,
    text: String,
}

impl<'s> Writer<'s> {
    /// A table of the options of one map, and below it the sections of the maps in it.
    fn section(&mut self, path: &str, map: &'s Value) {
        let title = match path {
            "" => "The top level".to_owned(),
            path => format!("`{path}`"),
        };
        self.line(&format!("\n## {title}\n\n{}\n", sentence(map)));
        self.line("| option | value | default | meaning |");
        self.line("|---|---|---|---|");
        let Some(options) = map["properties"].as_object() else {
            return;
        };
        let mut below = Vec::new();
        for (name, option) in options {
            let place = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            let value = self.value(&place, option);
            let default = default(name, option, map);
            let meaning = self.meaning(option);
            self.line(&format!("| `{name}` | {value} | {default} | {meaning} |"));
            below.extend(self.map_in(place, option));
        }
        for (path, map) in below {
            self.section(&path, map);
        }
    }

    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// What a reference points to, or the schema itself.
    fn resolved(&self, schema: &'s Value) -> &'s Value {
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        name.map_or(schema, |name| &self.definitions[name])
    }

    /// The map that an option holds, by itself, in a list or under names, and the path of its options.
    fn map_in(&self, path: String, option: &'s Value) -> Option<(String, &'s Value)> {
        let own = self.resolved(option);
        if own["properties"].is_object() {
            return Some((path, own));
        }
        if own["items"].is_object() {
            return self.map_in(format!("{path}[]"), &own["items"]);
        }
        if own["additionalProperties"].is_object() {
            return self.map_in(format!("{path}.NAME"), &own["additionalProperties"]);
        }
        let mut choices = own["anyOf"].as_array().into_iter().flatten();
        choices.find_map(|choice| self.map_in(path.clone(), choice))
    }

    /// What may be written for an option.
    fn value(&self, path: &str, option: &'s Value) -> String {
        let own = self.resolved(option);
        if let Some(choices) = own["anyOf"].as_array() {
            let choices: Vec<_> = choices.iter().map(|choice| self.value(path, choice)).collect();
            return choices.join(", or ");
        }
        if own["properties"].is_object() {
            return format!("[map](#{})", anchor(path));
        }
        if let Some(words) = words(own) {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            return words.join(", ");
        }
        if own["const"].is_string() {
            return shown(&own["const"]);
        }
        if own["items"].is_object() {
            return format!("list of: {}", self.value(&format!("{path}[]"), &own["items"]));
        }
        if own["additionalProperties"].is_object() {
            let value = self.value(&format!("{path}.NAME"), &own["additionalProperties"]);
            return format!("by name: {value}");
        }
        scalar(own)
    }

    fn meaning(&self, option: &'s Value) -> String {
        let mut meaning = sentence(option);
        let own = self.resolved(option);
        let choices = own["anyOf"].as_array().into_iter().flatten().map(|choice| self.resolved(choice));
        for (word, about) in std::iter::once(own).chain(choices).filter_map(words).flatten() {
            let _ = write!(meaning, " `{word}`: {about}");
        }
        meaning
    }
}

/// The words of an enumeration, each with what it means.
fn words(schema: &Value) -> Option<Vec<(&str, String)>> {
    schema["oneOf"].as_array()?.iter().map(word).collect()
}

fn word(choice: &Value) -> Option<(&str, String)> {
    Some((choice["const"].as_str()?, sentence(choice)))
}

fn scalar(schema: &Value) -> String {
    let range = schema["x-range"].as_str().unwrap_or("any");
    match (schema["x-kind"].as_str(), schema["type"].as_str()) {
        (Some(kind), _) => format!("{kind}, {range}"),
        (None, Some("boolean")) => "`true`, `false`".to_owned(),
        (None, Some("integer")) => match (&schema["minimum"], &schema["maximum"]) {
            (Value::Number(min), Value::Number(max)) => format!("{min} to {max}"),
            _ => "whole number".to_owned(),
        },
        // A map without options.
        (None, Some("object")) => "`{}`".to_owned(),
        _ => "text".to_owned(),
    }
}

/// The default of an option, or that it has to be written.
fn default(name: &str, option: &Value, map: &Value) -> String {
    let required = map["required"].as_array().is_some_and(|keys| keys.iter().any(|key| key == name));
    match &option["default"] {
        _ if required => "required".to_owned(),
        Value::Null if sentence(option).contains("Default: ") => "in the text".to_owned(),
        Value::Null => "none".to_owned(),
        Value::Object(map) if !map.is_empty() => "as below".to_owned(),
        value => shown(value),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "`\"\"`".to_owned(),
        Value::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    }
}

/// A description on one line.
fn sentence(schema: &Value) -> String {
    let description = schema["description"].as_str().unwrap_or_default();
    description.replace('\n', " ").replace('|', "\\|")
}

/// The anchor that readers of Markdown derive from a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-');
    heading.to_lowercase().chars().filter(kept).collect()
}
