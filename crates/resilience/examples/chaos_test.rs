//! A test that makes things go wrong on purpose, in no time and the same way each time.
//!
//!     cargo run -p tidegate-resilience --example chaos_test

use std::error::Error as StdError;
use std::time::Duration;

use tidegate_resilience::{
    Chaos, ChaosFault, ChaosLatency, ChaosOptions, Clock, Environment, Mode, Pipeline, Random, Ratio, Retry,
    RetryBudgetOptions, RetryOptions, Timeout, TimeoutOptions,
};

/// What is tested: an order is placed within two seconds, whatever its service does now and then.
fn around_orders(environment: &Environment, chaos: Chaos) -> Result<Pipeline, Box<dyn StdError>> {
    let limits = TimeoutOptions {
        total: Some(Duration::from_secs(2)),
        attempt: Some(Duration::from_millis(200)),
        ..Default::default()
    };
    let budget = RetryBudgetOptions { ratio: Ratio::ONE, ..Default::default() };
    let retry = RetryOptions { attempts: 5, budget: Some(budget), ..Default::default() };
    Ok(Pipeline::builder("orders")
        .environment(environment)
        .step(Timeout::in_environment("orders", &limits, environment)?)
        .step(Retry::in_environment("orders", &retry, environment)?)
        .step(chaos)
        .build()?)
}

fn main() -> Result<(), Box<dyn StdError>> {
    // Paused time: what waits is woken at once. A seed: the same calls are hit every time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let environment = Environment { clock: Clock::runtime(), random: Random::seeded(7), ..Environment::default() };
    let options = ChaosOptions {
        mode: Mode::Enabled,
        abort: Some(ChaosFault { percentage: Ratio::percent(20) }),
        latency: Some(ChaosLatency {
            percentage: Ratio::percent(10),
            delay: Duration::from_secs(10),
            jitter: Duration::ZERO,
        }),
        ..ChaosOptions::default()
    };
    let chaos = Chaos::in_environment("orders", &options, &environment)?;
    let pipeline = around_orders(&environment, chaos.clone())?;

    let placed = runtime.block_on(async {
        let mut placed = 0;
        for _ in 0..1000 {
            let order = pipeline.execute(|| async { Ok::<_, std::io::Error>(()) });
            placed += u32::from(order.await.is_ok());
        }
        placed
    });
    let injected = chaos.stats();
    println!(
        "{placed} of 1000 orders placed, with {} aborted and {} delayed attempts",
        injected.aborted, injected.delayed
    );
    assert!(placed >= 990, "retries get around what goes wrong now and then");
    assert!(injected.aborted > 100 && injected.delayed > 50, "and much did");
    Ok(())
}
