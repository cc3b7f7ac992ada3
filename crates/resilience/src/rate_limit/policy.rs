//! A rate limiter that counts all calls together.

use std::fmt;
use std::sync::Arc;

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::counter::Counter;
use crate::error::{InvalidOption, Rejection};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Admission, Environment, Guard, Mode, Ticket};
use crate::sync::Mutex;

use super::cell::Cell;
use super::log::Log;
use super::options::{RateLimitOptions, Settings};
use super::shell::{RateLimitStatus, Refusal, Shell};
use super::state::{Algorithm, Decision, Demand, Rule, Used};

/// Admits so many calls in a time. Cheap to clone: clones are the same limiter.
///
/// ```
/// use tidegate_resilience::{Guard, RateLimitOptions, RateLimiter};
///
/// let limiter = RateLimiter::new("search", &RateLimitOptions::per_second(2))?;
/// limiter.try_acquire()?.success();
/// limiter.try_acquire()?.success();
/// let rejection = limiter.try_acquire().expect_err("two in a second");
/// assert!(rejection.retry_after().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A call that never began because a policy further in rejected it, or that was given up while it waited for its
/// time, gives back what it took, as far as that has not come back by itself. Where others wait behind it already, they
/// keep their turns, and nothing is given back.
#[derive(Clone)]
pub struct RateLimiter {
    inner: Arc<Inner>,
}

/// What a rate limiter has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimitStats {
    /// Calls that were admitted.
    pub allowed: u64,
    /// Calls that were rejected; with [`Mode::MetricsOnly`], that would have been.
    pub denied: u64,
}

struct Inner {
    shell: Shell,
    cell: Cell,
    allowed: Counter,
    denied: Counter,
    /// Held by whoever changes the rule, and by every call where what was used stands in the log.
    slow: Mutex<Slow>,
}

struct Slow {
    options: RateLimitOptions,
    settings: Settings,
    log: Log,
}

impl RateLimiter {
    /// A limiter by the clock of the machine.
    ///
    /// # Errors
    ///
    /// An option is out of its range, or there is not exactly one algorithm.
    pub fn new(name: impl Into<Name>, options: &RateLimitOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, options, &Environment::default())
    }

    /// A limiter in this environment.
    ///
    /// # Errors
    ///
    /// An option is out of its range, or there is not exactly one algorithm.
    pub fn in_environment(
        name: impl Into<Name>,
        options: &RateLimitOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        let settings = Settings::try_from(options)?;
        let algorithm = Algorithm::new(settings.limit, environment.clock.now());
        let inner = Inner {
            shell: Shell::new(&name.into(), settings.mode, environment),
            cell: Cell::new(&Rule { generation: 0, algorithm }),
            allowed: Counter::default(),
            denied: Counter::default(),
            slow: Mutex::new(Slow { options: options.clone(), settings, log: Log::default() }),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Puts other options in force. What has been used stays used, up to the new limit.
    ///
    /// # Errors
    ///
    /// An option is out of its range, or there is not exactly one algorithm; the options before stay in force.
    pub fn reconfigure(&self, options: &RateLimitOptions) -> Result<(), InvalidOption> {
        let settings = Settings::try_from(options)?;
        let mut slow = self.inner.slow.lock();
        let now = self.inner.shell.clock.now();
        if settings.limit != slow.settings.limit {
            let (rule, _) = self.inner.cell.read();
            let algorithm = rule.algorithm.successor(settings.limit, now);
            self.inner.convert(&mut slow, Rule { generation: rule.generation.wrapping_add(1), algorithm }, now);
        }
        self.inner.shell.set(settings.mode);
        slow.options = options.clone();
        slow.settings = settings;
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> RateLimitOptions {
        self.inner.slow.lock().options.clone()
    }

    /// Admits this call at once or not at all, without a permit: what it takes stays taken, whatever comes of it.
    ///
    /// # Errors
    ///
    /// Why not.
    #[inline]
    pub fn check(&self, call: &Call<'_>) -> Result<(), Rejection> {
        let (now, mut ticket) = (Reading::of(&self.inner.shell.clock), Ticket::BLANK);
        if self.admit_at_once(call, &now, &mut ticket) { Ok(()) } else { self.enter(call, &now, None).map(drop) }
    }

    /// What is left of the limit.
    pub fn status(&self) -> RateLimitStatus {
        let now = self.inner.shell.clock.now();
        let demand = Demand { now, cost: 1, patience: None };
        self.inner.look(now, |algorithm, (number, log)| {
            let standing = algorithm.standing(algorithm.used(number, log), now);
            RateLimitStatus::new(&standing, algorithm.peek(algorithm.used(number, log), &demand), now)
        })
    }

    /// Gives `cost` back, as if it had not been taken.
    pub fn refund(&self, cost: u32) {
        self.inner.give_back(None, |algorithm, used| algorithm.refund(used, cost));
    }

    /// Forgets what has been used.
    pub fn reset(&self) {
        let mut slow = self.inner.slow.lock();
        let (rule, _) = self.inner.cell.read();
        self.inner.cell.replace(&Rule { generation: rule.generation.wrapping_add(1), ..rule }, |_| 0);
        slow.log = Log::default();
        drop(slow);
        self.inner.shell.emit_reset();
    }

    /// What it has done since it was made.
    pub fn stats(&self) -> RateLimitStats {
        RateLimitStats { allowed: self.inner.allowed.sum(), denied: self.inner.denied.sum() }
    }

    #[inline]
    fn enter(&self, call: &Call<'_>, now: &Reading<'_>, patience: Option<Moment>) -> Result<Ticket, Rejection> {
        let (inner, cost) = (&*self.inner, call.weight());
        if inner.shell.is(Mode::Disabled) {
            return Ok(Ticket::BLANK);
        }
        let at = now.moment();
        match inner.cell.take_at_once(at, cost) {
            Some(generation) => Ok(inner.admitted(Ticket { generation, kind: cost, at, amount: 0 }, call, now)),
            None => inner.enter_slowly(call, now, patience),
        }
    }

    /// The short way of a bucket that holds what the call takes.
    #[inline]
    pub(crate) fn admit_at_once(&self, call: &Call<'_>, now: &Reading<'_>, ticket: &mut Ticket) -> bool {
        let (inner, cost, at) = (&*self.inner, call.weight(), now.moment());
        if inner.shell.is(Mode::Disabled) {
            return false;
        }
        let Some(generation) = inner.cell.take_at_once(at, cost) else { return false };
        *ticket = inner.admitted(Ticket { generation, kind: cost, at, amount: 0 }, call, now);
        true
    }
}

impl Inner {
    #[inline]
    fn admitted(&self, ticket: Ticket, call: &Call<'_>, now: &Reading<'_>) -> Ticket {
        self.allowed.add();
        self.shell.tell_admitted(call, now);
        ticket
    }

    #[inline(never)]
    fn enter_slowly(&self, call: &Call<'_>, now: &Reading<'_>, patience: Option<Moment>) -> Result<Ticket, Rejection> {
        let demand = Demand { now: now.moment(), cost: call.weight(), patience };
        if demand.cost == 0 {
            return Ok(self.admitted(Ticket::BLANK, call, now));
        }
        let (decision, generation) = self.cell.take(&demand).unwrap_or_else(|| self.take_slowly(&demand));
        match decision.starts(demand.now) {
            Some(at) => {
                let ticket = Ticket { generation, kind: demand.cost, at, amount: 0 };
                Ok(self.admitted(self.shell.ticket(ticket, now), call, now))
            }
            None => {
                self.denied.add();
                self.shell.refused(&self.refusal(decision, &demand), now)
            }
        }
    }

    /// Takes from the log, or lets the numbers begin at a later epoch and takes from them.
    #[cold]
    fn take_slowly(&self, demand: &Demand) -> (Decision, u32) {
        let mut slow = self.slow.lock();
        loop {
            let (rule, _) = self.cell.read();
            match rule.algorithm {
                Algorithm::Exact(exact) => return (exact.take(&mut slow.log, demand), rule.generation),
                Algorithm::Counted(counted) if counted.outgrown(demand.now) => {
                    let algorithm = Algorithm::Counted(counted.rebased(demand.now));
                    self.convert(&mut slow, Rule { algorithm, ..rule }, demand.now);
                }
                Algorithm::Counted(_) => {}
            }
            if let Some(taken) = self.cell.take(demand) {
                return taken;
            }
        }
    }

    /// Puts another rule in force, by which as much is used as before.
    fn convert(&self, slow: &mut Slow, to: Rule, now: Moment) {
        let from = self.cell.read().0.algorithm;
        let log = std::mem::take(&mut slow.log);
        let used = self.cell.replace(&to, |used| from.carry((used, log.clone()), &to.algorithm, now).0);
        slow.log = from.carry((used, log), &to.algorithm, now).1;
    }

    /// Reads what is used by which rule.
    fn look<T>(&self, now: Moment, read: impl FnOnce(&Algorithm, (&mut u64, &mut Log)) -> T) -> T {
        let (rule, mut used) = self.cell.read();
        match rule.algorithm {
            Algorithm::Counted(counted) if counted.outgrown(now) => {
                let rebased = counted.rebased(now);
                used = counted.carry(used, &rebased, now);
                read(&Algorithm::Counted(rebased), (&mut used, &mut Log::default()))
            }
            Algorithm::Counted(_) => read(&rule.algorithm, (&mut used, &mut Log::default())),
            Algorithm::Exact(_) => {
                let mut slow = self.slow.lock();
                let rule = self.cell.read().0;
                read(&rule.algorithm, (&mut used, &mut slow.log))
            }
        }
    }

    #[cold]
    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        if let Some(back) = Shell::returned(&ticket, outcome, now) {
            self.give_back(Some(ticket.generation), |algorithm, used| algorithm.untake(used, &back));
        }
    }

    /// Changes what is used, if the generation is this one (where one is asked for).
    fn give_back(&self, generation: Option<u32>, change: impl Fn(&Algorithm, Used<'_>)) {
        let counted = self.cell.update(generation, |counted, mut used| {
            change(&Algorithm::Counted(*counted), Used::Number(&mut used));
            used
        });
        if !counted {
            let mut slow = self.slow.lock();
            let rule = self.cell.read().0;
            if generation.is_none_or(|generation| generation == rule.generation) {
                change(&rule.algorithm, Used::Log(&mut slow.log));
            }
        }
    }

    #[cold]
    fn refusal(&self, decision: Decision, demand: &Demand) -> Refusal {
        self.look(demand.now, |algorithm, (number, log)| {
            let standing = algorithm.standing(algorithm.used(number, log), demand.now);
            Refusal::new(decision, demand.cost, &standing)
        })
    }
}

impl Guard for RateLimiter {
    fn name(&self) -> &Name {
        self.inner.shell.emitter.policy()
    }

    fn clock(&self) -> &Clock {
        &self.inner.shell.clock
    }

    fn peek(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        let (inner, cost) = (&*self.inner, call.weight());
        if !inner.shell.is(Mode::Enabled) || cost == 0 {
            return Ok(());
        }
        let demand = Demand { now: now.moment(), cost, patience: Some(call.ends()) };
        let decision =
            inner.look(demand.now, |algorithm, (number, log)| algorithm.peek(algorithm.used(number, log), &demand));
        match decision.starts(demand.now) {
            Some(_) => Ok(()),
            None => Err(inner.shell.rejection(&inner.refusal(decision, &demand), now)),
        }
    }

    #[inline]
    fn try_admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        self.enter(call, now, None)
    }

    #[inline]
    fn admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        Shell::admission(self.enter(call, now, Some(call.ends())), now)
    }

    #[inline]
    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        if matches!(outcome, Outcome::Rejected | Outcome::Cancelled) {
            self.inner.settle(ticket, outcome, now);
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RateLimiter").field("name", self.name()).field("status", &self.status()).finish()
    }
}
