//! A database behind a limit, a pool and a breaker, taken together for each call.
//!
//!     cargo run -p tidegate-resilience --example database_pool

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tidegate_resilience::{
    Call, CircuitBreakerOptions, Document, Environment, Manage, PolicyOptions, Pool, PoolOptions, Protection,
    RateLimitOptions, Registry,
};

/// A pretend database, which can be switched off.
#[derive(Debug, Default, Clone)]
struct Database {
    is_down: Arc<AtomicBool>,
    connections: Arc<AtomicU32>,
}

struct Connection {
    number: u32,
    database: Database,
}

impl Database {
    fn answer(&self) -> std::io::Result<()> {
        let down = self.is_down.load(Ordering::Relaxed);
        if down { Err(std::io::Error::other("the database is down")) } else { Ok(()) }
    }
}

impl Connection {
    async fn query(&mut self, text: &str) -> std::io::Result<String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.database.answer()?;
        Ok(format!("rows of `{text}` by connection {}", self.number))
    }
}

impl Manage for Database {
    type Resource = Connection;
    type Error = std::io::Error;

    async fn connect(&self) -> std::io::Result<Connection> {
        self.answer()?;
        Ok(Connection { number: self.connections.fetch_add(1, Ordering::Relaxed), database: self.clone() })
    }

    async fn check(&self, connection: &mut Connection) -> std::io::Result<()> {
        connection.database.answer()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let mut document = Document::default();
    let breaker = CircuitBreakerOptions { consecutive_failures: Some(3), ..Default::default() };
    document.policies.insert("db".to_owned(), PolicyOptions::CircuitBreaker(breaker));
    document.policies.insert("api".to_owned(), PolicyOptions::KeyedRateLimit(RateLimitOptions::per_second(50)));
    let environment = Environment::default();
    let registry = Registry::new(&document, &environment)?;

    let database = Database::default();
    let pool =
        Pool::in_environment("db", database.clone(), &PoolOptions { size: 2, ..Default::default() }, &environment)?;
    let protection = || Protection::new().rate_limit("api").circuit_breaker("db").call(Call::new().key("ann"));
    let query = async |connection: &mut Connection| connection.query("select").await;

    // Two connections for three calls at once: the third waits until one comes back.
    let (first, second, third) = tokio::join!(
        registry.execute_with_pool(protection(), &pool, query),
        registry.execute_with_pool(protection(), &pool, query),
        registry.execute_with_pool(protection(), &pool, query),
    );
    println!("{}\n{}\n{}", first?, second?, third?);

    // While the breaker is open, a cached answer takes the place of new ones, and no connection is taken.
    let breaker = registry.circuit_breaker("db").ok_or("it is in the document")?;
    breaker.register_fallback(|_| "rows of yesterday".to_owned());
    database.is_down.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        match registry.execute_with_pool(protection(), &pool, query).await {
            Ok(rows) => println!("{rows}"),
            Err(error) => println!("failed: {error}"),
        }
    }
    println!("breaker {:?}, pool {:?}", breaker.state(), pool.stats());
    Ok(())
}
