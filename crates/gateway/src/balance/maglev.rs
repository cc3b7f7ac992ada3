//! The same endpoint for the same key, looked up in a table (Eisenbud et al., *Maglev*, NSDI 2016).
//!
//! Every endpoint has a permutation of the table's slots of its own; they take turns in claiming the
//! next slot of theirs that is free, by weight. A lookup costs the same for any number of endpoints,
//! and when an endpoint leaves, few keys move that were not its own.

use super::View;
use super::field::{Field, Member};
use super::hash::{Hasher, fraction, mix, position};
use std::sync::Arc;

/// Slots of a table, a prime, so that every step through it meets all of them. Never to be changed, and the
/// same for any number of endpoints: with another number of slots nearly every key moves.
const SLOTS: usize = 65_537;

/// Slots that are looked at for an open endpoint before the endpoints themselves are.
const STEPS: u64 = 1024;

/// Whose every slot is. To fill 128 KiB takes milliseconds, so that it is done once, for all workers and
/// not by one of them.
#[derive(Debug, Clone)]
pub(super) struct Maglev {
    table: Arc<[u16]>,
}

/// The order in which an endpoint claims slots.
struct Claims {
    at: u16,
    next: usize,
    skip: usize,
    weight: u64,
    claimed: u64,
}

impl Maglev {
    pub(super) fn new<'a>(members: &[Member], addresses: impl Iterator<Item = &'a str>) -> Self {
        let mut named: Vec<_> = (0u16..).zip(addresses).collect();
        // The order in which endpoints are written makes no difference.
        named.sort_by_key(|(_, address)| *address);
        let claims = named.iter().map(|(at, address)| Claims {
            at: *at,
            next: position(Hasher::keyed("offset").hash(address.as_bytes()), SLOTS),
            skip: position(Hasher::keyed("skip").hash(address.as_bytes()), SLOTS - 1) + 1,
            weight: u64::from(members[usize::from(*at)].weight),
            claimed: 0,
        });
        Self { table: fill(claims.collect()) }
    }

    /// The endpoint of the key's slot. Where it is not open, the key is hashed again, so that the keys of one
    /// that is away are spread over all others by weight.
    pub(super) fn pick<V: View>(&self, key: u64, field: &Field<'_, V>) -> Option<usize> {
        let hashes = std::iter::once(key).chain((1..STEPS).map(|step| mix(key, step)));
        let mut walk = hashes.map(|hash| usize::from(self.table[position(hash, SLOTS)]));
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
fn fill(mut claims: Vec<Claims>) -> Arc<[u16]> {
    const FREE: u16 = u16::MAX;
    let heaviest = claims.iter().map(|claims| claims.weight).max().unwrap_or(1);
    let mut table = vec![FREE; SLOTS];
    let mut free = SLOTS;
    let mut round = 0;
    while free > 0 {
        round += 1;
        for claims in &mut claims {
            if free == 0 || claims.claimed * heaviest >= round * claims.weight {
                continue;
            }
            while table[claims.next] != FREE {
                claims.next = (claims.next + claims.skip) % SLOTS;
            }
            table[claims.next] = claims.at;
            claims.claimed += 1;
            free -= 1;
        }
    }
    table.into()
}
