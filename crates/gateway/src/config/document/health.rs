//! What a user writes about the health of endpoints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Timeout;
use crate::config::units::{Count, DAY, Factor, OrOff, Percent, Period, Statuses};

/// A probe that each endpoint gets regularly: a `path` asked for over HTTP, `tcp` or `grpc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheck {
    /// An HTTP request for this path is the probe, over whatever `protocol` and `tls` say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,

    /// The `Host` of that request. Default: the endpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,

    /// The method of that request. Default: `GET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<ProbeMethod>,

    /// Which statuses of its answer pass. Default: `[200-299]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub expect: Vec<Statuses>,

    /// A connection is the probe, with its TLS handshake where the upstream has `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,

    /// A call of `grpc.health.v1.Health/Check` is the probe. Needs `protocol: http2` or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcCheck>,

    /// From the end of one probe to the begin of the next. Each pause is up to a tenth shorter or longer by chance.
    pub interval: Period<10, DAY>,

    /// How long the pause may become while an endpoint keeps failing: it doubles with each failed probe once the
    /// endpoint is unhealthy. Less than `interval` means `interval`.
    pub max_interval: Period<10, DAY>,

    /// How long a probe may take, from the new connection to the answer.
    pub timeout: Timeout,

    /// Failed probes in a row after which an endpoint gets no more requests.
    pub unhealthy_after: Count<1, 100>,

    /// Passed probes in a row after which such an endpoint gets requests again.
    pub healthy_after: Count<1, 100>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: None,
            host: None,
            method: None,
            expect: Vec::new(),
            tcp: None,
            grpc: None,
            interval: Period::of(5000),
            max_interval: Period::of(30_000),
            timeout: Timeout::of(1000),
            unhealthy_after: Count::of(3),
            healthy_after: Count::of(1),
        }
    }
}

/// The method of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProbeMethod {
    /// The whole answer is asked for; its body is not read.
    #[default]
    Get,
    /// The head of the answer alone.
    Head,
    /// What the path allows.
    Options,
}

/// A connection as probe. It has no options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {}

/// The gRPC health check as probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcCheck {
    /// The service to ask about. Empty asks about the server as a whole.
    pub service: String,
}

/// When an endpoint is ejected: it gets no requests for a while because of how it answered others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Outlier {
    /// Failures in a row, all workers together, that eject an endpoint: no connection, a connection lost or a time limit
    /// passed before the answer, an answer that is not HTTP, or one of `failure_statuses`; or `off`.
    pub consecutive_failures: OrOff<Count<1, 10_000>>,

    /// Statuses of an answer that are failures of the endpoint.
    pub failure_statuses: Vec<Statuses>,

    /// The largest share of the endpoints that is ejected at once. One may always be, but never the
    /// last one in service.
    pub max_ejected: Percent<1, 100>,

    /// How long the first ejection lasts. The second in close succession lasts twice as long, the third three times, and
    /// so on; each such time without an ejection takes one step back.
    pub base_ejection: Period<10, DAY>,

    /// The longest that an ejection lasts. Less than `base_ejection` means `base_ejection`.
    pub max_ejection: Period<10, DAY>,

    /// Ejects endpoints that fail much more often than the others; or `off`.
    pub success_rate: OrOff<SuccessRate>,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_failures: OrOff(Some(Count::of(5))),
            failure_statuses: vec![Statuses::of(502, 504)],
            max_ejected: Percent::of(50),
            base_ejection: Period::of(30_000),
            max_ejection: Period::of(300_000),
            success_rate: OrOff(Some(SuccessRate::default())),
        }
    }
}

/// When an endpoint fails much more often than the others: its share of successes is further below the mean than so many
/// standard deviations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SuccessRate {
    /// How long requests are counted before the endpoints are compared.
    pub interval: Period<100, DAY>,

    /// Endpoints that must have had `min_requests`. Fewer are not compared.
    pub min_hosts: Count<2, 10_000>,

    /// Requests that an endpoint must have had to be compared.
    pub min_requests: Count<1, 1_000_000>,

    /// How many standard deviations below the mean is too bad.
    pub stdev_factor: Factor<100, 10_000>,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self {
            interval: Period::of(10_000),
            min_hosts: Count::of(5),
            min_requests: Count::of(100),
            stdev_factor: Factor::of(1900),
        }
    }
}
