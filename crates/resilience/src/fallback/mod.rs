//! Fallback: something else in the place of an error.
//!
//! A value, a function of the error, or another call; for every error, for rejections of certain kinds, or where a
//! condition says so. It is the only policy that knows the type of results, and so the only one that cannot be written
//! in a document.

mod policy;

pub use policy::{Fallback, FallbackStats};

#[cfg(all(test, not(tidegate_models)))]
mod tests;
