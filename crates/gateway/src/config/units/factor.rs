//! A number with decimals in a range.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// A number from `MIN` to `MAX` thousandths, kept as thousandths: `1.9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Factor<MIN, MAX> {
    /// This many thousandths, written in the source; a number out of range is a mistake there.
    ///
    /// # Panics
    ///
    /// When `thousandths` is out of range.
    pub const fn of(thousandths: u32) -> Self {
        assert!(MIN <= thousandths && thousandths <= MAX, "a factor out of its range");
        Self(thousandths)
    }

    /// The number.
    pub fn value(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

struct FactorVisitor<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Visitor<'_> for FactorVisitor<MIN, MAX> {
    type Value = Factor<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from {} to {}", f64::from(MIN) / 1000.0, f64::from(MAX) / 1000.0)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        let thousandths = (number * 1000.0).round();
        if !(f64::from(MIN)..=f64::from(MAX)).contains(&thousandths) {
            return Err(E::invalid_value(Unexpected::Float(number), &self));
        }
        // The range is one of `u32`, so that the cast is exact.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Factor(thousandths as u32))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        match u32::try_from(number) {
            Ok(number) => self.visit_f64(f64::from(number)),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Factor<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_f64(FactorVisitor)
    }
}

impl<const MIN: u32, const MAX: u32> Serialize for Factor<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.value())
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Factor<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Factor_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (min, max) = (f64::from(MIN) / 1000.0, f64::from(MAX) / 1000.0);
        json_schema!({
            "type": "number",
            "minimum": min,
            "maximum": max,
            "x-kind": "number",
            "x-range": format!("{min} to {max}"),
        })
    }
}
