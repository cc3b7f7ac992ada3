//! When an endpoint is fit for requests.

use std::sync::Arc;
use std::time::Duration;

use super::ProbeMethod;
use crate::config::units::Statuses;

/// What the gateway asks each endpoint of an upstream by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// From the end of one probe to the begin of the next, give or take a tenth.
    pub interval: Duration,
    /// The longest such pause to an endpoint that keeps failing; at least `interval`.
    pub max_interval: Duration,
    /// How long one probe may take, connection included.
    pub timeout: Duration,
    /// Failed probes in a row that make an endpoint unhealthy; at least 1.
    pub unhealthy_after: u32,
    /// Passed probes in a row that make it healthy again; at least 1.
    pub healthy_after: u32,
}

/// One question to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// An HTTP request over what the upstream speaks.
    Http {
        /// The request target, path and query.
        path: Arc<str>,
        /// The `Host`; `None` takes the endpoint's.
        host: Option<Arc<str>>,
        /// The method.
        method: ProbeMethod,
        /// The statuses that pass; at least one range.
        expect: Vec<Statuses>,
    },
    /// A connection, with its TLS handshake where the upstream has TLS.
    Tcp,
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service that is asked about; empty for the server as a whole.
        service: Arc<str>,
    },
}

/// When an endpoint is ejected for how it answers requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlier {
    /// Failures in a row; `None` does not look at them.
    pub consecutive_failures: Option<u32>,
    /// The statuses that are failures.
    pub failure_statuses: Vec<Statuses>,
    /// The largest share of the endpoints that may be ejected at once, in hundredths.
    pub max_ejected: u32,
    /// How long the first ejection lasts.
    pub base_ejection: Duration,
    /// How long any lasts at most; at least `base_ejection`.
    pub max_ejection: Duration,
    /// Comparison with the other endpoints; `None` does without.
    pub success_rate: Option<SuccessRate>,
}

/// When an endpoint is much worse than the others.
#[derive(Debug, Clone, PartialEq)]
pub struct SuccessRate {
    /// How long requests are counted before endpoints are compared.
    pub interval: Duration,
    /// Endpoints that must have had enough requests.
    pub min_hosts: usize,
    /// What is enough.
    pub min_requests: u64,
    /// How many standard deviations below the mean is too bad.
    pub stdev_factor: f64,
}
