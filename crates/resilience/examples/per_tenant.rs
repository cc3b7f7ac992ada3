//! A limit for each tenant, in bounded memory, and a breaker and a bulkhead for each too.
//!
//!     cargo run -p tidegate-resilience --example per_tenant

use std::error::Error as StdError;

use tidegate_resilience::{
    BulkheadOptions, Call, CircuitBreakerOptions, Document, Environment, PerKeyOptions, PipelineOptions, PolicyOptions,
    RateLimitOptions, Registry, StepOptions, TokenBucket,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    // Two reports an hour and tenant: a report costs 10 of 20.
    let quota = TokenBucket { rate: 20, per: std::time::Duration::from_secs(3600), burst: None };
    let limit = PolicyOptions::KeyedRateLimit(RateLimitOptions::token_bucket(quota));
    let mut document = Document::default();
    document.policies.insert("per-tenant".to_owned(), limit);
    let steps = vec![
        StepOptions::Use("per-tenant".to_owned()),
        PolicyOptions::CircuitBreaker(CircuitBreakerOptions::default()).into(),
        PolicyOptions::Bulkhead(BulkheadOptions { max_concurrent: 2, ..Default::default() }).into(),
    ];
    let per_key = Some(PerKeyOptions { max_keys: 1000 });
    document.pipelines.insert("reports".to_owned(), PipelineOptions { steps, per_key, idempotent: false });
    let registry = Registry::new(&document, &Environment::default())?;

    for tenant in ["ann", "ann", "ann", "bob"] {
        let call = Call::new().key(tenant).cost(10);
        let result = registry.execute_call("reports", call, |_| async { Ok::<_, std::io::Error>("a report") }).await;
        match result {
            Ok(report) => println!("{tenant}: {report}"),
            Err(error) => println!("{tenant}: {error}"),
        }
    }

    // One tenant breaks his reports; the others do not notice.
    let broken = Call::new().key("eve").cost(0);
    for _ in 0..6 {
        let failing = |_| async { Err::<(), _>(std::io::Error::other("a bad template")) };
        if let Err(error) = registry.execute_call("reports", broken.clone(), failing).await {
            println!("eve: {error}");
        }
    }
    registry.view().for_each_key("reports", |tenant, pipeline| println!("{tenant} has {:?}", pipeline.steps()));
    println!("{:?}", registry.stats().keys);
    Ok(())
}
