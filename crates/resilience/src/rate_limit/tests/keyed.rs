//! Many keys: apart from each other, in bounded memory, and none of them better off for being forgotten.

use std::collections::HashMap;

use allocation_counter::measure;
use proptest::prelude::*;

use super::laws::{Taken, any_limit, asking, demand, forward, keeps_its_law, priced};
use super::*;
use crate::rate_limit::KeyedRateLimiter;
use crate::rate_limit::key::Sought;
use crate::rate_limit::options::Settings;
use crate::rate_limit::shard::Shard;
use crate::rate_limit::state::{Algorithm, Rule};

const LONG: Duration = Duration::from_secs(1000);

/// A limiter by key, and the time.
struct Table {
    limiter: KeyedRateLimiter,
    time: ManualClock,
    listener: Listener,
}

impl Table {
    fn new(options: &RateLimitOptions, max_keys: u32) -> Self {
        let time = Clock::manual();
        let environment = Environment { clock: time.clock(), ..Environment::default() };
        let listener = environment.events.subscribe(1000);
        let options = RateLimitOptions { max_keys, ..options.clone() };
        let limiter = KeyedRateLimiter::in_environment("search", &options, &environment).expect("valid options");
        Self { limiter, time, listener }
    }

    fn ask(&self, key: &str, cost: u32) -> Result<Ticket, Rejection> {
        self.limiter.try_admit(&Call::new().key(key).cost(cost), &Reading::of(self.limiter.clock()))
    }

    fn takes(&self, key: &str) -> bool {
        self.ask(key, 1).is_ok()
    }

    fn refused_as(&self, key: &str) -> Option<Code> {
        self.ask(key, 1).err().map(|rejection| rejection.code())
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.limiter.settle(ticket, outcome, &Reading::of(self.limiter.clock()));
    }

    /// How many of so many new keys are admitted.
    fn flood(&self, keys: std::ops::Range<u32>) -> usize {
        keys.filter(|key| self.takes(&format!("flood-{key}"))).count()
    }

    fn keys(&self) -> u64 {
        self.limiter.stats().keys
    }
}

#[derive(Debug, Clone)]
enum Action {
    Take { share: u32, waits: bool },
    GiveBack(prop::sample::Index),
    Refund(u32),
    Reset,
    Forget,
    Reconfigure(bool),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => (0..1000_u32, any::<bool>()).prop_map(|(share, waits)| Action::Take { share, waits }),
        2 => any::<prop::sample::Index>().prop_map(Action::GiveBack),
        1 => (0..50_u32).prop_map(Action::Refund),
        1 => Just(Action::Reset),
        1 => Just(Action::Forget),
        1 => any::<bool>().prop_map(Action::Reconfigure),
    ]
}

proptest! {
    #[test]
    fn a_key_is_treated_as_if_it_had_a_limiter_of_its_own(
        options in any_limit(),
        others in any_limit(),
        actions in prop::collection::vec((forward(), 0..4_usize, action()), 1..150),
    ) {
        let table = Table::new(&options, 100);
        let environment = Environment { clock: table.time.clock(), ..Environment::default() };
        let own = ["ann", "bob", "a key of more than 22 bytes", ""]
            .map(|key| (key, RateLimiter::in_environment("own", &options, &environment).expect("valid")));
        let limit = Settings::try_from(&options).expect("valid").limit;
        let (mut now, mut tickets) = (0, Vec::new());
        for (step, who, action) in actions {
            let next = step.from(now, &limit);
            table.time.advance(Duration::from_nanos(next - now));
            now = next;
            let reading = Reading::taken(Moment::from_nanos(now));
            let (key, own_limiter) = &own[who];
            match action {
                Action::Take { share, waits } => {
                    let call = Call::new().key(*key).cost(priced(share, own_limiter.status().limit));
                    let ask = |guard: &dyn Guard| match guard.admit(&call, &reading) {
                        Admission::Granted(ticket) | Admission::Later(_, ticket) if waits => Ok(ticket),
                        Admission::Granted(ticket) => Ok(ticket),
                        Admission::Later(_, ticket) => {
                            guard.settle(ticket, Outcome::Cancelled, &reading);
                            Err(None)
                        }
                        Admission::Rejected(rejection) => Err(rejection.retry_after()),
                        Admission::Queued(_) => panic!("a limiter keeps no queue of futures"),
                    };
                    match (ask(&table.limiter), ask(own_limiter)) {
                        (Ok(one), Ok(other)) => {
                            prop_assert_eq!(one.at, other.at);
                            tickets.push((who, one, other));
                        }
                        (one, other) => prop_assert_eq!(one.map(drop), other.map(drop)),
                    }
                }
                Action::GiveBack(which) if !tickets.is_empty() => {
                    let (who, one, other) = tickets.swap_remove(which.index(tickets.len()));
                    table.limiter.settle(one, Outcome::Rejected, &reading);
                    own[who].1.settle(other, Outcome::Rejected, &reading);
                }
                Action::GiveBack(_) => {}
                Action::Refund(cost) => {
                    table.limiter.refund(key, cost);
                    own_limiter.refund(cost);
                }
                Action::Reset => {
                    table.limiter.reset(key);
                    own_limiter.reset();
                }
                Action::Forget => {
                    let recovered = |who: usize| own[who].1.status().reset_after.is_zero();
                    let before = table.keys();
                    let forgotten = table.limiter.forget_recovered() as u64;
                    prop_assert_eq!(table.keys(), before - forgotten);
                    prop_assert_eq!(table.keys(), (0..own.len()).filter(|who| !recovered(*who)).count() as u64);
                    // To a key that was forgotten nothing comes back, nor to one that was moved into its place.
                    if forgotten > 0 {
                        tickets.clear();
                    }
                }
                Action::Reconfigure(back) => {
                    let options = RateLimitOptions { max_keys: 100, ..if back { &options } else { &others }.clone() };
                    table.limiter.reconfigure(&options).expect("valid");
                    own.iter().for_each(|(_, limiter)| limiter.reconfigure(&options).expect("valid"));
                }
            }
            let status = table.limiter.status(key);
            prop_assert_eq!(status, own_limiter.status());
        }
    }

    #[test]
    fn no_key_gains_by_being_forgotten_or_not_being_followed(
        options in any_limit(),
        max_keys in 1..6_u32,
        calls in prop::collection::vec((forward(), asking(), 0..12_u32, 0..20), 1..200),
    ) {
        let table = Table::new(&options, max_keys);
        let limit = Settings::try_from(&options).expect("valid").limit;
        let most = table.limiter.status("0").limit;
        let mut now = 0;
        let mut taken: HashMap<u32, Vec<Taken>> = HashMap::new();
        for (step, (share, _), key, forget) in calls {
            now = step.from(now, &limit);
            let cost = priced(share, most);
            let call = Call::new().key(key.to_string()).cost(cost);
            let reading = Reading::taken(Moment::from_nanos(now));
            let told = table.limiter.peek(&call, &reading);
            let admission = table.limiter.admit(&call, &reading);
            let starts = match &admission {
                Admission::Granted(_) => Some(now),
                Admission::Later(moment, _) => Some(moment.as_nanos()),
                _ => None,
            };
            prop_assert_eq!(told.is_ok(), starts.is_some());
            if let Some(starts) = starts {
                taken.entry(key).or_default().push(Taken { at: now, starts, cost });
            }
            prop_assert!(table.keys() <= u64::from(max_keys));
            if forget == 0 {
                table.time.advance(Moment::from_nanos(now).since(table.limiter.clock().now()));
                table.limiter.forget_recovered();
            }
        }
        for calls in taken.values() {
            keeps_its_law(&limit, calls)?;
        }
        let stats = table.limiter.stats();
        prop_assert_eq!(stats.calls.allowed, taken.values().map(|calls| calls.len() as u64).sum::<u64>());
    }
}

#[test]
fn keys_of_every_length_are_apart() {
    let table = Table::new(&tokens(1, LONG, 1), 100);
    let mut keys = vec![String::new()];
    for length in [1, 21, 22, 23, 24, 255, 256, 257, 258, 10_000] {
        let (first, last) = (format!("x{}", "a".repeat(length - 1)), format!("{}x", "a".repeat(length - 1)));
        keys.push("a".repeat(length));
        keys.push(first.clone());
        keys.extend((first != last).then_some(last));
    }
    for key in &keys {
        assert!(table.takes(key), "{} bytes", key.len());
    }
    for key in &keys {
        assert_eq!(table.refused_as(key), Some(Code::RateLimited), "{} bytes", key.len());
    }
    assert_eq!(table.keys(), keys.len() as u64);
}

#[test]
fn keys_of_the_same_hash_are_apart() {
    let options = tokens(1, LONG, 1);
    let limit = Settings::try_from(&options).expect("valid").limit;
    let rule = Rule { generation: 0, algorithm: Algorithm::new(limit, Moment::ORIGIN) };
    let mut shard = Shard::new(rule, 100);
    let keys: Vec<[u8; 2]> = (0..100_u8).map(|number| [number, 1]).collect();
    for again in [false, true] {
        for key in &keys {
            assert_eq!(shard.take(Sought::Bytes(key), 7, &demand(0, 1, None)).is_err(), again, "{key:?}");
        }
    }
    assert_eq!(shard.forget(Moment::ORIGIN), 0);
    assert_eq!(shard.forget(Moment::ORIGIN.after(LONG)), 100);
    assert!(keys.iter().all(|key| shard.take(Sought::Bytes(key), 7, &demand(u64::MAX, 1, None)).is_ok()));
}

#[test]
fn a_flood_of_new_keys_gives_nobody_a_fresh_allowance() {
    for (name, options) in each_algorithm() {
        let table = Table::new(&options, 100);
        let limit = table.limiter.status("victim").limit;
        assert!(table.ask("victim", limit).is_ok() || (1..=limit).all(|_| table.takes("victim")), "{name}");
        for key in 0..99 {
            assert!(table.takes(&format!("early-{key}")), "{name}");
        }
        assert_eq!(table.keys(), 100);
        let crowd = table.flood(0..10_000);
        assert_eq!(crowd, if options.leaky_bucket.is_some() { 1 } else { limit as usize }, "{name}: what one key may");
        assert_eq!(table.refused_as("victim"), Some(Code::RateLimited), "{name}");
        assert_eq!(table.refused_as("flood-9999"), Some(Code::RateTableFull), "{name}");
        let stats = table.limiter.stats();
        assert_eq!((stats.keys, stats.evicted, stats.crowded), (100, 0, 10_001), "{name}");
        assert_eq!(stats.calls.allowed, 100 + crowd as u64, "{name}");
    }
}

#[test]
fn a_key_that_the_table_has_no_place_for_is_told_when_to_come_back() {
    let table = Table::new(&tokens(1, SECOND, 2), 1);
    assert!(table.ask("ann", 2).is_ok());
    assert!(table.ask("bob", 1).is_ok() && table.ask("eve", 1).is_ok(), "they share what one key may");
    let rejection = table.ask("bob", 1).expect_err("the crowd has used it up");
    assert_eq!((rejection.code(), rejection.retry_after()), (Code::RateTableFull, Some(SECOND)));
    let peeked = table.limiter.peek(&Call::new().key("zoe"), &Reading::of(table.limiter.clock()));
    assert_eq!(peeked, Err(rejection));
    assert_eq!(table.limiter.status("zoe").remaining, 0);
    assert_eq!(table.ask("bob", 3).expect_err("never").code(), Code::RateCostTooLarge);
    table.time.advance(SECOND);
    assert!(table.takes("bob"));
    assert_eq!(table.refused_as("eve"), Some(Code::RateTableFull));
}

#[test]
fn what_the_crowd_has_taken_stays_taken() {
    let table = Table::new(&tokens(1, LONG, 1), 1);
    assert!(table.takes("ann"));
    let ticket = table.ask("bob", 1).expect("as one of the crowd");
    table.settle(ticket, Outcome::Rejected);
    table.limiter.refund("bob", 1);
    table.limiter.reset("bob");
    assert_eq!(table.refused_as("bob"), Some(Code::RateTableFull));
}

#[test]
fn newcomers_take_the_places_of_keys_that_have_recovered() {
    for (name, options) in each_algorithm() {
        let table = Table::new(&options, 100);
        assert_eq!(table.flood(0..100), 100);
        table.time.advance(SECOND * 2);
        assert_eq!(table.flood(1000..1100), 100, "{name}");
        let stats = table.limiter.stats();
        assert_eq!((stats.keys, stats.evicted, stats.crowded), (100, 100, 0), "{name}");
        for key in 1000..1100 {
            assert!(table.takes(&format!("flood-{key}")) || options.leaky_bucket.is_some(), "{name}: still followed");
        }
        assert_eq!(table.limiter.stats().evicted, 100, "{name}");
    }
}

#[test]
fn a_key_that_was_forgotten_by_a_later_reading_is_not_fresh_for_an_outdated_one() {
    for (name, options) in each_algorithm() {
        let table = Table::new(&options, 1);
        let limit = table.limiter.status("ann").limit;
        while table.takes("ann") {}
        table.time.advance(SECOND * 5);
        assert!(table.takes("bob") && table.limiter.stats().evicted == 1, "{name}");
        let outdated = Reading::taken(Moment::ORIGIN);
        let more = (0..limit * 2).filter(|_| table.limiter.try_admit(&Call::new().key("ann"), &outdated).is_ok());
        assert_eq!(more.count(), 0, "{name}");
    }
}

#[test]
fn a_key_that_leaves_the_crowd_begins_with_what_the_crowd_has_used() {
    let table = Table::new(&tokens(1, SECOND, 10), 1);
    assert!(table.ask("ann", 1).is_ok());
    assert!(table.ask("bob", 6).is_ok(), "as one of the crowd");
    table.time.advance(SECOND);
    assert!(table.ask("bob", 1).is_ok(), "in the place of ann");
    assert_eq!(table.limiter.status("bob").remaining, 4);
    assert_eq!(table.limiter.stats().evicted, 1);
}

#[test]
fn fewer_keys_are_followed_as_they_recover() {
    for options in [tokens(1, SECOND, 1), sliding(1, SECOND)] {
        let table = Table::new(&options, 500);
        assert_eq!(table.flood(0..500), 500);
        table.limiter.reconfigure(&RateLimitOptions { max_keys: 10, ..options.clone() }).expect("valid");
        assert_eq!((table.keys(), table.limiter.stats().max_keys), (500, 10));
        assert_eq!(table.flood(0..600), 1, "one as the crowd");
        table.time.advance(SECOND);
        for round in 0..100 {
            table.time.advance(SECOND);
            table.flood(1000 + round..1001 + round);
        }
        assert_eq!(table.keys(), 10);
        table.limiter.reconfigure(&RateLimitOptions { max_keys: 20, ..options }).expect("valid");
        table.flood(5000..5010);
        assert_eq!(table.keys(), 20);
    }
}

#[test]
fn a_table_of_several_shards_follows_no_more_keys_than_it_may() {
    for max_keys in [1, 2, 1023, 1025, 2047, 2500, 10_000] {
        let table = Table::new(&fixed(1, LONG), max_keys);
        table.flood(0..max_keys * 2);
        let keys = table.keys();
        assert!(keys <= u64::from(max_keys) && keys * 100 >= u64::from(max_keys) * 90, "{keys} of {max_keys}");
        table.time.advance(LONG);
        assert_eq!(table.limiter.forget_recovered() as u64, keys);
        assert_eq!((table.keys(), table.limiter.stats().evicted), (0, keys));
    }
}

#[test]
fn what_has_not_recovered_is_not_forgotten() {
    for (name, options) in each_algorithm() {
        let table = Table::new(&options, 100);
        assert!(table.takes("early"));
        table.time.advance(SECOND * 3 / 2);
        assert!(table.takes("late"));
        let before = table.limiter.status("late");
        assert_eq!(
            table.limiter.forget_recovered(),
            if options.sliding_window.is_some_and(|of| of.limit > 64) { 0 } else { 1 }
        );
        assert_eq!(table.limiter.status("late"), before, "{name}");
        table.time.advance(SECOND * 3);
        table.limiter.forget_recovered();
        assert_eq!(table.keys(), 0, "{name}");
    }
}

#[test]
fn a_key_gives_back_only_what_itself_has_taken() {
    let table = Table::new(&tokens(1, SECOND, 10), 1);
    let ann = table.ask("ann", 5).expect("first");
    table.time.advance(SECOND * 5);
    let bob = table.ask("bob", 5).expect("in the place of ann");
    table.settle(Ticket { at: Moment::NEVER, ..ann }, Outcome::Rejected);
    assert_eq!(table.limiter.status("bob").remaining, 5, "the place is somebody else's");
    table.limiter.reset("bob");
    assert!(table.ask("bob", 5).is_ok());
    table.settle(bob, Outcome::Rejected);
    assert_eq!(table.limiter.status("bob").remaining, 5, "taken before the reset");
    let again = table.ask("bob", 2).expect("left");
    table.settle(again, Outcome::Rejected);
    assert_eq!(table.limiter.status("bob").remaining, 5);
    let before = table.ask("bob", 2).expect("left");
    table.limiter.reconfigure(&tokens(1, SECOND, 11)).expect("valid");
    table.settle(before, Outcome::Rejected);
    assert_eq!(table.limiter.status("bob").remaining, 4, "taken before the change");
}

#[test]
fn only_a_reset_of_a_key_that_is_followed_is_told() {
    let table = Table::new(&tokens(1, SECOND, 1), 10);
    table.limiter.reset("ann");
    assert!(table.listener.try_next().is_none());
    assert!(table.takes("ann"));
    assert!(table.listener.try_next().is_some());
    table.limiter.reset("ann");
    assert_eq!(table.listener.try_next().map(|event| event.happening), Some(Happening::RateReset));
    assert!(table.takes("ann"));
}

/// Bytes of memory that a key takes where so many are followed.
fn bytes_a_key(options: &RateLimitOptions, keys: u32, key: impl Fn(u32) -> String) -> u64 {
    let table = Table::new(options, 100_000);
    let info = measure(|| (0..keys).for_each(|number| drop(table.ask(&key(number), 1))));
    u64::try_from(info.bytes_current).expect("it has grown").div_ceil(table.keys())
}

#[test]
fn a_key_takes_64_bytes_at_most_besides_itself() {
    let numbers = tokens(1, LONG, 1);
    for keys in [20_000, 30_000, 45_000, 60_000, 80_000, 100_000] {
        let size = bytes_a_key(&numbers, keys, |number| number.to_string());
        assert!(size <= 64, "{size} bytes a key of {keys}");
    }
    let size = bytes_a_key(&numbers, 20_000, |number| format!("{number:0>100}"));
    assert!(size <= 64 + 100, "{size} bytes a key of 100");
    let size = bytes_a_key(&numbers, 20_000, |number| format!("{number:0>300}"));
    assert!(size <= 64, "{size} bytes a key of 300, of which there is a digest");
}

#[test]
fn an_exact_sliding_window_takes_8_bytes_more_for_each_call_and_40_for_their_list() {
    for limit in [1, 10, 64] {
        let size = bytes_a_key(&sliding(limit, LONG), 20_000, |number| number.to_string());
        assert!(size <= 64 + 40 + 8 * u64::from(limit), "{size} bytes a key of a limit of {limit}");
    }
}

#[test]
fn calls_of_a_key_that_is_followed_cost_no_allocation() {
    for limit in [2, 10, 64] {
        let table = Table::new(&sliding(limit, LONG), 10);
        assert!(table.takes("ann"));
        let info = measure(|| assert!((1..limit).all(|_| table.takes("ann")) && !table.takes("ann")));
        assert_eq!(info.count_total, 0, "a limit of {limit}");
    }
}

/// The list grows by a quarter at a time, and to the most keys exactly. Their index, of four bytes and one more, has a
/// power of two.
#[test]
fn a_table_grows_in_few_steps_to_what_it_may_hold_and_no_further() {
    let table = Table::new(&tokens(1, LONG, 1), 1000);
    let keys: Vec<_> = (0..1500).map(|number| number.to_string()).collect();
    let info = measure(|| keys.iter().for_each(|key| drop(table.ask(key, 1))));
    assert_eq!(table.keys(), 1000);
    assert!(info.count_total <= 50, "{} steps", info.count_total);
    assert!(info.bytes_current <= 1000 * 40 + 2048 * 5 + 64, "{} bytes", info.bytes_current);
}

#[test]
fn memory_is_given_back_when_keys_are_forgotten() {
    let table = Table::new(&tokens(1, SECOND, 1), 100_000);
    let info = measure(|| {
        table.flood(0..20_000);
        table.time.advance(SECOND);
        assert_eq!(table.limiter.forget_recovered(), 20_000);
    });
    assert!(info.bytes_current < 4096, "{} bytes are left", info.bytes_current);
}

#[test]
fn threads_together_take_exactly_what_there_is() {
    for (name, options) in each_algorithm() {
        let (limit, keys, threads) = (if options.leaky_bucket.is_some() { 1 } else { 10 }, 20_u32, 4);
        let options = match name {
            "weighted sliding window" => sliding(65, LONG),
            "fixed window" => fixed(limit, LONG),
            "token bucket" => tokens(1, LONG, limit),
            _ => options,
        };
        let limit = if name == "weighted sliding window" { 65 } else { limit as usize };
        let table = Table::new(&options, 100);
        let limiter = &table.limiter;
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    for call in 0..keys * 100 {
                        let key = (call + thread * 7) % keys;
                        drop(limiter.check(&Call::new().key(key.to_string())));
                    }
                });
            }
        });
        let stats = table.limiter.stats();
        assert_eq!(stats.calls.allowed, limit as u64 * u64::from(keys), "{name}");
        assert_eq!(stats.calls.allowed + stats.calls.denied, u64::from(keys * 100 * threads), "{name}");
    }
}
