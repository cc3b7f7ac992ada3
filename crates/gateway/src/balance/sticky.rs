//! The endpoint that a cookie names, and for a new client the one whose turn it is.

use super::View;
use super::field::{Field, Member};
use super::hash::Hasher;
use super::turns::Turns;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Sticky {
    /// What stands in the cookie for each member.
    ids: Arc<[u64]>,
    turns: Turns,
}

impl Sticky {
    pub(super) fn new(members: &[Member], ids: Arc<[u64]>) -> Self {
        Self { ids, turns: Turns::new(members) }
    }

    pub(super) fn pick<V: View>(&self, key: Option<u64>, field: &Field<'_, V>) -> Option<usize> {
        let named = key.and_then(|key| self.ids.iter().position(|id| *id == key));
        named.filter(|at| field.is_open(*at)).or_else(|| self.turns.next(field))
    }
}

/// What stands in a cookie for an endpoint: the same in every process that has the same key.
pub(crate) fn id(key: &str, address: &str) -> u64 {
    Hasher::keyed(key).hash(address.as_bytes())
}
