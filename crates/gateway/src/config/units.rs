//! Values that carry their unit and range: durations, sizes, counts, shares, and *off* or *unlimited* beside them.
//!
//! The range is part of the type, so that one declaration gives the error message, the JSON Schema and the
//! reference document. Times are written `500ms`, `2s`, `5m`, `1h`; sizes `64KiB`, `1MiB`, `10MB`, or a
//! plain number of bytes.

mod alternative;
mod count;
mod factor;
mod percent;
mod period;
mod size;
mod statuses;
#[cfg(test)]
mod tests;

pub use alternative::{OneOrMany, OrOff, OrUnlimited};
pub use count::Count;
pub use factor::Factor;
pub use percent::Percent;
pub use period::Period;
pub use size::Size;
pub use statuses::Statuses;

/// A day, in milliseconds: the longest time of most options.
pub const DAY: u64 = 24 * HOUR;

/// An hour, in milliseconds.
pub const HOUR: u64 = 60 * 60 * 1000;

/// Bytes in a kibibyte.
pub const KIB: u64 = 1 << 10;

/// Bytes in a mebibyte.
pub const MIB: u64 = 1 << 20;

/// Bytes in a gibibyte.
pub const GIB: u64 = 1 << 30;

/// Splits `text` after its leading digits, and multiplies them by what `unit` says of the rest.
fn scaled(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    number.parse::<u64>().ok()?.checked_mul(unit(rest)?)
}
