//! Why a value could not be read, in words for people.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use super::suggest::{closest, listed};
use super::tree::NodeId;

/// What a failure is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// The key of this value.
    Key(NodeId),
    /// This value.
    Value(NodeId),
}

/// The first thing that stopped reading.
#[derive(Debug)]
pub(super) struct Failure {
    /// Set by the innermost list or map around it; the root has none.
    pub(super) at: Option<At>,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// A key that is not there and has to be.
    pub(super) missing: Option<&'static str>,
    /// What was meant, when a key or word is not known but close to one that is.
    pub(super) meant: Option<&'static str>,
}

impl Failure {
    fn new(message: String) -> Self {
        Self { at: None, message, help: None, missing: None, meant: None }
    }

    /// The same failure, at this place unless it has one already.
    pub(super) fn at(self, at: At) -> Self {
        Self { at: self.at.or(Some(at)), ..self }
    }

    /// A word where a map says more about it: `retry` for `retry: {}`.
    pub(super) fn without_options(kind: &str) -> Self {
        let kind = kind.escape_debug();
        let help = Some(format!("write `{kind}: {{}}` for its defaults"));
        Self { help, ..Self::new(format!("expected a map with one key, found the word `{kind}`")) }
    }

    /// A map that says that it is something unknown. What was meant may as well be the first of all kinds: without any,
    /// the map would look empty.
    pub(super) fn unknown_kind(written: &str, kinds: &'static [&'static str]) -> Self {
        let failure = Self::unknown("key", written, kinds);
        Self { meant: failure.meant.or(kinds.first().copied()), ..failure }
    }

    /// A map that does not say what it is.
    pub(super) fn without_kind(kinds: &'static [&'static str]) -> Self {
        let help = format!("known here: {}", listed(kinds.iter().copied()));
        Self { help: Some(help), ..Self::new("expected a map with one key, found an empty one".to_owned()) }
    }

    /// A map that says two things at once.
    pub(super) fn several_kinds(first: &str, second: &str) -> Self {
        let (first, second) = (first.escape_debug(), second.escape_debug());
        let message = format!("`{second}` cannot stand beside `{first}`: this map has one key");
        Self {
            help: Some("leave one out; in a list, begin each with a `-` of its own".to_owned()),
            ..Self::new(message)
        }
    }

    fn unknown(kind: &str, written: &str, known: &'static [&'static str]) -> Self {
        let meant = closest(written, known.iter().copied());
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known here: {}", listed(known.iter().copied())),
        };
        Self { help: Some(help), meant, ..Self::new(format!("unknown {kind} `{}`", written.escape_debug())) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = described(expected);
        let scalar = !matches!(unexpected, Unexpected::Unit | Unexpected::Seq | Unexpected::Map);
        let help = match unexpected {
            Unexpected::Unit => Some("write a value, or leave the key out".to_owned()),
            Unexpected::Str(_) => None,
            _ if scalar && wanted.contains("text") => Some("write it in quotes".to_owned()),
            _ => None,
        };
        let message = format!("expected {wanted}, found {}", found(unexpected));
        Self { help, ..Self::new(message) }
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (wanted, found) = (described(expected), found(unexpected));
        Self::new(format!("expected {wanted}, found {found}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("value", variant, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("key", field, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(format!("the key `{field}` is missing")) }
    }
}

/// What was wanted, without the words of the programming language.
fn described(expected: &dyn Expected) -> String {
    let wanted = expected.to_string();
    match wanted.as_str() {
        "a string" => "text".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "i32" => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
        "u32" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        wanted if wanted.starts_with("struct ") => "a map".to_owned(),
        _ => wanted,
    }
}

fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(number) => format!("the number `{number}`"),
        Unexpected::Signed(number) => format!("the number `{number}`"),
        Unexpected::Float(number) => format!("the number `{number}`"),
        Unexpected::Str(text) => format!("`{}`", text.escape_debug()),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}
