//! Which endpoint a request goes to.
//!
//! Pure decisions: what is known of the endpoints comes in through a [`View`], what is known of the
//! request in an [`Ask`], and the position of an endpoint comes out. Nothing here connects, waits,
//! allocates or locks for a pick. A [`Balancer`] belongs to one worker.

mod field;
pub(crate) mod hash;
mod ip_hash;
pub(crate) mod latency;
mod least;
mod maglev;
mod peak_ewma;
pub(crate) mod slow_start;
pub(crate) mod sticky;
#[cfg(test)]
mod tests;
mod turns;
mod two_choices;

use crate::config::plan;
use crate::recent::PassedOver;
use field::{Field, Member};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is known of the endpoints, by their position in the plan.
pub(crate) trait View {
    /// Whether requests may be sent to it.
    fn is_usable(&self, index: usize) -> bool;
    /// Whether it is to go, and gets no new requests even where health is ignored. Such a one is not usable.
    fn drains(&self, index: usize) -> bool;
    /// Requests that it has not answered yet.
    fn in_flight(&self, index: usize) -> usize;
    /// Connections in use; an HTTP/2 connection counts once.
    fn connections(&self, index: usize) -> usize;
    /// How long it takes to answer; zero where that is not known.
    fn latency(&self, index: usize) -> Duration;
    /// Which part of its load it is ready for, 0 to 1; less than 1 while it starts slowly.
    fn share(&self, index: usize) -> f64;
}

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// What requests that belong together have in common, hashed.
    pub(crate) key: Option<u64>,
    /// The endpoints that were tried for it, as [`Ask::note`] writes them.
    pub(crate) tried: u64,
    /// The endpoint that was chosen last; `None` where none was left.
    pub(crate) chosen: Option<usize>,
    /// What that choice passed over, where it was counted.
    pub(crate) passed_over: Option<PassedOver>,
    pub(crate) now: Instant,
}

impl Ask {
    pub(crate) fn new(key: Option<u64>, now: Instant) -> Self {
        Self { key, tried: 0, chosen: None, passed_over: None, now }
    }

    /// Remembers that an endpoint was tried. Beyond 64 endpoints one bit stands for several: then one
    /// that was not tried may be passed over, but none is tried twice.
    pub(crate) fn note(&mut self, index: usize) {
        self.tried |= 1 << (index % 64);
    }

    /// Remembers that the endpoint that was chosen last was tried.
    pub(crate) fn note_chosen(&mut self) {
        if let Some(index) = self.chosen {
            self.note(index);
        }
    }

    /// Whether an endpoint was tried, as far as that is known.
    pub(crate) fn has_tried(&self, index: usize) -> bool {
        self.tried >> (index % 64) & 1 == 1
    }
}

/// What never changes about the choice among the endpoints of an upstream: worked out once, and shared by
/// all workers.
#[derive(Debug, Clone)]
pub(crate) struct Blueprint {
    /// From the first to be used to the last; none is empty.
    tiers: Arc<[(Arc<[Member]>, Algorithm)]>,
    /// In percent: with fewer usable endpoints than this, a tier does not serve.
    panic_threshold: u32,
    /// What stands in a cookie for each endpoint; empty where no cookies are set.
    cookies: Arc<[u64]>,
}

/// An algorithm without its state.
#[derive(Debug, Clone)]
enum Algorithm {
    Turns,
    Least(least::Measure),
    PeakEwma,
    IpHash(ip_hash::IpHash),
    Maglev(maglev::Maglev),
    /// What stands in the cookie for each member.
    Sticky(Arc<[u64]>),
}

impl Algorithm {
    fn new(balance: &plan::Balance, members: &[Member], addresses: &[String]) -> Self {
        let addresses = members.iter().map(|member| addresses[member.index].as_str());
        match balance {
            plan::Balance::RoundRobin => Self::Turns,
            plan::Balance::LeastRequests => Self::Least(least::Measure::Requests),
            plan::Balance::LeastConnections => Self::Least(least::Measure::Connections),
            plan::Balance::PeakEwma => Self::PeakEwma,
            plan::Balance::IpHash => Self::IpHash(ip_hash::IpHash::new(addresses)),
            plan::Balance::Maglev(_) => Self::Maglev(maglev::Maglev::new(members, addresses)),
            plan::Balance::StickyCookie(cookie) => {
                Self::Sticky(addresses.map(|address| sticky::id(&cookie.key, address)).collect())
            }
        }
    }
}

impl Blueprint {
    pub(crate) fn new(balance: &plan::Balance, endpoints: &[plan::Endpoint], panic_threshold: u32) -> Self {
        let addresses: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
        let mut numbers: Vec<u8> = endpoints.iter().map(|endpoint| endpoint.tier).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let tiers = numbers.iter().map(|number| {
            let members = endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.tier == *number);
            let members: Arc<[Member]> =
                members.map(|(index, endpoint)| Member { index, weight: endpoint.weight.max(1) }).collect();
            let algorithm = Algorithm::new(balance, &members, &addresses);
            (members, algorithm)
        });
        let cookies = match balance {
            plan::Balance::StickyCookie(cookie) => {
                addresses.iter().map(|address| sticky::id(&cookie.key, address)).collect()
            }
            _ => Arc::default(),
        };
        Self { tiers: tiers.collect(), panic_threshold, cookies }
    }
}

/// Chooses among the endpoints of one upstream.
#[derive(Debug)]
pub(crate) struct Balancer {
    tiers: Box<[Tier]>,
    panic_threshold: u32,
    cookies: Arc<[u64]>,
}

/// Endpoints that stand in for each other, and how one of them is chosen.
#[derive(Debug)]
struct Tier {
    members: Arc<[Member]>,
    policy: Policy,
}

/// An algorithm and its state. Positions are those of the tier's members.
#[derive(Debug)]
enum Policy {
    Turns(turns::Turns),
    Least(least::Least),
    PeakEwma(peak_ewma::PeakEwma),
    IpHash(ip_hash::IpHash),
    Maglev(maglev::Maglev),
    Sticky(sticky::Sticky),
}

impl Policy {
    fn new(algorithm: &Algorithm, members: &[Member]) -> Self {
        match algorithm {
            Algorithm::Turns => Self::Turns(turns::Turns::new(members)),
            Algorithm::Least(measure) => Self::Least(least::Least::new(*measure, members)),
            Algorithm::PeakEwma => Self::PeakEwma(peak_ewma::PeakEwma::new(members)),
            Algorithm::IpHash(ip_hash) => Self::IpHash(ip_hash.clone()),
            Algorithm::Maglev(maglev) => Self::Maglev(maglev.clone()),
            Algorithm::Sticky(ids) => Self::Sticky(sticky::Sticky::new(members, Arc::clone(ids))),
        }
    }

    fn pick<V: View>(&self, ask: &Ask, field: &Field<'_, V>) -> Option<usize> {
        match self {
            Self::Turns(turns) => turns.next(field),
            Self::Least(least) => least.pick(field),
            Self::PeakEwma(peak_ewma) => peak_ewma.pick(field),
            Self::IpHash(ip_hash) => ip_hash.pick(key(ask), field),
            Self::Maglev(maglev) => maglev.pick(key(ask), field),
            Self::Sticky(sticky) => sticky.pick(ask.key, field),
        }
    }
}

/// Requests that belong nowhere go anywhere.
fn key(ask: &Ask) -> u64 {
    ask.key.unwrap_or_else(|| fastrand::u64(..))
}

impl Tier {
    fn pick<V: View>(&self, ask: &Ask, field: &Field<'_, V>) -> Option<usize> {
        self.policy.pick(ask, field).map(|at| self.members[at].index)
    }
}

impl Balancer {
    pub(crate) fn new(blueprint: &Blueprint) -> Self {
        let tiers = blueprint
            .tiers
            .iter()
            .map(|(members, algorithm)| Tier { members: Arc::clone(members), policy: Policy::new(algorithm, members) });
        Self {
            tiers: tiers.collect(),
            panic_threshold: blueprint.panic_threshold,
            cookies: Arc::clone(&blueprint.cookies),
        }
    }

    /// What stands in a cookie for an endpoint, where cookies are set.
    pub(crate) fn cookie(&self, index: usize) -> Option<u64> {
        self.cookies.get(index).copied()
    }

    /// The position of the endpoint to send a request to; `None` where none is left.
    ///
    /// The first tier serves that has enough usable endpoints, and one of them left. Where none has, health is
    /// ignored from the first tier on, unless it never is.
    pub(crate) fn pick<V: View>(&self, ask: &Ask, view: &V) -> Option<usize> {
        let fields =
            || self.tiers.iter().map(|tier| (tier, Field::new(&tier.members, ask, view, self.panic_threshold)));
        let serving = match &*self.tiers {
            [only] => only.pick(ask, &Field::new(&only.members, ask, view, self.panic_threshold)),
            _ => fields().filter(|(_, field)| !field.panics()).find_map(|(tier, field)| tier.pick(ask, &field)),
        };
        if serving.is_some() || self.panic_threshold == 0 {
            return serving;
        }
        fields().find_map(|(tier, field)| tier.pick(ask, &field.desperate()))
    }
}
