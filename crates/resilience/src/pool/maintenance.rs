//! What a pool does for its idle resources while nobody asks for them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::checkout::{check, connect};
use super::manage::Manage;
use super::policy::Pool;
use super::pooled::{Fate, Pooled};
use super::shared::{Shared, State};
use crate::clock::Moment;
use crate::error::Error;

/// The shortest time between two passes.
const SHORTEST: Duration = Duration::from_millis(1);

impl<M: Manage> Pool<M> {
    /// One pass of maintenance: closes idle resources whose time is over, [checks](Manage::check) the others, one after
    /// the other, closes those that are dead, and makes what `min_idle` lacks. A pass begins when an earlier one has
    /// ended, and takes at most `connect_timeout` for each resource. Safe to cancel.
    ///
    /// While a resource is checked it is busy. Awaited when the program starts, this fills the pool to `min_idle`.
    ///
    /// # Errors
    ///
    /// The first failure to make a resource, which ends the pass. In a closed pool, `PoolClosed` where one is missing.
    pub async fn maintain(&self) -> Result<(), Error<M::Error>> {
        let shared = &self.shared;
        let _one_at_a_time = shared.pass.lock().await;
        let now = shared.now();
        shared.close_all(shared.with(|state| state.begin_pass(now)));
        check_idle(shared).await;
        make_spares(shared).await
    }

    /// Runs [`maintain`](Self::maintain) now and whenever `interval` (at least 1 ms) has passed since, until the pool is
    /// closed or all its handles are gone. To be spawned; 30 s is a good interval. Dropping it is safe.
    ///
    /// Failures to make a resource are counted, told as events, and tried again in the next pass.
    pub fn run_maintenance(&self, interval: Duration) -> impl Future<Output = ()> + Send + use<M> {
        let pool = Arc::downgrade(&self.shared);
        let clock = self.shared.environment.clock.clone();
        async move {
            while let Some(shared) = pool.upgrade() {
                let pool = Self { shared };
                if pool.is_closed() {
                    return;
                }
                // What went wrong has been counted and told.
                let _ = pool.maintain().await;
                drop(pool);
                clock.sleep_until(clock.now().after(interval.max(SHORTEST))).await;
            }
        }
    }
}

/// Closes what is idle and dead. As many resources are looked at as were idle at the beginning, so that busy callers
/// cannot keep it going for ever.
async fn check_idle<M: Manage>(shared: &Arc<Shared<M>>) {
    for _ in 0..shared.with(|state| state.idle()) {
        let Some(made) = shared.with(State::<M>::lend) else { return };
        let mut lent = Pooled::holding(shared, made);
        if check(shared, &mut lent, Moment::NEVER).await {
            lent.fate = Fate::Shelve;
        }
    }
}

async fn make_spares<M: Manage>(shared: &Arc<Shared<M>>) -> Result<(), Error<M::Error>> {
    for _ in 0..shared.with(|state| state.settings().min_idle) {
        if !shared.with(State::<M>::take_spare_place) {
            break;
        }
        let mut spare = Pooled::empty(shared);
        connect(shared, &mut spare, Moment::NEVER).await?;
        spare.fate = Fate::Shelve;
    }
    Ok(())
}
