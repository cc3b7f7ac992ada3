//! Why the process ended before it served.

use crate::config::Diagnostics;

/// Why the process ended before it served.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is not valid.
    Configuration(Diagnostics),
    /// It is, but something that it needs cannot be had: an address, a certificate, a file.
    Start(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Start(error)
    }
}
