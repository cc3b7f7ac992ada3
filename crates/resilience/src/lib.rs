//! Resilience for any async call.

mod adaptive;
mod bulkhead;
mod call;
mod clock;
mod error;
mod event;
mod name;
mod outcome;
mod policy;
mod random;
mod sync;
mod units;

pub use adaptive::{
    Adaptive, AdaptiveAlgorithm, AdaptiveOptions, AdaptiveStats, Aimd, Gradient, PriorityShares, Vegas,
};
pub use bulkhead::{Bulkhead, BulkheadOptions, BulkheadStats};
pub use call::{Call, Priority};
pub use clock::{Clock, ManualClock, Moment, Reading, Sleep};
pub use error::{Code, Context, Error, InvalidOption, Rejection, Severity};
pub use event::{CircuitReason, CircuitState, Emitter, Event, Events, Happening, Listener};
pub use name::Name;
pub use outcome::{ByResult, Classify, Outcome, RetryAdvice, Verdict};
pub use policy::{Admission, Environment, Guard, Mode, Permit, Queued, Ticket};
pub use random::Random;
pub use units::{Ratio, duration_text, parse_duration};
