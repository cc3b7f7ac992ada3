//! What a pass of maintenance closes, checks and makes.

use super::*;
use crate::event::Happening;

fn minutes(minutes: u64) -> Option<Duration> {
    Some(Duration::from_secs(60 * minutes))
}

#[tokio::test]
async fn dead_resources_are_found_before_a_caller_meets_them() {
    let bench = Bench::of(4);
    let (mut one, two, mut three, four) =
        (bench.take().await, bench.take().await, bench.take().await, bench.take().await);
    (one.dead, three.dead) = (true, true);
    drop((one, two, three, four));
    bench.pool.maintain().await.unwrap();
    bench.expect(2, 0, 0);
    assert_eq!(bench.shop.checked.load(Ordering::SeqCst), 4);
    let (four, two) = (bench.take().await, bench.take().await);
    assert_eq!((four.id, two.id), (4, 2), "those that are left are in their order");
}

#[tokio::test]
async fn broken_and_silent_resources_are_found_too() {
    let bench = Bench::of(3);
    bench.fill(3).await;
    bench.plan_checks([Plan::Hangs, Plan::Fails, Plan::Yields(3)]);
    let mut pass = Box::pin(bench.pool.maintain());
    assert!(poll(&mut pass).is_pending());
    bench.expect(2, 1, 0);
    bench.advance(5);
    assert_eq!(finish(pass), Ok(()));
    bench.expect(1, 0, 0);
    assert_eq!(bench.take().await.id, 3);
}

#[tokio::test]
async fn a_check_is_no_use_and_does_not_make_idle_time_begin_anew() {
    let bench = Bench::new(&PoolOptions { idle_timeout: minutes(10), ..Default::default() });
    bench.fill(1).await;
    for _ in 0..2 {
        bench.advance(300);
        bench.pool.maintain().await.unwrap();
    }
    bench.expect(0, 0, 0);
    assert_eq!(bench.shop.checked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn idle_resources_beyond_min_idle_are_closed_longest_idle_first() {
    let options = PoolOptions { min_idle: 1, idle_timeout: minutes(10), max_lifetime: None, ..Default::default() };
    let bench = Bench::new(&options);
    let (one, two, three) = (bench.take().await, bench.take().await, bench.take().await);
    drop(one);
    bench.advance(60);
    drop(two);
    bench.advance(60);
    drop(three);
    bench.advance(480);
    bench.pool.maintain().await.unwrap();
    bench.expect(2, 0, 0);
    bench.advance(3600);
    bench.pool.maintain().await.unwrap();
    bench.expect(1, 0, 0);
    assert_eq!(bench.take().await.id, 3);
    assert_eq!(bench.pool.stats().created, 3);
}

#[tokio::test]
async fn a_life_ends_at_max_lifetime_or_up_to_a_tenth_before_and_not_all_at_once() {
    let options = PoolOptions { size: 100, idle_timeout: None, max_lifetime: minutes(10), ..Default::default() };
    let bench = Bench::new(&options);
    bench.fill(100).await;
    bench.advance(539);
    bench.pool.maintain().await.unwrap();
    bench.expect(100, 0, 0);
    bench.advance(31);
    bench.pool.maintain().await.unwrap();
    let left = bench.pool.stats().idle;
    assert!((30..70).contains(&left), "{left} of 100 live at half of the spread");
    bench.advance(30);
    bench.pool.maintain().await.unwrap();
    bench.expect(0, 0, 0);
}

#[tokio::test]
async fn lives_that_are_over_are_replaced_where_min_idle_lacks_them() {
    let options = PoolOptions { min_idle: 2, max_lifetime: minutes(30), ..Default::default() };
    let bench = Bench::new(&options);
    bench.pool.maintain().await.unwrap();
    bench.expect(2, 0, 0);
    bench.advance(1800);
    bench.pool.maintain().await.unwrap();
    bench.expect(2, 0, 0);
    assert_eq!(bench.pool.stats().created, 4);
}

#[tokio::test]
async fn min_idle_is_kept_beside_what_is_busy_and_never_beyond_size() {
    let bench = Bench::new(&PoolOptions { size: 3, overflow: 2, min_idle: 2, ..Default::default() });
    let _one = bench.take().await;
    bench.pool.maintain().await.unwrap();
    bench.expect(2, 1, 0);
    let _two = bench.take().await;
    bench.pool.maintain().await.unwrap();
    bench.expect(1, 2, 0);
}

#[tokio::test]
async fn a_failure_ends_the_pass_and_the_next_one_tries_again() {
    let bench = Bench::new(&PoolOptions { min_idle: 3, ..Default::default() });
    bench.plan_connects([Plan::Works, Plan::Fails]);
    assert_eq!(bench.pool.maintain().await, Err(Error::Call(Trouble)));
    bench.expect(1, 0, 0);
    bench.plan_connects([Plan::Hangs]);
    let mut pass = Box::pin(bench.pool.maintain());
    assert!(poll(&mut pass).is_pending());
    bench.advance(5);
    assert_eq!(code(finish(pass)), Code::PoolConnect);
    bench.pool.maintain().await.unwrap();
    bench.expect(3, 0, 0);
}

#[tokio::test]
async fn who_waits_is_served_by_what_a_pass_lets_go_or_makes() {
    // One that is being checked when somebody asks.
    let bench = Bench::of(1);
    bench.fill(1).await;
    bench.plan_checks([Plan::Yields(1)]);
    let mut pass = Box::pin(bench.pool.maintain());
    assert!(poll(&mut pass).is_pending());
    let mut waiting = Box::pin(bench.pool.acquire());
    assert!(poll(&mut waiting).is_pending());
    finish(pass).unwrap();
    assert_eq!(finish(waiting).unwrap().id, 1);

    // One that is being made when somebody asks.
    let bench = Bench::new(&PoolOptions { size: 1, min_idle: 1, ..Default::default() });
    bench.plan_connects([Plan::Yields(1)]);
    let mut pass = Box::pin(bench.pool.maintain());
    assert!(poll(&mut pass).is_pending());
    let mut waiting = Box::pin(bench.pool.acquire());
    assert!(poll(&mut waiting).is_pending());
    finish(pass).unwrap();
    assert_eq!(finish(waiting).unwrap().id, 1);
    bench.expect(1, 0, 0);
}

#[tokio::test]
async fn a_pass_dropped_at_any_await_gives_back_what_it_had() {
    for polls in 0.. {
        let bench = Bench::new(&PoolOptions { size: 4, min_idle: 3, ..Default::default() });
        bench.fill(2).await;
        bench.plan_checks([Plan::Yields(2), Plan::Yields(1)]);
        bench.plan_connects([Plan::Yields(2)]);
        let mut pass = Box::pin(bench.pool.maintain());
        let ready = (0..polls).any(|_| poll(&mut pass).is_ready());
        drop(pass);
        bench.expect(bench.pool.stats().idle, 0, 0);
        bench.pool.maintain().await.unwrap();
        bench.expect(3, 0, 0);
        if ready {
            assert!(polls > 3, "it never waited");
            break;
        }
    }
}

#[tokio::test]
async fn passes_run_one_after_the_other() {
    let bench = Bench::new(&PoolOptions { min_idle: 1, ..Default::default() });
    bench.plan_connects([Plan::Yields(1)]);
    let (mut one, mut two) = (Box::pin(bench.pool.maintain()), Box::pin(bench.pool.maintain()));
    assert!(poll(&mut one).is_pending());
    assert!(poll(&mut two).is_pending());
    finish(one).unwrap();
    finish(two).unwrap();
    bench.expect(1, 0, 0);
}

#[tokio::test]
async fn busy_callers_do_not_keep_a_pass_going() {
    let bench = Bench::of(2);
    bench.fill(2).await;
    bench.plan_checks([Plan::Yields(1), Plan::Yields(1)]);
    let mut pass = Box::pin(bench.pool.maintain());
    for _ in 0..3 {
        if poll(&mut pass).is_ready() {
            break;
        }
        bench.plan_checks([Plan::Yields(1)]);
        Pooled::discard(bench.take().await);
        bench.fill(1).await;
    }
    assert_eq!(bench.shop.checked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn maintenance_runs_at_once_at_each_interval_and_until_the_pool_is_gone() {
    let bench = Bench::new(&PoolOptions { min_idle: 1, idle_timeout: minutes(1), ..Default::default() });
    let listener = bench.events.subscribe(64);
    let task = tokio::spawn(bench.pool.run_maintenance(Duration::from_secs(30)));
    others_run().await;
    bench.expect(1, 0, 0);
    Pooled::discard(bench.take().await);
    bench.plan_connects([Plan::Fails]);
    bench.advance(29);
    others_run().await;
    bench.expect(0, 0, 0);
    bench.advance(1);
    others_run().await;
    bench.expect(0, 0, 0);
    bench.advance(30);
    others_run().await;
    bench.expect(1, 0, 0);
    let failures =
        std::iter::from_fn(|| listener.try_next()).filter(|event| event.happening == Happening::PoolConnectFailed);
    assert_eq!(failures.count(), 1);
    let Bench { pool, clock, shop, .. } = bench;
    drop(pool);
    assert_eq!(shop.live.load(Ordering::SeqCst), 0, "the task does not keep the pool alive");
    clock.advance(Duration::from_secs(30));
    task.await.unwrap();
}

#[tokio::test]
async fn maintenance_ends_with_a_closed_pool() {
    let bench = Bench::new(&PoolOptions { min_idle: 1, ..Default::default() });
    let task = tokio::spawn(bench.pool.run_maintenance(Duration::ZERO));
    others_run().await;
    bench.expect(1, 0, 0);
    bench.pool.close();
    assert_eq!(bench.pool.maintain().await, Ok(()));
    bench.expect(0, 0, 0);
    bench.clock.advance(Duration::from_millis(1));
    task.await.unwrap();
}

#[tokio::test]
async fn a_pool_that_closes_during_a_pass_keeps_nothing_of_it() {
    let bench = Bench::new(&PoolOptions { min_idle: 2, ..Default::default() });
    bench.plan_connects([Plan::Yields(1)]);
    let mut pass = Box::pin(bench.pool.maintain());
    assert!(poll(&mut pass).is_pending());
    bench.pool.close();
    assert_eq!(code(finish(pass)), Code::PoolClosed);
    bench.expect(0, 0, 0);
}
