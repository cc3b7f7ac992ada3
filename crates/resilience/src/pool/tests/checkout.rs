//! What a caller is given, and who is served when.

use super::*;
use crate::call::Call;
use crate::error::Context as Figures;
use crate::event::Happening;
use crate::outcome::RetryAdvice;
use crate::pool::PoolOrder;

#[tokio::test]
async fn a_resource_is_made_once_and_used_again() {
    let bench = Bench::of(2);
    let first = bench.take().await.id;
    assert_eq!(bench.take().await.id, first);
    bench.expect(1, 0, 0);
    let stats = bench.pool.stats();
    assert_eq!((stats.checkouts, stats.created, stats.closed), (2, 1, 0));
}

#[tokio::test]
async fn what_is_printed_says_which_pool_and_which_resource() {
    let bench = Bench::of(2);
    assert!(format!("{:?}", bench.pool).contains("\"tools\", stats: PoolStats { size: 2"));
    assert!(format!("{:?}", bench.take().await).contains("\"tools\", resource: Some(Tool { id: 1"));
}

#[tokio::test]
async fn lifo_hands_out_the_one_used_last_and_fifo_the_one_idle_for_longest() {
    for (order, expected) in [(PoolOrder::Lifo, [3, 2, 1]), (PoolOrder::Fifo, [1, 2, 3])] {
        let bench = Bench::new(&PoolOptions { size: 3, order, ..Default::default() });
        bench.fill(3).await;
        let (a, b, c) = (bench.take().await, bench.take().await, bench.take().await);
        assert_eq!([a.id, b.id, c.id], expected);
    }
}

#[tokio::test]
async fn what_goes_beyond_size_is_closed_when_it_comes_back() {
    let bench = Bench::new(&PoolOptions { size: 1, overflow: 1, queue: 0, ..Default::default() });
    let (one, two) = (bench.take().await, bench.take().await);
    assert_eq!(bench.pool.stats().overflow, 1);
    let full = bench.pool.acquire().await.unwrap_err();
    let rejection = full.rejection().unwrap();
    assert_eq!((rejection.code(), rejection.retry()), (Code::PoolFull, RetryAdvice::Backoff));
    assert_eq!(rejection.context(), Some(Figures::Used { used: 2, limit: 2 }));
    drop(one);
    bench.expect(0, 1, 0);
    drop(two);
    bench.expect(1, 0, 0);
    assert_eq!(bench.pool.stats().rejected, 1);
}

#[tokio::test]
async fn overflow_that_somebody_waits_for_is_handed_on() {
    let bench = Bench::new(&PoolOptions { size: 1, overflow: 1, ..Default::default() });
    let (one, two) = (bench.take().await, bench.take().await);
    let mut waiting = Box::pin(bench.pool.acquire());
    assert!(poll(&mut waiting).is_pending());
    let id = two.id;
    drop(two);
    assert_eq!(finish(waiting).unwrap().id, id);
    drop(one);
    bench.expect(1, 0, 0);
}

#[tokio::test]
async fn callers_are_served_in_the_order_in_which_they_came() {
    let bench = Bench::of(1);
    let tool = bench.take().await;
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(bench.pool.acquire())).collect();
    assert!(waiting.iter_mut().all(|caller| poll(caller).is_pending()));
    drop(tool);
    // It belongs to the first already, whoever asks before that one has run.
    assert_eq!(code(bench.pool.try_acquire().await), Code::PoolFull);
    let mut newcomer = Box::pin(bench.pool.acquire());
    assert!(poll(&mut newcomer).is_pending());
    for mut caller in waiting {
        assert!(poll(&mut newcomer).is_pending());
        let Poll::Ready(tool) = poll(&mut caller) else { panic!("not served") };
        drop(tool.unwrap());
    }
    assert!(poll(&mut newcomer).is_ready());
    assert_eq!(bench.pool.stats().checkouts, 5);
}

#[tokio::test]
async fn a_resource_that_nothing_is_said_about_is_good() {
    struct Plain;
    impl Manage for Plain {
        type Resource = ();
        type Error = Trouble;
        async fn connect(&self) -> Result<(), Trouble> {
            Ok(())
        }
    }
    let options = PoolOptions { check_on_checkout: true, ..Default::default() };
    let pool = Pool::new("plain", Plain, &options).unwrap();
    for _ in 0..2 {
        drop(pool.acquire().await.unwrap());
        pool.maintain().await.unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.created, stats.closed), (1, 1, 0));
}

#[tokio::test]
async fn a_caller_waits_no_longer_than_max_wait() {
    let bench = Bench::new(&PoolOptions { size: 1, max_wait: Duration::from_secs(5), ..Default::default() });
    let listener = bench.events.subscribe(8);
    let tool = bench.take().await;
    let mut waiting = Box::pin(bench.pool.acquire());
    assert!(poll(&mut waiting).is_pending());
    bench.clock.advance(Duration::from_millis(4_999));
    assert!(poll(&mut waiting).is_pending());
    bench.clock.advance(Duration::from_millis(1));
    let error = finish(waiting).unwrap_err();
    let rejection = error.rejection().unwrap();
    assert_eq!(rejection.code(), Code::PoolTimeout);
    assert_eq!(rejection.context(), Some(Figures::Elapsed(Duration::from_secs(5))));
    bench.expect(0, 1, 0);
    drop(tool);
    bench.expect(1, 0, 0);
    let heard: Vec<_> = std::iter::from_fn(|| listener.try_next()).map(|event| event.happening).collect();
    let waited = Duration::ZERO;
    assert_eq!(heard, [Happening::PoolCheckout { waited }, Happening::PoolTimeout, Happening::PoolCheckin]);
    assert_eq!(bench.pool.stats().timeouts, 1);
}

#[tokio::test]
async fn what_comes_in_the_last_moment_is_taken() {
    let bench = Bench::of(1);
    let tool = bench.take().await;
    let mut waiting = Box::pin(bench.pool.acquire());
    assert!(poll(&mut waiting).is_pending());
    drop(tool);
    bench.advance(3600);
    assert!(finish(waiting).is_ok());
    assert_eq!(bench.pool.stats().timeouts, 0);
}

#[tokio::test]
async fn the_deadline_of_the_call_ends_waiting_and_making() {
    let bench = Bench::of(1);
    let origin = bench.clock.clock().now();
    let call = Call::new().deadline(origin.after(Duration::from_secs(1)));
    bench.plan_connects([Plan::Hangs]);
    let mut making = Box::pin(bench.pool.acquire_for(&call));
    assert!(poll(&mut making).is_pending());
    let mut waiting = Box::pin(bench.pool.acquire_for(&call));
    assert!(poll(&mut waiting).is_pending());
    bench.advance(1);
    assert_eq!(code(finish(waiting)), Code::PoolTimeout);
    assert_eq!(code(finish(making)), Code::PoolConnect);
    assert_eq!(code(bench.pool.acquire_for(&call).await), Code::DeadlinePassed);
    bench.expect(0, 0, 0);
}

#[tokio::test]
async fn the_queue_is_bounded_and_absent_where_nobody_may_wait() {
    let bench = Bench::new(&PoolOptions { size: 1, queue: 1, ..Default::default() });
    let listener = bench.events.subscribe(8);
    assert!(bench.pool.peek().is_ok());
    let _tool = bench.take().await;
    assert!(bench.pool.peek().is_ok());
    let mut waiting = Box::pin(bench.pool.acquire());
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(bench.pool.peek().unwrap_err().code(), Code::PoolFull);
    assert_eq!(code(bench.pool.acquire().await), Code::PoolFull);
    assert_eq!(std::iter::from_fn(|| listener.try_next()).last().unwrap().happening, Happening::PoolFull);
    drop(waiting);
    assert!(bench.pool.peek().is_ok());
    bench.change(|options| options.max_wait = Duration::ZERO);
    assert_eq!(bench.pool.peek().unwrap_err().code(), Code::PoolFull);
    assert_eq!(code(bench.pool.acquire().await), Code::PoolFull);
}

#[tokio::test]
async fn a_broken_resource_is_replaced_and_who_waits_has_the_new_one() {
    let bench = Bench::of(1);
    let mut tool = bench.take().await;
    let mut waiting = Box::pin(bench.pool.acquire());
    assert!(poll(&mut waiting).is_pending());
    tool.broken = true;
    drop(tool);
    let tool = finish(waiting).unwrap();
    assert_eq!(tool.id, 2);
    Pooled::discard(tool);
    bench.expect(0, 0, 0);
    let taken = Pooled::take(bench.take().await);
    assert_eq!(bench.pool.stats().busy, 0);
    assert_eq!((taken.id, bench.take().await.id), (3, 4));
}

#[tokio::test]
async fn what_breaks_while_it_is_idle_is_never_handed_out() {
    let bench = Bench::of(3);
    let (mut one, two, mut three) = (bench.take().await, bench.take().await, bench.take().await);
    (one.dead, three.dead) = (true, true);
    drop((one, two, three));
    bench.change(|options| options.check_on_checkout = true);
    // The dead one that was used last gives way to a new one, with one check and not three.
    assert_eq!(bench.take().await.id, 4);
    assert_eq!(bench.shop.checked.load(Ordering::SeqCst), 1);
    bench.expect(3, 0, 0);
    bench.plan_checks([Plan::Hangs]);
    let mut checking = Box::pin(bench.pool.acquire());
    assert!(poll(&mut checking).is_pending());
    bench.advance(5);
    assert_eq!(finish(checking).unwrap().id, 5);
    bench.expect(3, 0, 0);
}

#[tokio::test]
async fn what_this_side_knows_to_be_broken_is_passed_over() {
    struct Flag(std::sync::atomic::AtomicBool);
    impl Manage for Flag {
        type Resource = u32;
        type Error = Trouble;
        async fn connect(&self) -> Result<u32, Trouble> {
            Ok(0)
        }
        fn is_broken(&self, _: &mut u32) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }
    let pool = Pool::new("flags", Flag(false.into()), &PoolOptions::default()).unwrap();
    let tools = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(tools);
    pool.shared.manage.0.store(true, Ordering::SeqCst);
    let fresh = pool.acquire().await.unwrap();
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.busy, stats.created, stats.closed), (0, 1, 3, 2));
    drop(fresh);
}

#[tokio::test]
async fn the_resource_that_was_idle_or_lived_for_too_long_is_not_handed_out() {
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    let options = PoolOptions { max_lifetime: minutes(30), idle_timeout: minutes(10), ..Default::default() };
    let bench = Bench::new(&options);
    bench.fill(2).await;
    bench.advance(599);
    assert_eq!(bench.take().await.id, 2);
    bench.advance(1);
    assert_eq!(bench.take().await.id, 2, "used a second ago");
    bench.change(|options| options.order = PoolOrder::Fifo);
    assert_eq!(bench.take().await.id, 2, "the other one was idle for 10 minutes");
    bench.expect(1, 0, 0);
    bench.change(|options| options.idle_timeout = None);
    bench.advance(60 * 30 - 600);
    assert_eq!(bench.take().await.id, 3, "lived for 30 minutes");
    let held = bench.take().await;
    assert_eq!(held.id, 3);
    bench.advance(60 * 30);
    drop(held);
    bench.expect(0, 0, 0);
}

#[tokio::test]
async fn spare_resources_stay_however_long_they_are_idle() {
    let bench = Bench::new(&PoolOptions { size: 3, min_idle: 1, max_lifetime: None, ..Default::default() });
    bench.fill(3).await;
    bench.advance(3600);
    assert_eq!(bench.take().await.id, 1);
    bench.expect(1, 0, 0);
    assert_eq!(bench.pool.stats().closed, 2);
}

#[tokio::test]
async fn one_failure_to_make_a_resource_fails_one_caller_and_not_the_queue() {
    let bench = Bench::of(1);
    let listener = bench.events.subscribe(8);
    bench.plan_connects([Plan::Yields(1), Plan::Fails, Plan::Hangs]);
    let mut first = Box::pin(bench.pool.acquire());
    assert!(poll(&mut first).is_pending());
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(bench.pool.acquire())).collect();
    assert!(waiting.iter_mut().all(|caller| poll(caller).is_pending()));
    Pooled::discard(finish(first).unwrap());
    let (third, second, first) = (waiting.pop().unwrap(), waiting.pop().unwrap(), waiting.pop().unwrap());
    assert_eq!(finish(first).unwrap_err(), Error::Call(Trouble));
    let mut second = second;
    assert!(poll(&mut second).is_pending());
    bench.clock.advance(Duration::from_millis(4_999));
    assert!(poll(&mut second).is_pending());
    bench.clock.advance(Duration::from_millis(1));
    let error = finish(second).unwrap_err();
    assert_eq!(error.rejection().unwrap().context(), Some(Figures::Elapsed(Duration::from_secs(5))));
    assert_eq!(code::<()>(Err(error)), Code::PoolConnect);
    assert!(finish(third).is_ok());
    assert_eq!((bench.pool.stats().failed, bench.pool.stats().timeouts), (2, 0));
    let failures =
        std::iter::from_fn(|| listener.try_next()).filter(|event| event.happening == Happening::PoolConnectFailed);
    assert_eq!(failures.count(), 2);
    bench.expect(1, 0, 0);
}

#[tokio::test]
async fn a_transaction_runs_with_a_resource_and_can_be_spawned() {
    let bench = Bench::of(1);
    let listener = bench.events.subscribe(8);
    let pool = bench.pool.clone();
    let clock = bench.clock.clone();
    let task = tokio::spawn(async move {
        let work = async |tool: &mut Tool| {
            clock.advance(Duration::from_secs(2));
            tokio::task::yield_now().await;
            Ok::<_, Trouble>(tool.id)
        };
        pool.transaction(work).await
    });
    assert_eq!(task.await.unwrap(), Ok(1));
    let failed = bench.pool.transaction(async |_: &mut Tool| Err::<(), _>(Trouble)).await;
    assert_eq!(failed, Err(Error::Call(Trouble)));
    bench.expect(1, 0, 0);
    let heard: Vec<_> = std::iter::from_fn(|| listener.try_next()).map(|event| event.happening).collect();
    assert_eq!(heard[0], Happening::PoolCheckout { waited: Duration::ZERO });
    assert_eq!(heard[1], Happening::PoolTransactionExecuted { duration: Duration::from_secs(2) });
    assert_eq!(heard[2], Happening::PoolCheckin);
    assert_eq!(heard.len(), 6);
}

#[tokio::test]
async fn a_transaction_brings_the_error_of_the_resource_along() {
    #[derive(Debug, PartialEq)]
    struct Wider;
    impl From<Trouble> for Wider {
        fn from(_: Trouble) -> Self {
            Self
        }
    }
    let bench = Bench::of(1);
    bench.plan_connects([Plan::Fails]);
    let result = bench.pool.transaction(async |_: &mut Tool| Ok::<_, Wider>(())).await;
    assert_eq!(result, Err(Error::Call(Wider)));
}

#[tokio::test]
async fn an_exchange_that_was_cut_off_closes_its_resource() {
    let bench = Bench::of(1);
    let mut transaction = Box::pin(bench.pool.transaction(async |_: &mut Tool| {
        pending::<()>().await;
        Ok::<_, Trouble>(())
    }));
    assert!(poll(&mut transaction).is_pending());
    drop(transaction);
    bench.expect(0, 0, 0);

    let mut tool = bench.take().await;
    let mut exchange = Box::pin(Pooled::execute(&mut tool, async |_| pending::<()>().await));
    assert!(poll(&mut exchange).is_pending());
    drop(exchange);
    // Not even a later one that ends makes it good again: whose answer that was, nobody knows.
    assert_eq!(Pooled::execute(&mut tool, async |tool| tool.id).await, 2);
    drop(tool);
    bench.expect(0, 0, 0);
}
