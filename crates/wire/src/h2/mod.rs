//! HTTP/2 as a proxy needs it, on both sides; the frames are the `h2` crate's.
//!
//! | what | where |
//! |---|---|
//! | a stream as one side of an exchange | [`Stream`] |
//! | heads, converted at the edge | `message` |
//! | body bytes that wait to leave, bounded per connection | [`Outbox`] |
//! | the byte stream below: writes gathered, frames watched | [`FrameIo`], [`FrameWatch`] |
//! | what a client may do that is of no use | [`Tolerance`] |
//! | requests that `h2` refuses by itself | `refusals` |
//! | whether a quiet peer is still there | [`Pulse`] |
//!
//! What the `h2` crate bounds itself is not repeated here: CONTINUATION frames and the size of a
//! header list, empty and small DATA frames that nobody has read yet, streams beyond the limit.

mod chunk;
mod conduct;
mod frame;
mod frame_io;
mod message;
mod pulse;
mod refusals;
mod stream;

pub use chunk::{Chunk, Outbox};
pub use conduct::Tolerance;
pub use frame_io::{FrameIo, FrameWatch, Stall};
pub use pulse::{Dead, Pulse};
pub use stream::{RequestError, Stream};

use crate::h1::{BodyError, HeadError};
use h2::Reason;
use std::io;

fn into_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::new(io::ErrorKind::ConnectionAborted, error)
    }
}

fn body_error(error: h2::Error) -> BodyError {
    if error.is_reset() { BodyError::Reset } else { BodyError::Io(into_io(error)) }
}

/// RFC 9113 §8.7: REFUSED_STREAM, and a GOAWAY whose last stream is an earlier one, guarantee that the
/// request had no effect. `h2` gives a remote GOAWAY to no other streams than those.
fn head_error(error: h2::Error) -> HeadError {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (refused || error.is_go_away()) {
        return HeadError::Unprocessed;
    }
    HeadError::Io(into_io(error))
}
