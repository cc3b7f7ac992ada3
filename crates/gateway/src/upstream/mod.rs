//! Upstreams as one worker sees them: which endpoint, which connection.
//!
//! Everything here belongs to one thread. What survives a reload is decided in one place: an
//! upstream whose plan did not change keeps its pools and its place in the rotation.

mod connect;
mod lease;
mod links;
mod pool;

pub(crate) use connect::ConnectError;
pub(crate) use lease::Lease;
pub(crate) use pool::Pool;

use crate::balance::slow_start::share;
use crate::balance::sticky;
use crate::balance::{Ask, Balancer, View};
use crate::config::plan;
use crate::stats::UpstreamMeter;
use pool::Traits;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One upstream of a worker.
pub(crate) struct Upstream {
    pub(crate) plan: Arc<plan::Upstream>,
    pub(crate) meter: UpstreamMeter,
    pools: Vec<Rc<Pool>>,
    balancer: Balancer,
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
    /// `former` is the upstream of that name before its plan changed: endpoints that it did not have
    /// start slowly.
    pub(crate) fn new(
        plan: Arc<plan::Upstream>,
        tls: Option<&Arc<rustls::ClientConfig>>,
        meter: UpstreamMeter,
        former: Option<&Self>,
    ) -> Self {
        let pools = plan.endpoints.iter().map(|endpoint| {
            let connector = connect::Connector::new(endpoint, &plan, tls.cloned());
            let traits = Traits {
                since: former.and_then(|former| former.since(endpoint)),
                cookie: match &plan.balance {
                    plan::Balance::StickyCookie(cookie) => Some(sticky::id(&cookie.key, &endpoint.to_string())),
                    _ => None,
                },
                timed: plan.balance == plan::Balance::PeakEwma,
            };
            Rc::new(Pool::new(connector, plan.pool.clone(), meter.clone(), traits))
        });
        let pools = pools.collect();
        let balancer = Balancer::new(&plan.balance, &plan.endpoints, plan.panic_threshold);
        Self { plan, meter, pools, balancer, turn: Cell::new(None) }
    }

    /// Since when a successor of this upstream has had an endpoint: one that is not here comes now.
    fn since(&self, endpoint: &plan::Endpoint) -> Option<Instant> {
        let same = |pool: &&Rc<Pool>| (&pool.endpoint().host, pool.endpoint().port) == (&endpoint.host, endpoint.port);
        self.pools.iter().find(same).map_or_else(|| Some(Instant::now()), |pool| pool.since())
    }

    /// Whether requests may be sent to an endpoint.
    pub(crate) fn is_usable(&self, _index: usize) -> bool {
        true
    }

    fn pick(&self, ask: &Ask) -> Option<usize> {
        self.balancer.pick(ask, &Endpoints { upstream: self, now: ask.now })
    }

    /// An idle or shared connection to the endpoint whose turn it is, where there is one.
    pub(crate) fn reuse(&self, ask: &Ask, careful: bool) -> Option<Lease> {
        let turn = self.pick(ask)?;
        let lease = self.pools[turn].reuse(careful, ask.now);
        if lease.is_none() {
            self.turn.set(Some(turn));
        }
        lease
    }

    /// A connection to an endpoint, an idle one unless `fresh`.
    ///
    /// An endpoint that cannot be reached gives way to the next; nothing has been sent yet, so that
    /// this is safe for every request.
    pub(crate) async fn lease(&self, ask: &mut Ask, fresh: bool, careful: bool) -> Result<Lease, LeaseError> {
        let mut failure = None;
        // An endpoint whose turn it was and that had no connection at hand keeps its turn.
        let mut turn = self.turn.take().or_else(|| self.pick(ask));
        while let Some(index) = turn {
            let pool = &self.pools[index];
            match pool.lease(fresh, careful).await {
                Ok(lease) => return Ok(lease),
                Err(LeaseError::Connect(error)) => {
                    tracing::debug!(upstream = %self.plan.name, endpoint = %pool.endpoint(), %error, "connect failed");
                    failure = Some(error);
                }
                Err(LeaseError::Exhausted) => return Err(LeaseError::Exhausted),
            }
            ask.note(index);
            turn = self.pick(ask);
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

/// What the balancer is told of the endpoints.
struct Endpoints<'a> {
    upstream: &'a Upstream,
    now: Instant,
}

impl View for Endpoints<'_> {
    fn is_usable(&self, index: usize) -> bool {
        self.upstream.is_usable(index)
    }

    fn in_flight(&self, index: usize) -> usize {
        self.upstream.pools[index].in_flight()
    }

    fn connections(&self, index: usize) -> usize {
        self.upstream.pools[index].in_use()
    }

    fn latency(&self, index: usize) -> Duration {
        self.upstream.pools[index].latency(self.now)
    }

    fn share(&self, index: usize) -> f64 {
        share(self.upstream.pools[index].since(), self.upstream.plan.slow_start, self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;
    use crate::stats::Registry;
    use serde_json::json;
    use std::path::Path;

    fn upstream(endpoints: &[&str], former: Option<&Upstream>) -> Upstream {
        let document = json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "upstreams": { "app": { "endpoints": endpoints, "slow_start": "30s" } },
        });
        let document = serde_json::from_value(document).expect("a document");
        let plan = check(&document, Path::new("/")).expect("a plan").plan;
        let meter = Registry::new(1).upstream("app").meter(0);
        Upstream::new(Arc::new(plan.upstreams[0].clone()), None, meter, former)
    }

    fn shares(upstream: &Upstream, now: Instant) -> Vec<f64> {
        let view = Endpoints { upstream, now };
        (0..upstream.pools.len()).map(|index| view.share(index)).collect()
    }

    #[test]
    fn endpoints_that_come_by_a_reload_start_slowly() {
        let first = upstream(&["a:80", "b:80"], None);
        let second = upstream(&["a:80", "a:81", "b:80"], Some(&first));
        // Another reload does not begin again.
        let third = upstream(&["a:81", "b:80"], Some(&second));
        let now = Instant::now();
        assert_eq!(shares(&first, now), [1.0, 1.0]);
        assert_eq!(shares(&second, now), [1.0, 0.1, 1.0]);
        assert_eq!(third.pools[0].since(), second.pools[1].since());
        assert_eq!(shares(&third, now + Duration::from_secs(60)), [1.0, 1.0]);
    }
}
