//! Changes under way: of the limit, and of the epoch that numbers are counted from.

use proptest::prelude::*;

use super::laws::{Pure, any_limit, asking, demand, either_way, forward, priced};
use super::*;
use crate::rate_limit::options::Limit;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Algorithms that all admit `limit` at once, and none soon after.
fn alike(limit: u32) -> [RateLimitOptions; 4] {
    let per = SECOND * 86_400;
    [tokens(limit, per, limit), leaky(limit, per, limit - 1), fixed(limit, per), sliding(limit, per)]
}

/// How many calls are admitted to begin or to wait, one after the other.
fn queue_all(bench: &Bench) -> u32 {
    (0..).take_while(|_| bench.queue(&Call::new()).is_ok()).count().try_into().expect("few")
}

#[test]
fn what_was_used_by_one_algorithm_is_used_by_each_other() {
    for (from, options) in each_algorithm() {
        for (to, others) in each_algorithm() {
            for used in [0, 1, 7, 10] {
                let bench = Bench::new(&options);
                bench.time.advance(SECOND * 5 / 2);
                let taken = (0..used).filter(|_| bench.queue(&Call::new()).is_ok()).count();
                assert_eq!(taken, used);
                bench.reconfigure(&others);
                let status = bench.limiter.status();
                assert_eq!(status.limit - status.remaining, u32::try_from(used).expect("few"), "{from} to {to}");
                assert_eq!(queue_all(&bench), status.remaining, "{from} to {to}");
                bench.reconfigure(&options);
                assert_eq!(bench.limiter.status().remaining, bench.limiter.status().limit.saturating_sub(status.limit));
            }
        }
    }
}

#[test]
fn what_was_used_beyond_a_new_limit_is_all_that_there_may_be() {
    for (from, options) in each_algorithm() {
        for smaller in [tokens(3, SECOND, 3), leaky(3, SECOND, 2), fixed(3, SECOND), sliding(3, SECOND)] {
            let bench = Bench::new(&options);
            assert!((0..10).all(|_| bench.queue(&Call::new()).is_ok()));
            bench.reconfigure(&smaller);
            assert_eq!((bench.remaining(), queue_all(&bench)), (0, 0), "{from}");
            bench.time.advance(SECOND);
            assert_eq!(queue_all(&bench), 3, "{from}: all of the new limit has come back");
        }
    }
}

#[test]
fn a_larger_limit_admits_what_it_has_more() {
    let bench = Bench::new(&tokens(10, SECOND, 10));
    assert_eq!(bench.drain(), 10);
    bench.reconfigure(&tokens(10, SECOND, 15));
    assert_eq!(bench.drain(), 5);
    bench.reconfigure(&tokens(20, SECOND, 15));
    bench.time.advance(SECOND / 2);
    assert_eq!(bench.drain(), 10);
}

#[test]
fn windows_of_the_same_length_keep_their_beat_and_their_counts() {
    for limits in [[fixed(10, SECOND), fixed(12, SECOND)], [sliding(100, SECOND), sliding(102, SECOND)]] {
        let bench = Bench::new(&limits[0]);
        bench.time.advance(SECOND * 5 + SECOND * 9 / 10);
        bench.drain();
        bench.time.advance(SECOND / 20);
        bench.reconfigure(&limits[1]);
        assert_eq!(bench.drain(), 2);
        bench.time.advance(SECOND / 20);
        let left = if limits[0].fixed_window.is_some() { 12 } else { 0 };
        assert_eq!(bench.drain(), left, "a new window, of which a sliding one knows what was before");
        bench.reconfigure(&limits[0]);
        bench.reconfigure(&limits[1]);
        bench.time.advance(SECOND / 2);
        let left = if limits[0].fixed_window.is_some() { 0 } else { 51 };
        assert_eq!(bench.drain(), left);
    }
}

#[test]
fn a_longer_sliding_window_does_not_count_again_what_had_come_back() {
    let bench = Bench::new(&sliding(5, SECOND));
    assert!(bench.takes(2));
    bench.time.advance(SECOND / 2);
    assert!(bench.takes(1));
    bench.time.advance(SECOND / 2);
    bench.reconfigure(&sliding(5, SECOND * 10));
    assert_eq!(bench.drain(), 4);
    bench.time.advance(SECOND * 5);
    bench.reconfigure(&sliding(5, SECOND));
    assert_eq!(bench.drain(), 5);
}

#[test]
fn a_ticket_from_before_a_change_of_the_limit_gives_nothing_back() {
    for (name, options) in each_algorithm() {
        let bench = Bench::new(&options);
        let [before, after] = [(); 2].map(|()| bench.queue(&Call::new()).expect(name).1);
        let same = RateLimitOptions { mode: Mode::MetricsOnly, max_keys: 3, ..options.clone() };
        bench.reconfigure(&same);
        bench.reconfigure(&options);
        bench.settle(after, Outcome::Rejected);
        let limit = bench.limiter.status().limit;
        assert_eq!(bench.remaining(), limit - 1, "{name}: the limit is the same");
        bench.reconfigure(&tokens(1, SECOND * 1000, 20));
        bench.settle(before, Outcome::Rejected);
        assert_eq!(bench.remaining(), 19, "{name}");
    }
}

#[test]
fn a_limiter_that_runs_for_years_counts_as_on_its_first_day() {
    let odd = tokens(999_999_937, SECOND, 5);
    for (name, options) in each_algorithm().into_iter().chain([("odd token bucket", odd)]) {
        let bench = Bench::new(&options);
        for _ in 0..100 {
            bench.time.advance(YEAR + NANO * 7);
            let limit = bench.limiter.status().limit;
            assert_eq!((bench.remaining(), queue_all(&bench)), (limit, limit), "{name}");
            let ticket = {
                bench.time.advance(SECOND * 10);
                bench.ask(1).expect(name)
            };
            bench.settle(ticket, Outcome::Rejected);
            assert_eq!(bench.remaining(), limit, "{name}");
        }
    }
}

proptest! {
    #[test]
    fn no_number_of_changes_admits_more_than_the_limit(
        // Of 64 calls in a window, each is remembered; 65 are counted.
        limit in 64..66_u32,
        changes in prop::collection::vec(0..4_usize, 1..600),
    ) {
        let bench = Bench::new(&alike(limit)[0]);
        bench.time.advance(YEAR);
        let mut taken = 0;
        for change in changes {
            bench.reconfigure(&alike(limit)[change]);
            taken += u32::from(bench.queue(&Call::new()).is_ok());
        }
        prop_assert!(taken <= limit, "{taken}");
    }

    #[test]
    fn where_the_epoch_lies_makes_no_difference(
        options in any_limit(),
        calls in prop::collection::vec((forward(), asking(), any::<bool>(), any::<bool>()), 1..100),
    ) {
        let (mut pure, mut moving) = (Pure::new(&options, 0), Pure::new(&options, 0));
        let most = pure.most();
        let (mut now, mut last) = (0, None);
        for (step, (share, patience), moves, gives_back) in calls {
            now = step.from(now, &pure.limit);
            if moves {
                moving.move_epoch(Moment::from_nanos(now));
            }
            let demand = demand(now, priced(share, most), patience);
            if let Some((cost, starts)) = last.take_if(|_| gives_back) {
                pure.untake(cost, starts, now);
                moving.untake(cost, starts, now);
            }
            prop_assert_eq!(pure.standing(&demand).used, moving.standing(&demand).used);
            let starts = pure.take(&demand);
            prop_assert_eq!(starts, moving.take(&demand));
            last = starts.map(|starts| (demand.cost, starts)).or(last);
        }
    }

    #[test]
    fn a_change_by_an_outdated_reading_forgets_nothing(
        options in any_limit(),
        calls in prop::collection::vec((either_way(), asking()), 1..60),
        step in forward(),
    ) {
        let mut pure = Pure::new(&options, 0);
        let most = pure.most();
        let (mut now, mut latest) = (0, 0);
        for (step, (share, patience)) in calls {
            now = step.from(now, &pure.limit);
            latest = latest.max(now);
            pure.take(&demand(now, priced(share, most), patience));
        }
        let later = demand(step.from(latest, &pure.limit), 1, None);
        pure.rebase(latest);
        let before = pure.standing(&later);
        pure.move_epoch(Moment::from_nanos(now));
        let after = pure.standing(&later);
        prop_assert_eq!((after.used, after.recovers.max(later.now)), (before.used, before.recovers.max(later.now)));
        // The same limit for calls that wait a little longer.
        if let Limit::Tokens { .. } = pure.limit {
            let patient = RateLimitOptions { max_wait: options.max_wait + NANO, ..options };
            pure.reconfigure(&patient, now);
            prop_assert_eq!(pure.standing(&later).used, before.used);
        }
    }

    #[test]
    fn a_change_of_the_limit_carries_over_what_is_used(
        from in any_limit(),
        to in any_limit(),
        calls in prop::collection::vec((forward(), asking()), 1..60),
    ) {
        let mut pure = Pure::new(&from, 0);
        let most = pure.most();
        let mut now = 0;
        for (step, (share, patience)) in calls {
            now = step.from(now, &pure.limit);
            pure.take(&demand(now, priced(share, most), patience));
        }
        pure.rebase(now);
        let demand = demand(now, 1, None);
        let (before, exact) = (pure.standing(&demand).used, matches!(pure.limit, Limit::Exact { .. }));
        pure.reconfigure(&to, now);
        let after = pure.standing(&demand);
        let carried = (after.used.min(after.limit), before.min(after.limit));
        // In a shorter window that remembers every call, fewer of them lie.
        let both_exact = exact && matches!(pure.limit, Limit::Exact { .. });
        prop_assert!(carried.0 == carried.1 || both_exact && carried.0 < carried.1, "{carried:?}");
        prop_assert!(pure.take(&demand).is_none() || after.used < after.limit);
    }
}

#[test]
fn nothing_is_lost_or_gained_while_the_limit_changes_under_its_calls() {
    let per = SECOND * 86_400;
    let bench = Bench::new(&tokens(5000, per, 5000));
    let limiter = &bench.limiter;
    let admitted: usize = std::thread::scope(|scope| {
        let callers =
            [(); 3].map(|()| scope.spawn(|| (0..4000).filter(|_| limiter.check(&Call::new()).is_ok()).count()));
        for round in 0..1000 {
            let changed = if round % 2 == 0 { fixed(5000, per) } else { tokens(5000, per, 5000) };
            bench.reconfigure(&changed);
        }
        callers.map(|caller| caller.join().expect("no panic")).into_iter().sum()
    });
    assert_eq!(admitted, 5000);
    assert_eq!(limiter.stats().allowed + limiter.stats().denied, 12_000);
}
