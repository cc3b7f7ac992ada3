//! A checked configuration, built: immutable, shared by all workers, swapped whole.

use crate::balance::Blueprint;
use crate::config::Plan;
use crate::config::plan;
use crate::health::{Alarm, Health, Meaning};
use crate::idempotency::{Guard, Keys};
use crate::places::Places;
use crate::protection::Policies;
use crate::recent::{Names, UpstreamNames};
use crate::router::Router;
use crate::stats::{ListenerSeries, Registry, RouteSeries, UpstreamSeries};
use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;
use tidegate_resilience::Problems;
use tidegate_wire::tls::{CertificateFiles, ClientTls, MinVersion, ServerTls, ServerTrust, TlsError};

/// What the protocols of a TLS listener are called in ALPN, the preferred one first.
const ALPN: &[&[u8]] = &[b"h2", b"http/1.1", b"http/1.0"];

/// Everything that requests are answered by, under one configuration.
pub struct Snapshot {
    /// The configuration.
    pub plan: Plan,
    pub(crate) router: Router,
    pub(crate) routes: Vec<Route>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) listeners: Vec<Arc<Listener>>,
    /// How workers wake the thread that decides about endpoints; the same for as long as the process runs.
    pub(crate) alarm: Arc<Alarm>,
    /// All policies; the same for as long as the process runs.
    pub(crate) policies: Policies,
    /// What routes, upstreams and endpoints are called.
    pub(crate) names: Arc<Names>,
    /// What is counted for requests that no route answers.
    pub(crate) unrouted: Arc<RouteSeries>,
}

/// A route with its series.
pub(crate) struct Route {
    pub(crate) plan: plan::Route,
    /// Its keys go on through reloads.
    pub(crate) guard: Option<Guard>,
    pub(crate) series: Arc<RouteSeries>,
}

/// An upstream with its series and TLS.
pub(crate) struct Upstream {
    pub(crate) plan: Arc<plan::Upstream>,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) series: Arc<UpstreamSeries>,
    /// Of its endpoints; where the plan is the same, it is the same as before.
    pub(crate) health: Arc<Health>,
    pub(crate) blueprint: Blueprint,
}

/// A listener with its series and TLS.
pub(crate) struct Listener {
    pub(crate) plan: plan::Listener,
    pub(crate) tls: Option<ServerTls>,
    pub(crate) series: Arc<ListenerSeries>,
    /// Places for connections; they go on through reloads.
    pub(crate) places: Arc<Places>,
}

/// Why a snapshot could not be built from a plan that is right in itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// Certificates of the listener with that address.
    Listener(String, TlsError),
    /// Certificates of the upstream with that name.
    Upstream(String, TlsError),
    /// A pattern of the routes.
    Routes(String),
    /// The policies.
    Policies(Problems),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(address, error) => write!(f, "listener {address}: {error}"),
            Self::Upstream(name, error) => write!(f, "upstream {name}: {error}"),
            Self::Routes(error) => write!(f, "routes: {error}"),
            Self::Policies(problems) => write!(f, "policies: {problems}"),
        }
    }
}

impl std::error::Error for BuildError {}

impl Snapshot {
    /// Builds a snapshot; counts that `previous` has open go on, and so does what is known about endpoints.
    ///
    /// # Errors
    /// A [`BuildError`]; nothing has changed then.
    pub fn build(plan: Plan, registry: &Registry, previous: Option<&Self>) -> Result<Self, BuildError> {
        let matches: Vec<_> = plan.routes.iter().map(|route| route.matches.clone()).collect();
        let router = Router::new(&matches).map_err(|error| BuildError::Routes(error.to_string()))?;
        let routes = plan.routes.iter().map(|route| Route::build(route, &plan, registry, previous)).collect();
        let system = SystemTrust::default();
        let alarm = previous.map(|previous| Arc::clone(&previous.alarm)).unwrap_or_default();
        let upstreams = plan.upstreams.iter().map(|upstream| {
            let before = previous.and_then(|previous| previous.upstream(&upstream.name));
            Upstream::build(upstream, &system, registry, &alarm, before)
        });
        let upstreams = upstreams.collect::<Result<_, _>>()?;
        let listeners = plan.listeners.iter().enumerate().map(|(position, listener)| {
            let before = previous.and_then(|previous| previous.listeners.get(position));
            Listener::build(listener, registry, before.filter(|before| before.plan.address == listener.address))
        });
        let listeners = listeners.collect::<Result<_, _>>()?;
        let policies = match previous {
            Some(previous) => previous.policies.check(&plan.policies).map(|()| previous.policies.clone()),
            None => Policies::new(&plan.policies),
        };
        let policies = policies.map_err(BuildError::Policies)?;
        let unrouted = registry.route("unrouted", None);
        let names = Arc::new(names(&plan));
        Ok(Self { router, routes, upstreams, listeners, alarm, policies, names, unrouted, plan })
    }

    /// Has the policies follow this configuration. What is in flight keeps the order that it began with.
    pub(crate) fn put_policies_in_force(&self) -> Result<(), BuildError> {
        self.policies.put_in_force(&self.plan.policies).map_err(BuildError::Policies)
    }

    /// All policies, for statistics and events.
    #[must_use]
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The keys of the route of that name.
    fn keys(&self, name: &str) -> Option<Arc<Keys>> {
        let route = self.routes.iter().find(|route| *route.plan.name == *name)?;
        route.guard.as_ref().map(|guard| Arc::clone(&guard.keys))
    }

    fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| *upstream.plan.name == *name)
    }

    /// What is known about the endpoints of each upstream, in the order of the plan.
    #[must_use]
    pub fn health(&self) -> Vec<Arc<Health>> {
        self.upstreams.iter().map(|upstream| Arc::clone(&upstream.health)).collect()
    }
}

fn names(plan: &Plan) -> Names {
    let upstreams = plan.upstreams.iter().map(|upstream| UpstreamNames {
        name: Arc::clone(&upstream.name),
        endpoints: upstream.endpoints.iter().map(|endpoint| endpoint.to_string().into()).collect(),
    });
    Names::new(plan.routes.iter().map(|route| Arc::clone(&route.name)), upstreams)
}

impl Route {
    fn build(route: &plan::Route, plan: &Plan, registry: &Registry, previous: Option<&Snapshot>) -> Self {
        let upstream = match &route.action {
            plan::Action::Forward(index) => Some(&*plan.upstreams[*index].name),
            plan::Action::Respond(_) | plan::Action::Redirect(_) => None,
        };
        let guard = route.idempotency.as_ref().map(|options| {
            let keys = previous.and_then(|previous| previous.keys(&route.name)).unwrap_or_default();
            Guard { options: options.clone(), keys }
        });
        Self { plan: route.clone(), guard, series: registry.route(&route.name, upstream) }
    }
}

impl Upstream {
    fn build(
        upstream: &plan::Upstream,
        system: &SystemTrust,
        registry: &Registry,
        alarm: &Arc<Alarm>,
        before: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let failed = |error| BuildError::Upstream(upstream.name.to_string(), error);
        let tls = upstream.tls.as_ref().map(|tls| client_tls(tls, upstream.protocol, system));
        let tls = tls.transpose().map_err(failed)?;
        let meaning = Meaning {
            check: upstream.health_check.clone(),
            protocol: upstream.protocol,
            tls: upstream.tls.clone(),
            identity: tls.as_ref().and_then(|tls| tls.fingerprint),
        };
        let same = before.filter(|before| before.is_same(upstream, tls.as_ref()));
        let health = same.map(|before| Arc::clone(&before.health)).unwrap_or_else(|| {
            Arc::new(Health::new(upstream, meaning, alarm, registry, before.map(|before| &*before.health)))
        });
        let blueprint = same.map(|before| before.blueprint.clone());
        let blueprint = blueprint
            .unwrap_or_else(|| Blueprint::new(&upstream.balance, &upstream.endpoints, upstream.panic_threshold));
        let (plan, series) = (Arc::new(upstream.clone()), registry.upstream(&upstream.name));
        Ok(Self { plan, tls, series, health, blueprint })
    }

    /// Whether this is what would be built from `plan` and `tls`.
    pub(crate) fn is_same(&self, plan: &plan::Upstream, tls: Option<&ClientTls>) -> bool {
        *self.plan == *plan && self.has_identity_of(tls)
    }

    /// Whether `tls` was built from the same files.
    pub(crate) fn has_identity_of(&self, tls: Option<&ClientTls>) -> bool {
        self.tls.as_ref().map(|tls| tls.fingerprint) == tls.map(|tls| tls.fingerprint)
    }
}

/// The roots of the system: read when the first upstream needs them, for all upstreams of a snapshot.
#[derive(Default)]
struct SystemTrust(OnceCell<ServerTrust>);

impl SystemTrust {
    fn load(&self, load: impl FnOnce() -> Result<ServerTrust, TlsError>) -> Result<ServerTrust, TlsError> {
        match self.0.get() {
            Some(trust) => Ok(trust.clone()),
            None => load().inspect(|trust| drop(self.0.set(trust.clone()))),
        }
    }
}

fn client_tls(
    tls: &plan::UpstreamTls,
    protocol: plan::UpstreamProtocol,
    system: &SystemTrust,
) -> Result<ClientTls, TlsError> {
    let trust = match (&tls.ca, tls.verify) {
        (_, false) => ServerTrust::anyone(),
        (Some(file), true) => ServerTrust::from_file(file)?,
        (None, true) => system.load(ServerTrust::system)?,
    };
    let alpn: &[&[u8]] = match protocol {
        plan::UpstreamProtocol::Http1 => &ALPN[1..],
        plan::UpstreamProtocol::Http2 => &ALPN[..1],
        plan::UpstreamProtocol::Auto => ALPN,
    };
    ClientTls::build(&trust, tls.identity.as_ref().map(files).as_ref(), alpn)
}

impl Listener {
    /// Places, and certificates that have not changed, are those of `before`: connections stay
    /// counted and TLS sessions can be resumed.
    fn build(
        listener: &plan::Listener,
        registry: &Registry,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, BuildError> {
        let address = listener.address.to_string();
        let failed = |error| BuildError::Listener(address.clone(), error);
        let tls = match &listener.tls {
            Some(wanted) => Some(server_tls(wanted, before).map_err(failed)?),
            None => None,
        };
        let places = before.map(|before| Arc::clone(&before.places)).unwrap_or_default();
        Ok(Arc::new(Self { plan: listener.clone(), tls, series: registry.listener(&address), places }))
    }
}

fn server_tls(wanted: &plan::ListenerTls, before: Option<&Arc<Listener>>) -> Result<ServerTls, TlsError> {
    let certificates: Vec<_> = wanted.certificates.iter().map(files).collect();
    if let Some(tls) = before.and_then(|before| before.tls.as_ref())
        && before.is_some_and(|before| before.plan.tls.as_ref() == Some(wanted))
        && ServerTls::fingerprint_of(&certificates)? == tls.fingerprint
    {
        return Ok(tls.clone());
    }
    let oldest = match wanted.min_version {
        plan::TlsVersion::V1_2 => MinVersion::Tls12,
        plan::TlsVersion::V1_3 => MinVersion::Tls13,
    };
    ServerTls::build(&certificates, oldest, ALPN)
}

fn files(certificate: &plan::Certificate) -> CertificateFiles {
    CertificateFiles { certificate: certificate.certificate.clone(), key: certificate.key.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_of_the_system_are_read_once() {
        let system = SystemTrust::default();
        let mut reads = 0;
        let mut read = || {
            reads += 1;
            match reads {
                1 => Err(TlsError::NoSystemRoots { reason: String::new() }),
                _ => Ok(ServerTrust::anyone()),
            }
        };
        assert!(system.load(&mut read).is_err());
        assert!((0..3).all(|_| system.load(&mut read).is_ok()));
        assert_eq!(reads, 2, "a failure is not kept");
    }
}
