//! What tables hold for each key.

use std::any::Any;

use super::rate_limit::{full, governor_full};

/// How many keys a table has.
pub const KEYS: u64 = 1_000_000;

/// The length of their text.
pub const KEY_BYTES: u64 = 16;

/// Makes a table with so many keys.
pub type Fill = fn(u64) -> Box<dyn Any>;

/// A kind of table.
pub struct Table {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it holds.
    pub about: &'static str,
    /// At most so many bytes for each key, besides its text.
    pub bar: f64,
    /// Ours, and then the rivals.
    pub contenders: Vec<(&'static str, Fill)>,
}

/// All tables.
pub fn tables() -> Vec<Table> {
    vec![Table {
        name: "rate-memory",
        about: "rate limit for each of 1,000,000 keys: bytes for each besides its text",
        bar: 64.0,
        contenders: vec![("ours", |keys| Box::new(full(keys))), ("governor", |keys| Box::new(governor_full(keys)))],
    }]
}
