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
use field::{Field, Member};
use std::time::{Duration, Instant};

/// What is known of the endpoints, by their position in the plan.
pub(crate) trait View {
    /// Whether requests may be sent to it.
    fn is_usable(&self, index: usize) -> bool;
    /// Whether it gets no new request even when no other is left.
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
    pub(crate) now: Instant,
}

impl Ask {
    pub(crate) fn new(key: Option<u64>, now: Instant) -> Self {
        Self { key, tried: 0, now }
    }

    /// Remembers that an endpoint was tried. Beyond 64 endpoints one bit stands for several: then one
    /// that was not tried may be passed over, but none is tried twice.
    pub(crate) fn note(&mut self, index: usize) {
        self.tried |= 1 << (index % 64);
    }

    fn has_tried(&self, index: usize) -> bool {
        self.tried >> (index % 64) & 1 == 1
    }
}

/// Chooses among the endpoints of one upstream.
#[derive(Debug)]
pub(crate) struct Balancer {
    /// From the first to be used to the last; none is empty.
    tiers: Box<[Tier]>,
    /// In percent: fewer usable endpoints than this in a tier, and their health is ignored.
    panic_threshold: u32,
}

/// Endpoints that stand in for each other, and how one of them is chosen.
#[derive(Debug)]
struct Tier {
    members: Box<[Member]>,
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
    fn new(balance: &plan::Balance, members: &[Member], endpoints: &[plan::Endpoint]) -> Self {
        let addresses = || members.iter().map(|member| endpoints[member.index].to_string());
        match balance {
            plan::Balance::RoundRobin => Self::Turns(turns::Turns::new(members)),
            plan::Balance::LeastRequests => Self::Least(least::Least::new(least::Measure::Requests, members)),
            plan::Balance::LeastConnections => Self::Least(least::Least::new(least::Measure::Connections, members)),
            plan::Balance::PeakEwma => Self::PeakEwma(peak_ewma::PeakEwma::new(members)),
            plan::Balance::IpHash => Self::IpHash(ip_hash::IpHash::new(addresses())),
            plan::Balance::Maglev(_) => Self::Maglev(maglev::Maglev::new(members, addresses())),
            plan::Balance::StickyCookie(cookie) => Self::Sticky(sticky::Sticky::new(members, &cookie.key, addresses())),
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

impl Balancer {
    pub(crate) fn new(balance: &plan::Balance, endpoints: &[plan::Endpoint], panic_threshold: u32) -> Self {
        let mut numbers: Vec<u8> = endpoints.iter().map(|endpoint| endpoint.tier).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let tiers = numbers.iter().map(|number| {
            let members = endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.tier == *number);
            let members: Box<[Member]> =
                members.map(|(index, endpoint)| Member { index, weight: endpoint.weight.max(1) }).collect();
            Tier { policy: Policy::new(balance, &members, endpoints), members }
        });
        Self { tiers: tiers.collect(), panic_threshold }
    }

    /// The position of the endpoint to send a request to; `None` where none is left.
    ///
    /// A tier serves when no usable endpoint of the tiers before it is left. When none of any is, health
    /// is ignored from the first tier on, unless it never is.
    pub(crate) fn pick<V: View>(&self, ask: &Ask, view: &V) -> Option<usize> {
        let fields =
            || self.tiers.iter().map(|tier| (tier, Field::new(&tier.members, ask, view, self.panic_threshold)));
        let healthy = fields().find(|(_, field)| field.has_usable());
        let desperate = || {
            let mut fields = fields().map(|(tier, field)| (tier, field.desperate()));
            fields.find(|(_, field)| self.panic_threshold > 0 && field.has_open())
        };
        let (tier, field) = healthy.or_else(desperate)?;
        tier.policy.pick(ask, &field).map(|at| tier.members[at].index)
    }
}
