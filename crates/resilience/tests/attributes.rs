//! `#[protect]` and `#[instrumented]` on real functions.

use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_resilience::{
    Backoff, Code, Error, Jitter, Pipeline, Priority, Recorder, Rejection, Retry, RetryOptions, instrumented, protect,
};

/// An error of the user's own, which keeps the rejection.
#[derive(Debug, PartialEq)]
enum ShopError {
    SoldOut,
    Protected(Rejection),
}

impl From<Rejection> for ShopError {
    fn from(rejection: Rejection) -> Self {
        Self::Protected(rejection)
    }
}

/// Finds pipelines by name, as a registry does.
struct Shelf(Pipeline);

impl Shelf {
    fn pipeline(&self, name: &str) -> Option<Pipeline> {
        (name == "orders").then(|| self.0.clone())
    }
}

struct Shop {
    shelf: Shelf,
    attempts: AtomicU32,
    recorder: Recorder,
}

impl Shop {
    fn new() -> Self {
        let backoff = Backoff::Constant { delay: std::time::Duration::from_millis(1) };
        let options = RetryOptions { attempts: 3, backoff, jitter: Jitter::None, budget: None, ..Default::default() };
        let retry = Retry::new("orders", &options).expect("valid options");
        Self { shelf: Shelf(Pipeline::of(retry)), attempts: AtomicU32::new(0), recorder: Recorder::new("shop.buy") }
    }

    #[protect(self.shelf.0, key = customer, cost = count, priority = Priority::High, idempotent)]
    async fn order(&self, customer: &str, count: u32, names: Vec<String>) -> Result<usize, ShopError> {
        match self.attempts.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(ShopError::SoldOut)?,
            _ => Ok(names.len() + customer.len()),
        }
    }

    #[protect("orders" in self.shelf)]
    async fn by_name(&self) -> Result<u32, Error<String>> {
        Ok(self.attempts.fetch_add(1, Ordering::Relaxed))
    }

    #[protect("nothing" in self.shelf)]
    async fn misnamed(&self) -> Result<u32, ShopError> {
        Ok(1)
    }

    #[instrumented(self.recorder)]
    async fn buy(&self, money: u32) -> Result<(), ShopError> {
        if money == 0 {
            return Err(ShopError::SoldOut);
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_is_tried_again_with_its_parameters() {
    let shop = Shop::new();
    assert_eq!(shop.order("ann", 2, vec!["tea".into(), "jam".into()]).await, Ok(5));
    assert_eq!(shop.attempts.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn the_last_error_is_the_functions_own() {
    let shop = Shop::new();
    let result = async {
        #[protect(shop.shelf.0)]
        async fn never(shop: &Shop) -> Result<(), ShopError> {
            shop.attempts.fetch_add(1, Ordering::Relaxed);
            Err(ShopError::SoldOut)
        }
        never(&shop).await
    };
    assert_eq!(result.await, Err(ShopError::SoldOut));
    assert_eq!(shop.attempts.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_name_is_looked_up_for_each_call() {
    let shop = Shop::new();
    assert_eq!(shop.by_name().await, Ok(0));
    let Err(ShopError::Protected(rejection)) = shop.misnamed().await else { panic!("there is no such pipeline") };
    assert_eq!((rejection.code(), &**rejection.policy()), (Code::UnknownPolicy, "nothing"));
}

#[tokio::test]
async fn calls_are_recorded_however_they_end() {
    let shop = Shop::new();
    assert_eq!((shop.buy(1).await, shop.buy(0).await), (Ok(()), Err(ShopError::SoldOut)));
    let stats = shop.recorder.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.cancelled), (1, 1, 0));
}

#[test]
fn a_protected_function_can_be_sent_to_another_thread() {
    fn sent<T: Send>(_: T) {}
    let shop = Shop::new();
    sent(shop.by_name());
}
