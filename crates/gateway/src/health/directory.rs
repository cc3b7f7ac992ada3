//! Where the control plane finds the health of all upstreams.

use super::report::Report;
use super::upstream::Health;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The health of the upstreams of the configuration in force, in the order of their names.
#[derive(Debug, Default)]
pub struct Directory(Mutex<Vec<Arc<Health>>>);

impl Directory {
    /// Replaces all that is listed.
    pub fn publish(&self, upstreams: Vec<Arc<Health>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = upstreams;
    }

    /// What is known of every endpoint.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = Instant::now();
        listed.iter().map(|health| health.report(now)).collect()
    }
}
