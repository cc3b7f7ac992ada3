//! The endpoint that is likely to answer first, of two: Finagle's *peak EWMA*.

use super::View;
use super::field::{Field, Member};
use super::two_choices::TwoChoices;

/// In seconds: what an endpoint is taken to need that has not answered yet, while it has requests.
const UNKNOWN: f64 = 10.0;

#[derive(Debug)]
pub(super) struct PeakEwma {
    choices: TwoChoices,
}

impl PeakEwma {
    pub(super) fn new(members: &[Member]) -> Self {
        Self { choices: TwoChoices::new(members) }
    }

    pub(super) fn pick<V: View>(&self, field: &Field<'_, V>) -> Option<usize> {
        self.choices.pick(field, |at| cost(field, at))
    }
}

/// The time that its requests and this one will take. An endpoint that is new is tried at once, but
/// with one request until its first answer.
fn cost<V: View>(field: &Field<'_, V>, at: usize) -> f64 {
    let latency = field.latency(at).as_secs_f64();
    let in_flight = field.in_flight(at) as f64;
    let latency = if latency == 0.0 && in_flight > 0.0 { UNKNOWN } else { latency };
    // Draws are by weight; what is in flight follows it here.
    latency * (in_flight / f64::from(field.weight(at)) + 1.0)
}
