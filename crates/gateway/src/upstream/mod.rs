//! Upstreams as one worker sees them: which endpoint, which connection.
//!
//! Everything here belongs to one thread. What survives a reload is decided in two places: an upstream
//! whose plan did not change keeps everything, and one that changed keeps the connections to endpoints
//! that it still has.

mod balance;
mod connect;
mod lease;
mod links;
mod pool;

pub(crate) use balance::Rotation;
pub(crate) use connect::{ConnectError, Connector, Spoken};
pub(crate) use lease::Lease;
pub(crate) use pool::Pool;

use crate::config::plan;
use crate::health::Witness;
use crate::stats::UpstreamMeter;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Requests that an endpoint seems to have which is to be chosen last.
const BUSY: usize = u32::MAX as usize;

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
    /// Endpoints that `previous` has connections to keep them, where they are made in the same way. One that drains does
    /// not: its idle connections are closed.
    pub(crate) fn new(
        plan: Arc<plan::Upstream>,
        tls: Option<&Arc<rustls::ClientConfig>>,
        meter: UpstreamMeter,
        witness: impl Fn(usize) -> Witness,
        previous: Option<&Self>,
    ) -> Self {
        let previous = previous.filter(|previous| previous.connects_as(&plan));
        let pools = plan.endpoints.iter().enumerate().map(|(index, endpoint)| {
            let kept = previous.and_then(|previous| previous.pool_of(endpoint));
            if let Some(kept) = kept.filter(|_| !endpoint.drain) {
                kept.adopt(witness(index));
                return Rc::clone(kept);
            }
            let connector = connect::Connector::new(endpoint, &plan, tls.cloned());
            Rc::new(Pool::new(connector, plan.pool.clone(), meter.clone(), witness(index)))
        });
        let pools = pools.collect();
        let rotation = Rotation::new(plan.balance, plan.endpoints.iter().map(|endpoint| endpoint.weight));
        Self { plan, meter, pools, rotation, turn: Cell::new(None) }
    }

    /// Whether connections are made as this plan says, as far as files that it names are the same.
    fn connects_as(&self, plan: &plan::Upstream) -> bool {
        let own = &self.plan;
        (own.protocol, &own.tls, &own.pool, own.timeouts.connect)
            == (plan.protocol, &plan.tls, &plan.pool, plan.timeouts.connect)
    }

    fn pool_of(&self, endpoint: &plan::Endpoint) -> Option<&Rc<Pool>> {
        self.pools.iter().find(|pool| (&pool.endpoint().host, pool.endpoint().port) == (&endpoint.host, endpoint.port))
    }

    /// Whether the endpoint at `index` is fit for new requests.
    pub(crate) fn is_usable(&self, index: usize) -> bool {
        self.pools[index].witness().is_usable()
    }

    /// The endpoint whose turn it is, among those that are usable. Where none is, requests are still better sent
    /// somewhere than refused; but never to one that drains.
    fn choose(&self) -> usize {
        // One that is not usable looks very busy, so that it is not chosen for having nothing to do.
        let pick =
            || self.rotation.pick(|index| if self.is_usable(index) { self.pools[index].in_flight() } else { BUSY });
        let first = pick();
        // Whoever is next in turn stands in; so the others keep their shares.
        let picks = std::iter::once(first).chain((1..self.pools.len()).map(|_| pick()));
        let usable = picks.into_iter().find(|index| self.is_usable(*index));
        usable.or_else(|| self.order(first).next()).unwrap_or(first)
    }

    /// All endpoints that do not drain, from `first` on, those that are usable before the others.
    fn order(&self, first: usize) -> impl Iterator<Item = usize> + use<> {
        let places = (0..self.pools.len()).map(|step| (first + step) % self.pools.len());
        let (mut usable, others): (Vec<_>, Vec<_>) = places.partition(|index| self.is_usable(*index));
        usable.extend(others.into_iter().filter(|index| !self.pools[*index].witness().drains()));
        usable.into_iter()
    }

    /// An idle or shared connection to the endpoint whose turn it is, where there is one.
    pub(crate) fn reuse(&self, careful: bool, now: Instant) -> Option<Lease> {
        let turn = self.choose();
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
        let first = self.turn.take().unwrap_or_else(|| self.choose());
        let mut failure = None;
        for index in self.order(first) {
            let pool = &self.pools[index];
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
