//! How options are written: durations as `500ms`, shares as `50%`, and `off` for what is not wanted.
//!
//! In Rust they are plain values: a [`Duration`], a [`Ratio`], an [`Option`]. The modules here are for serde's `with`,
//! and the types `DurationText`, `Off` and so on for the schema.

use std::fmt;
use std::time::Duration;

/// A share from 0 to 1, written `50%` or `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);

    /// Everything.
    pub const ONE: Self = Self(1.0);

    /// A share from 0 to 1; nothing outside of that.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// A whole number of percent; more than 100 is 100.
    pub const fn percent(percent: u8) -> Self {
        Self(if percent > 100 { 1.0 } else { percent as f64 / 100.0 })
    }

    /// The share, 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Reads `50%`, `12.5%` or `0.5`.
    pub fn parse(text: &str) -> Option<Self> {
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.trim_end().parse::<f64>().ok()? / 100.0,
            None => text.parse().ok()?,
        };
        Self::new(share)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}%", self.0 * 100.0)
    }
}

/// Reads `250us`, `500ms`, `1.5s`, `5m`, `2h` or `7d`: a number and a unit. Nothing else, and nothing beyond 100 years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, unit) = text.split_at(end);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let total = number.parse::<f64>().ok()? * seconds;
    // Rounded to whole nanoseconds: 0.1 s is not a number that a binary fraction can hold.
    (total <= 100.0 * 365.25 * 86_400.0).then(|| Duration::try_from_secs_f64(total).ok())?
}

/// Writes a duration so that [`parse_duration`] reads the same again, to the microsecond.
pub fn duration_text(duration: Duration) -> String {
    const UNITS: [(u128, &str); 6] =
        [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms"), (1, "us")];
    let micros = duration.as_micros();
    let whole = UNITS.iter().find(|(size, _)| micros >= *size && micros.is_multiple_of(*size));
    let (size, unit) = whole.unwrap_or(&(1_000_000, "s"));
    format!("{}{unit}", micros / size)
}

#[cfg(feature = "serde")]
pub(crate) use with_serde::{duration, duration_or_off, foreign, or_off, some, some_duration};

#[cfg(feature = "serde")]
mod with_serde {
    use std::fmt;
    use std::marker::PhantomData;
    use std::time::Duration;

    use serde::de::value::MapAccessDeserializer;
    use serde::de::{Error, IntoDeserializer, MapAccess, Unexpected, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Ratio, duration_text, parse_duration};

    impl Serialize for Ratio {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Ratio {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Share;
            impl Visitor<'_> for Share {
                type Value = Ratio;

                fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    formatter.write_str("a share from 0% to 100%, or from 0 to 1")
                }

                fn visit_str<E: Error>(self, text: &str) -> Result<Ratio, E> {
                    Ratio::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
                }

                fn visit_f64<E: Error>(self, share: f64) -> Result<Ratio, E> {
                    Ratio::new(share).ok_or_else(|| E::invalid_value(Unexpected::Float(share), &self))
                }

                fn visit_u64<E: Error>(self, share: u64) -> Result<Ratio, E> {
                    // A `1` is everything; a `50` without its sign would be a guess.
                    match share {
                        0 => Ok(Ratio::ZERO),
                        1 => Ok(Ratio::ONE),
                        _ => Err(E::invalid_value(Unexpected::Unsigned(share), &self)),
                    }
                }

                fn visit_i64<E: Error>(self, share: i64) -> Result<Ratio, E> {
                    u64::try_from(share)
                        .map_err(|_| E::invalid_value(Unexpected::Signed(share), &self))
                        .and_then(|share| self.visit_u64(share))
                }
            }
            deserializer.deserialize_any(Share)
        }
    }

    /// A duration as text.
    pub(crate) mod duration {
        use super::*;

        pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(&duration_text(*duration))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
            Text::deserialize(deserializer).map(|text| text.0)
        }
    }

    /// A value where there may be none; `null` is not one.
    pub(crate) fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        T::deserialize(deserializer).map(Some)
    }

    /// A duration where there may be none.
    pub(crate) fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }

    /// Refuses options that belong to another kind than the one that is written.
    pub(crate) fn foreign<E: Error>(kind: &str, options: &[(&str, bool)]) -> Result<(), E> {
        match options.iter().find(|(_, written)| *written) {
            Some((option, _)) => Err(E::custom(format!("`{option}` is no option of `{kind}`"))),
            None => Ok(()),
        }
    }

    /// A duration as text, or `off`.
    pub(crate) mod duration_or_off {
        use super::*;

        pub(crate) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            match value {
                Some(duration) => duration::serialize(duration, serializer),
                None => serializer.serialize_str("off"),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            or_off::deserialize::<D, Text>(deserializer).map(|value| value.map(|text| text.0))
        }
    }

    /// Anything, or `off`.
    pub(crate) mod or_off {
        use super::*;

        pub(crate) fn serialize<S: Serializer, T: Serialize>(
            value: &Option<T>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => value.serialize(serializer),
                None => serializer.serialize_str("off"),
            }
        }

        pub(crate) fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
        where
            D: Deserializer<'de>,
            T: Deserialize<'de>,
        {
            deserializer.deserialize_any(OrOff(PhantomData))
        }
    }

    /// Hands everything but `off` on to the type of the value, so that its errors stay as precise as they are.
    struct OrOff<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OrOff<T> {
        type Value = Option<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("`off` or a value")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
            if text == "off" { Ok(None) } else { T::deserialize(text.into_deserializer()).map(Some) }
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Option<T>, E> {
            T::deserialize(number.into_deserializer()).map(Some)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
            T::deserialize(number.into_deserializer()).map(Some)
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<Option<T>, E> {
            T::deserialize(number.into_deserializer()).map(Some)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    struct Text(Duration);

    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Units;
            impl Visitor<'_> for Units {
                type Value = Text;

                fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    formatter.write_str("a duration such as `500ms`, `2s`, `5m` or `1h`")
                }

                fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                    parse_duration(text).map(Text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
                }
            }
            deserializer.deserialize_str(Units)
        }
    }
}

#[cfg(feature = "schema")]
pub(crate) use with_schema::{DurationText, OrOff};

#[cfg(feature = "schema")]
mod with_schema {
    use std::borrow::Cow;
    use std::marker::PhantomData;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::Ratio;

    impl JsonSchema for Ratio {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            "Ratio".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "anyOf": [
                    { "type": "string", "pattern": r"^\d+(\.\d+)?%$" },
                    { "type": "number", "minimum": 0, "maximum": 1 },
                ],
                "x-kind": "share",
            })
        }
    }

    /// The schema of a duration.
    pub(crate) struct DurationText;

    impl JsonSchema for DurationText {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            "Duration".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "type": "string",
                "pattern": r"^\d+(\.\d+)?(us|ms|s|m|h|d)$",
                "x-kind": "time",
            })
        }
    }

    /// The schema of a value that may be `off`.
    pub(crate) struct OrOff<T>(PhantomData<T>);

    impl<T: JsonSchema> JsonSchema for OrOff<T> {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            format!("{}OrOff", T::schema_name()).into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let value = generator.subschema_for::<T>();
            json_schema!({ "anyOf": [value, { "const": "off" }] })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_and_written_alike() {
        for (text, duration) in [
            ("250us", Duration::from_micros(250)),
            ("500ms", Duration::from_millis(500)),
            ("1500ms", Duration::from_millis(1500)),
            ("2s", Duration::from_secs(2)),
            ("1h", Duration::from_secs(3600)),
            ("7d", Duration::from_secs(7 * 86_400)),
        ] {
            assert_eq!(parse_duration(text), Some(duration));
            assert_eq!(duration_text(duration), text);
        }
        assert_eq!(parse_duration("0.1s"), Some(Duration::from_millis(100)));
        for wrong in ["", "5", "s", "-1s", "1 s", "1.2.3s", "1e3s", "NaNs", "1w", "40000d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
        assert_eq!(duration_text(Duration::ZERO), "0s");
    }

    #[test]
    fn ratios_stay_between_nothing_and_everything() {
        assert_eq!(Ratio::parse("50%"), Some(Ratio::percent(50)));
        assert_eq!(Ratio::parse("0.125"), Some(Ratio::parse("12.5%").expect("a share")));
        for wrong in ["101%", "-1%", "1.01", "NaN", "inf%", "%", ""] {
            assert_eq!(Ratio::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Ratio::percent(50).to_string(), "50%");
    }
}
