//! The state against a naive model: lists that are searched and sorted anew for every decision.

use proptest::prelude::*;

use super::super::options::Settings;
use super::super::state::{Answer, Given, Grant, Made, State};
use super::*;
use crate::clock::Moment;
use crate::pool::PoolOrder;

/// What the model knows of a resource.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    id: u32,
    born: Moment,
    spread: u32,
    since: Moment,
}

/// What somebody holds: a place, perhaps with a resource.
type Held = Option<Item>;

#[derive(Debug)]
struct Model {
    options: PoolOptions,
    now: Moment,
    idle: Vec<Item>,
    held: Vec<Held>,
    waiting: Vec<u32>,
    closed: bool,
}

/// What the model expects of a returned place.
#[derive(Debug, PartialEq)]
enum Expected {
    Kept,
    Close,
    To(u32),
    Drained,
}

impl Model {
    fn limit(&self) -> usize {
        (self.options.size + self.options.overflow) as usize
    }

    fn total(&self) -> usize {
        self.idle.len() + self.held.len()
    }

    /// The lifetimes of the options are multiples of 2,560 ns, so that this is exact.
    fn too_old(&self, item: &Item) -> bool {
        self.options.max_lifetime.is_some_and(|most| {
            let most = most.as_nanos() * u128::from(2560 - item.spread) / 2560;
            let end = u128::from(item.born.as_nanos()) + most;
            u128::from(self.now.as_nanos()) >= end.min(u64::MAX.into())
        })
    }

    fn too_idle(&self, item: &Item) -> bool {
        self.options.idle_timeout.is_some_and(|most| {
            let end = u128::from(item.since.as_nanos()) + most.as_nanos();
            u128::from(self.now.as_nanos()) >= end.min(u64::MAX.into())
        })
    }

    /// The next idle resource, and whether it is stale.
    fn next(&mut self) -> Option<(Item, bool)> {
        let index = match self.options.order {
            PoolOrder::Fifo => 0,
            PoolOrder::Lifo => self.idle.len().checked_sub(1)?,
        };
        let item = self.idle.get(index)?.clone();
        let beyond = self.idle.len() > self.options.min_idle as usize;
        self.idle.remove(index);
        let stale = self.too_old(&item) || (beyond && self.too_idle(&item));
        Some((item, stale))
    }

    fn put_aside(&mut self, item: Item) {
        self.idle.push(item);
        self.idle.sort_by_key(|item| item.since);
    }

    /// A resource comes back; its holder is not among `held` any more.
    fn back(&mut self, item: Item) -> Expected {
        let total = self.total() + 1;
        if self.closed || total > self.limit() || self.too_old(&item) {
            return self.hold_to_close(item);
        }
        if !self.waiting.is_empty() {
            self.held.push(Some(item));
            return Expected::To(self.waiting.remove(0));
        }
        if total > self.options.size as usize {
            return self.hold_to_close(item);
        }
        self.put_aside(item);
        Expected::Kept
    }

    fn hold_to_close(&mut self, item: Item) -> Expected {
        self.held.push(Some(item));
        Expected::Close
    }

    /// An empty place comes back; its holder is not among `held` any more.
    fn vacated(&mut self) -> Expected {
        if self.total() < self.limit() && !self.waiting.is_empty() {
            self.held.push(None);
            return Expected::To(self.waiting.remove(0));
        }
        if self.closed && self.held.is_empty() { Expected::Drained } else { Expected::Kept }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Checkout,
    /// Puts a new resource into the held place of this index, if it is empty.
    Fill(usize, u32),
    Return(usize),
    /// The same, for one that the pool itself has looked at.
    Shelve(usize),
    /// Gives the place of this index back without its resource.
    Vacate(usize),
    /// Closes the resource of this index and asks what else there is.
    Swap(usize),
    Leave(usize),
    Advance(Duration),
    Reconfigure(PoolOptions),
    Pass,
    Lend,
    Spare,
    Close,
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        1 => Just(Duration::ZERO),
        1 => Just(Duration::from_nanos(1)),
        8 => (1..50_u64).prop_map(|steps| Duration::from_nanos(steps * 256)),
        1 => Just(Duration::MAX),
    ]
}

fn options() -> impl Strategy<Value = PoolOptions> {
    let times = || proptest::option::of(prop_oneof![9 => 1..12_u64, 1 => Just(u64::MAX / 2560)]);
    let steps = |steps: u64| Duration::from_nanos(steps * 2560);
    (1..5_u32, 0..3_u32, 0..3_u32, times(), times(), any::<bool>(), 0..4_u32).prop_map(
        move |(size, overflow, min_idle, lifetime, idle, fifo, queue)| PoolOptions {
            size,
            overflow,
            min_idle: min_idle.min(size),
            max_lifetime: lifetime.map(steps),
            idle_timeout: idle.map(steps),
            order: if fifo { PoolOrder::Fifo } else { PoolOrder::Lifo },
            queue,
            ..Default::default()
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    let index = || any::<prop::sample::Index>().prop_map(|index| index.index(64));
    prop_oneof![
        60 => Just(Step::Checkout),
        30 => (index(), 0..256_u32).prop_map(|(index, spread)| Step::Fill(index, spread)),
        40 => index().prop_map(Step::Return),
        15 => index().prop_map(Step::Shelve),
        15 => index().prop_map(Step::Vacate),
        5 => index().prop_map(Step::Swap),
        10 => index().prop_map(Step::Leave),
        20 => durations().prop_map(Step::Advance),
        8 => options().prop_map(Step::Reconfigure),
        8 => Just(Step::Pass),
        20 => Just(Step::Lend),
        8 => Just(Step::Spare),
        1 => Just(Step::Close),
    ]
}

/// The state and the model, side by side.
struct Pair {
    state: State<u32, u32>,
    model: Model,
    /// What is held, in the order of `model.held`.
    grants: Vec<Option<Made<u32>>>,
    /// The numbers of those who wait, as the state gave them, with the names that the model has for them.
    numbers: Vec<(u64, u32)>,
    names: u32,
    ids: u32,
    passes: u32,
    /// The resources that this pass has looked at.
    looked: Vec<u32>,
}

fn item(made: &Made<u32>) -> Item {
    Item { id: made.resource, born: made.born, spread: made.spread, since: made.since }
}

impl Pair {
    fn new(options: PoolOptions) -> Self {
        let state = State::new(Settings::try_from(&options).unwrap());
        let model = Model {
            options,
            now: Moment::ORIGIN,
            idle: Vec::new(),
            held: Vec::new(),
            waiting: Vec::new(),
            closed: false,
        };
        Self { state, model, grants: Vec::new(), numbers: Vec::new(), names: 0, ids: 0, passes: 0, looked: Vec::new() }
    }

    fn run(&mut self, step: Step) {
        let held = self.grants.len();
        match step {
            Step::Checkout => self.checkout(),
            Step::Fill(index, spread) if held > 0 => self.fill(index % held, spread),
            Step::Return(index) if held > 0 => self.give_back(index % held, Some(self.model.now)),
            Step::Shelve(index) if held > 0 => self.give_back(index % held, None),
            Step::Vacate(index) if held > 0 => self.vacate(index % held),
            Step::Swap(index) if held > 0 => self.swap(index % held),
            Step::Leave(index) if !self.numbers.is_empty() => self.leave(index % self.numbers.len()),
            Step::Advance(time) => self.model.now = self.model.now.after(time),
            Step::Reconfigure(options) => self.reconfigure(options),
            Step::Pass => self.pass(),
            Step::Lend => self.lend(),
            Step::Spare => self.spare(),
            Step::Close => self.close(),
            _ => {}
        }
        self.compare();
    }

    fn checkout(&mut self) {
        let answer = self.state.checkout(self.model.now);
        if self.model.closed {
            assert!(matches!(answer, Answer::Closed), "{answer:?}");
        } else if self.model.idle.is_empty() && self.model.total() >= self.model.limit() {
            assert!(matches!(answer, Answer::Busy), "{answer:?}");
            let room = self.model.waiting.len() < self.model.options.queue as usize;
            assert_eq!(self.state.has_room(), room);
            if room {
                self.names += 1;
                self.numbers.push((self.state.wait(self.names), self.names));
                self.model.waiting.push(self.names);
            }
        } else {
            let Answer::Granted(grant) = answer else { panic!("{answer:?}") };
            self.granted(grant);
        }
    }

    /// Holds what the state gives, which is to be what the model would give.
    fn granted(&mut self, grant: Grant<u32>) {
        match self.model.next() {
            None => {
                assert!(matches!(grant, Grant::Place), "{grant:?}");
                self.grants.push(None);
                self.model.held.push(None);
            }
            Some((expected, stale)) => {
                let made = match grant {
                    Grant::Resource(made) if !stale => made,
                    Grant::Stale(made) if stale => made,
                    other => panic!("{other:?} instead of {expected:?}, stale: {stale}"),
                };
                assert_eq!(item(&made), expected);
                self.grants.push(Some(made));
                self.model.held.push(Some(expected));
            }
        }
    }

    fn fill(&mut self, index: usize, spread: u32) {
        if self.grants[index].is_some() {
            return;
        }
        self.ids += 1;
        let now = self.model.now;
        let made = Made { resource: self.ids, born: now, spread, since: now, pass: 0 };
        self.model.held[index] = Some(item(&made));
        self.grants[index] = Some(made);
    }

    fn give_back(&mut self, index: usize, used: Option<Moment>) {
        let Some(mut made) = self.grants.remove(index) else {
            self.grants.insert(index, None);
            return self.vacate(index);
        };
        let mut held = self.model.held.remove(index).unwrap();
        made.since = used.unwrap_or(made.since);
        held.since = used.unwrap_or(held.since);
        let given = self.state.give(Grant::Resource(made), self.model.now);
        let expected = self.model.back(held);
        self.given(given, &expected);
    }

    fn vacate(&mut self, index: usize) {
        self.grants.remove(index);
        self.model.held.remove(index);
        let given = self.state.give(Grant::Place, self.model.now);
        let expected = self.model.vacated();
        self.given(given, &expected);
    }

    /// Compares where something went, and keeps what is held now.
    fn given(&mut self, given: Given<u32, u32>, expected: &Expected) {
        match (given, expected) {
            (Given::Kept, Expected::Kept) | (Given::Drained, Expected::Drained) => {}
            (Given::Close(made), Expected::Close) => self.grants.push(Some(made)),
            (Given::To(waiter, grant), Expected::To(name)) => {
                assert_eq!(waiter, *name);
                self.numbers.retain(|(_, name)| *name != waiter);
                self.grants.push(match grant {
                    Grant::Resource(made) => Some(made),
                    Grant::Place => None,
                    Grant::Stale(made) => panic!("{made:?} is stale"),
                });
            }
            (given, expected) => panic!("{given:?} instead of {expected:?}"),
        }
    }

    fn swap(&mut self, index: usize) {
        self.grants.remove(index);
        self.model.held.remove(index);
        let grant = self.state.swap(self.model.now);
        self.granted(grant);
    }

    fn leave(&mut self, index: usize) {
        let (number, name) = self.numbers.remove(index);
        self.model.waiting.retain(|other| *other != name);
        assert_eq!(self.state.leave(number), Some(name));
        assert_eq!(self.state.leave(number), None);
    }

    fn reconfigure(&mut self, options: PoolOptions) {
        let change = self.state.reconfigure(Settings::try_from(&options).unwrap());
        self.model.options = options;
        let mut surplus = Vec::new();
        while self.model.total() > self.model.options.size as usize && !self.model.idle.is_empty() {
            surplus.push(self.model.idle.remove(0));
        }
        self.hold_surplus(change.surplus, surplus);
        let mut served = Vec::new();
        while self.model.total() < self.model.limit() && !self.model.waiting.is_empty() {
            served.push(self.model.waiting.remove(0));
            self.model.held.push(None);
            self.grants.push(None);
        }
        assert_eq!(change.waiters, served);
        self.numbers.retain(|(_, name)| !served.contains(name));
    }

    fn hold_surplus(&mut self, surplus: Vec<Made<u32>>, expected: Vec<Item>) {
        assert_eq!(surplus.iter().map(item).collect::<Vec<_>>(), expected);
        self.grants.extend(surplus.into_iter().map(Some));
        self.model.held.extend(expected.into_iter().map(Some));
    }

    fn pass(&mut self) {
        let closing = self.state.begin_pass(self.model.now);
        let model = &mut self.model;
        let (mut expected, rest): (Vec<_>, Vec<_>) =
            model.idle.clone().into_iter().partition(|item| model.too_old(item));
        model.idle = rest;
        while model.idle.len() > model.options.min_idle as usize && model.too_idle(&model.idle[0]) {
            expected.push(model.idle.remove(0));
        }
        self.looked.clear();
        self.passes += 1;
        self.hold_surplus(closing, expected);
    }

    fn lend(&mut self) {
        let unseen = |item: &&Item| self.passes > 0 && !self.looked.contains(&item.id);
        let expected = self.model.idle.iter().find(unseen).cloned();
        let lent = self.state.lend();
        assert_eq!(lent.as_ref().map(item), expected);
        if let (Some(made), Some(item)) = (lent, expected) {
            self.looked.push(item.id);
            self.model.idle.retain(|other| other.id != item.id);
            self.model.held.push(Some(item));
            self.grants.push(Some(made));
        }
    }

    fn spare(&mut self) {
        let model = &mut self.model;
        let expected = !model.closed
            && model.idle.len() < model.options.min_idle as usize
            && model.total() < model.options.size as usize;
        assert_eq!(self.state.take_spare_place(), expected);
        if expected {
            model.held.push(None);
            self.grants.push(None);
        }
    }

    fn close(&mut self) {
        let change = self.state.close();
        self.model.closed = true;
        let idle = std::mem::take(&mut self.model.idle);
        self.hold_surplus(change.surplus, idle);
        assert_eq!(change.waiters, std::mem::take(&mut self.model.waiting));
        self.numbers.clear();
    }

    fn compare(&self) {
        let model = &self.model;
        assert_eq!(self.state.idle() as usize, model.idle.len());
        assert_eq!(self.state.busy() as usize, model.held.len());
        assert_eq!(self.state.total() as usize, model.total());
        assert_eq!(self.state.waiting() as usize, model.waiting.len());
        assert_eq!(self.state.is_closed(), model.closed);
        assert_eq!(self.state.has_place(), !model.idle.is_empty() || model.total() < model.limit());
        // Who waits does so for a reason.
        assert!(model.waiting.is_empty() || (model.idle.is_empty() && model.total() >= model.limit()));
    }
}

proptest! {
    #[test]
    fn every_decision_is_that_of_the_model(options in options(), steps in prop::collection::vec(steps(), 1..120)) {
        let mut pair = Pair::new(options);
        for step in steps {
            pair.run(step);
        }
    }
}
