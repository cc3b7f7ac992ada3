//! Modes, costs, and what callers and listeners are told.

use super::*;
use crate::error::Context;
use crate::rate_limit::{KeyedRateLimiter, RateLimitStats};

fn stats(allowed: u64, denied: u64) -> RateLimitStats {
    RateLimitStats { allowed, denied }
}

#[test]
fn a_disabled_limiter_admits_everything_and_counts_nothing() {
    for (name, options) in each_algorithm() {
        let bench = Bench::new(&RateLimitOptions { mode: Mode::Disabled, ..options.clone() });
        assert!((0..1000).all(|_| bench.takes(1000)), "{name}");
        assert!(bench.limiter.peek(&Call::new().cost(1000), &bench.reading()).is_ok());
        assert_eq!(bench.limiter.stats(), stats(0, 0));
        assert_eq!(bench.told(), []);
        bench.reconfigure(&options);
        assert_eq!(bench.remaining(), bench.limiter.status().limit, "{name}: nothing was used");
    }
}

#[test]
fn a_limiter_that_only_measures_admits_everything_and_tells_what_it_would_have_rejected() {
    let bench = Bench::new(&RateLimitOptions { mode: Mode::MetricsOnly, ..tokens(1, SECOND, 2) });
    assert!((0..5).all(|_| bench.takes(1)));
    assert!(bench.takes(3), "even what never could be");
    assert!(bench.limiter.peek(&Call::new(), &bench.reading()).is_ok());
    assert_eq!(bench.limiter.stats(), stats(2, 4));
    let allowed = Happening::RateAllowed { cost: 1 };
    let denied = Happening::RateDenied { retry_after: Some(SECOND) };
    let never = Happening::RateDenied { retry_after: None };
    assert_eq!(bench.told(), [allowed, allowed, denied, denied, denied, never]);
}

#[test]
fn nobody_waits_where_it_only_measures() {
    for options in [leaky(1, SECOND, 10), RateLimitOptions { max_wait: SECOND * 10, ..tokens(1, SECOND, 1) }] {
        let bench = Bench::new(&RateLimitOptions { mode: Mode::MetricsOnly, ..options });
        for _ in 0..20 {
            let (begins, ticket) = bench.queue(&Call::new()).expect("admitted");
            assert_eq!(begins, bench.now());
            bench.settle(ticket, Outcome::Success);
        }
        assert_eq!(bench.limiter.stats(), stats(11, 9));
    }
}

#[test]
fn a_call_that_costs_nothing_is_admitted_where_nothing_is_left_and_takes_nothing() {
    for (name, options) in each_algorithm() {
        let bench = Bench::new(&options);
        for steps in 0..3 {
            bench.time.advance(SECOND * steps + NANO);
            let before = bench.limiter.status();
            assert!(bench.takes(0) && bench.takes(0));
            assert_eq!(bench.limiter.status(), before, "{name}");
            bench.drain();
            let before = bench.limiter.status();
            let ticket = bench.ask(0).expect("admitted");
            bench.settle(ticket, Outcome::Rejected);
            assert_eq!(bench.limiter.status(), before, "{name}");
        }
    }
}

#[test]
fn a_call_that_costs_more_than_there_ever_is_is_told_so() {
    for (name, options) in each_algorithm() {
        let bench = Bench::new(&options);
        let limit = bench.limiter.status().limit;
        let rejection = bench.ask(limit + 1).expect_err(name);
        assert_eq!((rejection.code(), rejection.retry_after()), (Code::RateCostTooLarge, None), "{name}");
        let context = Context::Used { used: u64::from(limit) + 1, limit: u64::from(limit) };
        assert_eq!(rejection.context(), Some(context), "{name}");
        let peeked = bench.limiter.peek(&Call::new().cost(u32::MAX), &bench.reading());
        assert_eq!(peeked.map_err(|rejection| rejection.code()), Err(Code::RateCostTooLarge), "{name}");
        assert!(bench.takes(limit), "{name}: it took nothing");
    }
}

#[test]
fn a_rejection_says_how_much_is_used_and_when_to_come_back() {
    let bench = Bench::new(&tokens(10, SECOND, 3));
    assert!(bench.takes(3));
    let rejection = bench.ask(2).expect_err("empty");
    assert_eq!(rejection.code(), Code::RateLimited);
    assert_eq!(rejection.context(), Some(Context::Used { used: 3, limit: 3 }));
    assert_eq!(rejection.retry_after(), Some(SECOND / 5));
    assert_eq!(bench.limiter.stats(), stats(1, 1));
}

#[test]
fn a_full_queue_is_told_apart_from_a_limit() {
    let bench = Bench::new(&leaky(10, SECOND, 1));
    assert!(bench.queue(&Call::new()).is_ok() && bench.queue(&Call::new()).is_ok());
    let rejection = bench.queue(&Call::new()).expect_err("one runs, one waits");
    assert_eq!((rejection.code(), rejection.retry_after()), (Code::RateQueueFull, Some(SECOND / 10)));
    let rejection = bench.ask(1).expect_err("who does not wait");
    assert_eq!((rejection.code(), rejection.retry_after()), (Code::RateLimited, Some(SECOND / 5)));
}

#[test]
fn a_keyed_limiter_names_a_call_without_a_key() {
    let limiter = KeyedRateLimiter::new("search", &tokens(1, SECOND, 1)).expect("valid");
    let now = Reading::of(limiter.clock());
    for told in [limiter.try_admit(&Call::new(), &now).map(drop), limiter.peek(&Call::new(), &now)] {
        let rejection = told.expect_err("no key");
        assert_eq!((rejection.code(), rejection.retry_after()), (Code::RateKeyMissing, None));
    }
    limiter.reconfigure(&RateLimitOptions { mode: Mode::MetricsOnly, ..tokens(1, SECOND, 1) }).expect("valid");
    assert!(limiter.try_admit(&Call::new(), &now).is_ok() && limiter.peek(&Call::new(), &now).is_ok());
}

#[test]
fn a_keyed_limiter_has_the_same_modes() {
    let keyed = |mode| KeyedRateLimiter::new("search", &RateLimitOptions { mode, ..tokens(1, SECOND * 1000, 1) });
    let call = Call::new().key("ann");
    let limiter = keyed(Mode::Disabled).expect("valid");
    assert!((0..5).all(|_| limiter.check(&call).is_ok()));
    assert_eq!((limiter.stats().calls, limiter.stats().keys), (stats(0, 0), 0));
    let limiter = keyed(Mode::MetricsOnly).expect("valid");
    assert!((0..5).all(|_| limiter.check(&call).is_ok()));
    assert_eq!(limiter.stats().calls, stats(1, 4));
    let limiter = keyed(Mode::Enabled).expect("valid");
    assert!(limiter.check(&call.clone().cost(0)).is_ok());
    assert_eq!(limiter.stats().keys, 0, "who asks for nothing is not followed");
    assert!(limiter.check(&call).is_ok() && limiter.check(&call.clone().cost(0)).is_ok());
    assert_eq!(limiter.check(&call).expect_err("used up").code(), Code::RateLimited);
    assert_eq!(limiter.check(&call.cost(2)).expect_err("too much").code(), Code::RateCostTooLarge);
}
