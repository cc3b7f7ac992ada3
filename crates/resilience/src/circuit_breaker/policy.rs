//! The handle of a circuit breaker.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::RwLock;

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::error::{Code, InvalidOption, Rejection};
use crate::event::{CircuitReason, CircuitState, Emitter, Happening};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Environment, Guard, Mode, Ticket};
use crate::random::Random;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::window::{Counts, Mark, SlidingWindow};

use super::core::{Change, Machine, Probed, Standing};
use super::options::{BreakerWindow, CircuitBreakerOptions};
use super::state::{open_time, ramp_share, rate, trips};

/// Stops calling what fails. Cheap to clone: clones are the same breaker.
///
/// ```
/// use tidegate_resilience::{CircuitBreaker, CircuitBreakerOptions, CircuitState, Guard};
///
/// let options = CircuitBreakerOptions { consecutive_failures: Some(2), ..Default::default() };
/// let breaker = CircuitBreaker::new("payments", &options)?;
/// breaker.try_acquire()?.failure();
/// breaker.try_acquire()?.failure();
/// assert_eq!(breaker.state(), CircuitState::Open);
/// let rejection = breaker.try_acquire().expect_err("open");
/// assert!(rejection.retry_after().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CircuitBreaker {
    inner: Arc<Inner>,
}

struct Inner {
    machine: Machine,
    settings: ArcSwap<Settings>,
    consecutive: AtomicU64,
    figures: Figures,
    fallbacks: RwLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    clock: Clock,
    random: Random,
    emitter: Emitter,
}

/// Checked options, and the window they ask for.
struct Settings {
    options: CircuitBreakerOptions,
    window: Arc<SlidingWindow>,
}

#[derive(Default)]
struct Figures {
    succeeded: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
    rejected: AtomicU64,
    /// The moment of the last failure plus one; 0 for none.
    last_failure: AtomicU64,
}

/// A circuit breaker at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CircuitBreakerStats {
    /// The state.
    pub state: CircuitState,
    /// How often the state has changed.
    pub generation: u32,
    /// Calls in the window.
    pub window_calls: u64,
    /// The share of failures in the window, 0 to 1.
    pub failure_rate: f64,
    /// The share of slow calls in the window, 0 to 1.
    pub slow_call_rate: f64,
    /// Failures one after the other, until now.
    pub consecutive_failures: u64,
    /// Calls that succeeded since the breaker was made.
    pub succeeded: u64,
    /// Calls that failed since then, overload answers among them.
    pub failed: u64,
    /// Calls that were slow since then.
    pub slow: u64,
    /// Calls that were rejected since then; with [`Mode::MetricsOnly`], that would have been.
    pub rejected: u64,
    /// When the last failure was.
    pub last_failure: Option<Moment>,
    /// How long it is until the next probe, where the circuit is open.
    pub time_until_probe: Option<Duration>,
}

/// As what a call was admitted: [`Ticket::kind`].
const UNWATCHED: u32 = 0;
const WATCHED: u32 = 1;
const PROBE: u32 = 2;

/// Where a ticket has no moment: nobody asks how long the call takes.
const UNTIMED: Moment = Moment::NEVER;

impl CircuitBreaker {
    /// A closed breaker by the clock of the machine.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn new(name: impl Into<Name>, options: &CircuitBreakerOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, options, &Environment::default())
    }

    /// A closed breaker in this environment.
    ///
    /// # Errors
    ///
    /// An option is out of its range.
    pub fn in_environment(
        name: impl Into<Name>,
        options: &CircuitBreakerOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        options.check()?;
        let inner = Inner {
            machine: Machine::new(),
            settings: ArcSwap::from_pointee(Settings { options: options.clone(), window: window(options) }),
            consecutive: AtomicU64::new(0),
            figures: Figures::default(),
            fallbacks: RwLock::default(),
            clock: environment.clock.clone(),
            random: environment.random.clone(),
            emitter: environment.emitter(&name.into()),
        };
        inner.emitter.emit(&Reading::of(&inner.clock), || Happening::CircuitInstalled);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Puts other options in force. The state stays, and what was counted stays too unless the window is another one.
    /// An open time that has begun ends as it was going to.
    ///
    /// # Errors
    ///
    /// An option is out of its range; the options before stay in force.
    pub fn reconfigure(&self, options: &CircuitBreakerOptions) -> Result<(), InvalidOption> {
        options.check()?;
        self.inner.settings.rcu(|settings| {
            let same = settings.options.window == options.window;
            let window = if same { Arc::clone(&settings.window) } else { window(options) };
            Settings { options: options.clone(), window }
        });
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> CircuitBreakerOptions {
        self.inner.settings.load().options.clone()
    }

    /// The state. A circuit whose open time is over is open until a call asks to probe.
    pub fn state(&self) -> CircuitState {
        self.inner.machine.standing().state
    }

    /// The breaker in numbers.
    pub fn stats(&self) -> CircuitBreakerStats {
        let Inner { machine, settings, figures, clock, .. } = &*self.inner;
        let now = clock.now();
        let counts = settings.load().window.counts(|| now);
        let standing = machine.standing();
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        CircuitBreakerStats {
            state: standing.state,
            generation: standing.generation,
            window_calls: counts.calls,
            failure_rate: rate(counts.failed, counts.calls),
            slow_call_rate: rate(counts.slow, counts.calls),
            consecutive_failures: read(&self.inner.consecutive),
            succeeded: read(&figures.succeeded),
            failed: read(&figures.failed),
            slow: read(&figures.slow),
            rejected: read(&figures.rejected),
            last_failure: read(&figures.last_failure).checked_sub(1).map(Moment::from_nanos),
            time_until_probe: (standing.state == CircuitState::Open).then(|| machine.until().since(now)),
        }
    }

    /// Opens the circuit until somebody closes or resets it.
    pub fn force_open(&self) {
        self.inner.force(CircuitState::ForcedOpen);
    }

    /// Closes the circuit until somebody opens or resets it, whatever comes of the calls.
    pub fn force_close(&self) {
        self.inner.force(CircuitState::ForcedClosed);
    }

    /// Closes the circuit and forgets what was counted in its window; it goes on by itself from there.
    pub fn reset(&self) {
        self.inner.force(CircuitState::Closed);
    }

    /// Registers what takes the place of results of this type while the circuit is open; the one before is replaced.
    /// [`Registry::execute_protected`](crate::Registry::execute_protected) asks for it.
    pub fn register_fallback<T: 'static>(&self, fallback: impl Fn(&Rejection) -> T + Send + Sync + 'static) {
        let fallback: Arc<FallbackOf<T>> = Arc::new(fallback);
        self.inner.fallbacks.write().insert(TypeId::of::<T>(), Arc::new(fallback));
    }

    /// What takes the place of a result of this type, where something was registered for it.
    pub fn fallback<T: 'static>(&self, rejection: &Rejection) -> Option<T> {
        let fallback = self.inner.fallbacks.read().get(&TypeId::of::<T>()).cloned()?;
        fallback.downcast_ref::<Arc<FallbackOf<T>>>().map(|fallback| fallback(rejection))
    }
}

type FallbackOf<T> = dyn Fn(&Rejection) -> T + Send + Sync;

fn window(options: &CircuitBreakerOptions) -> Arc<SlidingWindow> {
    Arc::new(match options.window {
        BreakerWindow::Calls(calls) => SlidingWindow::of_calls(calls),
        BreakerWindow::Time(length) => SlidingWindow::of_time(length),
    })
}

/// What the state says to a call.
enum Answer {
    Admit(Ticket),
    Reject(Rejection),
}

impl Inner {
    fn reject(&self, code: Code) -> Answer {
        Answer::Reject(Rejection::new(code, self.emitter.policy()))
    }

    /// The answer to a call, with all changes of state that are due. A peek takes no probe.
    fn answer(&self, now: &Reading<'_>, peek: bool) -> Answer {
        loop {
            let standing = self.machine.standing();
            return match standing.state {
                CircuitState::Closed => self.answer_closed(standing, now),
                CircuitState::ForcedClosed => Answer::Admit(Ticket { at: UNTIMED, ..Ticket::BLANK }),
                CircuitState::ForcedOpen => self.reject(Code::BreakerForcedOpen),
                CircuitState::Open => {
                    let until = self.machine.until();
                    if now.moment() < until {
                        let rejection = Rejection::new(Code::BreakerOpen, self.emitter.policy());
                        return Answer::Reject(rejection.with_retry_after(until.since(now.moment())));
                    }
                    if peek {
                        return Answer::Admit(Ticket::BLANK);
                    }
                    self.change(standing, CircuitState::HalfOpen, CircuitReason::TimeToProbe, now);
                    continue;
                }
                CircuitState::HalfOpen => {
                    if now.moment() >= self.machine.until() {
                        if peek {
                            return self.reject(Code::BreakerProbing);
                        }
                        self.change(standing, CircuitState::Open, CircuitReason::ProbesTimedOut, now);
                        continue;
                    }
                    self.answer_half_open(standing, now, peek)
                }
            };
        }
    }

    fn answer_closed(&self, standing: Standing, now: &Reading<'_>) -> Answer {
        let until = self.machine.until();
        if until > Moment::ORIGIN {
            let ramp = self.settings.load().options.ramp.unwrap_or_default();
            if now.moment() >= until || ramp.is_zero() {
                self.machine.end_ramp(until);
            } else if !self.random.chance(ramp_share(ramp, ramp.saturating_sub(until.since(now.moment())))) {
                return self.reject(Code::BreakerRamping);
            }
        }
        Answer::Admit(Ticket { generation: standing.generation, kind: WATCHED, at: self.begun(now), amount: 0 })
    }

    fn answer_half_open(&self, standing: Standing, now: &Reading<'_>, peek: bool) -> Answer {
        let settings = self.settings.load();
        let (most, needed) = (settings.options.probes, settings.options.success_threshold);
        if !self.machine.take_probe(standing.generation, most, needed) {
            return self.reject(Code::BreakerProbing);
        }
        if peek {
            self.machine.return_probe(standing.generation, false, needed);
        }
        Answer::Admit(Ticket { generation: standing.generation, kind: PROBE, at: self.begun(now), amount: 0 })
    }

    /// When a call began, if anybody will ask how long it took.
    fn begun(&self, now: &Reading<'_>) -> Moment {
        let timed = self.emitter.heard() || self.settings.load().options.slow_call_rate.is_some();
        if timed { now.moment() } else { UNTIMED }
    }

    /// Notes a call that was watched, and opens the circuit if that was one too many.
    fn note(&self, ticket: Ticket, mark: Mark, outcome: Outcome, now: &Reading<'_>) {
        let standing = self.machine.standing();
        if standing.generation != ticket.generation || standing.state != CircuitState::Closed {
            return;
        }
        let settings = self.settings.load();
        let consecutive = match outcome {
            Outcome::Failure => self.consecutive.fetch_add(1, Ordering::Relaxed) + 1,
            Outcome::Overload => self.consecutive.load(Ordering::Relaxed),
            _ => {
                if self.consecutive.load(Ordering::Relaxed) != 0 {
                    self.consecutive.store(0, Ordering::Relaxed);
                }
                0
            }
        };
        settings.window.record(mark, || now.moment());
        let counts = if settings.window.is_clean(|| now.moment()) {
            Counts::default()
        } else {
            settings.window.counts(|| now.moment())
        };
        if let Some(reason) = trips(&settings.options, consecutive, counts) {
            self.change(standing, CircuitState::Open, reason, now);
        }
    }

    /// Takes a probe back.
    fn probed(&self, ticket: Ticket, bad: bool, outcome: Outcome, now: &Reading<'_>) {
        let standing = self.machine.standing();
        if standing.generation != ticket.generation {
            return;
        }
        let needed = self.settings.load().options.success_threshold;
        let success = outcome == Outcome::Success && !bad;
        if self.machine.return_probe(ticket.generation, success, needed) == Probed::Enough {
            self.change(standing, CircuitState::Closed, CircuitReason::Recovered, now);
        } else if bad {
            self.change(standing, CircuitState::Open, CircuitReason::ProbeFailed, now);
        }
    }

    fn change(&self, seen: Standing, to: CircuitState, reason: CircuitReason, now: &Reading<'_>) {
        let settings = self.settings.load();
        let options = &settings.options;
        let until = |reopenings| match to {
            CircuitState::Open => now.moment().after(open_time(options, reopenings, self.random.unit())),
            CircuitState::HalfOpen => now.moment().after(options.half_open_for),
            CircuitState::Closed if reason == CircuitReason::Recovered => {
                options.ramp.map_or(Moment::ORIGIN, |ramp| now.moment().after(ramp))
            }
            _ => Moment::ORIGIN,
        };
        let begin = || {
            if to == CircuitState::Closed {
                settings.window.clear();
            }
            self.consecutive.store(0, Ordering::Relaxed);
        };
        if let Some(Change { from, to }) = self.machine.change(seen, to, until, begin) {
            self.emitter.emit(now, || Happening::CircuitStateChanged { from, to, reason });
        }
    }

    /// Changes the state whatever it is.
    fn force(&self, to: CircuitState) {
        let now = Reading::of(&self.clock);
        loop {
            let standing = self.machine.standing();
            if standing.state == to && to != CircuitState::Closed {
                return;
            }
            self.change(standing, to, CircuitReason::Manual, &now);
            if self.machine.standing().generation != standing.generation {
                return;
            }
        }
    }
}

impl Guard for CircuitBreaker {
    fn name(&self) -> &Name {
        self.inner.emitter.policy()
    }

    fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    fn peek(&self, _: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        // While traffic ramps up, chance decides once: at admission.
        if self.inner.machine.standing().state == CircuitState::Closed {
            return Ok(());
        }
        match self.inner.answer(now, true) {
            Answer::Reject(rejection) if self.inner.settings.load().options.mode == Mode::Enabled => Err(rejection),
            _ => Ok(()),
        }
    }

    #[inline]
    fn try_admit(&self, _: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        let mode = self.inner.settings.load().options.mode;
        if mode == Mode::Disabled {
            return Ok(Ticket::BLANK);
        }
        let rejection = match self.inner.answer(now, false) {
            Answer::Admit(ticket) => return Ok(ticket),
            Answer::Reject(rejection) => rejection,
        };
        self.inner.figures.rejected.fetch_add(1, Ordering::Relaxed);
        self.inner.emitter.emit(now, || Happening::CircuitCallRejected { state: self.state() });
        if mode == Mode::MetricsOnly { Ok(Ticket::BLANK) } else { Err(rejection) }
    }

    #[inline]
    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        let inner = &*self.inner;
        if ticket.kind == UNWATCHED {
            return;
        }
        let duration = || if ticket.at == UNTIMED { Duration::ZERO } else { now.moment().since(ticket.at) };
        let counted = matches!(outcome, Outcome::Success | Outcome::Failure | Outcome::Overload);
        let mut mark = Mark { failed: counted && outcome != Outcome::Success, slow: false };
        if counted {
            if ticket.at != UNTIMED {
                let options = &inner.settings.load().options;
                mark.slow = options.slow_call_rate.is_some() && duration() >= options.slow_call;
            }
            inner.figures.count(mark, now);
        }
        match ticket.kind {
            PROBE => inner.probed(ticket, mark.failed || mark.slow, outcome, now),
            _ if counted => inner.note(ticket, mark, outcome, now),
            _ => {}
        }
        if outcome != Outcome::Rejected {
            inner.emitter.emit(now, || Happening::CircuitCallExecuted { outcome, duration: duration() });
        }
    }
}

impl Figures {
    #[inline]
    fn count(&self, mark: Mark, now: &Reading<'_>) {
        if mark.failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
            self.last_failure.store(now.moment().as_nanos().saturating_add(1), Ordering::Relaxed);
        } else {
            self.succeeded.fetch_add(1, Ordering::Relaxed);
        }
        if mark.slow {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CircuitBreaker").field("name", self.name()).field("stats", &self.stats()).finish()
    }
}
