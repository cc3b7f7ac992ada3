//! What a change means for those who call, and whether a limit allows more than before.

use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use serde_json::Value;
use tidegate_gateway::config::units::Size;
use tidegate_resilience::{Ratio, parse_duration};

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// Something that guarded services or clients is gone.
    Unprotected,
    /// Something guards them that did not.
    Protected,
    /// A limit allows less.
    Tighter,
    /// A limit allows more.
    Looser,
    /// Anything else.
    Other,
}

impl Weight {
    /// Of a limit that allows the more the larger it is, or else the less.
    pub(super) fn of_amount(allows_more: bool, before: Option<f64>, after: Option<f64>) -> Self {
        match (before, after) {
            (Some(before), Some(after)) if before != after => match (after > before) == allows_more {
                true => Self::Looser,
                false => Self::Tighter,
            },
            _ => Self::Other,
        }
    }
}

/// How large a number, time, size or share is; nothing for what is none of them. What is off has no bound.
pub(super) fn magnitude(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text == "off" || text == "unlimited" => Some(f64::INFINITY),
        Value::String(text) => {
            let time = parse_duration(text).map(|time| time.as_secs_f64());
            time.or_else(|| Ratio::parse(text).map(Ratio::get)).or_else(|| size(text))
        }
        _ => None,
    }
}

fn size(text: &str) -> Option<f64> {
    let size = Size::<0, { u64::MAX }>::deserialize(StrDeserializer::<Error>::new(text));
    size.ok().map(|size| size.bytes() as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_can_be_a_limit_has_a_magnitude() {
        for (value, expected) in [
            (json!(7), Some(7.0)),
            (json!("250ms"), Some(0.25)),
            (json!("2h"), Some(7200.0)),
            (json!("10MB"), Some(1e7)),
            (json!("64KiB"), Some(65_536.0)),
            (json!("50%"), Some(0.5)),
            (json!("off"), Some(f64::INFINITY)),
            (json!("unlimited"), Some(f64::INFINITY)),
            (json!("round_robin"), None),
            (json!(true), None),
            (json!({}), None),
        ] {
            assert_eq!(magnitude(&value), expected, "{value}");
        }
    }

    #[test]
    fn more_is_looser_only_of_what_allows_more() {
        let weight = |more| Weight::of_amount(more, Some(1.0), Some(f64::INFINITY));
        assert_eq!((weight(true), weight(false)), (Weight::Looser, Weight::Tighter));
        assert_eq!(Weight::of_amount(true, Some(1.0), Some(1.0)), Weight::Other);
        assert_eq!(Weight::of_amount(true, None, Some(1.0)), Weight::Other);
    }
}
