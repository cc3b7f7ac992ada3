//! Status codes, one or several that follow each other.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// Status codes from one to another, both included, written `200-299`; one alone is written `200`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl Statuses {
    /// These codes, written in the source; ones out of range are a mistake there.
    ///
    /// # Panics
    ///
    /// When they are not final status codes in ascending order.
    pub const fn of(first: u16, last: u16) -> Self {
        assert!(200 <= first && first <= last && last <= 599, "status codes out of their range");
        Self { first, last }
    }

    /// Whether `status` is one of them.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

struct StatusesVisitor;

impl Visitor<'_> for StatusesVisitor {
    type Value = Statuses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status such as `200` or a range such as `200-299`, from 200 to 599")
    }

    fn visit_u64<E: Error>(self, status: u64) -> Result<Statuses, E> {
        let code = u16::try_from(status).ok().filter(|code| (200..=599).contains(code));
        let code = code.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(status), &self))?;
        Ok(Statuses { first: code, last: code })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Statuses, E> {
        let code = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|code| digits && (200..=599).contains(code))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (code(first.trim()), code(last.trim())) {
            (Some(first), Some(last)) if first <= last => Ok(Statuses { first, last }),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatusesVisitor)
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.first == self.last {
            true => serializer.serialize_u16(self.first),
            false => serializer.collect_str(self),
        }
    }
}

impl JsonSchema for Statuses {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {
                    "type": "integer",
                    "minimum": 200,
                    "maximum": 599,
                    "x-kind": "status",
                    "x-range": "200 to 599",
                },
                {
                    "type": "string",
                    "pattern": "^[2-5][0-9][0-9](-[2-5][0-9][0-9])?$",
                    "x-kind": "range of them",
                    "x-range": "`200-299`",
                },
            ],
        })
    }
}
