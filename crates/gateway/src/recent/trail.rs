//! Which endpoints a request tried, one after the other, and how each attempt ended; and what was decided about it.
//!
//! An attempt begins where a connection is waited for ([`Trail::connecting`]) or where one is at hand
//! ([`Trail::begin`]), and ends with a response head or a fault ([`Trail::ended`]). What nobody ends stays open: the
//! client left meanwhile.
//!
//! Bound: [`Trail::LIMIT`] attempts. Beyond, the last one takes the place of the one before it. The first attempt, which
//! is the only one of most requests, needs no memory of its own.

use super::decisions::{Decision, Decisions};
use super::names::EndpointPlace;
use crate::fault::Fault;
use http::StatusCode;
use std::time::{Duration, Instant};

/// The attempts of one request.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    started: Instant,
    /// The place of the upstream in the configuration.
    upstream: usize,
    first: Option<Step>,
    further: Vec<Step>,
    left_out: u32,
    decisions: Decisions,
}

/// One attempt at one endpoint. Times count from the start of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) endpoint: EndpointPlace,
    /// What the choice passed over, where that is known.
    pub(crate) passed_over: Option<PassedOver>,
    /// Whether the connection had carried requests before.
    pub(crate) reused: bool,
    /// When the endpoint was chosen.
    pub(crate) began: Duration,
    /// When there was a connection to send on; `None` when there never was.
    pub(crate) connected: Option<Duration>,
    /// When the response head or a fault ended it, and which of them; `None` when the client left meanwhile.
    pub(crate) ended: Option<(Duration, Result<StatusCode, Fault>)>,
}

/// How many endpoints of an upstream were no choice for an attempt; 255 stands for more, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassedOver {
    /// Those that were not tried, and not fit: unhealthy, ejected, draining, or with an open breaker.
    pub unfit: u8,
    /// Those that were tried before.
    pub tried: u8,
}

impl Trail {
    /// How many attempts are kept.
    pub(crate) const LIMIT: usize = 8;

    /// The trail of a request that has tried nothing yet of this upstream.
    pub(crate) fn new(started: Instant, upstream: usize) -> Self {
        Self { started, upstream, first: None, further: Vec::new(), left_out: 0, decisions: Decisions::default() }
    }

    /// A connection to `endpoint` is waited for.
    pub(crate) fn connecting(&mut self, endpoint: usize, passed_over: Option<PassedOver>, now: Instant) {
        let began = self.since_start(now);
        let endpoint = self.place(endpoint);
        self.push(Step { endpoint, passed_over, reused: false, began, connected: None, ended: None });
    }

    /// The request goes to `endpoint`, on a connection that was waited for or was at hand.
    pub(crate) fn begin(&mut self, endpoint: usize, passed_over: Option<PassedOver>, reused: bool, now: Instant) {
        let began = self.since_start(now);
        let (endpoint, connected) = (self.place(endpoint), Some(began));
        match self.open().filter(|step| step.connected.is_none()) {
            Some(step) => (step.connected, step.reused) = (connected, reused),
            None => self.push(Step { endpoint, passed_over, reused, began, connected, ended: None }),
        }
    }

    /// The attempt that was begun last has come to its end, unless it had one.
    pub(crate) fn ended(&mut self, end: Result<StatusCode, Fault>, now: Instant) {
        let at = self.since_start(now);
        if let Some(step) = self.open() {
            step.ended = Some((at, end));
        }
    }

    /// Something was decided about the request.
    pub(crate) fn decided(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }

    /// What another trail has, which is empty then, comes after what this one has.
    pub(crate) fn follow(&mut self, other: &mut Self) {
        other.first.take().into_iter().chain(other.further.drain(..)).for_each(|step| self.push(step));
        self.left_out += std::mem::take(&mut other.left_out);
        self.decisions.follow(&mut other.decisions);
    }

    /// The attempts that are kept, in their order.
    pub(crate) fn steps(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.first.iter().chain(&self.further)
    }

    /// What was decided, in its order.
    pub(crate) fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter()
    }

    /// How many attempts are missing before the last one.
    pub(crate) fn left_out(&self) -> u32 {
        self.left_out
    }

    /// The endpoint that the request was sent to last.
    pub(crate) fn endpoint(&self) -> Option<EndpointPlace> {
        let sent = self.steps().rev().find(|step| step.connected.is_some());
        sent.map(|step| step.endpoint)
    }

    fn place(&self, endpoint: usize) -> EndpointPlace {
        EndpointPlace { upstream: self.upstream, endpoint }
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// The last attempt, while it has no end.
    fn open(&mut self) -> Option<&mut Step> {
        let last = self.further.last_mut().or(self.first.as_mut());
        last.filter(|step| step.ended.is_none())
    }

    fn push(&mut self, step: Step) {
        if self.first.is_none() {
            self.first = Some(step);
            return;
        }
        if self.further.len() == Self::LIMIT - 1 {
            self.further.pop();
            self.left_out = self.left_out.saturating_add(1);
        }
        self.further.push(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_connection_at_hand_begins_an_attempt() {
        let start = Instant::now();
        let mut trail = Trail::new(start, 1);
        trail.begin(2, None, true, start + MS);
        trail.ended(Ok(StatusCode::OK), start + 3 * MS);
        let expected = Step {
            endpoint: EndpointPlace { upstream: 1, endpoint: 2 },
            passed_over: None,
            reused: true,
            began: MS,
            connected: Some(MS),
            ended: Some((3 * MS, Ok(StatusCode::OK))),
        };
        assert_eq!(trail.steps().collect::<Vec<_>>(), [&expected]);
    }

    #[test]
    fn a_wait_for_a_connection_is_part_of_its_attempt() {
        let start = Instant::now();
        let mut trail = Trail::new(start, 1);
        trail.connecting(0, None, start);
        trail.ended(Err(Fault::Connect), start + MS);
        trail.connecting(3, Some(PassedOver { unfit: 2, tried: 1 }), start + MS);
        trail.begin(3, None, false, start + 2 * MS);
        let attempts: Vec<_> = trail.steps().collect();
        assert_eq!(attempts.len(), 2);
        assert_eq!((attempts[0].connected, attempts[0].ended), (None, Some((MS, Err(Fault::Connect)))));
        assert_eq!((attempts[1].began, attempts[1].connected, attempts[1].ended), (MS, Some(2 * MS), None));
        assert_eq!(trail.endpoint(), Some(EndpointPlace { upstream: 1, endpoint: 3 }));
        let passed_over: Vec<_> = attempts.iter().map(|attempt| attempt.passed_over).collect();
        assert_eq!(passed_over, [None, Some(PassedOver { unfit: 2, tried: 1 })], "as it was when it was chosen");
    }

    #[test]
    fn an_endpoint_that_got_nothing_is_not_the_one_that_was_sent_to() {
        let start = Instant::now();
        let mut trail = Trail::new(start, 1);
        assert_eq!(trail.endpoint(), None);
        trail.connecting(0, None, start);
        assert_eq!(trail.endpoint(), None);
    }

    #[test]
    fn the_first_end_counts() {
        let start = Instant::now();
        let mut trail = Trail::new(start, 1);
        trail.ended(Err(Fault::NoRoute), start);
        trail.begin(0, None, false, start);
        trail.ended(Ok(StatusCode::OK), start + MS);
        trail.ended(Err(Fault::UpstreamClosed), start + 2 * MS);
        let ends: Vec<_> = trail.steps().map(|attempt| attempt.ended).collect();
        assert_eq!(ends, [Some((MS, Ok(StatusCode::OK)))]);
    }

    #[test]
    fn beyond_the_limit_the_last_attempt_stays() {
        let start = Instant::now();
        let mut trail = Trail::new(start, 1);
        for number in 0..20 {
            trail.begin(number, None, false, start);
            trail.ended(Err(Fault::Connect), start);
        }
        let kept: Vec<_> = trail.steps().map(|step| step.endpoint.endpoint).collect();
        assert_eq!(kept, [0, 1, 2, 3, 4, 5, 6, 19]);
        assert_eq!(trail.left_out(), 12);
    }
    #[test]
    fn a_trail_that_follows_brings_its_attempts_and_decisions() {
        let start = Instant::now();
        let (mut first, mut second) = (Trail::new(start, 0), Trail::new(start, 1));
        first.decided(Decision::Waited(MS));
        first.begin(0, None, false, start);
        second.begin(0, None, false, start);
        second.decided(Decision::Replayed);
        first.follow(&mut second);
        let upstreams: Vec<_> = first.steps().map(|step| step.endpoint.upstream).collect();
        assert_eq!(upstreams, [0, 1]);
        let decisions: Vec<_> = first.decisions().collect();
        assert_eq!(decisions, [&Decision::Waited(MS), &Decision::Replayed]);
        assert_eq!((second.steps().count(), second.decisions().count()), (0, 0));
    }
}
