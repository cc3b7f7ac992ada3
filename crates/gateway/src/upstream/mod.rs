//! Upstreams as one worker sees them: which endpoint, which connection.
//!
//! Everything here belongs to one thread. What survives a reload is decided in two places: an upstream
//! whose plan did not change keeps everything, and one that changed keeps the connections to endpoints
//! that it still has.

mod admission;
mod connect;
mod lease;
mod links;
mod pool;

pub(crate) use connect::{ConnectError, Connector, Spoken};
pub(crate) use lease::Lease;
pub(crate) use pool::Pool;

use crate::balance::slow_start::share;
use crate::balance::{Ask, Balancer, Blueprint, View};
use crate::config::plan;
use crate::fault::Fault;
use crate::health::Witness;
use crate::recent::{PassedOver, Trail};
use crate::stats::UpstreamMeter;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_resilience::{CircuitBreaker, Rejection};

/// One upstream of a worker.
pub(crate) struct Upstream {
    pub(crate) plan: Arc<plan::Upstream>,
    pub(crate) meter: UpstreamMeter,
    pools: Vec<Rc<Pool>>,
    balancer: Balancer,
}

/// Why no connection could be had.
#[derive(Debug)]
pub(crate) enum LeaseError {
    /// All are in use, and the queue is full or did not move in time.
    Exhausted,
    /// No endpoint could be reached.
    Connect(ConnectError),
    /// The breaker of every endpoint says no.
    Open(Rejection),
}

impl LeaseError {
    /// What it means for the request.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Exhausted => Fault::PoolExhausted,
            Self::Connect(ConnectError::Timeout) => Fault::ConnectTimeout,
            Self::Connect(ConnectError::Io(_)) => Fault::Connect,
            Self::Open(rejection) => Fault::Protected(rejection.code()),
        }
    }
}

impl Upstream {
    /// Endpoints that `previous` has connections to keep them, where they are made in the same way. One that drains does
    /// not: its idle connections are closed.
    pub(crate) fn new(
        plan: Arc<plan::Upstream>,
        tls: Option<&Arc<rustls::ClientConfig>>,
        meter: UpstreamMeter,
        blueprint: &Blueprint,
        witness: impl Fn(usize) -> Witness,
        breaker: impl Fn(&plan::Endpoint) -> Option<CircuitBreaker>,
        previous: Option<&Self>,
    ) -> Self {
        let previous = previous.filter(|previous| previous.connects_as(&plan));
        let pools = plan.endpoints.iter().enumerate().map(|(index, endpoint)| {
            let kept = previous.and_then(|previous| previous.pool_of(endpoint));
            if let Some(kept) = kept.filter(|_| !endpoint.drain) {
                kept.adopt(witness(index), breaker(endpoint));
                return Rc::clone(kept);
            }
            let connector = connect::Connector::new(endpoint, &plan, tls.cloned());
            let pool = Pool::new(connector, plan.pool.clone(), meter.clone(), witness(index), breaker(endpoint));
            Rc::new(pool)
        });
        let pools = pools.collect();
        Self { plan, meter, pools, balancer: Balancer::new(blueprint) }
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
        self.pools[index].witness().is_usable() && self.pools[index].is_closed()
    }

    /// Whether the endpoint at `index` fails while others can do its work: it gets no requests or soon none, and at least
    /// half of all that do not drain are well.
    pub(crate) fn fails_in_part(&self, index: usize) -> bool {
        let staying = || self.pools.iter().filter(|pool| !pool.witness().drains());
        let well = || staying().filter(|pool| pool.witness().is_well() && pool.is_closed());
        let pool = &self.pools[index];
        (pool.witness().is_suspect() || !pool.is_closed()) && 2 * well().count() >= staying().count()
    }

    /// Chooses among the endpoints that were not tried. What was passed over is counted only where something was: while
    /// all goes well, nothing is looked at that the choice itself does not look at.
    fn pick(&self, ask: &mut Ask) {
        let view = Endpoints { upstream: self, now: ask.now, met_unfit: Cell::new(false) };
        ask.chosen = self.balancer.pick(ask, &view);
        let counts = ask.tried != 0 || view.met_unfit.get();
        ask.passed_over = counts.then(|| self.passed_over(ask));
    }

    #[cold]
    fn passed_over(&self, ask: &Ask) -> PassedOver {
        let mut passed = PassedOver::default();
        for index in 0..self.pools.len() {
            if ask.has_tried(index) {
                passed.tried = passed.tried.saturating_add(1);
            } else if !self.is_usable(index) {
                passed.unfit = passed.unfit.saturating_add(1);
            }
        }
        passed
    }

    /// Chooses the endpoint for a request, or for another attempt of one. Where all have been tried, they
    /// are tried again.
    pub(crate) fn choose(&self, ask: &mut Ask) {
        self.pick(ask);
        if ask.chosen.is_none() && ask.tried != 0 {
            ask.tried = 0;
            self.pick(ask);
        }
    }

    /// An idle or shared connection to the chosen endpoint, where there is one.
    pub(crate) fn reuse(&self, ask: &Ask, careful: bool) -> Option<Lease> {
        self.pools[ask.chosen?].reuse(careful, ask.now)
    }

    /// A connection to the chosen endpoint, an idle one unless `fresh`.
    ///
    /// An endpoint that cannot be reached gives way to the next; nothing has been sent yet, so that
    /// this is safe for every request.
    pub(crate) async fn lease(
        &self,
        ask: &mut Ask,
        trail: &mut Trail,
        fresh: bool,
        careful: bool,
    ) -> Result<Lease, LeaseError> {
        let mut failure = LeaseError::Exhausted;
        let mut began = ask.now;
        while let Some(index) = ask.chosen {
            let pool = &self.pools[index];
            trail.connecting(index, ask.passed_over, began);
            failure = match pool.lease(fresh, careful).await {
                Ok(lease) => return Ok(lease),
                Err(failure) => failure,
            };
            let now = Instant::now();
            trail.ended(Err(failure.fault()), now);
            match &failure {
                LeaseError::Exhausted => break,
                LeaseError::Open(_) => {}
                LeaseError::Connect(error) => {
                    tracing::debug!(upstream = %self.plan.name, endpoint = %pool.endpoint(), %error, "connect failed");
                    // It looks as slow as an endpoint can be, so that it is not taken for a quick one.
                    self.observe(ask, self.plan.timeouts.connect, now);
                }
            }
            began = now;
            ask.note(index);
            self.pick(ask);
        }
        Err(failure)
    }

    /// Learns how long the chosen endpoint took until it began to answer, where the balance asks for that.
    pub(crate) fn observe(&self, ask: &Ask, latency: Duration, now: Instant) {
        if let Some(index) = ask.chosen
            && matches!(self.plan.balance, plan::Balance::PeakEwma)
        {
            self.pools[index].latency().observe(latency, now);
        }
    }

    /// What stands in a cookie for the chosen endpoint, where cookies are set.
    pub(crate) fn cookie(&self, ask: &Ask) -> Option<u64> {
        self.balancer.cookie(ask.chosen?)
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
    /// Whether an endpoint was asked about that is not fit.
    met_unfit: Cell<bool>,
}

impl View for Endpoints<'_> {
    fn is_usable(&self, index: usize) -> bool {
        let usable = self.upstream.is_usable(index);
        if !usable {
            self.met_unfit.set(true);
        }
        usable
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
        self.upstream.pools[index].latency().expected(self.now)
    }

    fn share(&self, index: usize) -> f64 {
        let window = self.upstream.plan.slow_start;
        if window.is_zero() {
            return 1.0;
        }
        share(self.upstream.pools[index].witness().usable_since(), window, self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;
    use crate::health::{Alarm, Health, Meaning};
    use crate::stats::Registry;
    use serde_json::{Value, json};
    use std::path::Path;

    /// An upstream with `slow_start: 30s`, and the health of its endpoints.
    fn upstream(endpoints: &Value, previous: Option<&(Upstream, Health)>) -> (Upstream, Health) {
        let document = json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "upstreams": { "app": { "endpoints": endpoints, "slow_start": "30s" } },
        });
        let document = serde_json::from_value(document).expect("a document");
        let plan = check(&document, Path::new("/")).expect("a plan").plan.upstreams.remove(0);
        let registry = Registry::new(1);
        let meaning = Meaning { check: None, protocol: plan.protocol, tls: None, identity: None };
        let before = previous.map(|(_, health)| health);
        let health = Health::new(&plan, meaning, &Arc::new(Alarm::default()), &registry, before);
        let meter = registry.upstream("app").meter(0);
        let blueprint = Blueprint::new(&plan.balance, &plan.endpoints, plan.panic_threshold);
        let witness = |place| Witness::new(&health, place, 0);
        let previous = previous.map(|(upstream, _)| upstream);
        (Upstream::new(Arc::new(plan), None, meter, &blueprint, witness, |_| None, previous), health)
    }

    fn shares(upstream: &(Upstream, Health), now: Instant) -> Vec<f64> {
        let view = Endpoints { upstream: &upstream.0, now, met_unfit: Cell::new(false) };
        (0..upstream.0.pools.len()).map(|index| view.share(index)).collect()
    }

    /// The endpoint of a new request.
    fn chosen(upstream: &(Upstream, Health), now: Instant) -> Option<usize> {
        asked(upstream, Ask::new(None, now)).chosen
    }

    fn asked(upstream: &(Upstream, Health), mut ask: Ask) -> Ask {
        upstream.0.choose(&mut ask);
        ask
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
        assert_eq!(shares(&third, now), [0.1, 1.0]);
        assert_eq!(shares(&third, now + Duration::from_secs(60)), [1.0, 1.0]);
    }

    #[test]
    fn endpoints_that_drained_start_slowly() {
        let first = upstream(&json!([{ "address": "a:80", "drain": true }, "b:80"]), None);
        let now = Instant::now();
        assert!((0..10).all(|_| chosen(&first, now) == Some(1)));
        let second = upstream(&json!(["a:80", "b:80"]), Some(&first));
        assert!((0..100).any(|_| chosen(&second, now) == Some(0)));
        assert_eq!(shares(&second, now), [0.1, 1.0]);
    }

    #[test]
    fn endpoints_that_were_ejected_start_slowly() {
        let upstream = upstream(&json!(["a:80", "b:80"]), None);
        let now = Instant::now();
        for _ in 0..5 {
            upstream.0.pools[0].witness().failed();
        }
        let until = upstream.1.judge(now, false).expect("an ejection");
        assert!((0..10).all(|_| chosen(&upstream, now) == Some(1)));
        upstream.1.judge(until, false);
        assert!((0..100).any(|_| chosen(&upstream, until) == Some(0)));
        assert_eq!(shares(&upstream, until), [0.1, 1.0]);
        assert_eq!(shares(&upstream, until + Duration::from_secs(30)), [1.0, 1.0]);
    }

    #[test]
    fn what_is_passed_over_is_counted_only_where_something_was() {
        let now = Instant::now();
        let all_fit = upstream(&json!(["a:80", "b:80", "c:80"]), None);
        assert!((0..10).all(|_| asked(&all_fit, Ask::new(None, now)).passed_over.is_none()));
        let mut again = Ask::new(None, now);
        again.note(2);
        assert_eq!(asked(&all_fit, again).passed_over, Some(PassedOver { unfit: 0, tried: 1 }));

        let drains = json!({ "address": "a:80", "drain": true });
        let one_drains = upstream(&json!([drains, "b:80", "c:80", "d:80"]), None);
        let first: Vec<_> = (0..8).map(|_| asked(&one_drains, Ask::new(None, now)).passed_over).collect();
        // Of three turns one comes by the endpoint that drains.
        assert!(first.contains(&None) && first.contains(&Some(PassedOver { unfit: 1, tried: 0 })), "{first:?}");
        assert_eq!(asked(&one_drains, again).passed_over, Some(PassedOver { unfit: 1, tried: 1 }));
        again.note(0);
        assert_eq!(asked(&one_drains, again).passed_over, Some(PassedOver { unfit: 0, tried: 2 }), "none counts twice");
    }

    /// An endpoint that takes no connection must not look idle: it would be given everything.
    #[tokio::test]
    async fn who_waits_for_a_connection_counts() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let upstream = upstream(&json!([address]), None).0;
        let mut ask = Ask::new(None, Instant::now());
        upstream.choose(&mut ask);
        let mut trail = Trail::new(ask.now, 0);
        let mut leasing = Box::pin(upstream.lease(&mut ask, &mut trail, false, false));
        let first = std::future::poll_fn(|cx| std::task::Poll::Ready(leasing.as_mut().poll(cx).is_ready())).await;
        assert!(!first, "it is not connected at once");
        assert_eq!(upstream.pools[0].in_flight(), 1);
        let lease = leasing.await.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(upstream.pools[0].in_flight(), 1);
        drop(lease);
        assert_eq!(upstream.pools[0].in_flight(), 0);
    }

    #[test]
    fn when_all_were_tried_they_are_tried_again() {
        let upstream = upstream(&json!(["a:80"]), None).0;
        let mut ask = Ask::new(None, Instant::now());
        for _ in 0..3 {
            upstream.choose(&mut ask);
            assert_eq!(ask.chosen, Some(0));
            ask.note_chosen();
        }
    }
}
