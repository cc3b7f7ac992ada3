//! A span of time in a range.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

use super::scaled;

/// A span of time from `MIN` to `MAX` milliseconds, written as a number with a unit: `500ms`, `2s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Period<MIN, MAX> {
    /// This many milliseconds, written in the source; a number out of range is a mistake there.
    ///
    /// # Panics
    ///
    /// When `milliseconds` is out of range.
    pub const fn of(milliseconds: u64) -> Self {
        assert!(
            MIN <= milliseconds && milliseconds <= MAX,
            "a period out of its range"
        );
        Self(milliseconds)
    }

    /// The span of time.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Milliseconds in the largest unit that shows them as a whole number.
struct Milliseconds(u64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |&&(_, factor): &&(&str, u64)| self.0.is_multiple_of(factor);
        match UNITS.iter().find(whole) {
            Some((unit, factor)) if self.0 > 0 => write!(f, "{}{unit}", self.0 / factor),
            _ => f.write_str("0s"),
        }
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Period<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Milliseconds(self.0).fmt(f)
    }
}

struct PeriodVisitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> PeriodVisitor<MIN, MAX> {
    fn in_range<E: Error>(&self, text: &str, milliseconds: u64) -> Result<Period<MIN, MAX>, E> {
        if (MIN..=MAX).contains(&milliseconds) {
            return Ok(Period(milliseconds));
        }
        let (min, max) = (Milliseconds(MIN), Milliseconds(MAX));
        Err(E::custom(format!("`{text}` is not from {min} to {max}")))
    }
}

impl<const MIN: u64, const MAX: u64> Visitor<'_> for PeriodVisitor<MIN, MAX> {
    type Value = Period<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as `500ms`, `2s`, `5m` or `1h`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let unit = |unit: &str| UNITS.iter().find(|(name, _)| *name == unit).map(|u| u.1);
        match scaled(text, unit) {
            Some(milliseconds) => self.in_range(text, milliseconds),
            None => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Period<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PeriodVisitor)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Period<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Period<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Period_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|h)$",
            "x-kind": "time",
            "x-range": format!("{} to {}", Milliseconds(MIN), Milliseconds(MAX)),
        })
    }
}
