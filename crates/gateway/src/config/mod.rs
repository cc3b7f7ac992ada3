//! Configuration in two stages: what a user writes ([`Document`]), and the same thing checked ([`Plan`]).
//!
//! Every source (a file, the admin API, discovery) produces the same `Document`. [`check()`] turns it into a
//! `Plan`, or into all the [`Problem`]s it found, each at the path of the option that causes it. The data
//! plane is built from a `Plan` only.
//!
//! Nothing here reads files, the environment or the clock: relative paths are joined to a folder that the
//! caller names, and nobody looks whether the file exists.

mod check;
pub mod document;
pub mod plan;
mod problem;
pub mod units;

pub use check::{Checked, check};
pub use document::Document;
pub use plan::Plan;
pub use problem::{DocumentPath, Problem, Step};
