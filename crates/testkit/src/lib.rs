//! What the tests of the real process share: the gateway as a child process, raw clients that say
//! exactly the bytes they are given, upstreams that record and follow a script, and judges that
//! read what got through the way many different back ends would.
//!
//! Nothing here uses the gateway's own code: a test kit that shared its parser would share its
//! mistakes. A failed expectation panics with the evidence, since the only caller is a test. Every
//! wait is bounded by [`PATIENCE`], so a hang is a failure that says what was awaited.

pub mod certificates;
pub mod client;
pub mod gate;
pub mod gateway;
pub mod http1;
pub mod http2;
pub mod judge;
pub mod log;
pub mod port;
pub mod recorder;
mod watched;

use std::time::Duration;

/// How long any single wait may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes as text in which every byte stays visible and distinct (one character per byte).
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Bytes as one line for failure messages: control bytes escaped, long input cut in the middle.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 1200;
    if bytes.len() <= SHOWN_MAX {
        return bytes.escape_ascii().to_string();
    }
    let (head, tail) = (&bytes[..SHOWN_MAX / 2], &bytes[bytes.len() - SHOWN_MAX / 2..]);
    format!("{} ...[{} bytes in all]... {}", head.escape_ascii(), bytes.len(), tail.escape_ascii())
}
