//! Memory that one request leaves to the next.

use crate::rate_limit::LimitScratch;
use tidegate_wire::head::{RequestHead, ResponseHead};

/// Heads whose memory is used again by the next request of the worker.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    /// The host as routes compare it, without a port.
    pub(crate) host: String,
    pub(crate) limits: LimitScratch,
}
