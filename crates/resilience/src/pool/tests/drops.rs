//! What is dropped halfway, and what panics: everything is given back, to the next who waits.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// A checkout of every kind, which is ready after a few polls.
#[derive(Debug, Clone, Copy)]
enum Scene {
    /// Makes a resource.
    Makes,
    /// Checks an idle one.
    Checks,
    /// Checks an idle one, which is dead, and makes another.
    Replaces,
    /// Waits for one that comes back, and checks it.
    Waits,
    /// Waits for one that turns out broken, and makes another.
    WaitsForPlace,
}

const SCENES: [Scene; 5] = [Scene::Makes, Scene::Checks, Scene::Replaces, Scene::Waits, Scene::WaitsForPlace];

impl Scene {
    /// A pool of one, with what somebody else has of it.
    async fn set(self) -> (Bench, Option<Pooled<Maker>>) {
        let bench = Bench::new(&PoolOptions { size: 1, check_on_checkout: true, ..Default::default() });
        if matches!(self, Self::Makes) {
            bench.plan_connects([Plan::Yields(2)]);
            return (bench, None);
        }
        let mut tool = bench.take().await;
        bench.plan_checks([Plan::Yields(2)]);
        bench.plan_connects([Plan::Yields(2)]);
        tool.dead = matches!(self, Self::Replaces);
        tool.broken = matches!(self, Self::WaitsForPlace);
        let held = matches!(self, Self::Waits | Self::WaitsForPlace).then_some(tool);
        (bench, held)
    }
}

/// Runs the scene, drops the checkout after so many polls, and says whether it was ready by then.
async fn drop_after(scene: Scene, polls: u32, with_next: bool) -> bool {
    let (bench, mut held) = scene.set().await;
    let mut caller = Box::pin(bench.pool.acquire());
    let mut next = Box::pin(bench.pool.acquire());
    let mut ready = false;
    for number in 0..polls {
        ready = poll(&mut caller).is_ready();
        if ready {
            break;
        }
        if with_next {
            assert!(poll(&mut next).is_pending(), "served before the first: {scene:?} {polls}");
        }
        if number == 1 {
            drop(held.take());
        }
    }
    drop(caller);
    drop(held);
    if with_next && polls > 0 {
        assert!(finish(next).is_ok(), "{scene:?} {polls}");
    } else {
        drop(next);
    }
    let stats = bench.pool.stats();
    assert_eq!((stats.busy, stats.waiting), (0, 0), "{scene:?} {polls}: {stats:?}");
    bench.expect(stats.idle, 0, 0);
    assert!(finish(Box::pin(bench.pool.acquire())).is_ok());
    assert_eq!(bench.shop.most.load(Ordering::SeqCst), 1, "{scene:?} {polls}");
    ready
}

#[tokio::test]
async fn a_checkout_dropped_at_any_await_gives_back_what_it_had() {
    for scene in SCENES {
        for with_next in [false, true] {
            let mut polls = 0;
            while !drop_after(scene, polls, with_next).await {
                polls += 1;
                assert!(polls < 50, "{scene:?} is never ready");
            }
            assert!(polls > 1, "{scene:?} never waits");
        }
    }
}

#[tokio::test]
async fn what_was_handed_to_somebody_who_is_gone_goes_to_the_next() {
    for broken in [false, true] {
        let bench = Bench::of(1);
        let mut tool = bench.take().await;
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(bench.pool.acquire())).collect();
        assert!(waiting.iter_mut().all(|caller| poll(caller).is_pending()));
        tool.broken = broken;
        drop(tool);
        bench.expect(0, 1, 2);
        drop(waiting.remove(0));
        bench.expect(0, 1, 1);
        drop(waiting.remove(0));
        bench.expect(0, 1, 0);
        assert!(finish(waiting.remove(0)).is_ok());
        bench.expect(1, 0, 0);
    }
}

#[tokio::test]
async fn a_waiter_is_woken_by_every_kind_of_release() {
    let releases: [fn(Pooled<Maker>); 4] = [
        drop,
        Pooled::discard,
        |tool| drop(Pooled::take(tool)),
        |mut tool| {
            tool.closing_panics = true;
            assert!(catch_unwind(AssertUnwindSafe(|| Pooled::discard(tool))).is_err());
        },
    ];
    for release in releases {
        let bench = Bench::of(1);
        let tool = bench.take().await;
        let pool = bench.pool.clone();
        let waiting = tokio::spawn(async move { pool.acquire().await.map(|tool| tool.id) });
        others_run().await;
        bench.expect(0, 1, 1);
        release(tool);
        assert!(waiting.await.unwrap().is_ok());
        bench.expect(1, 0, 0);
    }
}

#[tokio::test]
async fn code_of_the_user_that_panics_costs_a_resource_and_no_place() {
    let bench = Bench::new(&PoolOptions { size: 1, check_on_checkout: true, ..Default::default() });
    let pool = bench.pool.clone();
    let acquire = || {
        let pool = pool.clone();
        tokio::spawn(async move { pool.acquire().await.map(|tool| tool.id) })
    };
    bench.plan_connects([Plan::Panics]);
    assert!(acquire().await.unwrap_err().is_panic());
    bench.expect(0, 0, 0);

    bench.fill(1).await;
    bench.plan_checks([Plan::Panics]);
    assert!(acquire().await.unwrap_err().is_panic());
    bench.expect(0, 0, 0);

    let mut tool = bench.take().await;
    tool.asking_panics = true;
    assert!(catch_unwind(AssertUnwindSafe(|| drop(tool))).is_err());
    bench.expect(0, 0, 0);

    let mut tool = bench.take().await;
    (tool.broken, tool.closing_panics) = (true, true);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(tool))).is_err());
    bench.expect(0, 0, 0);

    let transaction = tokio::spawn(async move {
        pool.transaction(async |tool: &mut Tool| if tool.broken { Ok(()) } else { panic!("on purpose") }).await
    });
    let ended: Result<Result<(), Error<Trouble>>, _> = transaction.await;
    assert!(ended.unwrap_err().is_panic());
    bench.expect(0, 0, 0);
    assert!(bench.pool.acquire().await.is_ok());
}

#[tokio::test]
async fn a_resource_held_by_a_thread_that_panics_is_closed() {
    let bench = Bench::of(1);
    let tool = bench.take().await;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _tool = tool;
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    bench.expect(0, 0, 0);
    assert_eq!(bench.pool.stats().closed, 1);
}

#[tokio::test]
async fn resources_outlive_the_handles_of_their_pool() {
    let bench = Bench::of(1);
    let tool = bench.take().await;
    let Bench { pool, shop, .. } = bench;
    drop(pool);
    assert_eq!(shop.live.load(Ordering::SeqCst), 1);
    drop(tool);
    assert_eq!(shop.live.load(Ordering::SeqCst), 0);
}
