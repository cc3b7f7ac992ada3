//! Replacing the process without losing a connection: the one that runs starts its successor, hands it the
//! listening sockets and ends; if the successor does not get to serve, nothing has happened.
//!
//! Both speak over a pair of Unix sockets, of which the successor gets one end as its standard input:
//!
//! 1. old → new: the addresses of the sockets, as JSON behind its length, and then the sockets themselves;
//! 2. new → old: `ready`, once it serves;
//! 3. old: stops accepting and drains. What waits in the sockets' queues is the successor's, for they are the
//!    same sockets.
//!
//! Bounds: the successor has [`PATIENCE`] from its start to being ready; a header of 1 MiB; 65,536 sockets,
//! 64 in each message.

mod give;
mod message;
mod take;

use std::time::Duration;

pub(super) use give::{Program, Replacement};
pub(crate) use message::Sockets;
pub(super) use take::Predecessor;

/// The environment variable that tells a successor where its predecessor is.
const VARIABLE: &str = "TIDEGATE_TAKEOVER";

/// Its only value.
const ON_STDIN: &str = "stdin";

/// What a successor says when it serves.
const READY: &[u8] = b"ready\n";

/// How long each side waits for the other.
const PATIENCE: Duration = Duration::from_secs(30);
