//! The same endpoint for the same key, looked up in a table (Eisenbud et al., *Maglev*, NSDI 2016).
//!
//! Every endpoint has a permutation of the table's slots of its own; they take turns in claiming the
//! next slot of theirs that is free, by weight. A lookup costs the same for any number of endpoints,
//! and when an endpoint leaves, few keys move that were not its own.

use super::View;
use super::field::{Field, Member};
use super::hash::{Hasher, fraction, mix, position};

/// Slots of a table, a prime, so that every step through it meets all of them.
const SLOTS: usize = 65_537;

/// Slots where endpoints are few. A hundred slots for each keep the shares even.
const FEW_SLOTS: usize = 2039;

/// Below so many endpoints they are few.
const FEW: usize = 20;

/// Slots that are looked at for an open endpoint before the endpoints themselves are.
const STEPS: usize = 1024;

#[derive(Debug)]
pub(super) struct Maglev {
    table: Box<[u32]>,
}

/// The order in which an endpoint claims slots.
struct Claims {
    at: u32,
    next: usize,
    skip: usize,
    weight: u64,
    claimed: u64,
}

impl Maglev {
    pub(super) fn new(members: &[Member], addresses: impl Iterator<Item = String>) -> Self {
        let slots = if members.len() < FEW { FEW_SLOTS } else { SLOTS };
        let mut named: Vec<_> = addresses.enumerate().collect();
        // The order in which endpoints are written makes no difference.
        named.sort_by(|(_, one), (_, other)| one.cmp(other));
        let claims = named.iter().map(|(at, address)| Claims {
            at: u32::try_from(*at).expect("fewer endpoints than a file has bytes"),
            next: position(Hasher::keyed("offset").hash(address.as_bytes()), slots),
            skip: position(Hasher::keyed("skip").hash(address.as_bytes()), slots - 1) + 1,
            weight: u64::from(members[*at].weight),
            claimed: 0,
        });
        Self { table: fill(slots, claims.collect()) }
    }

    /// The endpoint of the key's slot, or of the next slot whose endpoint is open.
    pub(super) fn pick<V: View>(&self, key: u64, field: &Field<'_, V>) -> Option<usize> {
        let slots = self.table.len();
        let start = position(key, slots);
        let mut walk = (0..STEPS).map(|step| self.table[(start + step) % slots] as usize);
        walk.find(|at| field.is_open(*at) && is_taken_on(key, *at, field.share(*at))).or_else(|| {
            // All that are open start slowly, or those that are open have next to no slots.
            let first = position(key, field.len());
            (0..field.len()).map(|step| (first + step) % field.len()).find(|at| field.is_open(*at))
        })
    }
}

/// Whether an endpoint that starts slowly takes this key already. The larger its share grows the more
/// keys it takes, and keeps them.
fn is_taken_on(key: u64, at: usize, share: f64) -> bool {
    share >= 1.0 || fraction(mix(key, at as u64 + 1)) <= share
}

/// In every round the heaviest endpoints claim one slot each, and the others as often as their weight says.
fn fill(slots: usize, mut claims: Vec<Claims>) -> Box<[u32]> {
    const FREE: u32 = u32::MAX;
    let heaviest = claims.iter().map(|claims| claims.weight).max().unwrap_or(1);
    let mut table = vec![FREE; slots];
    let mut free = slots;
    let mut round = 0;
    while free > 0 {
        round += 1;
        for claims in &mut claims {
            if free == 0 || claims.claimed * heaviest >= round * claims.weight {
                continue;
            }
            while table[claims.next] != FREE {
                claims.next = (claims.next + claims.skip) % slots;
            }
            table[claims.next] = claims.at;
            claims.claimed += 1;
            free -= 1;
        }
    }
    table.into()
}
