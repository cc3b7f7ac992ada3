//! The budget of retries and hedges: how many calls may be made on top of the original ones.
//!
//! A retry helps one call and burdens what was called. Where every call fails, three attempts each are three times the
//! load, at the worst moment. A budget says how much more than the original calls a client may send: a share of the
//! recent ones, and a small floor per second for clients that call seldom. Whoever makes an original call deposits,
//! whoever wants to repeat one withdraws, at the moment of the decision: what waits for its turn is paid already.
//!
//! The law, in every window: withdrawals ≤ `ratio` × deposits + `min_per_second` × `window`. It holds exactly, from
//! any number of threads. The idea is Finagle's `RetryBudget` (20%, 10 seconds).
//!
//! Retry and hedge of one call charge the same budget; only the outer one deposits.

mod ledger;
mod options;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::clock::{Clock, Moment};
use crate::error::InvalidOption;
use crate::policy::Environment;
use ledger::Ledger;
pub use options::RetryBudgetOptions;
use options::Settings;

/// A budget of retries and hedges. Cheap to clone: clones share what is in it.
///
/// ```
/// use tidegate_resilience::{Moment, Ratio, RetryBudget, RetryBudgetOptions};
///
/// let options = RetryBudgetOptions { ratio: Ratio::percent(10), min_per_second: 0, ..Default::default() };
/// let budget = RetryBudget::new(&options)?;
/// let now = Moment::ORIGIN;
/// (0..20).for_each(|_| budget.deposit(now));
/// assert!(budget.try_withdraw(now) && budget.try_withdraw(now));
/// assert!(!budget.try_withdraw(now));
/// # Ok::<(), tidegate_resilience::InvalidOption>(())
/// ```
#[derive(Clone)]
pub struct RetryBudget {
    inner: Arc<Inner>,
}

struct Inner {
    ledger: Ledger,
    settings: ArcSwap<Settings>,
    /// Whether there is a limit at all. Relaxed: who reads it late acts a moment longer by the old options.
    limited: AtomicBool,
    refused: AtomicU64,
    clock: Clock,
}

/// What is in a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryBudgetStats {
    /// Original calls in the window.
    pub calls: u64,
    /// Retries and hedges in the window.
    pub withdrawn: u64,
    /// How many more there may be right now.
    pub available: u64,
    /// How many were refused since the budget was made.
    pub refused: u64,
}

impl RetryBudget {
    /// A budget by the clock of the machine.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn new(options: &RetryBudgetOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(options, &Environment::default())
    }

    /// A budget in this environment.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn in_environment(options: &RetryBudgetOptions, environment: &Environment) -> Result<Self, InvalidOption> {
        Self::perhaps(Some(options), environment)
    }

    /// A budget that has no limit where there are no options: what a policy keeps while its budget is off.
    pub(crate) fn perhaps(
        options: Option<&RetryBudgetOptions>,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        let settings = Settings::try_from(options.unwrap_or(&RetryBudgetOptions::default()))?;
        let inner = Inner {
            ledger: Ledger::default(),
            settings: ArcSwap::from_pointee(settings),
            limited: AtomicBool::new(options.is_some()),
            refused: AtomicU64::new(0),
            clock: environment.clock.clone(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Puts other options in force. What was deposited and withdrawn stays and is judged by them.
    ///
    /// # Errors
    ///
    /// An option is out of its range; the options before stay in force.
    pub fn reconfigure(&self, options: &RetryBudgetOptions) -> Result<(), InvalidOption> {
        self.reconfigure_perhaps(Some(options))
    }

    /// The same where no options lift the limit.
    pub(crate) fn reconfigure_perhaps(&self, options: Option<&RetryBudgetOptions>) -> Result<(), InvalidOption> {
        if let Some(options) = options {
            self.inner.settings.store(Arc::new(Settings::try_from(options)?));
        }
        self.inner.limited.store(options.is_some(), Ordering::Relaxed);
        Ok(())
    }

    /// The options in force, as they were given.
    pub fn options(&self) -> RetryBudgetOptions {
        self.inner.settings.load().options.clone()
    }

    /// Counts an original call. To be called once for each, not for its repetitions.
    #[inline]
    pub fn deposit(&self, now: Moment) {
        self.inner.ledger.deposit(stripe(), now);
    }

    /// Asks for one retry or hedge. What is granted is spent, whether the repetition takes place or not.
    pub fn try_withdraw(&self, now: Moment) -> bool {
        if !self.is_limited() {
            return true;
        }
        let granted = self.inner.ledger.withdraw(now, &self.inner.settings.load());
        if !granted {
            self.inner.refused.fetch_add(1, Ordering::Relaxed);
        }
        granted
    }

    /// Whether it has a limit: where not, deposits change nothing.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.inner.limited.load(Ordering::Relaxed)
    }

    /// What is in the budget now. Other threads may change it meanwhile.
    pub fn stats(&self) -> RetryBudgetStats {
        let settings = self.inner.settings.load();
        let (calls, withdrawn) = self.inner.ledger.recent(self.inner.clock.now(), settings.slots);
        let available = if self.is_limited() { settings.allowance(calls).saturating_sub(withdrawn) } else { u64::MAX };
        RetryBudgetStats { calls, withdrawn, available, refused: self.inner.refused.load(Ordering::Relaxed) }
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RetryBudget").field("options", &self.options()).field("stats", &self.stats()).finish()
    }
}

/// The stripe of this thread: threads get them in turn, so that a few busy ones do not share.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) });
    STRIPE.with(|stripe| {
        if stripe.get() == usize::MAX {
            stripe.set(NEXT.fetch_add(1, Ordering::Relaxed) % ledger::STRIPES);
        }
        stripe.get()
    })
}

#[cfg(all(test, tidegate_models))]
mod models;
#[cfg(all(test, not(tidegate_models)))]
mod tests;
