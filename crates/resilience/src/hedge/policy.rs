//! The handle of a hedge.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::budget::{RetryBudget, RetryBudgetStats};
use crate::call::Call;
use crate::clock::Reading;
use crate::error::InvalidOption;
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::policy::{Environment, Mode};

use super::latency::Latencies;
use super::options::HedgeOptions;

/// Copies of slow calls. Cheap to clone: clones share their options, budget and figures.
///
/// ```
/// use tidegate_resilience::{Call, Hedge, HedgeOptions, Moment, Reading};
///
/// let hedge = Hedge::new("search", &HedgeOptions::default())?;
/// let now = Reading::taken(Moment::ORIGIN);
/// let mut progress = hedge.begin(&Call::new().idempotent(), &now);
/// assert!(progress.delay().is_some());
/// // The call has not answered within that time.
/// assert!(hedge.start(&mut progress, &now), "the budget pays for a copy");
/// assert_eq!(progress.delay(), None, "and there is no second one");
/// # Ok::<(), tidegate_resilience::InvalidOption>(())
/// ```
#[derive(Clone)]
pub struct Hedge {
    inner: Arc<Inner>,
    /// The budget of a retry around it, where that counts the calls.
    shared: Option<RetryBudget>,
}

struct Inner {
    options: ArcSwap<HedgeOptions>,
    latencies: Latencies,
    budget: RetryBudget,
    emitter: Emitter,
    started: AtomicU64,
    won: AtomicU64,
    refused: AtomicU64,
}

/// How far one call is with its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgeProgress {
    left: u32,
    started: u32,
    delay: Duration,
}

impl HedgeProgress {
    const NONE: Self = Self { left: 0, started: 0, delay: Duration::ZERO };

    /// How long after the original, or the last copy, began the next copy is to start; nothing where there is none.
    pub fn delay(&self) -> Option<Duration> {
        (self.left > 0).then_some(self.delay)
    }

    /// Copies that were started.
    pub const fn started(&self) -> u32 {
        self.started
    }
}

/// What a hedge has done since it was made. With [`Mode::MetricsOnly`]: what it would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HedgeStats {
    /// Copies that were started.
    pub started: u64,
    /// Copies that answered before the original.
    pub won: u64,
    /// Copies that the budget did not allow.
    pub refused: u64,
    /// How long a call that begins now has time before a copy starts.
    pub delay: Duration,
    /// What is in the budget.
    pub budget: RetryBudgetStats,
}

impl Hedge {
    /// A hedge with a budget of its own, by the clock of the machine.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn new(name: impl Into<Name>, options: &HedgeOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, options, &Environment::default())
    }

    /// A hedge with a budget of its own in this environment.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn in_environment(
        name: impl Into<Name>,
        options: &HedgeOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        options.check()?;
        let inner = Inner {
            options: ArcSwap::from_pointee(options.clone()),
            latencies: Latencies::default(),
            budget: RetryBudget::perhaps(options.budget.as_ref(), environment)?,
            emitter: environment.emitter(&name.into()),
            started: AtomicU64::new(0),
            won: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner), shared: None })
    }

    /// The same hedge, charging the budget of the [retry](crate::Retry::budget) around it. That one has counted the
    /// call already: the hedge only withdraws. Its own budget, and the option for it, has no effect.
    #[must_use]
    pub fn with_budget(mut self, budget: RetryBudget) -> Self {
        self.shared = Some(budget);
        self
    }

    /// Puts other options in force, for calls that begin from now on. Budget and latencies stay.
    ///
    /// # Errors
    ///
    /// An option is out of its range; the options before stay in force.
    pub fn reconfigure(&self, options: &HedgeOptions) -> Result<(), InvalidOption> {
        options.check()?;
        self.inner.budget.reconfigure_perhaps(options.budget.as_ref())?;
        self.inner.options.store(Arc::new(options.clone()));
        if let Some(share) = options.percentile {
            self.inner.latencies.work_out(share);
        }
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> HedgeOptions {
        HedgeOptions::clone(&self.inner.options.load())
    }

    /// What it is called.
    pub fn name(&self) -> &Name {
        self.inner.emitter.policy()
    }

    /// The budget that it charges. It has no limit where the option is off.
    pub fn budget(&self) -> &RetryBudget {
        self.shared.as_ref().unwrap_or(&self.inner.budget)
    }

    /// What it has done since it was made.
    pub fn stats(&self) -> HedgeStats {
        HedgeStats {
            started: self.inner.started.load(Ordering::Relaxed),
            won: self.inner.won.load(Ordering::Relaxed),
            refused: self.inner.refused.load(Ordering::Relaxed),
            delay: self.delay(&self.inner.options.load()),
            budget: self.budget().stats(),
        }
    }

    fn delay(&self, options: &HedgeOptions) -> Duration {
        options.percentile.and_then(|_| self.inner.latencies.answer()).unwrap_or(options.delay)
    }

    /// Begins a call: the original is about to run. Counts it in the hedge's own budget.
    pub fn begin(&self, call: &Call<'_>, now: &Reading<'_>) -> HedgeProgress {
        if !call.is_idempotent() {
            return HedgeProgress::NONE;
        }
        let options = self.inner.options.load();
        if options.mode == Mode::Disabled {
            return HedgeProgress::NONE;
        }
        if self.shared.is_none() && self.inner.budget.is_limited() {
            self.inner.budget.deposit(now.moment());
        }
        HedgeProgress { left: options.max, started: 0, delay: self.delay(&options) }
    }

    /// Asks for the next copy, once its delay has passed. Where the answer is no, there will be no other.
    pub fn start(&self, progress: &mut HedgeProgress, now: &Reading<'_>) -> bool {
        let mode = self.inner.options.load().mode;
        if progress.left == 0 || mode == Mode::Disabled {
            progress.left = 0;
            return false;
        }
        if !self.budget().try_withdraw(now.moment()) {
            self.inner.refused.fetch_add(1, Ordering::Relaxed);
            progress.left = 0;
            return false;
        }
        progress.left -= 1;
        self.inner.started.fetch_add(1, Ordering::Relaxed);
        self.inner.emitter.emit(now, || Happening::HedgeStarted { copy: progress.started + 1 });
        if mode != Mode::Enabled {
            progress.left = 0;
            return false;
        }
        progress.started += 1;
        true
    }

    /// Counts and tells which one answered first: 0 is the original.
    pub fn won(&self, copy: u32, now: &Reading<'_>) {
        if copy > 0 {
            self.inner.won.fetch_add(1, Ordering::Relaxed);
            self.inner.emitter.emit(now, || Happening::HedgeWon { copy });
        }
    }

    /// Learns how long a call took, from the beginning of the original to the first answer. To be called for every
    /// call that [`begin`](Self::begin) had a delay for, hedged or not; failed calls count too, cancelled ones do not.
    pub fn record(&self, latency: Duration) {
        if let Some(share) = self.inner.options.load().percentile {
            self.inner.latencies.record(latency, share);
        }
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hedge")
            .field("name", self.name())
            .field("options", &self.options())
            .field("stats", &self.stats())
            .finish()
    }
}
