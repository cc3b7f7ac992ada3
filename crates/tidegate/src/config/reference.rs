//! The reference document, written from the JSON Schema and so from the comments on the options themselves.

mod shape;

use std::fmt::Write;

use serde_json::Value;

use super::schema;
use shape::{anchor, default, fixed, kinds, scalar, sentence, tag, words};

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

/// What is said of policies before their options.
const POLICIES: &str = "
## Policies

A policy is written as a map with one key: its kind. `protect` is a list of such maps, outermost first; `policies` gives
names to some of them, and `use` puts a named one into a list. What is called a pipeline below is here the `protect` of
an upstream: `use: app/retry` is the retry of the upstream `app`. [Protection](protection.md) says what each is for.

A time may be written with more units than elsewhere, and with a fraction: `250us`, `1.5s`, `7d`. A share is written
`50%`, `12.5%` or `0.5`.

| kind | value | meaning |
|---|---|---|";

/// The definitions that are the section about policies, wherever they stand.
const POLICY: [&str; 2] = ["StepOptions", "PolicyOptions"];

/// What is said of filters before their options.
const FILTERS: &str = "
## Filters

What a request has to pass before anything is done for it. A filter is written as a map with one key: its kind. `filters`
of a listener and of a route are lists of such maps. [Rate limits](rate-limits.md) and
[Idempotency keys](idempotency.md) have examples.

| kind | value | meaning |
|---|---|---|";

/// The definition that is the section about filters.
const FILTER: &str = "Filter";

/// The reference document, in Markdown.
pub fn reference() -> String {
    let schema = schema();
    let definitions = &schema["$defs"];
    let mut writer = Writer { definitions, text: INTRODUCTION.to_owned() };
    writer.section("##", "", &schema);
    writer.kinds(FILTERS, "filters.", &definitions[FILTER]);
    writer.kinds(POLICIES, "", &definitions[POLICY[0]]);
    writer.text
}

struct Writer<'s> {
    definitions: &'s Value,
    text: String,
}

impl<'s> Writer<'s> {
    /// A table of the options of one map, and below it the sections of the maps in it.
    fn section(&mut self, level: &str, path: &str, map: &'s Value) {
        let title = match path {
            "" => "The top level".to_owned(),
            path => format!("`{path}`"),
        };
        self.line(&format!("\n{level} {title}\n\n{}", sentence(map)));
        let mut below = Vec::new();
        match tag(map) {
            Some(tag) => {
                for choice in map["oneOf"].as_array().into_iter().flatten() {
                    let kind = fixed(choice, tag).unwrap_or_default();
                    self.line(&format!("\nWith `{tag}: {kind}`: {}", sentence(choice)));
                    below.extend(self.options(path, choice));
                }
            }
            None => below = self.options(path, map),
        }
        for (path, map) in below {
            self.section(level, &path, map);
        }
    }

    /// The table. What it returns are the maps in it, with their paths.
    fn options(&mut self, path: &str, map: &'s Value) -> Vec<(String, &'s Value)> {
        self.line("\n| option | value | default | meaning |");
        self.line("|---|---|---|---|");
        let mut below = Vec::new();
        for (name, option) in map["properties"].as_object().into_iter().flatten() {
            // A heading has said it.
            if option["const"].is_string() {
                continue;
            }
            let place = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            let value = self.value(&place, option);
            let default = default(name, option, self.resolved(option), map);
            let meaning = self.meaning(option);
            self.line(&format!("| `{name}` | {value} | {default} | {meaning} |"));
            below.extend(self.map_in(place, option));
        }
        below
    }

    /// All kinds of policies or filters, and a section for each. Kinds with the same options share one.
    fn kinds(&mut self, introduction: &str, path: &str, choices: &'s Value) {
        self.line(introduction);
        let mut written: Vec<(String, &Value)> = Vec::new();
        for (kind, options, choice) in kinds(choices).unwrap_or_default() {
            let own = self.resolved(options);
            let same = written.iter().find(|(_, other)| std::ptr::eq(*other, own));
            let place = same.map_or_else(|| format!("{path}{kind}"), |(first, _)| first.clone());
            let value = self.value(&place, options);
            if same.is_none() && own["properties"].is_object() {
                written.push((place, own));
            }
            self.line(&format!("| `{kind}` | {value} | {} |", sentence(choice)));
        }
        for (kind, options) in written {
            self.section("###", &kind, options);
        }
    }

    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// What a reference points to, or the schema itself.
    fn resolved(&self, schema: &'s Value) -> &'s Value {
        definition(schema).map_or(schema, |name| &self.definitions[name])
    }

    /// The map that an option holds, by itself, in a list or under names, and the path of its options.
    fn map_in(&self, path: String, option: &'s Value) -> Option<(String, &'s Value)> {
        let own = self.resolved(option);
        if own["properties"].is_object() || tag(own).is_some() {
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
        if definition(option).is_some_and(|name| POLICY.contains(&name)) {
            return "[policy](#policies)".to_owned();
        }
        if definition(option) == Some(FILTER) {
            return "[filter](#filters)".to_owned();
        }
        let own = self.resolved(option);
        if own["x-kind"].is_string() {
            return scalar(own);
        }
        if let Some(choices) = own["anyOf"].as_array() {
            let choices: Vec<_> = choices.iter().map(|choice| self.value(path, choice)).collect();
            return choices.join(", or ");
        }
        if own["properties"].is_object() || tag(own).is_some() {
            return format!("[map](#{})", anchor(path));
        }
        if let Some(kinds) = kinds(own) {
            let entry = |(kind, value, _): &(&str, &'s Value, _)| format!("`{kind}:` {}", self.value(path, value));
            let entries: Vec<_> = kinds.iter().map(entry).collect();
            return format!("map with {}", entries.join(", or "));
        }
        if let Some(words) = words(own) {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            return words.join(", ");
        }
        if let Some(word) = own["const"].as_str() {
            return format!("`{word}`");
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
        let kinds = kinds(own).into_iter().flatten().map(|(kind, _, choice)| (kind, sentence(choice)));
        let words = std::iter::once(own).chain(choices).filter_map(words).flatten();
        for (word, about) in words.chain(kinds) {
            let _ = write!(meaning, " `{word}`: {about}");
        }
        meaning
    }
}

/// The name of the definition that a reference points to.
fn definition(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}
