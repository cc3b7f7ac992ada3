//! Upstreams as one worker sees them: which endpoint, which connection.
//!
//! Everything here belongs to one thread. What survives a reload is decided in two places: an upstream
//! whose plan did not change keeps everything, and one that changed keeps the connections to endpoints
//! that it still has.

mod connect;
mod lease;
mod links;
mod pool;

pub(crate) use connect::{ConnectError, Connector, Spoken};
pub(crate) use lease::Lease;
pub(crate) use pool::Pool;

use crate::balance::slow_start::share;
use crate::balance::{Ask, Balancer, View};
use crate::config::plan;
use crate::health::Witness;
use crate::stats::UpstreamMeter;
use pool::Role;
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
    /// Endpoints that `previous` has connections to keep them, where they are made in the same way. One that drains does
    /// not: its idle connections are closed. One that `previous` did not have starts slowly.
    pub(crate) fn new(
        plan: Arc<plan::Upstream>,
        tls: Option<&Arc<rustls::ClientConfig>>,
        meter: UpstreamMeter,
        witness: impl Fn(usize) -> Witness,
        previous: Option<&Self>,
    ) -> Self {
        let connects_alike = previous.is_some_and(|previous| previous.connects_as(&plan));
        let pools = plan.endpoints.iter().enumerate().map(|(index, endpoint)| {
            let role = Role::new(&plan.balance, endpoint);
            let before = previous.and_then(|previous| previous.pool_of(endpoint));
            if let Some(kept) = before.filter(|_| connects_alike && !endpoint.drain) {
                kept.adopt(witness(index), role);
                return Rc::clone(kept);
            }
            let since = match before {
                Some(before) => before.since(),
                None => previous.map(|_| Instant::now()),
            };
            let connector = connect::Connector::new(endpoint, &plan, tls.cloned());
            Rc::new(Pool::new(connector, plan.pool.clone(), meter.clone(), witness(index), role, since))
        });
        let pools = pools.collect();
        let balancer = Balancer::new(&plan.balance, &plan.endpoints, plan.panic_threshold);
        Self { plan, meter, pools, balancer, turn: Cell::new(None) }
    }

    fn pick(&self, ask: &Ask) -> Option<usize> {
        self.balancer.pick(ask, &Endpoints { upstream: self, now: ask.now })
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
        self.upstream.pools[index].is_usable(self.now)
    }

    fn drains(&self, index: usize) -> bool {
        self.upstream.pools[index].witness().drains()
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
    use crate::health::{Alarm, Health, Meaning};
    use crate::stats::Registry;
    use serde_json::json;
    use std::path::Path;

    fn upstream(endpoints: &serde_json::Value, previous: Option<&Upstream>) -> Upstream {
        let document = json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "upstreams": { "app": { "endpoints": endpoints, "slow_start": "30s" } },
        });
        let document = serde_json::from_value(document).expect("a document");
        let plan = check(&document, Path::new("/")).expect("a plan").plan.upstreams.remove(0);
        let registry = Registry::new(1);
        let meaning = Meaning { check: None, protocol: plan.protocol, tls: None, identity: None };
        let health = Health::new(&plan, meaning, &Arc::new(Alarm::default()), &registry, None);
        let meter = registry.upstream("app").meter(0);
        Upstream::new(Arc::new(plan), None, meter, |place| Witness::new(&health, place, 0), previous)
    }

    fn shares(upstream: &Upstream, now: Instant) -> Vec<f64> {
        let view = Endpoints { upstream, now };
        (0..upstream.pools.len()).map(|index| view.share(index)).collect()
    }

    #[test]
    fn endpoints_that_come_by_a_reload_start_slowly() {
        let first = upstream(&json!(["a:80", "b:80"]), None);
        let second = upstream(&json!(["a:80", "a:81", "b:80"]), Some(&first));
        // Another reload does not begin again.
        let third = upstream(&json!(["a:81", "b:80"]), Some(&second));
        let now = Instant::now();
        assert_eq!(shares(&first, now), [1.0, 1.0]);
        assert_eq!(shares(&second, now), [1.0, 0.1, 1.0]);
        assert_eq!(third.pools[0].since(), second.pools[1].since());
        assert_eq!(shares(&third, now + Duration::from_secs(60)), [1.0, 1.0]);
    }

    #[test]
    fn endpoints_that_come_back_start_slowly() {
        let draining = json!([{ "address": "a:80", "drain": true }, "b:80"]);
        let first = upstream(&draining, None);
        let now = Instant::now();
        let ask = Ask::new(None, now);
        assert!((0..10).all(|_| first.pick(&ask) == Some(1)));
        let second = upstream(&json!(["a:80", "b:80"]), Some(&first));
        assert!((0..100).any(|_| second.pick(&ask) == Some(0)));
        assert_eq!(shares(&second, now + Duration::from_secs(15)), [0.5, 1.0]);
    }
}
