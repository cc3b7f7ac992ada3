use super::*;
use http::StatusCode;
use proptest::prelude::*;
use tidegate_wire::fields::Fields;

const MINUTE: Duration = Duration::from_secs(60);
const BOUNDS: KeyBounds = KeyBounds { keep: MINUTE, max_keys: 3, max_memory: 100 * 1024 };

fn id(name: &str) -> Id {
    Id::of(&[name.as_bytes()])
}

fn answer(size: usize) -> Ending {
    Ending::Kept(Arc::new(Answer {
        status: StatusCode::CREATED,
        reason: Vec::new(),
        fields: Fields::default(),
        body: vec![b'x'; size].into(),
        trailers: None,
    }))
}

/// A store and its clock.
struct World {
    store: Store,
    now: Instant,
    bounds: KeyBounds,
}

impl World {
    fn new(bounds: KeyBounds) -> Self {
        Self { store: Store::default(), now: Instant::now(), bounds }
    }

    fn ask(&mut self, key: &str, content: &str) -> Result<Claimed, KeyFault> {
        self.store.claim(id(key), id(content), self.now, &self.bounds)
    }

    /// The number of a request that is the first.
    fn first(&mut self, key: &str) -> u64 {
        match self.ask(key, "content") {
            Ok(Claimed::First(number)) => number,
            other => panic!("{key}: {other:?}"),
        }
    }

    fn finish(&mut self, key: &str, number: u64, ending: Ending) -> Option<Ending> {
        self.store.finish(id(key), number, ending, self.now, &self.bounds)
    }

    /// A first request that is answered.
    fn answered(&mut self, key: &str, size: usize) {
        let number = self.first(key);
        assert!(matches!(self.finish(key, number, answer(size)), Some(Ending::Kept(_))), "{key}");
    }

    /// How a further request fares.
    fn fault(&mut self, key: &str) -> Option<KeyFault> {
        self.ask(key, "content").err()
    }
}

#[test]
fn the_first_goes_on_and_later_ones_get_its_answer() {
    let mut world = World::new(BOUNDS);
    let number = world.first("a");
    assert_eq!(world.fault("a"), Some(KeyFault::UnderWay));
    assert!(matches!(world.finish("a", number, answer(5)), Some(Ending::Kept(_))));
    for _ in 0..2 {
        let Ok(Claimed::Again(kept)) = world.ask("a", "content") else { panic!("it is kept") };
        assert_eq!((kept.status, &*kept.body), (StatusCode::CREATED, &b"xxxxx"[..]));
    }
    assert_eq!(world.ask("a", "other content").err(), Some(KeyFault::Reused));
    world.first("b");
}

#[test]
fn another_content_is_told_apart_while_the_first_is_under_way() {
    let mut world = World::new(BOUNDS);
    world.first("a");
    assert_eq!(world.ask("a", "other content").err(), Some(KeyFault::Reused));
}

#[test]
fn every_ending_has_its_answer() {
    let mut world = World::new(BOUNDS);
    for (key, ending, fault) in [("a", Ending::NotKept, KeyFault::NotKept), ("b", Ending::Unknown, KeyFault::Unknown)] {
        let number = world.first(key);
        assert!(world.finish(key, number, ending).is_some());
        assert_eq!(world.fault(key), Some(fault));
    }
    let number = world.first("c");
    world.store.release(&id("c"), number);
    world.first("c");
}

#[test]
fn a_key_is_free_again_when_its_time_is_over() {
    let mut world = World::new(BOUNDS);
    world.answered("a", 5);
    world.now += MINUTE - Duration::from_millis(1);
    assert!(matches!(world.ask("a", "content"), Ok(Claimed::Again(_))));
    world.now += Duration::from_millis(1);
    let number = world.first("a");
    world.now += 10 * MINUTE;
    assert_eq!(world.fault("a"), Some(KeyFault::UnderWay), "under way has no end but its own");
    assert!(world.finish("a", number, answer(1)).is_some());
    assert!(matches!(world.ask("a", "content"), Ok(Claimed::Again(_))));
}

#[test]
fn who_comes_late_does_not_touch_the_key_of_another() {
    let mut world = World::new(BOUNDS);
    let old = world.first("a");
    world.store.release(&id("a"), old);
    let new = world.first("a");
    assert!(world.finish("a", old, answer(1)).is_none());
    world.store.release(&id("a"), old);
    assert_eq!(world.fault("a"), Some(KeyFault::UnderWay));
    assert!(world.finish("a", new, answer(1)).is_some());
    world.store.release(&id("a"), new);
    assert!(matches!(world.ask("a", "content"), Ok(Claimed::Again(_))), "what is finished is not released");
}

#[test]
fn the_one_that_finished_first_gives_way() {
    let mut world = World::new(BOUNDS);
    let slow = world.first("slow");
    world.answered("a", 1);
    world.answered("b", 1);
    world.first("c");
    world.first("a");
    assert_eq!(world.fault("d"), Some(KeyFault::Full), "three are under way");
    assert_eq!(world.fault("slow"), Some(KeyFault::UnderWay));
    assert!(world.finish("slow", slow, answer(1)).is_some());
    world.first("d");
    assert_eq!(world.fault("slow"), Some(KeyFault::Full), "it was the only one to give way");
}

#[test]
fn answers_give_way_to_new_ones_within_the_memory() {
    let mut world = World::new(KeyBounds { max_keys: 100, ..BOUNDS });
    for key in ["a", "b", "c"] {
        world.answered(key, 40 * 1024);
    }
    assert!(matches!(world.ask("b", "content"), Ok(Claimed::Again(_))));
    assert!(matches!(world.ask("c", "content"), Ok(Claimed::Again(_))));
    world.first("a");
    let number = world.first("large");
    assert!(matches!(world.finish("large", number, answer(200 * 1024)), Some(Ending::NotKept)));
    assert_eq!(world.fault("large"), Some(KeyFault::NotKept));
}

#[test]
fn bounds_that_shrink_hold_from_the_next_request_on() {
    let mut world = World::new(KeyBounds { max_keys: 100, ..BOUNDS });
    for key in 0..50 {
        world.answered(&key.to_string(), 10);
    }
    world.bounds.max_keys = 2;
    world.first("new");
    assert_eq!(world.store.entries.len(), 2);
    assert!(matches!(world.ask("49", "content"), Ok(Claimed::Again(_))), "the last one stays");
}

#[test]
fn a_quiet_night_is_swept_away_by_and_by() {
    let mut world = World::new(KeyBounds { max_keys: 1000, max_memory: 1024 * 1024, ..BOUNDS });
    for key in 0..200 {
        world.answered(&key.to_string(), 1);
    }
    world.now += 2 * MINUTE;
    world.answered("199", 1);
    assert_eq!(world.store.entries.len(), 200 - SWEEP, "one of them is new");
    for key in ["x", "y", "z"] {
        world.answered(key, 1);
    }
    assert_eq!(world.store.entries.len(), 4);
    assert!(matches!(world.ask("199", "content"), Ok(Claimed::Again(_))), "its old line removes nothing");
}

proptest! {
    /// Against any order of events: bounds hold, the count of bytes is true, and who is under way stays.
    #[test]
    fn bounds_hold(events in prop::collection::vec((0u8..12, 0u8..5, 0usize..60_000, 0u64..40), 1..200)) {
        let mut world = World::new(KeyBounds { max_keys: 6, ..BOUNDS });
        let mut under_way: HashMap<String, u64> = HashMap::new();
        for (key, event, size, seconds) in events {
            let key = key.to_string();
            world.now += Duration::from_secs(seconds);
            match (event, under_way.remove(&key)) {
                (_, None) => {
                    if let Ok(Claimed::First(number)) = world.ask(&key, "content") {
                        under_way.insert(key, number);
                    }
                }
                (0, Some(number)) => world.store.release(&id(&key), number),
                (1, Some(number)) => prop_assert!(world.finish(&key, number, Ending::Unknown).is_some()),
                (2, Some(number)) => prop_assert!(world.finish(&key, number, answer(size)).is_some()),
                (_, Some(number)) => {
                    prop_assert_eq!(world.fault(&key), Some(KeyFault::UnderWay));
                    under_way.insert(key, number);
                }
            }
            let store = &world.store;
            let kept = store.entries.values().map(|entry| match &entry.state {
                State::Finished(_, ending) => ending.size(),
                State::UnderWay => 0,
            });
            prop_assert_eq!(kept.sum::<usize>(), store.answers);
            prop_assert!(store.entries.len() <= 6 && store.size() <= world.bounds.max_memory);
            prop_assert!(store.finished.len() <= store.entries.len() + 6, "{}", store.finished.len());
            let waiting = store.entries.values().filter(|entry| matches!(entry.state, State::UnderWay)).count();
            prop_assert_eq!(waiting, under_way.len());
        }
    }
}
