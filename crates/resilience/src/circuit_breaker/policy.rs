//! The handle of a circuit breaker.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::RwLock;

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::error::{Code, InvalidOption, Rejection};
use crate::event::{CircuitState, Emitter, Happening};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Environment, Guard, Ticket};
use crate::random::Random;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::window::Tally;

use super::conditions::rate;
use super::gate::{Face, Gate};
use super::options::CircuitBreakerOptions;
use super::state::{Answer, Circuit, Ended, Phase};

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
    /// Read by every call.
    face: CachePadded<Face>,
    /// Successes that have not been handed to the circuit yet.
    tally: Tally,
    circuit: CachePadded<Mutex<Circuit>>,
    rejected: CachePadded<AtomicU64>,
    fallbacks: RwLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    clock: Clock,
    random: Random,
    emitter: Emitter,
}

/// A circuit breaker at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CircuitBreakerStats {
    /// The state.
    pub state: CircuitState,
    /// How often the state has changed.
    pub generation: u32,
    /// Calls in the window. It and the shares of it stay as they were when the circuit opened until it closes again.
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
    /// Calls that were rejected since then; with [`Mode::MetricsOnly`](crate::Mode), that would have been.
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
        let circuit = Circuit::new(options.clone());
        let inner = Inner {
            face: CachePadded::new(Face::of(&circuit)),
            tally: Tally::new(),
            circuit: CachePadded::new(Mutex::new(circuit)),
            rejected: CachePadded::new(AtomicU64::new(0)),
            fallbacks: RwLock::default(),
            clock: environment.clock.clone(),
            random: environment.random.clone(),
            emitter: environment.emitter(&name.into()),
        };
        inner.emitter.emit(&Reading::of(&inner.clock), || Happening::CircuitInstalled);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Puts other options in force. The state stays, and what was counted stays too unless the window is another one.
    /// An open time that has begun ends as it was going to, and so does a ramp, unless ramps are off now.
    ///
    /// # Errors
    ///
    /// An option is out of its range; the options before stay in force.
    pub fn reconfigure(&self, options: &CircuitBreakerOptions) -> Result<(), InvalidOption> {
        options.check()?;
        self.with_circuit(|circuit, _| circuit.reconfigure(options.clone()));
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> CircuitBreakerOptions {
        self.inner.circuit.lock().options().clone()
    }

    /// The state. A circuit whose open time is over is open until a call asks to probe.
    pub fn state(&self) -> CircuitState {
        self.inner.face.gate().state()
    }

    /// The breaker in numbers.
    pub fn stats(&self) -> CircuitBreakerStats {
        let rejected = self.inner.rejected.load(Ordering::Relaxed);
        self.with_circuit(|circuit, now| {
            let (counts, totals) = (circuit.counts(now), circuit.totals());
            CircuitBreakerStats {
                state: circuit.state(),
                generation: circuit.generation(),
                window_calls: counts.calls,
                failure_rate: rate(counts.failed, counts.calls),
                slow_call_rate: rate(counts.slow, counts.calls),
                consecutive_failures: circuit.consecutive(),
                succeeded: totals.succeeded,
                failed: totals.failed,
                slow: totals.slow,
                rejected,
                last_failure: totals.last_failure,
                time_until_probe: match circuit.phase() {
                    Phase::Open { until } => Some(until.since(now)),
                    _ => None,
                },
            }
        })
    }

    /// Opens the circuit until somebody closes or resets it.
    pub fn force_open(&self) {
        self.with_circuit(|circuit, now| circuit.force(Phase::ForcedOpen, now));
    }

    /// Closes the circuit until somebody opens or resets it, whatever comes of the calls.
    pub fn force_close(&self) {
        self.with_circuit(|circuit, now| circuit.force(Phase::ForcedClosed, now));
    }

    /// Closes the circuit and forgets what was counted in its window; it goes on by itself from there.
    pub fn reset(&self) {
        self.with_circuit(|circuit, now| circuit.force(Phase::Closed { ramp: None }, now));
    }

    /// The short way while every call goes through.
    #[inline]
    pub(crate) fn admit_at_once(&self, now: &Reading<'_>, ticket: &mut Ticket) -> bool {
        let gate = self.inner.face.gate();
        let clear = gate.is_clear();
        if clear {
            *ticket = self.inner.ticket(gate, WATCHED, now);
        }
        clear
    }

    fn with_circuit<T>(&self, operate: impl FnOnce(&mut Circuit, Moment) -> T) -> T {
        self.inner.with_circuit(&Reading::of(&self.inner.clock), operate)
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

impl Inner {
    /// Operates on the circuit, and shows and tells what has changed.
    ///
    /// Changes are told under the lock, so that listeners hear of them in their order. To tell is to push into queues.
    fn with_circuit<T>(&self, now: &Reading<'_>, operate: impl FnOnce(&mut Circuit, Moment) -> T) -> T {
        let mut circuit = self.circuit.lock();
        let generation = circuit.generation();
        circuit.note_successes(self.tally.take(generation));
        let answer = operate(&mut circuit, now.moment());
        if circuit.generation() != generation {
            // From here on the tally counts for the new generation; what was added meanwhile is late.
            let late = self.tally.take(circuit.generation());
            circuit.note_late_successes(late);
        }
        self.face.show(&circuit);
        if let Some(change) = circuit.take_change() {
            self.emitter.emit(now, || Happening::CircuitStateChanged {
                from: change.from,
                to: change.to,
                reason: change.reason,
            });
        }
        answer
    }

    /// A ticket for a call that is let through.
    #[inline]
    fn ticket(&self, gate: Gate, kind: u32, now: &Reading<'_>) -> Ticket {
        let at = if gate.is_measuring() || self.emitter.heard() { now.moment() } else { UNTIMED };
        Ticket { generation: gate.generation(), kind, at, amount: 0 }
    }

    /// Admits a call where not every call goes through.
    #[inline]
    fn admit(&self, gate: Gate, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        if gate.is_off() {
            return Ok(Ticket::BLANK);
        }
        let (answer, gate) = match self.face.answer(gate, || now.moment(), || self.random.unit()) {
            Some(answer) => (answer, gate),
            None => self.look_again(now),
        };
        let rejection = match answer {
            Answer::Watch => return Ok(self.ticket(gate, WATCHED, now)),
            Answer::Probe => return Ok(self.ticket(gate, PROBE, now)),
            _ => self.rejection(answer, now),
        };
        self.rejected.fetch_add(1, Ordering::Relaxed);
        self.emitter.emit(now, || Happening::CircuitCallRejected { state: gate.state() });
        if gate.is_lenient() { Ok(Ticket::BLANK) } else { Err(rejection) }
    }

    /// Decides on a call under the lock, and with which gate.
    #[inline(never)]
    fn look_again(&self, now: &Reading<'_>) -> (Answer, Gate) {
        self.with_circuit(now, |circuit, now| (circuit.admit(now, || self.random.unit()), Gate::of(circuit)))
    }

    #[inline]
    fn rejection(&self, answer: Answer, now: &Reading<'_>) -> Rejection {
        let because = |code| Rejection::new(code, self.emitter.policy());
        match answer {
            Answer::Open(until) => because(Code::BreakerOpen).with_retry_after(until.since(now.moment())),
            Answer::ForcedOpen => because(Code::BreakerForcedOpen),
            Answer::Ramping => because(Code::BreakerRamping),
            _ => because(Code::BreakerProbing),
        }
    }

    /// Settles what is not just one more success.
    #[inline(never)]
    fn settle(&self, ticket: Ticket, outcome: Outcome, slow: bool, now: &Reading<'_>) {
        let counts = matches!(outcome, Outcome::Success | Outcome::Failure | Outcome::Overload);
        let outcome = match self.face.gate().is_off() {
            // Disabled meanwhile: nothing counts, and the place of a probe is given back.
            true if ticket.kind == PROBE => Outcome::Cancelled,
            false if ticket.kind == PROBE || counts => outcome,
            _ => return,
        };
        let ended = Ended { generation: ticket.generation, outcome, slow };
        self.with_circuit(now, |circuit, now| circuit.settle(ended, now, || self.random.unit()));
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
        let gate = self.inner.face.gate();
        if gate.is_clear() || gate.is_off() || gate.is_lenient() {
            return Ok(());
        }
        // While traffic ramps up, chance decides once: at admission.
        match self.inner.face.answer(gate, || now.moment(), || 0.0) {
            None | Some(Answer::Watch | Answer::Probe) => Ok(()),
            Some(answer) => Err(self.inner.rejection(answer, now)),
        }
    }

    #[inline]
    fn try_admit(&self, _: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        let mut ticket = Ticket::BLANK;
        if self.admit_at_once(now, &mut ticket) { Ok(ticket) } else { self.inner.admit(self.inner.face.gate(), now) }
    }

    #[inline]
    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        let inner = &*self.inner;
        if ticket.kind == UNWATCHED {
            return;
        }
        let gate = inner.face.gate();
        let slow = gate.is_measuring() && ticket.at != UNTIMED && inner.face.is_slow(now.moment().since(ticket.at));
        let routine = outcome == Outcome::Success
            && !slow
            && ticket.kind == WATCHED
            && inner.face.is_routine(gate, || now.moment())
            && inner.tally.add(ticket.generation);
        if !routine {
            inner.settle(ticket, outcome, slow, now);
        }
        // Nobody listened when an untimed call began.
        if ticket.at != UNTIMED && outcome != Outcome::Rejected {
            let duration = || now.moment().since(ticket.at);
            inner.emitter.emit(now, || Happening::CircuitCallExecuted { outcome, duration: duration() });
        }
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CircuitBreaker").field("name", self.name()).field("stats", &self.stats()).finish()
    }
}
