//! The same endpoint for the same client: rendezvous hashing (Thaler and Ravishankar 1998).
//!
//! Every endpoint has a score for a key, and the best is chosen. When an endpoint leaves, only its own
//! keys move, each to its second best. Weights scale the score, as does the share of an endpoint that
//! starts slowly. It looks at every endpoint, which is no matter for tens of them; for hundreds there
//! is [`maglev`](super::maglev).

use super::View;
use super::field::Field;
use super::hash::{Hasher, fraction, mix};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(super) struct IpHash {
    ids: Arc<[u64]>,
}

impl IpHash {
    pub(super) fn new<'a>(addresses: impl Iterator<Item = &'a str>) -> Self {
        Self { ids: addresses.map(|address| Hasher::FIXED.hash(address.as_bytes())).collect() }
    }

    pub(super) fn pick<V: View>(&self, key: u64, field: &Field<'_, V>) -> Option<usize> {
        let open = (0..field.len()).filter(|at| field.is_open(*at));
        // An exponential distribution with the weight as its rate: the least of several is each one's
        // as often as its weight says.
        let score = |at: usize| {
            let weight = f64::from(field.weight(at)) * field.share(at).max(f64::EPSILON);
            -fraction(mix(key, self.ids[at])).ln() / weight
        };
        open.map(|at| (at, score(at))).min_by(|one, other| one.1.total_cmp(&other.1)).map(|(at, _)| at)
    }
}
