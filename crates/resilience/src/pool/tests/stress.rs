//! Many threads at once: the hard bounds hold, and in the end everything is back.

use super::*;

/// Polls a checkout a few times and gives up. Says whether it got what it asked for.
async fn impatient(pool: &Pool<Maker>, patience: u32) -> bool {
    let mut acquire = Box::pin(pool.acquire());
    for _ in 0..patience {
        let ready = std::future::poll_fn(|context| Poll::Ready(acquire.as_mut().poll(context))).await;
        if let Poll::Ready(tool) = ready {
            return tool.is_ok();
        }
        tokio::task::yield_now().await;
    }
    false
}

async fn customer(pool: Pool<Maker>, seed: u32) -> u32 {
    let random = Random::seeded(seed.into());
    let mut served = 0;
    for _ in 0..1_000 {
        if random.chance(0.4) {
            served += u32::from(impatient(&pool, seed % 6).await);
            continue;
        }
        let mut tool = pool.acquire().await.unwrap();
        served += 1;
        if random.chance(0.5) {
            tokio::task::yield_now().await;
        }
        tool.broken = random.chance(0.1);
        tool.dead = random.chance(0.1);
    }
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bounds_hold_while_everybody_comes_and_goes() {
    let options = PoolOptions { size: 3, overflow: 2, min_idle: 1, check_on_checkout: true, ..Default::default() };
    let bench = Bench::new(&options);
    bench.plan_checks((0..500).map(|number| Plan::Yields(number % 3)));
    bench.plan_connects((0..500).map(|number| Plan::Yields(number % 3)));
    let upkeep = tokio::spawn({
        let pool = bench.pool.clone();
        async move {
            while !pool.is_closed() {
                let _ = pool.maintain().await;
                tokio::task::yield_now().await;
            }
        }
    });
    let customers: Vec<_> = (0..16).map(|seed| tokio::spawn(customer(bench.pool.clone(), seed))).collect();
    let mut served = 0;
    for customer in customers {
        served += customer.await.unwrap();
    }
    assert!(served > 16 * 500);
    assert!(bench.shop.most.load(Ordering::SeqCst) <= 5);
    let stats = bench.pool.stats();
    assert_eq!((stats.waiting, stats.timeouts, stats.failed, stats.rejected), (0, 0, 0, 0), "{stats:?}");
    bench.pool.drain().await;
    upkeep.await.unwrap();
    bench.expect(0, 0, 0);
}
