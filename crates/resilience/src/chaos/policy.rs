//! The handle of chaos.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::call::Call;
use crate::clock::{Clock, Reading};
use crate::error::{Code, InvalidOption, Rejection};
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Admission, Environment, Guard, Mode, Ticket};
use crate::random::Random;
use crate::units::Ratio;

use super::options::ChaosOptions;
use super::state::{Settings, hits};

/// Delays and failures on purpose. Cheap to clone: clones are the same chaos.
///
/// ```
/// use tidegate_resilience::{Chaos, ChaosFault, ChaosOptions, Guard, Mode, Ratio};
///
/// let abort = ChaosFault { percentage: Ratio::ONE };
/// let options = ChaosOptions { mode: Mode::Enabled, abort: Some(abort), ..Default::default() };
/// let chaos = Chaos::new("no orders today", &options)?;
/// assert!(chaos.try_acquire().is_err());
/// # Ok::<(), tidegate_resilience::InvalidOption>(())
/// ```
#[derive(Clone)]
pub struct Chaos {
    inner: Arc<Inner>,
    matching: Option<Arc<Matcher>>,
}

type Matcher = dyn Fn(&Call<'_>) -> bool + Send + Sync;

struct Inner {
    /// Whether the mode is anything but disabled. Relaxed: a call that reads it late goes by the old options.
    active: AtomicBool,
    settings: ArcSwap<Settings>,
    clock: Clock,
    random: Random,
    emitter: Emitter,
    delayed: AtomicU64,
    aborted: AtomicU64,
    faulted: AtomicU64,
}

/// What chaos has done since it was made. With [`Mode::MetricsOnly`]: what it would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChaosStats {
    /// Calls that had to wait.
    pub delayed: u64,
    /// Calls that were rejected.
    pub aborted: u64,
    /// Calls that failed where they asked for it.
    pub faulted: u64,
}

impl Chaos {
    /// Chaos by the clock of the machine.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn new(name: impl Into<Name>, options: &ChaosOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, options, &Environment::default())
    }

    /// Chaos in this environment. With a [seeded](Random::seeded) randomness it hits the same calls every time.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn in_environment(
        name: impl Into<Name>,
        options: &ChaosOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        options.check()?;
        let settings = Settings { options: options.clone(), since: environment.clock.now() };
        let inner = Inner {
            active: AtomicBool::new(options.mode != Mode::Disabled),
            settings: ArcSwap::from_pointee(settings),
            clock: environment.clock.clone(),
            random: environment.random.clone(),
            emitter: environment.emitter(&name.into()),
            delayed: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            faulted: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner), matching: None })
    }

    /// The same chaos, only for calls that this picks, beside the option `key`.
    #[must_use]
    pub fn matching(mut self, pick: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.matching = Some(Arc::new(pick));
        self
    }

    /// Puts other options in force, for calls that begin from now on.
    ///
    /// # Errors
    ///
    /// An option is out of its range; the options before stay in force.
    pub fn reconfigure(&self, options: &ChaosOptions) -> Result<(), InvalidOption> {
        options.check()?;
        let now = self.inner.clock.now();
        self.inner.settings.rcu(|settings| settings.followed_by(options, now));
        self.inner.active.store(options.mode != Mode::Disabled, Ordering::Relaxed);
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> ChaosOptions {
        self.inner.settings.load().options.clone()
    }

    /// What it has done since it was made.
    pub fn stats(&self) -> ChaosStats {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        ChaosStats {
            delayed: read(&self.inner.delayed),
            aborted: read(&self.inner.aborted),
            faulted: read(&self.inner.faulted),
        }
    }

    /// Fails with the error made here, if this call is to. A call asks for it at the place where it could fail:
    ///
    /// ```
    /// # use tidegate_resilience::{Call, Chaos};
    /// async fn charge(chaos: &Chaos, call: &Call<'_>) -> std::io::Result<()> {
    ///     // The money has moved.
    ///     chaos.fault(call, || std::io::Error::other("the answer was lost"))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The error made here.
    pub fn fault<E>(&self, call: &Call<'_>, error: impl FnOnce() -> E) -> Result<(), E> {
        let now = Reading::of(&self.inner.clock);
        let hit = self.settings_for(call, &now).is_some_and(|settings| {
            let share = settings.options.fault.as_ref().map(|fault| fault.percentage);
            self.hits(share) && self.inject(&settings, &self.inner.faulted, &now, None)
        });
        if hit { Err(error()) } else { Ok(()) }
    }

    /// The settings, if they are for this call at this time.
    fn settings_for(&self, call: &Call<'_>, now: &Reading<'_>) -> Option<Arc<Settings>> {
        if !self.inner.active.load(Ordering::Relaxed) {
            return None;
        }
        let settings = self.inner.settings.load_full();
        let picked = settings.is_for(call) && self.matching.as_ref().is_none_or(|pick| pick(call));
        (picked && settings.is_time(now.moment())).then_some(settings)
    }

    fn hits(&self, share: Option<Ratio>) -> bool {
        hits(share, || self.inner.random.unit())
    }

    /// Counts and tells of a hit. The answer is whether it is to be real.
    fn inject(&self, settings: &Settings, figure: &AtomicU64, now: &Reading<'_>, delay: Option<Duration>) -> bool {
        figure.fetch_add(1, Ordering::Relaxed);
        self.inner.emitter.emit(now, || Happening::ChaosInjected { delay });
        settings.options.mode == Mode::Enabled
    }

    /// The answer to a call that is to be aborted.
    fn abort(&self, settings: &Settings, now: &Reading<'_>) -> Option<Result<Ticket, Rejection>> {
        let share = settings.options.abort.as_ref().map(|abort| abort.percentage);
        self.hits(share).then(|| match self.inject(settings, &self.inner.aborted, now, None) {
            true => Err(Rejection::new(Code::ChaosAborted, self.name())),
            false => Ok(Ticket::BLANK),
        })
    }

    fn delay(&self, settings: &Settings, now: &Reading<'_>) -> Option<Duration> {
        let latency = settings.options.latency.as_ref().filter(|latency| self.hits(Some(latency.percentage)))?;
        let delay = latency.wait(self.inner.random.unit());
        self.inject(settings, &self.inner.delayed, now, Some(delay)).then_some(delay)
    }
}

impl Guard for Chaos {
    fn name(&self) -> &Name {
        self.inner.emitter.policy()
    }

    fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Nobody knows whom chaos will hit.
    fn peek(&self, _call: &Call<'_>, _now: &Reading<'_>) -> Result<(), Rejection> {
        Ok(())
    }

    /// Aborts, and leaves latencies out: this call cannot wait.
    fn try_admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        let aborted = self.settings_for(call, now).and_then(|settings| self.abort(&settings, now));
        aborted.unwrap_or(Ok(Ticket::BLANK))
    }

    fn admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        let Some(settings) = self.settings_for(call, now) else { return Admission::Granted(Ticket::BLANK) };
        match self.abort(&settings, now) {
            Some(Err(rejection)) => Admission::Rejected(rejection),
            Some(Ok(ticket)) => Admission::Granted(ticket),
            None => match self.delay(&settings, now) {
                Some(delay) => Admission::Later(now.moment().after(delay), Ticket::BLANK),
                None => Admission::Granted(Ticket::BLANK),
            },
        }
    }

    fn settle(&self, _ticket: Ticket, _outcome: Outcome, _now: &Reading<'_>) {}
}

impl fmt::Debug for Chaos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Chaos")
            .field("name", self.name())
            .field("options", &self.options())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
