//! Two members drawn at random, for algorithms that take the better of two.
//!
//! The better of two is nearly as good as the best of all, costs the same for any number of endpoints,
//! and does not send every worker to the same endpoint at once (Mitzenmacher 2001).

use super::View;
use super::field::{Field, Member};

/// Draws that may meet a closed member before all of them are looked at.
const DRAWS: usize = 8;

/// Draws by weight.
#[derive(Debug)]
pub(super) struct TwoChoices {
    /// The weights up to and with each member, added up.
    sums: Box<[u64]>,
}

impl TwoChoices {
    pub(super) fn new(members: &[Member]) -> Self {
        let mut sum = 0;
        let sums = members.iter().map(|member| {
            sum += u64::from(member.weight);
            sum
        });
        Self { sums: sums.collect() }
    }

    /// The one with the lower cost of two; the one that was drawn first, where they are equal.
    pub(super) fn pick<V: View>(&self, field: &Field<'_, V>, cost: impl Fn(usize) -> f64) -> Option<usize> {
        let first = self.draw(field, None)?;
        let Some(second) = self.draw(field, Some(first)) else {
            return Some(first);
        };
        Some(if cost(second) < cost(first) { second } else { first })
    }

    /// An open member that is not `other`, by weight.
    fn draw<V: View>(&self, field: &Field<'_, V>, other: Option<usize>) -> Option<usize> {
        if self.sums.len() < 2 {
            return (other.is_none() && field.is_open(0)).then_some(0);
        }
        let all = self.sums[self.sums.len() - 1];
        for _ in 0..DRAWS {
            let drawn = fastrand::u64(..all);
            let at = self.sums.partition_point(|sum| *sum <= drawn);
            if Some(at) != other && field.admits(at) {
                return Some(at);
            }
        }
        let rest = |admits: &dyn Fn(usize) -> bool| {
            let mut sum = 0;
            let rest = (0..field.len()).filter(|at| Some(*at) != other && admits(*at));
            rest.fold(None, |chosen, at| {
                sum += u64::from(field.weight(at));
                if fastrand::u64(..sum) < u64::from(field.weight(at)) { Some(at) } else { chosen }
            })
        };
        let admitted = rest(&|at| field.admits(at));
        // The second of two may be missing; the first is not, while any member is open.
        if other.is_some() { admitted } else { admitted.or_else(|| rest(&|at| field.is_open(at))) }
    }
}
