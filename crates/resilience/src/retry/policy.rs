//! The handle of a retry: options in force, budget, chance, figures and events around the pure core.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::budget::{RetryBudget, RetryBudgetStats};
use crate::call::Call;
use crate::clock::{Moment, Reading};
use crate::error::InvalidOption;
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::outcome::{Outcome, Verdict};
use crate::policy::{Environment, Mode};
use crate::random::Random;

use super::options::{RetryOptions, Settings};
use super::state::{RetryProgress, Wait};

/// Another attempt after a failure that may pass. Cheap to clone: clones share their options, budget and figures.
///
/// A [pipeline](crate::Pipeline) runs the attempts. Who runs them by hand asks after each one:
///
/// ```
/// use tidegate_resilience::{Call, Moment, Reading, Retry, RetryOptions, Verdict};
///
/// let retry = Retry::new("orders", &RetryOptions::default())?;
/// let (call, now) = (Call::new(), Reading::taken(Moment::ORIGIN));
/// let mut progress = retry.begin(&now);
/// while let Some(_wait) = retry.next(&mut progress, &Verdict::TRANSIENT, &call, &now, Moment::NEVER) {
///     // Wait for so long, then try again.
/// }
/// assert_eq!(progress.attempts(), 3);
/// # Ok::<(), tidegate_resilience::InvalidOption>(())
/// ```
#[derive(Clone)]
pub struct Retry {
    inner: Arc<Inner>,
    /// The budget: of this retry alone, or shared.
    budget: RetryBudget,
    delays: Option<Arc<Delays>>,
    condition: Option<Arc<Condition>>,
}

type Delays = dyn Fn(u32) -> Duration + Send + Sync;
type Condition = dyn Fn(&Verdict, u32) -> bool + Send + Sync;

struct Inner {
    settings: ArcSwap<Settings>,
    /// Whether the mode is anything but disabled. Relaxed: a call that reads it late goes by the old options.
    active: AtomicBool,
    own_budget: RetryBudget,
    emitter: Emitter,
    random: Random,
    figures: Figures,
}

/// Counted only once an attempt has failed.
#[derive(Default)]
struct Figures {
    retries: AtomicU64,
    recovered: AtomicU64,
    exhausted: AtomicU64,
    budget_exhausted: AtomicU64,
}

/// What a retry has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryStats {
    /// Attempts after the first ones.
    pub retries: u64,
    /// Calls that succeeded with an attempt after the first.
    pub recovered: u64,
    /// Calls that ended because no attempt was left, or none could begin in time.
    pub exhausted: u64,
    /// Calls that ended because the budget did not allow another attempt.
    pub budget_exhausted: u64,
    /// What is in the budget.
    pub budget: RetryBudgetStats,
}

impl Retry {
    /// A retry with a budget of its own, by the clock of the machine.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn new(name: impl Into<Name>, options: &RetryOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, options, &Environment::default())
    }

    /// A retry with a budget of its own in this environment.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn in_environment(
        name: impl Into<Name>,
        options: &RetryOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        let settings = Settings::try_from(options)?;
        let budget = RetryBudget::perhaps(options.budget.as_ref(), environment)?;
        let inner = Inner {
            active: AtomicBool::new(options.mode != Mode::Disabled),
            settings: ArcSwap::from_pointee(settings),
            own_budget: budget.clone(),
            emitter: environment.emitter(&name.into()),
            random: environment.random.clone(),
            figures: Figures::default(),
        };
        Ok(Self { inner: Arc::new(inner), budget, delays: None, condition: None })
    }

    /// The same retry, charging a budget that is shared with others. Its own, and the option for it, has no effect.
    #[must_use]
    pub fn with_budget(mut self, budget: RetryBudget) -> Self {
        self.budget = budget;
        self
    }

    /// The same retry with waits of your own, in place of backoff and jitter: for the number of attempts that have
    /// failed, 1 before the first retry. What the other side asks for still counts, and so does the deadline.
    #[must_use]
    pub fn with_delays(mut self, delays: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        self.delays = Some(Arc::new(delays));
        self
    }

    /// The same retry with a condition of your own, beside the advice of the verdict: for the verdict and the number
    /// of attempts that have failed.
    #[must_use]
    pub fn should_retry(mut self, condition: impl Fn(&Verdict, u32) -> bool + Send + Sync + 'static) -> Self {
        self.condition = Some(Arc::new(condition));
        self
    }

    /// Puts other options in force, for calls under way too. The budget keeps what is in it.
    ///
    /// # Errors
    ///
    /// An option is out of its range; the options before stay in force.
    pub fn reconfigure(&self, options: &RetryOptions) -> Result<(), InvalidOption> {
        let settings = Settings::try_from(options)?;
        self.inner.own_budget.reconfigure_perhaps(options.budget.as_ref())?;
        self.inner.settings.store(Arc::new(settings));
        self.inner.active.store(options.mode != Mode::Disabled, Ordering::Relaxed);
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> RetryOptions {
        RetryOptions::clone(&self.inner.settings.load())
    }

    /// What it is called.
    pub fn name(&self) -> &Name {
        self.inner.emitter.policy()
    }

    /// The budget that it charges. It has no limit where the option is off.
    pub fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// What it has done since it was made.
    pub fn stats(&self) -> RetryStats {
        let figures = &self.inner.figures;
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        RetryStats {
            retries: read(&figures.retries),
            recovered: read(&figures.recovered),
            exhausted: read(&figures.exhausted),
            budget_exhausted: read(&figures.budget_exhausted),
            budget: self.budget.stats(),
        }
    }

    /// The longest that a call may wait between its attempts, all waits together, without what the other side asks
    /// for. Nothing is known of waits of your own.
    pub fn longest_wait(&self) -> Option<Duration> {
        let settings = self.inner.settings.load();
        let most = (1..settings.attempts).scan(Duration::ZERO, |last, attempts| {
            *last = settings.wait(attempts, *last, 1.0).total();
            Some(*last)
        });
        self.delays.is_none().then(|| most.fold(Duration::ZERO, Duration::saturating_add))
    }

    /// Begins a call: its first attempt is about to run. Counts it in the budget.
    #[inline]
    pub fn begin(&self, now: &Reading<'_>) -> RetryProgress {
        if !self.inner.active.load(Ordering::Relaxed) {
            return RetryProgress::OFF;
        }
        if self.budget.is_limited() {
            self.budget.deposit(now.moment());
        }
        RetryProgress::FIRST
    }

    /// How long to wait before the next attempt, which is then paid for and counts as begun; nothing where the result
    /// is final. `deadline` is when the call as a whole is of no more use: no attempt begins then or later.
    #[inline]
    pub fn next(
        &self,
        progress: &mut RetryProgress,
        verdict: &Verdict,
        call: &Call<'_>,
        now: &Reading<'_>,
        deadline: Moment,
    ) -> Option<Duration> {
        if verdict.outcome == Outcome::Success {
            if progress.attempts > 1 {
                self.inner.figures.recovered.fetch_add(1, Ordering::Relaxed);
            }
            return None;
        }
        if progress.attempts == 0 { None } else { self.after_failure(progress, verdict, call, now, deadline) }
    }

    fn after_failure(
        &self,
        progress: &mut RetryProgress,
        verdict: &Verdict,
        call: &Call<'_>,
        now: &Reading<'_>,
        deadline: Moment,
    ) -> Option<Duration> {
        let settings = self.inner.settings.load();
        let willing = self.condition.as_ref().is_none_or(|condition| condition(verdict, progress.attempts));
        if settings.mode == Mode::Disabled || !willing || !settings.permits(verdict, call) {
            return None;
        }
        let wait = if progress.attempts < settings.attempts { Some(self.wait(&settings, progress)) } else { None };
        let in_time = |delay: &Duration| now.moment().after(*delay) < deadline;
        let delay = wait.and_then(|wait| settings.heed(wait, verdict.retry)).filter(in_time);
        let (Some(wait), Some(delay)) = (wait, delay) else {
            self.exhausted(progress, now);
            return None;
        };
        if !self.budget.try_withdraw(now.moment()) {
            self.inner.figures.budget_exhausted.fetch_add(1, Ordering::Relaxed);
            self.inner.emitter.emit(now, || Happening::RetryBudgetExhausted);
            return None;
        }
        *progress = RetryProgress { attempts: progress.attempts + 1, waited: wait.total() };
        self.inner.figures.retries.fetch_add(1, Ordering::Relaxed);
        self.inner.emitter.emit(now, || Happening::RetryAttempt { attempt: progress.attempts, delay });
        (settings.mode == Mode::Enabled).then_some(delay)
    }

    fn wait(&self, settings: &Settings, progress: &RetryProgress) -> Wait {
        match &self.delays {
            Some(delays) => Wait::exactly(delays(progress.attempts)),
            None => settings.wait(progress.attempts, progress.waited, self.inner.random.unit()),
        }
    }

    fn exhausted(&self, progress: &RetryProgress, now: &Reading<'_>) {
        self.inner.figures.exhausted.fetch_add(1, Ordering::Relaxed);
        self.inner.emitter.emit(now, || Happening::RetryExhausted { attempts: progress.attempts });
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Retry")
            .field("name", self.name())
            .field("options", &self.options())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
