//! An answer, as it is kept.

use http::StatusCode;
use tidegate_wire::fields::Fields;

/// What an upstream answered: all that is for the client and not for its connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// As received; empty where the protocol has none.
    pub(crate) reason: Vec<u8>,
    pub(crate) fields: Fields,
    pub(crate) body: Box<[u8]>,
    pub(crate) trailers: Option<Fields>,
}

impl Answer {
    /// How many bytes of memory it takes.
    pub(super) fn size(&self) -> usize {
        let trailers = self.trailers.as_ref().map_or(0, Fields::capacity);
        size_of::<Self>() + self.reason.capacity() + self.fields.capacity() + self.body.len() + trailers
    }
}
