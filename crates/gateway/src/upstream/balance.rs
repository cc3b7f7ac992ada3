//! Which endpoint is next.

use crate::config::plan::Balance;
use std::cell::{Cell, RefCell};

/// The order in which endpoints are chosen, kept per worker.
#[derive(Debug)]
pub(crate) struct Rotation {
    balance: Balance,
    weights: Vec<u32>,
    cursor: Cell<usize>,
    /// Smooth weighted round robin, as in nginx: each turn every endpoint gains its weight, the
    /// richest is chosen and pays the sum. Empty where all weights are equal.
    credit: RefCell<Vec<i64>>,
}

impl Rotation {
    pub(crate) fn new(balance: Balance, weights: impl Iterator<Item = u32>) -> Self {
        let weights: Vec<u32> = weights.collect();
        let uneven = weights.windows(2).any(|pair| pair[0] != pair[1]);
        // Workers start at different endpoints, so that few requests do not all meet the first.
        let cursor = Cell::new(fastrand::usize(..weights.len().max(1)));
        let credit = RefCell::new(if uneven { vec![0; weights.len()] } else { Vec::new() });
        Self { balance, weights, cursor, credit }
    }

    /// The position of the next endpoint; `in_flight` tells how busy one is.
    pub(crate) fn pick(&self, in_flight: impl Fn(usize) -> usize) -> usize {
        if self.weights.len() < 2 {
            return 0;
        }
        match self.balance {
            Balance::LeastRequests => self.least(in_flight),
            Balance::RoundRobin if self.credit.borrow().is_empty() => self.turn(),
            Balance::RoundRobin => self.weighted_turn(),
        }
    }

    fn turn(&self) -> usize {
        let at = self.cursor.get() % self.weights.len();
        self.cursor.set(at + 1);
        at
    }

    fn weighted_turn(&self) -> usize {
        let mut credit = self.credit.borrow_mut();
        let mut richest = 0;
        for (at, weight) in self.weights.iter().enumerate() {
            credit[at] += i64::from(*weight);
            if credit[at] > credit[richest] {
                richest = at;
            }
        }
        credit[richest] -= self.weights.iter().map(|weight| i64::from(*weight)).sum::<i64>();
        richest
    }

    /// Fewest requests for its weight; the walk starts one further each time, so that ties rotate.
    fn least(&self, in_flight: impl Fn(usize) -> usize) -> usize {
        let start = self.turn();
        let load = |at: usize| (in_flight(at) as u64 + 1) * 1000 / u64::from(self.weights[at].max(1));
        let order = (0..self.weights.len()).map(|step| (start + step) % self.weights.len());
        order.min_by_key(|at| load(*at)).unwrap_or(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rotation: &Rotation, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; rotation.weights.len()];
        for _ in 0..picks {
            counts[rotation.pick(|_| 0)] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_even() {
        let rotation = Rotation::new(Balance::RoundRobin, [1, 1, 1].into_iter());
        assert_eq!(counts(&rotation, 300), [100, 100, 100]);
    }

    #[test]
    fn weights_are_shares_without_bursts() {
        let rotation = Rotation::new(Balance::RoundRobin, [5, 1, 1].into_iter());
        let picks: Vec<_> = (0..7).map(|_| rotation.pick(|_| 0)).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(counts(&rotation, 700), [500, 100, 100]);
    }

    #[test]
    fn least_requests_avoids_the_busy() {
        let rotation = Rotation::new(Balance::LeastRequests, [1, 1, 4].into_iter());
        let busy = [2, 0, 5];
        assert_eq!(rotation.pick(|at| busy[at]), 1);
        let busy = [2, 2, 5];
        assert_eq!(rotation.pick(|at| busy[at]), 2);
    }
}
