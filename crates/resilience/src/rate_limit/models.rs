//! A limiter in every order in which the calls of threads, and a change of the limit, may meet.

use std::sync::Arc;
use std::time::Duration;

use loom::thread::{self, JoinHandle};

use super::cell::Cell;
use super::options::{FixedWindow, RateLimitOptions, Settings, SlidingWindow, TokenBucket};
use super::policy::RateLimiter;
use super::state::{Algorithm, Counted, Demand, Rule};
use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::outcome::Outcome;
use crate::policy::{Environment, Guard, Ticket};
use crate::sync::explore;

/// So long that nothing comes back.
const LONG: Duration = Duration::from_secs(86_400);

fn tokens(burst: u32) -> RateLimitOptions {
    RateLimitOptions::token_bucket(TokenBucket { rate: 1, per: LONG, burst: Some(burst) })
}

fn fixed(limit: u32) -> RateLimitOptions {
    RateLimitOptions::fixed_window(FixedWindow { limit, window: LONG })
}

fn sliding(limit: u32) -> RateLimitOptions {
    RateLimitOptions::sliding_window(SlidingWindow { limit, window: LONG })
}

fn rule(generation: u32, options: &RateLimitOptions) -> Rule {
    let limit = Settings::try_from(options).expect("valid").limit;
    Rule { generation, algorithm: Algorithm::new(limit, Moment::ORIGIN) }
}

fn cell(options: &RateLimitOptions) -> Arc<Cell> {
    Arc::new(Cell::new(&rule(0, options)))
}

/// Takes one, the short way if it is open, as the handle does.
fn takes(cell: &Cell) -> bool {
    let demand = Demand { now: Moment::ORIGIN, cost: 1, patience: None };
    cell.take_at_once(demand.now, 1).is_some()
        || cell.take(&demand).expect("counted").0.starts(Moment::ORIGIN).is_some()
}

fn takes_elsewhere(cell: &Arc<Cell>) -> JoinHandle<bool> {
    let cell = Arc::clone(cell);
    thread::spawn(move || takes(&cell))
}

fn used(cell: &Cell) -> u32 {
    let (rule, mut number) = cell.read();
    let (algorithm, mut log) = (rule.algorithm, super::log::Log::default());
    algorithm.standing(algorithm.used(&mut number, &mut log), Moment::ORIGIN).used
}

/// Puts another rule in force, by which as much is used.
fn replace(cell: &Cell, to: &Rule) {
    let from = counted(&cell.read().0);
    let to_counted = counted(to);
    cell.replace(to, |used| from.carry(used, &to_counted, Moment::ORIGIN));
}

fn counted(rule: &Rule) -> Counted {
    match rule.algorithm {
        Algorithm::Counted(counted) => counted,
        Algorithm::Exact(_) => panic!("keeps a log"),
    }
}

#[test]
fn of_two_that_take_the_last_one_exactly_one_has_it() {
    explore(None, || {
        for options in [tokens(1), fixed(1)] {
            let cell = cell(&options);
            let other = takes_elsewhere(&cell);
            let mine = takes(&cell);
            assert!(mine ^ other.join().expect("no panic"));
            assert_eq!(used(&cell), 1);
        }
    });
}

#[test]
fn nothing_that_is_taken_during_a_change_is_lost() {
    for (from, to) in [(tokens(2), fixed(2)), (fixed(2), tokens(2)), (tokens(2), tokens(3)), (fixed(3), fixed(2))] {
        explore(Some(3), move || {
            let cell = cell(&from);
            let others = [(); 2].map(|()| takes_elsewhere(&cell));
            replace(&cell, &rule(1, &to));
            let taken = others.map(|other| other.join().expect("no panic")).into_iter().filter(|taken| *taken).count();
            assert_eq!((taken, used(&cell)), (2, 2));
        });
    }
}

#[test]
fn two_changes_admit_no_more_than_the_limit() {
    explore(Some(3), || {
        let cell = cell(&tokens(1));
        let other = takes_elsewhere(&cell);
        replace(&cell, &rule(1, &fixed(1)));
        replace(&cell, &rule(2, &tokens(1)));
        let mine = takes(&cell);
        assert!(mine ^ other.join().expect("no panic"));
        assert_eq!(used(&cell), 1);
    });
}

/// Two changes one after the other write both places of the rule: who reads meanwhile must not mix them.
#[test]
fn who_looks_during_changes_sees_a_rule_whole() {
    explore(Some(3), || {
        let cell = cell(&tokens(1));
        let looking = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.read().0)
        };
        let rules = [rule(0, &tokens(1)), rule(1, &fixed(7)), rule(2, &tokens(9))];
        rules[1..].iter().for_each(|rule| replace(&cell, rule));
        let seen = looking.join().expect("no panic");
        assert!(rules.contains(&seen), "{seen:?}");
    });
}

/// The short way looks at the parts of a rule without looking twice.
#[test]
fn the_short_way_takes_by_a_rule_that_is_in_force() {
    explore(Some(3), || {
        let cell = cell(&tokens(1));
        assert!(takes(&cell));
        let other = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.take_at_once(Moment::ORIGIN, 1))
        };
        replace(&cell, &rule(1, &fixed(1)));
        replace(&cell, &rule(2, &tokens(1)));
        assert_eq!(other.join().expect("no panic"), None);
        assert_eq!(used(&cell), 1);
    });
}

#[test]
fn what_comes_back_is_taken_once() {
    explore(Some(3), || {
        let cell = cell(&tokens(1));
        assert!(takes(&cell));
        let others = [(); 2].map(|()| takes_elsewhere(&cell));
        cell.update(None, |counted, used| counted.refund(used, 1));
        let early = others.map(|other| other.join().expect("no panic"));
        assert!(!(early[0] && early[1]));
        assert_eq!(takes(&cell), !early[0] && !early[1], "it is there, once");
    });
}

fn limiter(options: &RateLimitOptions) -> RateLimiter {
    let environment = Environment { clock: Clock::manual().clock(), ..Environment::default() };
    RateLimiter::in_environment("search", options, &environment).expect("valid options")
}

fn admit(limiter: &RateLimiter) -> Option<Ticket> {
    limiter.try_admit(&Call::new(), &Reading::of(limiter.clock())).ok()
}

/// From a number to a log and back: calls go by the word, or by the lock, whichever is right.
#[test]
fn a_change_between_a_number_and_a_log_loses_nothing() {
    for (from, to) in [(tokens(1), sliding(1)), (sliding(1), tokens(1)), (sliding(1), fixed(1))] {
        explore(Some(2), move || {
            let limiter = limiter(&from);
            let others = [(); 2].map(|()| {
                let limiter = limiter.clone();
                thread::spawn(move || admit(&limiter).is_some())
            });
            limiter.reconfigure(&to).expect("valid");
            let taken = others.map(|other| other.join().expect("no panic"));
            assert!(taken[0] ^ taken[1]);
            assert_eq!(limiter.status().remaining, 0);
        });
    }
}

#[test]
fn a_ticket_gives_back_to_its_own_generation_or_not_at_all() {
    explore(Some(3), || {
        let limiter = limiter(&tokens(2));
        let ticket = admit(&limiter).expect("full");
        let settling = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.settle(ticket, Outcome::Rejected, &Reading::of(limiter.clock())))
        };
        limiter.reset();
        assert!(admit(&limiter).is_some());
        settling.join().expect("no panic");
        assert_eq!(limiter.status().remaining, 1);
    });
}

/// Two threads that read the clock before they meet, one of them a while before the other.
struct Meeting {
    options: RateLimitOptions,
    /// What each call takes.
    cost: u32,
    /// How many were admitted at the origin.
    before: u32,
    early: Moment,
    late: Moment,
}

impl Meeting {
    /// Whether the earlier and the later are admitted, and how many more are at the later moment.
    fn happens(&self) -> (bool, bool, usize) {
        let limiter = limiter(&self.options);
        let cost = self.cost;
        let admits =
            move |limiter: &RateLimiter, now| limiter.try_admit(&Call::new().cost(cost), &Reading::taken(now)).is_ok();
        (0..self.before).for_each(|_| assert!(admits(&limiter, Moment::ORIGIN)));
        let other = {
            let (limiter, early) = (limiter.clone(), self.early);
            thread::spawn(move || admits(&limiter, early))
        };
        let later = admits(&limiter, self.late);
        let earlier = other.join().expect("no panic");
        (earlier, later, (0..3).filter(|_| admits(&limiter, self.late)).count())
    }
}

/// Each comes as the first or as the last. Once the later one has taken, it is so late for the earlier one too.
#[test]
fn an_outdated_reading_never_takes_the_limit_back_in_time() {
    let at = |halves: u32| Moment::ORIGIN.after(LONG * halves / 2);
    let one = |options, before, early, late| Meeting { options, cost: 1, before, early: at(early), late: at(late) };
    let many = Meeting { cost: 100_000, ..one(sliding(100_000), 0, 1, 2) };
    // What comes of it if the earlier is first, and if it is last.
    for (meeting, outcomes) in [
        (one(tokens(2), 2, 2, 4), [(true, true, 0), (false, true, 1)]),
        (one(tokens(2), 2, 1, 2), [(false, true, 0), (false, true, 0)]),
        (one(fixed(1), 0, 1, 2), [(true, true, 0), (false, true, 0)]),
        (one(fixed(1), 1, 1, 2), [(false, true, 0), (false, true, 0)]),
        (one(sliding(1), 0, 1, 2), [(true, false, 0), (false, true, 0)]),
        (many, [(true, false, 0), (false, true, 0)]),
    ] {
        explore(None, move || {
            let outcome = meeting.happens();
            assert!(outcomes.contains(&outcome), "{outcome:?} {:?}", meeting.options);
        });
    }
}

/// The later of both comes so late that the numbers are counted from another epoch, which it sets before it takes. The
/// earlier one may come in between: it then takes at that epoch, and leaves nothing to the later one.
#[test]
fn an_outdated_reading_takes_by_the_epoch_that_is_there() {
    let (early, late) = (Moment::ORIGIN.after(LONG), Moment::ORIGIN.after(LONG * 5000));
    for (options, cost) in [(tokens(1), 1), (sliding(100_000), 100_000)] {
        let meeting = Meeting { options, cost, before: 0, early, late };
        explore(None, move || {
            let outcome = meeting.happens();
            let outcomes = [(true, true, 0), (false, true, 0), (true, false, 0)];
            assert!(outcomes.contains(&outcome), "{outcome:?} {:?}", meeting.options);
        });
    }
}
