//! In turn: round robin, smooth by weight where weights differ.

use super::View;
use super::field::{Field, Member};
use std::cell::Cell;

/// What one unit of weight is in credit, so that shares of it are whole numbers.
const UNIT: f64 = 1024.0;

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    cursor: Cell<usize>,
    /// Smooth weighted round robin, as in nginx: each turn every endpoint gains its weight, the
    /// richest is chosen and pays the sum. Empty where all weights are equal.
    credit: Box<[Cell<i64>]>,
}

impl Turns {
    pub(super) fn new(members: &[Member]) -> Self {
        let uneven = members.windows(2).any(|pair| pair[0].weight != pair[1].weight);
        // Workers start at different endpoints, so that few requests do not all meet the first.
        let cursor = Cell::new(fastrand::usize(..members.len().max(1)));
        let credit = members.iter().filter(|_| uneven).map(|_| Cell::new(0)).collect();
        Self { cursor, credit }
    }

    /// The next of the open members; one that starts slowly comes less often.
    pub(super) fn next<V: View>(&self, field: &Field<'_, V>) -> Option<usize> {
        if self.credit.is_empty() && field.is_another() {
            return another(field);
        }
        if self.credit.is_empty() {
            return self.turn(field.len(), |at| field.admits(at)).or_else(|| self.among(field, |at| field.is_open(at)));
        }
        self.weighted_turn(|at| field.is_open(at), |at| gain(field.weight(at), field.share(at)))
    }

    /// The next of those that `accept` names.
    pub(super) fn among<V: View>(&self, field: &Field<'_, V>, accept: impl Fn(usize) -> bool) -> Option<usize> {
        if self.credit.is_empty() {
            return self.turn(field.len(), accept);
        }
        self.weighted_turn(accept, |at| gain(field.weight(at), 1.0))
    }

    fn turn(&self, count: usize, accept: impl Fn(usize) -> bool) -> Option<usize> {
        let at = self.around(count).find(|at| accept(*at))?;
        self.follow(at, count);
        Some(at)
    }

    /// All members, from the one whose turn it is.
    fn around(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let start = self.cursor.get();
        (start..count).chain(0..start)
    }

    /// Whoever comes after `at` is next.
    fn follow(&self, at: usize, count: usize) {
        self.cursor.set(if at + 1 < count { at + 1 } else { 0 });
    }

    /// Whether all have the same weight.
    pub(super) fn are_even(&self) -> bool {
        self.credit.is_empty()
    }

    /// The one with the lowest count of those that `accept` names; of several the next in turn.
    pub(super) fn lowest(
        &self,
        members: usize,
        accept: impl Fn(usize) -> bool,
        count: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        let mut lowest = None;
        for at in self.around(members).filter(|at| accept(*at)) {
            let count = count(at);
            if lowest.is_none_or(|(_, least)| count < least) {
                lowest = Some((at, count));
            }
            if count == 0 {
                break;
            }
        }
        let (at, _) = lowest?;
        self.follow(at, members);
        Some(at)
    }

    fn weighted_turn(&self, accept: impl Fn(usize) -> bool, gain: impl Fn(usize) -> i64) -> Option<usize> {
        let mut sum = 0;
        let mut richest: Option<(usize, i64)> = None;
        for (at, credit) in self.credit.iter().enumerate().filter(|(at, _)| accept(*at)) {
            let gain = gain(at);
            sum += gain;
            let now = credit.get() + gain;
            credit.set(now);
            if richest.is_none_or(|(_, most)| now > most) {
                richest = Some((at, now));
            }
        }
        let (at, credit) = richest?;
        self.credit[at].set(credit - sum);
        Some(at)
    }
}

/// Any open member, for another attempt. It takes no turn: of two endpoints, of which one fails, every request would
/// begin at that one otherwise. And it is not always the next, which would be given twice its share.
fn another<V: View>(field: &Field<'_, V>) -> Option<usize> {
    let count = field.len();
    let start = fastrand::usize(..count.max(1));
    (start..count).chain(0..start).find(|at| field.is_open(*at))
}

/// What a weight is worth in credit; never nothing.
#[expect(clippy::cast_possible_truncation, reason = "a weight is at most 1000, and a share at most 1")]
fn gain(weight: u32, share: f64) -> i64 {
    (f64::from(weight) * share * UNIT).max(1.0) as i64
}
