//! Memory that one request leaves to the next.

use crate::rate_limit::LimitScratch;
use tidegate_wire::head::{RequestHead, ResponseHead};

/// Heads whose memory is used again by the next request of the worker.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) request: RequestHead,
    /// Boxed, so that an attempt that reads another one puts it here at the cost of a pointer.
    pub(crate) response: Box<ResponseHead>,
    /// For the next attempt to read into.
    pub(crate) spare: Option<Box<ResponseHead>>,
    /// The host as routes compare it, without a port.
    pub(crate) host: String,
    pub(crate) limits: LimitScratch,
}

impl Scratch {
    /// How many bytes of memory are held.
    pub(crate) fn capacity(&self) -> usize {
        let spare = self.spare.as_ref().map_or(0, |head| head.fields.capacity());
        self.request.fields.capacity() + self.response.fields.capacity() + spare + self.limits.capacity()
    }
}
