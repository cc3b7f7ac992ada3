//! The handle: a [`Guard`] around the gate, with time, events and statistics.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading, nanos};
use crate::counter::Counter;
use crate::error::{Code, Context, InvalidOption, Rejection};
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Admission, Environment, Guard, Ticket};

use super::gate::{Arrival, Fate, Gate, Seat};
use super::options::{BulkheadOptions, Settings};
use super::state::{Entry, Word};

/// Lets at most so many calls run at a time. Cheap to clone: clones are the same bulkhead.
///
/// ```
/// use std::time::Duration;
/// use tidegate_resilience::{Bulkhead, BulkheadOptions, Call, Code, Guard};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let options = BulkheadOptions {
///     max_concurrent: 1,
///     queue: 16,
///     max_wait: Duration::from_millis(100),
///     ..BulkheadOptions::default()
/// };
/// let database = Bulkhead::new("database", &options)?;
///
/// let permit = database.acquire_for(&Call::new()).await?;
/// assert_eq!(database.try_acquire().map_err(|rejection| rejection.code()).err(), Some(Code::BulkheadFull));
/// permit.success();
///
/// database.resize(2)?;
/// let permits = (database.try_acquire()?, database.try_acquire()?);
/// assert_eq!(database.stats().active, 2);
/// # drop(permits);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Bulkhead {
    inner: Arc<Inner>,
}

/// A bulkhead at one moment. The figures are read one after the other: while calls come and go, they may disagree by
/// those few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BulkheadStats {
    /// How many calls may run at a time.
    pub max_concurrent: u32,
    /// How many run. More than may, after a resize and in mode `metrics_only`.
    pub active: u32,
    /// How many wait.
    pub queued: u32,
    /// How many were let in since the bulkhead was made.
    pub admitted: u64,
    /// How many of them had waited.
    pub waited: u64,
    /// How many were rejected at once: there was neither a place nor a seat, or no time to wait.
    pub rejected: u64,
    /// How many were rejected because they had waited as long as they may.
    pub timed_out: u64,
    /// How many were rejected by [`Bulkhead::clear`].
    pub cleared: u64,
    /// How long all who were let in had waited, together.
    pub total_wait: Duration,
    /// The longest of these waits.
    pub longest_wait: Duration,
}

struct Inner {
    gate: Gate,
    tally: Tally,
    clock: Clock,
    emitter: Emitter,
}

/// What was counted. All of it is relaxed: the figures order nothing.
#[derive(Default)]
struct Tally {
    admitted: Counter,
    waited: AtomicU64,
    rejected: AtomicU64,
    timed_out: AtomicU64,
    cleared: AtomicU64,
    total_wait: AtomicU64,
    longest_wait: AtomicU64,
}

/// [`Ticket::kind`] of a call that has a place to give back. Any other ticket was given while the bulkhead was
/// disabled, and whatever it is by now, nothing is given back for it.
const COUNTED: u32 = 1;

impl Bulkhead {
    /// A bulkhead of this name.
    ///
    /// # Errors
    ///
    /// An option outside of its range.
    pub fn new(name: impl Into<Name>, options: &BulkheadOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, options, &Environment::default())
    }

    /// The same with a clock and listeners of your own.
    ///
    /// # Errors
    ///
    /// An option outside of its range.
    pub fn in_environment(
        name: impl Into<Name>,
        options: &BulkheadOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        let inner = Inner {
            gate: Gate::new(Settings::try_from(options)?),
            tally: Tally::default(),
            clock: environment.clock.clone(),
            emitter: environment.emitter(&name.into()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Changes the options. Calls that run or wait go on; a bulkhead that grows lets in those who wait first.
    ///
    /// # Errors
    ///
    /// An option outside of its range. Nothing has changed then.
    pub fn reconfigure(&self, options: &BulkheadOptions) -> Result<(), InvalidOption> {
        self.change(|_| options.clone())
    }

    /// Changes how many calls may run at a time, and nothing else.
    ///
    /// # Errors
    ///
    /// A number outside of its range. Nothing has changed then.
    pub fn resize(&self, max_concurrent: u32) -> Result<(), InvalidOption> {
        self.change(|options| BulkheadOptions { max_concurrent, ..options.clone() })
    }

    fn change(&self, change: impl FnOnce(&BulkheadOptions) -> BulkheadOptions) -> Result<(), InvalidOption> {
        let mut to = 0;
        let from = self.inner.gate.change(|settings| {
            let options = change(settings);
            to = options.max_concurrent;
            Settings::try_from(&options)
        })?;
        if from != to {
            self.inner.emit(&Reading::of(&self.inner.clock), || Happening::BulkheadResized { from, to });
        }
        Ok(())
    }

    /// Rejects all calls that wait, with [`Code::BulkheadCleared`]. Returns how many.
    pub fn clear(&self) -> u32 {
        let cleared = self.inner.gate.clear();
        self.inner.tally.cleared.fetch_add(u64::from(cleared), Ordering::Relaxed);
        cleared
    }

    /// The options in force.
    pub fn options(&self) -> BulkheadOptions {
        self.inner.gate.read(|settings, _| BulkheadOptions::clone(settings))
    }

    /// What it does now, and has done.
    pub fn stats(&self) -> BulkheadStats {
        let (word, tally) = (self.inner.gate.word(), &self.inner.tally);
        let [waited, rejected, timed_out, cleared, total_wait, longest_wait] =
            [&tally.waited, &tally.rejected, &tally.timed_out, &tally.cleared, &tally.total_wait, &tally.longest_wait]
                .map(|count| count.load(Ordering::Relaxed));
        BulkheadStats {
            max_concurrent: word.size(),
            active: word.active(),
            queued: self.inner.gate.read(|_, queued| queued),
            admitted: tally.admitted.sum(),
            waited,
            rejected,
            timed_out,
            cleared,
            total_wait: Duration::from_nanos(total_wait),
            longest_wait: Duration::from_nanos(longest_wait),
        }
    }
}

impl Guard for Bulkhead {
    fn name(&self) -> &Name {
        self.inner.emitter.policy()
    }

    fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    fn peek(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        let inner = &self.inner;
        let word = inner.gate.word();
        if word.enter().is_some() {
            return Ok(());
        }
        let has_seat = |settings: &Settings, queued| match queued < settings.queue {
            true => inner.until(settings, call, now).map(|_| ()),
            false => Err(Code::BulkheadFull),
        };
        inner.gate.read(has_seat).map_err(|code| inner.rejection(code, word))
    }

    #[inline]
    fn try_admit(&self, _: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        match self.inner.gate.try_enter() {
            Ok(Entry::Counted) => Ok(self.inner.admitted(now)),
            Ok(Entry::Uncounted) => Ok(Ticket::BLANK),
            Ok(Entry::Beyond) => {
                self.inner.count_rejection(now);
                Ok(self.inner.admitted(now))
            }
            Err(word) => Err(self.inner.reject(Code::BulkheadFull, word, now)),
        }
    }

    fn admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        let inner = &self.inner;
        match inner.gate.try_enter() {
            Err(word) if !word.queues() => Admission::Rejected(inner.reject(Code::BulkheadFull, word, now)),
            Err(_) => self.arrive(call, now),
            Ok(entry) => Admission::Granted(inner.entered(entry, now)),
        }
    }

    #[inline]
    fn settle(&self, ticket: Ticket, _: Outcome, _: &Reading<'_>) {
        if ticket.kind == COUNTED {
            self.inner.gate.leave();
        }
    }
}

impl Bulkhead {
    /// The short way while there are places.
    #[inline]
    pub(crate) fn admit_at_once(&self, now: &Reading<'_>, ticket: &mut Ticket) -> bool {
        match self.inner.gate.try_enter() {
            Ok(Entry::Counted) => *ticket = self.inner.admitted(now),
            Ok(entry) => *ticket = self.inner.entered(entry, now),
            Err(_) => return false,
        }
        true
    }

    #[cold]
    fn arrive(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        let inner = &self.inner;
        match inner.gate.arrive(|settings| inner.until(settings, call, now)) {
            Ok(Arrival::Entered(entry)) => Admission::Granted(inner.entered(entry, now)),
            Ok(Arrival::Full(word)) => Admission::Rejected(inner.reject(Code::BulkheadFull, word, now)),
            Err(code) => Admission::Rejected(inner.reject(code, inner.gate.word(), now)),
            Ok(Arrival::Seated(seat, waiting, (until, too_late))) => {
                inner.emit(now, || Happening::BulkheadQueued { waiting });
                let place = Place { inner: Arc::clone(inner), seat: Some(seat), since: now.moment() };
                Admission::Queued(Box::pin(place.wait(until, too_late)))
            }
        }
    }
}

impl Inner {
    #[inline]
    fn emit(&self, now: &Reading<'_>, happening: impl FnOnce() -> Happening) {
        self.emitter.emit(now, happening);
    }

    /// The ticket of a call that has a place and did not wait for it.
    #[inline]
    fn admitted(&self, now: &Reading<'_>) -> Ticket {
        self.tally.admitted.add();
        self.emit(now, || Happening::BulkheadAcquired { waited: Duration::ZERO });
        Ticket { kind: COUNTED, ..Ticket::BLANK }
    }

    /// Admits a call that might have waited.
    fn entered(&self, entry: Entry, now: &Reading<'_>) -> Ticket {
        match entry {
            Entry::Uncounted => return Ticket::BLANK,
            Entry::Counted => {}
            Entry::Beyond => self.count_beyond(now),
        }
        self.admitted(now)
    }

    /// Says what would have become of a call that was let in without a place: who is too many stands for who waits.
    #[cold]
    fn count_beyond(&self, now: &Reading<'_>) {
        let word = self.gate.word();
        let waiting = word.active().saturating_sub(word.size()).max(1);
        if self.gate.read(|settings, _| settings.queues() && waiting <= settings.queue) {
            self.emit(now, || Happening::BulkheadQueued { waiting });
        } else {
            self.count_rejection(now);
        }
    }

    #[cold]
    fn count_rejection(&self, now: &Reading<'_>) {
        self.tally.rejected.fetch_add(1, Ordering::Relaxed);
        self.emit(now, || Happening::BulkheadRejected);
    }

    #[cold]
    fn reject(&self, code: Code, word: Word, now: &Reading<'_>) -> Rejection {
        self.count_rejection(now);
        self.rejection(code, word)
    }

    fn rejection(&self, code: Code, word: Word) -> Rejection {
        let context = Context::Used { used: u64::from(word.active()), limit: u64::from(word.size()) };
        Rejection::new(code, self.emitter.policy()).with_context(context)
    }

    /// Until when a call may wait, and what it is told then.
    ///
    /// # Errors
    ///
    /// What it is told if it may not wait at all.
    fn until(&self, settings: &Settings, call: &Call<'_>, now: &Reading<'_>) -> Result<(Moment, Code), Code> {
        if !settings.queues() {
            return Err(Code::BulkheadFull);
        }
        let (latest, ends) = (now.moment().after(settings.max_wait), call.ends());
        if ends <= now.moment() {
            Err(Code::DeadlinePassed)
        } else if ends < latest {
            Ok((ends, Code::DeadlinePassed))
        } else {
            Ok((latest, Code::BulkheadTimeout))
        }
    }
}

/// A seat in the queue. Dropped, it leaves the queue, or gives back the place that it was just given.
struct Place {
    inner: Arc<Inner>,
    /// Nothing once its fate is known and acted upon.
    seat: Option<Seat>,
    since: Moment,
}

impl Place {
    async fn wait(mut self, until: Moment, too_late: Code) -> Result<Ticket, Rejection> {
        let fate = self.fate(until).await;
        // From here on there is no await: what the seat was given is in the ticket, or there was nothing.
        self.seat = None;
        let now = Reading::of(&self.inner.clock);
        match fate {
            Fate::Counted => Ok(self.admitted(&now)),
            Fate::Uncounted => Ok(Ticket::BLANK),
            Fate::Cleared => Err(self.sent_away(Code::BulkheadCleared, &now)),
            Fate::Waiting => {
                self.inner.tally.timed_out.fetch_add(1, Ordering::Relaxed);
                Err(self.sent_away(too_late, &now))
            }
        }
    }

    /// What became of the seat; [`Fate::Waiting`] where that was nothing, in which case it is no longer in the queue.
    async fn fate(&self, until: Moment) -> Fate {
        let mut sleep = pin!(self.inner.clock.sleep_until(until));
        poll_fn(|context| {
            let Some(seat) = &self.seat else { return Poll::Ready(Fate::Waiting) };
            if let Poll::Ready(fate) = self.inner.gate.poll(seat, context.waker()) {
                return Poll::Ready(fate);
            }
            ready!(sleep.as_mut().poll(context));
            Poll::Ready(self.inner.gate.give_up(seat))
        })
        .await
    }

    fn admitted(&self, now: &Reading<'_>) -> Ticket {
        let (waited, tally) = (now.moment().since(self.since), &self.inner.tally);
        tally.admitted.add();
        tally.waited.fetch_add(1, Ordering::Relaxed);
        tally.total_wait.fetch_add(nanos(waited), Ordering::Relaxed);
        tally.longest_wait.fetch_max(nanos(waited), Ordering::Relaxed);
        self.inner.emit(now, || Happening::BulkheadAcquired { waited });
        Ticket { kind: COUNTED, ..Ticket::BLANK }
    }

    fn sent_away(&self, code: Code, now: &Reading<'_>) -> Rejection {
        self.inner.emit(now, || Happening::BulkheadRejected);
        let waited = now.moment().since(self.since);
        Rejection::new(code, self.inner.emitter.policy()).with_context(Context::Elapsed(waited))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take()
            && self.inner.gate.give_up(&seat) == Fate::Counted
        {
            self.inner.gate.leave();
        }
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bulkhead").field("name", self.name()).field("stats", &self.stats()).finish()
    }
}
