//! Upstreams as one worker sees them: which endpoint, which connection.
//!
//! Everything here belongs to one thread. What survives a reload is decided in one place: an
//! upstream whose plan did not change keeps its pools and its place in the rotation.

mod balance;
mod connect;
mod lease;
mod links;
mod pool;

pub(crate) use balance::Rotation;
pub(crate) use connect::ConnectError;
pub(crate) use lease::Lease;
pub(crate) use pool::Pool;

use crate::config::plan;
use crate::stats::UpstreamMeter;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// One upstream of a worker.
pub(crate) struct Upstream {
    pub(crate) plan: Arc<plan::Upstream>,
    pub(crate) meter: UpstreamMeter,
    pools: Vec<Rc<Pool>>,
    rotation: Rotation,
    turn: Cell<Option<usize>>,
}

/// Why no connection could be had.
#[derive(Debug)]
pub(crate) enum LeaseError {
    /// All are in use, and the queue is full or did not move in time.
    Exhausted,
    /// No endpoint could be reached.
    Connect(ConnectError),
}

impl Upstream {
    pub(crate) fn new(
        plan: Arc<plan::Upstream>,
        tls: Option<&Arc<rustls::ClientConfig>>,
        meter: UpstreamMeter,
    ) -> Self {
        let pools = plan.endpoints.iter().map(|endpoint| {
            let connector = connect::Connector::new(endpoint, &plan, tls.cloned());
            Rc::new(Pool::new(connector, plan.pool.clone(), meter.clone()))
        });
        let pools = pools.collect();
        let rotation = Rotation::new(plan.balance, plan.endpoints.iter().map(|endpoint| endpoint.weight));
        Self { plan, meter, pools, rotation, turn: Cell::new(None) }
    }

    /// An idle or shared connection to the endpoint whose turn it is, where there is one.
    pub(crate) fn reuse(&self, careful: bool, now: Instant) -> Option<Lease> {
        let turn = self.rotation.pick(|index| self.pools[index].in_flight());
        let lease = self.pools[turn].reuse(careful, now);
        if lease.is_none() {
            self.turn.set(Some(turn));
        }
        lease
    }

    /// A connection to an endpoint, an idle one unless `fresh`.
    ///
    /// An endpoint that cannot be reached gives way to the next; nothing has been sent yet, so that
    /// this is safe for every request.
    pub(crate) async fn lease(&self, fresh: bool, careful: bool) -> Result<Lease, LeaseError> {
        // An endpoint whose turn it was and that had no connection at hand keeps its turn.
        let first = self.turn.take().unwrap_or_else(|| self.rotation.pick(|index| self.pools[index].in_flight()));
        let mut failure = None;
        for step in 0..self.pools.len() {
            let pool = &self.pools[(first + step) % self.pools.len()];
            match pool.lease(fresh, careful).await {
                Ok(lease) => return Ok(lease),
                Err(LeaseError::Connect(error)) => {
                    tracing::debug!(upstream = %self.plan.name, endpoint = %pool.endpoint(), %error, "connect failed");
                    failure = Some(error);
                }
                Err(LeaseError::Exhausted) => return Err(LeaseError::Exhausted),
            }
        }
        Err(failure.map_or(LeaseError::Exhausted, LeaseError::Connect))
    }

    /// Closes idle connections that are too old or that the endpoint has closed.
    pub(crate) fn sweep(&self, now: Instant) {
        for pool in &self.pools {
            pool.sweep(now);
        }
    }
}
