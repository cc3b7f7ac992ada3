//! One tier of endpoints as an algorithm sees it for one request.

use super::{Ask, View};
use std::cell::OnceCell;
use std::time::Duration;

/// An endpoint of a tier.
#[derive(Debug)]
pub(super) struct Member {
    /// Its position in the plan.
    pub(super) index: usize,
    /// At least 1.
    pub(super) weight: u32,
}

/// The members of one tier, of which those that are *open* may be chosen.
pub(super) struct Field<'a, V> {
    members: &'a [Member],
    ask: &'a Ask,
    view: &'a V,
    panic_threshold: u32,
    /// Whether health is ignored; found out when the first unusable endpoint is met.
    panics: OnceCell<bool>,
}

impl<'a, V: View> Field<'a, V> {
    pub(super) fn new(members: &'a [Member], ask: &'a Ask, view: &'a V, panic_threshold: u32) -> Self {
        Self { members, ask, view, panic_threshold, panics: OnceCell::new() }
    }

    /// The same, with health ignored.
    pub(super) fn desperate(self) -> Self {
        Self { panics: OnceCell::from(true), ..self }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether a member may be chosen: it was not tried, and it is usable or health is ignored.
    pub(super) fn is_open(&self, at: usize) -> bool {
        let index = self.members[at].index;
        !self.ask.has_tried(index) && (self.view.is_usable(index) || self.panics() && !self.view.drains(index))
    }

    /// Whether this is another attempt of a request.
    pub(super) fn is_another(&self) -> bool {
        self.ask.tried != 0
    }

    /// Fewer usable members than the threshold: the rest would be overrun, and what says that so many
    /// are ill is more likely wrong itself.
    pub(super) fn panics(&self) -> bool {
        *self.panics.get_or_init(|| {
            let usable = self.members.iter().filter(|member| self.view.is_usable(member.index)).count();
            // What somebody has taken out is not ill.
            let all = self.members.iter().filter(|member| !self.view.drains(member.index)).count();
            usable * 100 < self.panic_threshold as usize * all
        })
    }

    /// Whether an open member takes this request. One that starts slowly takes its share of those that
    /// it is offered.
    pub(super) fn admits(&self, at: usize) -> bool {
        self.is_open(at) && {
            let share = self.share(at);
            share >= 1.0 || fastrand::f64() < share
        }
    }

    pub(super) fn weight(&self, at: usize) -> u32 {
        self.members[at].weight
    }

    pub(super) fn share(&self, at: usize) -> f64 {
        self.view.share(self.members[at].index)
    }

    pub(super) fn in_flight(&self, at: usize) -> usize {
        self.view.in_flight(self.members[at].index)
    }

    pub(super) fn connections(&self, at: usize) -> usize {
        self.view.connections(self.members[at].index)
    }

    pub(super) fn latency(&self, at: usize) -> Duration {
        self.view.latency(self.members[at].index)
    }
}
