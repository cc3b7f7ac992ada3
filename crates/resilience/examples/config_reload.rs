//! Policies from a document that changes while calls run.
//!
//!     cargo run -p tidegate-resilience --features serde --example config_reload

use std::error::Error as StdError;

use tidegate_resilience::{CircuitState, Document, Environment, Registry};

const FIRST: &str = r#"{
    "policies": { "payments-db": { "circuit_breaker": { "consecutive_failures": 3 } } },
    "pipelines": {
        "checkout": [
            { "timeout": { "total": "2s", "attempt": "500ms" } },
            { "retry": { "attempts": 2, "backoff": { "strategy": "constant", "delay": "10ms" } } },
            { "use": "payments-db" }
        ]
    }
}"#;

/// A patient breaker, and a limit in front of everything.
const SECOND: &str = r#"{
    "policies": {
        "payments-db": { "circuit_breaker": { "consecutive_failures": 5 } },
        "all-calls": { "rate_limit": { "token_bucket": { "rate": 100 } } }
    },
    "pipelines": {
        "checkout": [
            { "use": "all-calls" },
            { "timeout": { "total": "2s", "attempt": "500ms" } },
            { "retry": { "attempts": 2, "backoff": { "strategy": "constant", "delay": "10ms" } } },
            { "use": "payments-db" }
        ]
    }
}"#;

/// Three mistakes at once.
const BAD: &str = r#"{
    "policies": { "payments-db": { "circuit_breaker": { "consecutive_failures": 0 } } },
    "pipelines": { "checkout": [{ "use": "all-cals" }, { "retry": { "attempts": 1000 } }] }
}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let registry = Registry::new(&serde_json::from_str(FIRST)?, &Environment::default())?;
    let listener = registry.subscribe(64);
    let breaker = registry.circuit_breaker("payments-db").ok_or("it is in the document")?;

    check_out(&registry).await;
    println!("{} failures in a row", breaker.stats().consecutive_failures);

    let second: Document = serde_json::from_str(SECOND)?;
    println!("\nthe second document would change:\n{}", registry.plan(&second)?);
    registry.apply(&second)?;
    println!("\nin force; the breaker still knows of {} failures", breaker.stats().consecutive_failures);

    match registry.apply(&serde_json::from_str(BAD)?) {
        Ok(_) => return Err("it has three mistakes".into()),
        Err(problems) => println!("\nthe bad document changes nothing:\n{problems}"),
    }

    println!();
    check_out(&registry).await;
    check_out(&registry).await;
    assert_eq!(breaker.state(), CircuitState::Open, "five failures in a row, two of them from before the change");
    println!();
    while let Some(event) = listener.try_next() {
        println!("event {} of {}", event.happening.name(), event.policy);
    }
    Ok(())
}

async fn check_out(registry: &Registry) {
    let result = registry.execute("checkout", || async { Err::<(), _>("the database is down") }).await;
    if let Err(error) = result {
        println!("checkout: {error}");
    }
}
