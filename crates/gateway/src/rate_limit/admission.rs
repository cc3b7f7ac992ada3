//! Several limits asked together: a request counts in all of them or in none.

use super::RateLimit;
use std::cmp::Reverse;
use std::time::Duration;
use tidegate_resilience::{Admission, Call, Moment, Outcome, Reading, Rejection, Ticket};

/// A request in front of one limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) limit: &'a RateLimit,
    /// What tells the request from others; empty where the limit is one for all.
    pub(crate) key: &'a str,
    /// When the answer is of no more use.
    pub(crate) deadline: Moment,
}

impl<'a> Ask<'a> {
    fn call(&self) -> Call<'a> {
        Call::new().key(self.key).cost(self.limit.cost).deadline(self.deadline)
    }
}

/// What limits have admitted.
#[derive(Debug)]
pub(crate) enum Turn<'a> {
    /// It may go on now.
    Now,
    /// It may go on from this moment on.
    At(Moment, Held<'a>),
}

/// What a request has taken before it begins. Dropped, it is given back: a call that never began is a rejected one to
/// the library.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    taken: Vec<(Ask<'a>, Ticket)>,
    outcome: Outcome,
    /// When that is known to happen.
    now: Option<Moment>,
}

impl Held<'_> {
    /// The request goes on, and what it took stays taken, whatever comes of it.
    pub(crate) fn keep(mut self) {
        self.outcome = Outcome::Success;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        for (ask, ticket) in self.taken.drain(..) {
            ask.limit.settle(
                ticket,
                self.outcome,
                &self.now.map_or_else(|| Reading::of(ask.limit.clock()), Reading::taken),
            );
        }
    }
}

/// Asks all of these limits: either each admits the request, or it has taken nothing from any.
///
/// Where more than one would refuse it, the one answers that does so for the longest time.
pub(crate) fn admit<'a>(
    asks: &(impl Iterator<Item = Ask<'a>> + Clone),
    now: &Reading<'_>,
) -> Result<Turn<'a>, Rejection> {
    let alone = asks.clone().nth(1).is_none();
    // Who is going to refuse is asked first. Asked, it counts the refusal, and nothing has to be given back: what is
    // given back was missing to somebody else for a moment.
    let first = if alone { None } else { tightest(asks.clone(), now) };
    let others = asks.clone().enumerate().filter(|(place, _)| Some(*place) != first);
    let others = others.map(|(_, ask)| ask);
    let mut held = Held { taken: Vec::new(), outcome: Outcome::Rejected, now: Some(now.moment()) };
    let mut begins = None;
    for ask in first.and_then(|first| asks.clone().nth(first)).into_iter().chain(others) {
        match ask.limit.admit(&ask.call(), now) {
            Admission::Granted(ticket) if alone => ask.limit.settle(ticket, Outcome::Success, now),
            Admission::Granted(ticket) => held.taken.push((ask, ticket)),
            Admission::Later(moment, ticket) => {
                begins = begins.max(Some(moment));
                held.taken.push((ask, ticket));
            }
            // No rate limit has a queue of this kind: who waits there knows the moment.
            Admission::Queued(_) => {}
            Admission::Rejected(rejection) => return Err(rejection),
        }
    }
    Ok(match begins {
        None => {
            held.keep();
            Turn::Now
        }
        Some(moment) => {
            // Who gives up does so later than now.
            held.now = None;
            Turn::At(moment, held)
        }
    })
}

/// The place of the limit that refuses the request for the longest time, if any does.
fn tightest<'a>(asks: impl Iterator<Item = Ask<'a>>, now: &Reading<'_>) -> Option<usize> {
    let refusals = asks.enumerate().filter_map(|(place, ask)| {
        let rejection = ask.limit.peek(&ask.call(), now).err()?;
        Some((place, rejection.retry_after().unwrap_or(Duration::MAX)))
    });
    refusals.max_by_key(|(place, time)| (*time, Reverse(*place))).map(|(place, _)| place)
}
