//! Counters, gauges and latency histograms: request paths write them, the control plane reads them.
//!
//! A [`Registry`] keeps one series for each route, upstream, endpoint and listener, by name, so that a series outlives the
//! configuration that asked for it. A series has one stripe for each worker, and a worker writes through a *meter*
//! that is bound to its own stripe:
//!
//! ```
//! use std::time::Duration;
//! use tidegate_gateway::stats::Registry;
//!
//! let registry = Registry::new(1);
//! let route = registry.route("users", Some("app")); // when a snapshot is built
//! let meter = route.meter(0); // once, on the thread of worker 0
//! meter.finished(200, Duration::from_millis(3), 0, 128); // for each request
//! assert_eq!(route.totals().requests(), 1);
//! ```
//!
//! What a request pays is a few plain loads and stores on a cache line that its own core holds: no locked
//! instruction, no look-up by name, no allocation (but for the first request of a worker on a series, which
//! allocates the stripe, so that thousands of silent routes cost next to nothing).
//!
//! Invariant: a stripe has a single writer, the thread of its worker. Meters are neither `Send` nor `Sync`, so the
//! compiler keeps one where it was made; whoever makes it passes the right worker. Readers may see one request's
//! cells at different moments; each single number is exact and never goes back.
//!
//! This module never formats names or numbers, and knows nothing about Prometheus.

mod cell;
mod endpoint;
mod histogram;
mod listener;
mod process;
mod registry;
mod route;
mod series;
mod upstream;

pub use endpoint::{Endpoint, EndpointLabels, EndpointMeter, EndpointSeries, EndpointTotals};
pub use histogram::{BUCKETS, HistogramTotals, bucket_bounds};
pub use listener::{Listener, ListenerMeter, ListenerSeries, ListenerTotals, Protocol};
pub use process::{AccessLogStats, LastReload, Process};
pub use registry::Registry;
pub use route::{CodeClass, FallbackKind, KeyResult, Route, RouteLabels, RouteMeter, RouteSeries, RouteTotals};
pub use series::{Held, Kind, Meter, Series};
pub use upstream::{Failure, Upstream, UpstreamMeter, UpstreamSeries, UpstreamTotals};
