//! Any sequence of steps against a model that is too simple to be wrong: one list of who is in, one of who waits.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    TryAdmit,
    /// With this much time until its deadline.
    Admit(Option<Duration>),
    Peek(Option<Duration>),
    Settle(usize),
    GiveUp(usize),
    Configure(BulkheadOptions),
    Resize(u32),
    Clear,
    Advance(Duration),
}

/// Who waits, since when, until when, and what it is told then.
#[derive(Debug)]
struct Waiter {
    id: u32,
    since: Moment,
    until: Moment,
    too_late: Code,
}

#[derive(Debug, PartialEq)]
enum Decision {
    /// Whether it counts.
    In(bool),
    Waits,
    Out(Code),
}

#[derive(Debug)]
struct Model {
    options: BulkheadOptions,
    now: Moment,
    active: u32,
    waiting: VecDeque<Waiter>,
    stats: BulkheadStats,
}

impl Model {
    fn has_place(&self) -> bool {
        self.active < self.options.max_concurrent
    }

    /// Who may wait at all, and until when.
    fn terms(&self, ends: Moment) -> Result<(Moment, Code), Code> {
        let room = usize::try_from(self.options.queue).unwrap() > self.waiting.len();
        let latest = self.now.after(self.options.max_wait);
        match () {
            () if !room || self.options.max_wait.is_zero() => Err(Code::BulkheadFull),
            () if ends <= self.now => Err(Code::DeadlinePassed),
            () if ends < latest => Ok((ends, Code::DeadlinePassed)),
            () => Ok((latest, Code::BulkheadTimeout)),
        }
    }

    fn decide(&self, ends: Option<Moment>) -> Decision {
        if self.options.mode == Mode::Disabled {
            return Decision::In(false);
        }
        if self.has_place() && self.waiting.is_empty() || self.options.mode == Mode::MetricsOnly {
            return Decision::In(true);
        }
        match ends.map(|ends| self.terms(ends)) {
            None => Decision::Out(Code::BulkheadFull),
            Some(Err(code)) => Decision::Out(code),
            Some(Ok(_)) => Decision::Waits,
        }
    }

    fn admit(&mut self, id: u32, ends: Option<Moment>) -> Decision {
        let decision = self.decide(ends);
        match &decision {
            Decision::In(true) => {
                let beyond = (self.active + 1).saturating_sub(self.options.max_concurrent);
                let could_wait = ends.is_some() && !self.options.max_wait.is_zero() && beyond <= self.options.queue;
                self.stats.rejected += u64::from(beyond > 0 && !could_wait);
                self.active += 1;
                self.stats.admitted += 1;
            }
            Decision::In(false) => {}
            Decision::Out(_) => self.stats.rejected += 1,
            Decision::Waits => {
                let (until, too_late) = self.terms(ends.unwrap()).unwrap();
                self.waiting.push_back(Waiter { id, since: self.now, until, too_late });
            }
        }
        decision
    }

    /// Who is let in now, and whether it counts.
    fn call_next(&mut self) -> Vec<(u32, bool)> {
        let mut called = Vec::new();
        let disabled = self.options.mode == Mode::Disabled;
        while (disabled || self.options.mode == Mode::MetricsOnly || self.has_place()) && !self.waiting.is_empty() {
            let waiter = self.waiting.pop_front().unwrap();
            called.push((waiter.id, !disabled));
            if !disabled {
                let waited = self.now.since(waiter.since);
                self.active += 1;
                self.stats.admitted += 1;
                self.stats.waited += 1;
                self.stats.total_wait += waited;
                self.stats.longest_wait = self.stats.longest_wait.max(waited);
            }
        }
        called
    }

    fn stats(&self) -> BulkheadStats {
        BulkheadStats {
            max_concurrent: self.options.max_concurrent,
            active: self.active,
            queued: u32::try_from(self.waiting.len()).unwrap(),
            ..self.stats
        }
    }
}

struct Run {
    fixture: Fixture,
    model: Model,
    next: u32,
    /// Who is in, and whether it counts.
    tickets: Vec<(Ticket, bool)>,
    places: Vec<(u32, Queued)>,
}

impl Run {
    fn ends(&self, time_left: Option<Duration>) -> Moment {
        time_left.map_or(Moment::NEVER, |time| self.model.now.after(time))
    }

    fn call(&self, time_left: Option<Duration>) -> Call<'static> {
        Call::new().deadline(self.ends(time_left))
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::TryAdmit => {
                let expected = self.model.admit(0, None);
                match self.fixture.try_admit() {
                    Ok(ticket) => self.came_in(ticket, &expected),
                    Err(rejection) => assert_eq!(expected, Decision::Out(rejection.code())),
                }
            }
            Step::Admit(time_left) => {
                self.next += 1;
                let expected = self.model.admit(self.next, Some(self.ends(time_left)));
                match self.fixture.admit(&self.call(time_left)) {
                    Admission::Granted(ticket) => self.came_in(ticket, &expected),
                    Admission::Rejected(rejection) => assert_eq!(expected, Decision::Out(rejection.code())),
                    Admission::Queued(place) => {
                        assert_eq!(expected, Decision::Waits);
                        self.places.push((self.next, place));
                    }
                    later @ Admission::Later(..) => panic!("{later:?}"),
                }
            }
            Step::Peek(time_left) => {
                let expected = match self.model.decide(Some(self.ends(time_left))) {
                    Decision::Out(code) => Some(code),
                    _ => None,
                };
                let now = Reading::of(self.fixture.bulkhead.clock());
                let said = self.fixture.bulkhead.peek(&self.call(time_left), &now);
                assert_eq!(said.err().map(|rejection| rejection.code()), expected);
            }
            Step::Settle(index) if !self.tickets.is_empty() => {
                let (ticket, counts) = self.tickets.swap_remove(index % self.tickets.len());
                self.fixture.settle(ticket);
                self.model.active -= u32::from(counts);
            }
            Step::GiveUp(index) if !self.places.is_empty() => {
                let (id, place) = self.places.remove(index % self.places.len());
                drop(place);
                self.model.waiting.retain(|waiter| waiter.id != id);
            }
            Step::Settle(_) | Step::GiveUp(_) => {}
            Step::Configure(options) => {
                self.fixture.bulkhead.reconfigure(&options).unwrap();
                self.model.options = options;
            }
            Step::Resize(size) => {
                self.fixture.bulkhead.resize(size).unwrap();
                self.model.options.max_concurrent = size;
            }
            Step::Clear => {
                assert_eq!(self.fixture.bulkhead.clear(), self.model.stats().queued);
                self.model.stats.cleared += u64::from(self.model.stats().queued);
                self.model.waiting.clear();
                for (_, mut place) in self.places.drain(..) {
                    assert_eq!(sent_away(&mut place).code(), Code::BulkheadCleared);
                }
            }
            Step::Advance(time) => {
                self.fixture.time.advance(time);
                self.model.now = self.model.now.after(time);
            }
        }
        self.let_in();
        self.time_out();
        assert_eq!(self.fixture.stats(), self.model.stats());
        assert_eq!(self.fixture.bulkhead.options(), self.model.options);
    }

    fn came_in(&mut self, ticket: Ticket, expected: &Decision) {
        let Decision::In(counts) = *expected else { panic!("{expected:?}") };
        self.tickets.push((ticket, counts));
    }

    fn let_in(&mut self) {
        for (id, counts) in self.model.call_next() {
            let index = self.places.iter().position(|(place, _)| *place == id).unwrap();
            let (_, mut place) = self.places.remove(index);
            self.tickets.push((admitted(&mut place), counts));
        }
    }

    fn time_out(&mut self) {
        for (id, mut place) in std::mem::take(&mut self.places) {
            let index = self.model.waiting.iter().position(|waiter| waiter.id == id).unwrap();
            if self.model.waiting[index].until <= self.model.now {
                let waiter = self.model.waiting.remove(index).unwrap();
                let rejection = sent_away(&mut place);
                assert_eq!(rejection.code(), waiter.too_late);
                assert_eq!(rejection.context(), Some(Context::Elapsed(self.model.now.since(waiter.since))));
                self.model.stats.timed_out += 1;
            } else {
                assert!(poll(&mut place).is_pending());
                self.places.push((id, place));
            }
        }
    }
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        2 => Just(Duration::ZERO),
        6 => (0..200u64).prop_map(Duration::from_millis),
        1 => Just(Duration::from_nanos(1)),
        1 => Just(Duration::from_secs(3600)),
        1 => Just(Duration::MAX),
    ]
}

fn configurations() -> impl Strategy<Value = BulkheadOptions> {
    let modes = prop_oneof![4 => Just(Mode::Enabled), 1 => Just(Mode::Disabled), 1 => Just(Mode::MetricsOnly)];
    let waits = prop_oneof![1 => Just(0), 3 => 1..200u64, 1 => Just(3_600_000)];
    (modes, 1..4u32, 0..4u32, waits).prop_map(|(mode, max_concurrent, queue, max_wait)| BulkheadOptions {
        mode,
        max_concurrent,
        queue,
        max_wait: Duration::from_millis(max_wait),
    })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::TryAdmit),
        8 => prop::option::weighted(0.3, durations()).prop_map(Step::Admit),
        2 => prop::option::weighted(0.3, durations()).prop_map(Step::Peek),
        6 => any::<usize>().prop_map(Step::Settle),
        3 => any::<usize>().prop_map(Step::GiveUp),
        1 => configurations().prop_map(Step::Configure),
        1 => (1..5u32).prop_map(Step::Resize),
        1 => Just(Step::Clear),
        3 => durations().prop_map(Step::Advance),
    ]
}

proptest! {
    #[test]
    fn every_decision_is_that_of_the_model(
        options in configurations(),
        steps in prop::collection::vec(steps(), 1..120),
    ) {
        let model = Model {
            options: options.clone(),
            now: Moment::ORIGIN,
            active: 0,
            waiting: VecDeque::new(),
            stats: BulkheadStats::default(),
        };
        let mut run =
            Run { fixture: fixture(&options), model, next: 0, tickets: Vec::new(), places: Vec::new() };
        for step in steps {
            run.step(step);
        }
        run.places.clear();
        for (ticket, _) in run.tickets.drain(..) {
            run.fixture.settle(ticket);
        }
        prop_assert_eq!((run.fixture.stats().active, run.fixture.stats().queued), (0, 0));
    }
}
