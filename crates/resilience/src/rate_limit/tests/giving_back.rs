//! What comes back: of calls that never began, by hand, and all at once.

use proptest::prelude::*;

use super::laws::{Pure, Taken, any_limit, asking, demand, forward, keeps_its_law, priced, stretch};
use super::*;

proptest! {
    #[test]
    fn calls_that_began_keep_the_law_whenever_others_give_back_what_they_took(
        options in any_limit(),
        calls in prop::collection::vec((forward(), asking(), any::<bool>(), any::<prop::sample::Index>()), 1..120),
    ) {
        let mut pure = Pure::new(&options, 0);
        let most = pure.most();
        let (mut now, mut taken) = (0, Vec::<Taken>::new());
        for (step, (share, patience), gives_back, which) in calls {
            now = step.from(now, &pure.limit);
            let patience = patience.map(|thousandths| now.saturating_add(stretch(&pure.limit, thousandths)));
            let cost = priced(share, most);
            if let Some(starts) = pure.take(&demand(now, cost, patience)) {
                taken.push(Taken { at: now, starts, cost });
            }
            if gives_back && !taken.is_empty() {
                let call = taken.remove(which.index(taken.len()));
                let before = pure.standing(&demand(now, 1, None)).used;
                pure.untake(call.cost, call.starts, now);
                let after = pure.standing(&demand(now, 1, None)).used;
                prop_assert!(after <= before && before - after <= call.cost, "{before} {after} {call:?}");
            }
        }
        keeps_its_law(&pure.limit, &taken)?;
    }

    #[test]
    fn what_is_given_back_at_once_was_never_taken(
        options in any_limit(),
        calls in prop::collection::vec((forward(), asking()), 1..60),
    ) {
        let mut pure = Pure::new(&options, 0);
        let most = pure.most();
        let mut now = 0;
        for (step, (share, patience)) in calls {
            now = step.from(now, &pure.limit);
            let patience = patience.map(|_| u64::MAX);
            let demand = demand(now, priced(share, most), patience);
            pure.rebase(now);
            let before = pure.standing(&demand);
            if let Some(starts) = pure.take(&demand) {
                pure.untake(demand.cost, starts, now);
                prop_assert_eq!(pure.standing(&demand).used, before.used);
                prop_assert_eq!(pure.take(&demand), Some(starts));
            }
        }
    }

    #[test]
    fn a_refund_gives_back_what_was_taken_and_no_more_than_there_may_be(
        options in any_limit(),
        calls in prop::collection::vec((forward(), asking(), prop::option::of(0..2000_u32)), 1..60),
    ) {
        let mut pure = Pure::new(&options, 0);
        let most = pure.most();
        let mut now = 0;
        for (step, (share, _), refund) in calls {
            now = step.from(now, &pure.limit);
            pure.take(&demand(now, priced(share, most), None));
            let before = pure.standing(&demand(now, 1, None)).used;
            let cost = refund.unwrap_or(0);
            pure.refund(cost);
            let after = pure.standing(&demand(now, 1, None)).used;
            prop_assert!(after <= before && before - after <= cost, "{before} {after} {cost}");
        }
        pure.refund(u32::MAX);
        pure.refund(u32::MAX);
        prop_assert!(pure.take(&demand(now, 1, None)).is_some());
    }
}

#[test]
fn a_call_that_never_began_gives_back_what_it_took() {
    for (name, options) in each_algorithm() {
        let bench = Bench::new(&options);
        let ticket = bench.ask(1).expect(name);
        bench.settle(ticket, Outcome::Rejected);
        assert_eq!(bench.remaining(), bench.limiter.status().limit, "{name}");
    }
}

#[test]
fn a_call_that_never_began_gives_back_as_much_if_the_epoch_has_moved_meanwhile() {
    for (name, options) in each_algorithm() {
        let given_back = |moves: bool| {
            let (mut pure, now) = (Pure::new(&options, 0), 20_000_000);
            let starts = pure.take(&demand(0, 5, None)).expect(name);
            if moves {
                pure.move_epoch(Moment::from_nanos(now));
            }
            let before = pure.standing(&demand(now, 1, None)).used;
            pure.untake(5, starts, now);
            before - pure.standing(&demand(now, 1, None)).used
        };
        assert!(given_back(false) >= 3, "{name}");
        assert_eq!(given_back(true), given_back(false), "{name}");
    }
}

#[test]
fn a_call_that_began_gives_nothing_back() {
    for (name, options) in each_algorithm() {
        for outcome in [Outcome::Success, Outcome::Failure, Outcome::Overload, Outcome::Ignored, Outcome::Cancelled] {
            let bench = Bench::new(&options);
            let ticket = bench.ask(1).expect(name);
            bench.settle(ticket, outcome);
            assert_eq!(bench.remaining(), bench.limiter.status().limit - 1, "{name}");
        }
    }
}

#[test]
fn a_late_return_gives_back_only_what_has_not_come_back_by_itself() {
    let bench = Bench::new(&tokens(10, SECOND, 2));
    let ticket = bench.ask(2).expect("full");
    bench.time.advance(SECOND / 10);
    assert!(bench.takes(1), "one has come back");
    bench.settle(ticket, Outcome::Rejected);
    assert_eq!(bench.drain(), 1, "the other one");
}

#[test]
fn in_another_window_there_is_nothing_to_give_back() {
    let bench = Bench::new(&fixed(2, SECOND));
    let early = bench.ask(2).expect("empty window");
    bench.time.advance(SECOND);
    assert!(bench.takes(2));
    bench.settle(early, Outcome::Rejected);
    bench.limiter.refund(0);
    assert_eq!(bench.drain(), 0);
}

#[test]
fn what_still_counts_of_the_window_before_is_given_back_there() {
    let bench = Bench::new(&sliding(100, SECOND));
    let ticket = bench.ask(40).expect("empty window");
    assert!(bench.takes(20));
    bench.time.advance(SECOND);
    assert!(bench.takes(10));
    assert_eq!(bench.remaining(), 30);
    bench.settle(ticket, Outcome::Rejected);
    assert_eq!(bench.remaining(), 70);
}

#[test]
fn what_a_refund_gave_back_already_is_not_taken_from_others() {
    let bench = Bench::new(&sliding(3, SECOND));
    assert!(bench.takes(1));
    bench.time.advance(NANO);
    let ticket = bench.ask(2).expect("room");
    bench.limiter.refund(1);
    bench.settle(ticket, Outcome::Rejected);
    assert_eq!(bench.remaining(), 2, "the first is still there");
}

/// Two calls run or wait, and the place between them cannot be given to anybody.
#[test]
fn whoever_waits_behind_keeps_its_turn_and_nobody_gets_one_beside_it() {
    for options in [leaky(1, SECOND, 10), RateLimitOptions { max_wait: SECOND * 10, ..tokens(1, SECOND, 1) }] {
        for first in [Outcome::Rejected, Outcome::Cancelled] {
            let bench = Bench::new(&options);
            let tickets = [(); 3].map(|()| bench.queue(&Call::new()).expect("place").1);
            bench.settle(tickets[1], first);
            assert_eq!(bench.queue(&Call::new()).expect("place").0, bench.now().after(SECOND * 3), "behind the last");
        }
        let bench = Bench::new(&options);
        let tickets = [(); 2].map(|()| bench.queue(&Call::new()).expect("place").1);
        bench.time.advance(SECOND / 4);
        bench.settle(tickets[0], Outcome::Rejected);
        let begins = bench.queue(&Call::new()).expect("place").0;
        assert_eq!(begins, Moment::ORIGIN.after(SECOND * 2), "a second after the one that waits");
    }
}

#[test]
fn the_last_in_the_queue_gives_its_place_back_when_it_gives_up() {
    for options in [leaky(1, SECOND, 2), RateLimitOptions { max_wait: SECOND * 2, ..tokens(1, SECOND, 1) }] {
        let bench = Bench::new(&options);
        let [.., last] = [(); 3].map(|()| bench.queue(&Call::new()).expect("place"));
        assert_eq!(bench.queue(&Call::new()).expect_err("full").code(), Code::RateQueueFull);
        bench.settle(last.1, Outcome::Cancelled);
        let again = bench.queue(&Call::new()).expect("its place");
        assert_eq!(again.0, last.0);
        bench.time.advance(SECOND * 2);
        bench.settle(again.1, Outcome::Cancelled);
        assert_eq!(bench.queue(&Call::new()).expect("place").0, last.0.after(SECOND), "it had begun");
    }
}

#[tokio::test]
async fn a_wait_that_is_dropped_gives_its_place_back() {
    let bench = Bench::new(&leaky(1, SECOND, 1));
    bench.limiter.acquire_for(&Call::new()).await.expect("idle").success();
    for _ in 0..5 {
        let call = Call::new();
        let mut waiting = Box::pin(bench.limiter.acquire_for(&call));
        assert!(poll(waiting.as_mut()).is_pending());
        assert_eq!(bench.remaining(), 0);
        drop(waiting);
        assert_eq!(bench.remaining(), 1);
    }
}

fn poll<T>(future: std::pin::Pin<&mut (impl Future<Output = T> + ?Sized)>) -> std::task::Poll<T> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn a_reset_forgets_all_that_was_used_and_is_told() {
    for (name, options) in each_algorithm() {
        let bench = Bench::new(&options);
        bench.time.advance(SECOND * 7);
        let ticket = bench.ask(1).expect(name);
        while bench.takes(1) {}
        bench.told();
        bench.limiter.reset();
        assert_eq!(bench.told(), [Happening::RateReset]);
        assert_eq!(bench.remaining(), bench.limiter.status().limit, "{name}");
        assert!(bench.takes(1));
        bench.settle(ticket, Outcome::Rejected);
        assert_eq!(bench.remaining(), bench.limiter.status().limit - 1, "{name}: of a time before, nothing comes back");
    }
}

#[test]
fn a_refund_by_hand_comes_back_whoever_took_it() {
    for (name, options) in each_algorithm() {
        let bench = Bench::new(&options);
        let limit = bench.limiter.status().limit;
        assert!(bench.takes(limit), "{name}");
        bench.limiter.refund(3);
        assert_eq!(bench.remaining(), 3, "{name}");
        bench.limiter.refund(u32::MAX);
        assert_eq!(bench.remaining(), limit, "{name}");
        bench.limiter.refund(5);
        assert_eq!(bench.remaining(), limit, "{name}: not more than there may be");
    }
}
