//! The least busy endpoint for its weight.

use super::View;
use super::field::{Field, Member};
use super::turns::Turns;
use super::two_choices::TwoChoices;

/// Up to so many endpoints all are compared, beyond that two of them. Here both cost the same, some 50 ns; to compare
/// all of 64 takes five times as long.
const ALL: usize = 8;

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Measure {
    Requests,
    Connections,
}

#[derive(Debug)]
pub(super) struct Least {
    measure: Measure,
    among: Among,
}

#[derive(Debug)]
enum Among {
    /// Those that are equally busy take turns.
    All(Turns),
    Two(TwoChoices),
}

impl Least {
    pub(super) fn new(measure: Measure, members: &[Member]) -> Self {
        let among = match members.len() <= ALL {
            true => Among::All(Turns::new(members)),
            false => Among::Two(TwoChoices::new(members)),
        };
        Self { measure, among }
    }

    pub(super) fn pick<V: View>(&self, field: &Field<'_, V>) -> Option<usize> {
        match &self.among {
            Among::All(turns) if turns.are_even() => turns
                .lowest(field.len(), |at| field.admits(at), |at| self.count(field, at))
                .or_else(|| turns.lowest(field.len(), |at| field.is_open(at), |at| self.count(field, at))),
            Among::All(turns) => self.least(field, turns),
            Among::Two(choices) => choices.pick(field, |at| self.load(field, at)),
        }
    }

    fn count<V: View>(&self, field: &Field<'_, V>, at: usize) -> usize {
        match self.measure {
            Measure::Requests => field.in_flight(at),
            Measure::Connections => field.connections(at),
        }
    }

    fn load<V: View>(&self, field: &Field<'_, V>, at: usize) -> f64 {
        self.count(field, at) as f64 / f64::from(field.weight(at))
    }

    fn least<V: View>(&self, field: &Field<'_, V>, turns: &Turns) -> Option<usize> {
        // A member that starts slowly is asked once: a second answer could be another one.
        let mut loads = [None; ALL];
        (0..field.len()).filter(|at| field.admits(*at)).for_each(|at| loads[at] = Some(self.load(field, at)));
        if loads.iter().all(Option::is_none) {
            (0..field.len()).filter(|at| field.is_open(*at)).for_each(|at| loads[at] = Some(self.load(field, at)));
        }
        let least = loads.iter().flatten().copied().min_by(f64::total_cmp)?;
        turns.among(field, |at| loads[at].is_some_and(|load| load <= least))
    }
}
