//! Another size, other options, and the end.

use super::*;
use crate::event::Happening;

#[tokio::test]
async fn surplus_resources_go_at_once_or_when_they_come_back() {
    let bench = Bench::of(4);
    let listener = bench.events.subscribe(64);
    let (one, two, three, four) = (bench.take().await, bench.take().await, bench.take().await, bench.take().await);
    drop((one, two));
    bench.change(|options| options.size = 1);
    bench.expect(0, 2, 0);
    assert_eq!(code(bench.pool.try_acquire().await), Code::PoolFull);
    drop(three);
    bench.expect(0, 1, 0);
    drop(four);
    bench.expect(1, 0, 0);
    let resized = std::iter::from_fn(|| listener.try_next()).map(|event| event.happening);
    assert!(resized.collect::<Vec<_>>().contains(&Happening::PoolResized { from: 4, to: 1 }));
    bench.change(|options| options.overflow = 2);
    assert_eq!(listener.try_next().unwrap().happening, Happening::PoolResized { from: 1, to: 3 });
    bench.change(|options| options.queue = 7);
    assert!(listener.try_next().is_none());
}

#[tokio::test]
async fn a_pool_that_shrinks_before_it_is_full_keeps_its_new_bound() {
    let bench = Bench::of(10);
    bench.change(|options| options.size = 2);
    let _held = (bench.take().await, bench.take().await);
    assert_eq!(code(bench.pool.try_acquire().await), Code::PoolFull);
}

#[tokio::test]
async fn who_waits_in_a_pool_that_shrinks_is_served_within_the_new_bound() {
    let bench = Bench::of(2);
    let (one, two) = (bench.take().await, bench.take().await);
    let mut waiting = Box::pin(bench.pool.acquire());
    assert!(poll(&mut waiting).is_pending());
    bench.change(|options| options.size = 1);
    drop(one);
    assert!(poll(&mut waiting).is_pending());
    drop(two);
    assert_eq!(finish(waiting).unwrap().id, 2);
    assert_eq!(bench.shop.most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn who_waits_has_the_places_that_a_larger_pool_brings() {
    let bench = Bench::of(1);
    let _tool = bench.take().await;
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(bench.pool.acquire())).collect();
    assert!(waiting.iter_mut().all(|caller| poll(caller).is_pending()));
    bench.change(|options| options.size = 3);
    bench.expect(0, 3, 1);
    let third = waiting.pop().unwrap();
    let second = waiting.pop().unwrap();
    // One that gives up before it learns of its place leaves that to the next.
    drop(waiting.pop());
    assert!(finish(second).is_ok());
    assert!(finish(third).is_ok());
}

#[tokio::test]
async fn options_that_cannot_be_change_nothing() {
    let bench = Bench::of(2);
    let before = bench.pool.options();
    let wrong = PoolOptions { size: 5, min_idle: 6, ..Default::default() };
    assert_eq!(bench.pool.reconfigure(&wrong).unwrap_err().option, "min_idle");
    assert_eq!(bench.pool.options(), before);
    // Later ones still work.
    bench.change(|options| options.size = 7);
    assert_eq!((bench.pool.options().size, bench.pool.stats().size), (7, 7));
}

#[tokio::test]
async fn new_times_hold_for_resources_that_there_are() {
    let bench = Bench::of(1);
    bench.fill(1).await;
    bench.advance(60);
    bench.change(|options| options.idle_timeout = Some(Duration::from_secs(60)));
    bench.pool.maintain().await.unwrap();
    bench.expect(0, 0, 0);
}

#[tokio::test]
async fn a_closed_pool_turns_everybody_away_and_closes_what_comes_back() {
    let bench = Bench::new(&PoolOptions { size: 2, queue: 2, ..Default::default() });
    bench.plan_connects([Plan::Works, Plan::Yields(1)]);
    let held = bench.take().await;
    let mut making = Box::pin(bench.pool.acquire());
    assert!(poll(&mut making).is_pending());
    let mut waiting = Box::pin(bench.pool.acquire());
    assert!(poll(&mut waiting).is_pending());
    assert!(!bench.pool.is_closed());
    bench.pool.close();
    assert!(bench.pool.is_closed());
    assert_eq!(code(finish(waiting)), Code::PoolClosed);
    assert_eq!(code(finish(making)), Code::PoolClosed);
    assert_eq!(code(bench.pool.acquire().await), Code::PoolClosed);
    assert_eq!(bench.pool.peek().unwrap_err().code(), Code::PoolClosed);
    bench.expect(0, 1, 0);
    bench.change(|options| options.size = 5);
    assert_eq!(code(bench.pool.try_acquire().await), Code::PoolClosed);
    drop(held);
    bench.expect(0, 0, 0);
    bench.pool.close();
}

#[tokio::test]
async fn who_was_given_a_place_just_before_the_end_makes_nothing_for_it() {
    let bench = Bench::of(1);
    let mut tool = bench.take().await;
    let mut waiting = Box::pin(bench.pool.acquire());
    assert!(poll(&mut waiting).is_pending());
    tool.broken = true;
    drop(tool);
    bench.pool.close();
    assert_eq!(code(finish(waiting)), Code::PoolClosed);
    bench.expect(0, 0, 0);
    assert_eq!(bench.pool.stats().created, 1);
}

#[tokio::test]
async fn draining_ends_when_the_last_resource_is_closed() {
    let bench = Bench::of(3);
    let (one, two) = (bench.take().await, bench.take().await);
    bench.fill(1).await;
    let pool = bench.pool.clone();
    let drained = tokio::spawn(async move { pool.drain().await });
    others_run().await;
    bench.expect(0, 2, 0);
    drop(one);
    others_run().await;
    assert!(!drained.is_finished());
    drop(two);
    drained.await.unwrap();
    bench.pool.drain().await;
    bench.expect(0, 0, 0);
}

#[tokio::test]
async fn an_idle_resource_that_panics_when_it_is_closed_does_not_hold_the_others() {
    let bench = Bench::of(3);
    let (one, mut two, three) = (bench.take().await, bench.take().await, bench.take().await);
    two.closing_panics = true;
    drop((one, two, three));
    let close = std::panic::AssertUnwindSafe(|| bench.pool.close());
    assert!(std::panic::catch_unwind(close).is_err());
    bench.expect(0, 0, 0);
}
