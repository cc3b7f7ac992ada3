//! Which endpoints are fit for requests.
//!
//! There is one [`Endpoint`] for all workers, and it goes on through reloads that change nothing about what it stands for.
//! Two things decide: what probes say, and what requests met there. Both are pure: `now` and
//! what was seen go in, a decision comes out.
//!
//! A worker reads one flag to know whether an endpoint is usable, and writes counters of its own when an attempt has
//! ended; only failures touch what others read. The decisions are made on one thread, which the last of several failures
//! in a row wakes. So nothing here ever makes a request wait.

mod alarm;
mod directory;
mod ejection;
mod endpoint;
mod probing;
mod report;
mod upstream;
mod witness;

pub(crate) use alarm::Alarm;
pub use directory::Directory;
pub use ejection::Reason;
pub(crate) use endpoint::Endpoint;
pub use report::{EndpointReport, LastProbe, Report, State};
pub use upstream::Health;
pub(crate) use upstream::Meaning;
pub(crate) use witness::Witness;

/// Probes that run at once; further ones wait, however many endpoints there are.
pub const PROBES: usize = 64;
