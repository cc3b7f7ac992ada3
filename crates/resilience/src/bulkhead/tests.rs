//! What a caller notices: decisions against a naive model, time, modes, reconfiguration, and that nothing is lost.

#![allow(clippy::unwrap_used)]

mod model;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use crate::bulkhead::{Bulkhead, BulkheadOptions, BulkheadStats};
use crate::call::Call;
use crate::clock::{Clock, ManualClock, Moment, Reading};
use crate::error::{Code, Context, Rejection};
use crate::event::{Events, Happening};
use crate::outcome::Outcome;
use crate::policy::{Admission, Environment, Guard, Mode, Queued, Ticket};

const MS: Duration = Duration::from_millis(1);

fn options(max_concurrent: u32, queue: u32) -> BulkheadOptions {
    BulkheadOptions { max_concurrent, queue, ..BulkheadOptions::default() }
}

/// A bulkhead whose time stands still.
struct Fixture {
    bulkhead: Bulkhead,
    time: ManualClock,
    events: Events,
}

fn fixture(options: &BulkheadOptions) -> Fixture {
    let (time, events) = (Clock::manual(), Events::default());
    let environment = Environment { clock: time.clock(), events: events.clone(), ..Environment::default() };
    let bulkhead = Bulkhead::in_environment("db", options, &environment).unwrap();
    Fixture { bulkhead, time, events }
}

impl Fixture {
    fn admit(&self, call: &Call<'_>) -> Admission {
        self.bulkhead.admit(call, &Reading::of(self.bulkhead.clock()))
    }

    fn try_admit(&self) -> Result<Ticket, Rejection> {
        self.bulkhead.try_admit(&Call::new(), &Reading::of(self.bulkhead.clock()))
    }

    fn enter(&self) -> Ticket {
        self.try_admit().unwrap()
    }

    fn queue(&self) -> Queued {
        match self.admit(&Call::new()) {
            Admission::Queued(place) => place,
            other => panic!("{other:?}"),
        }
    }

    fn settle(&self, ticket: Ticket) {
        self.bulkhead.settle(ticket, Outcome::Success, &Reading::of(self.bulkhead.clock()));
    }

    fn stats(&self) -> BulkheadStats {
        self.bulkhead.stats()
    }

    fn set(&self, change: impl FnOnce(&mut BulkheadOptions)) {
        let mut options = self.bulkhead.options();
        change(&mut options);
        self.bulkhead.reconfigure(&options).unwrap();
    }
}

fn poll(place: &mut Queued) -> Poll<Result<Ticket, Rejection>> {
    place.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()))
}

fn admitted(place: &mut Queued) -> Ticket {
    match poll(place) {
        Poll::Ready(Ok(ticket)) => ticket,
        other => panic!("{other:?}"),
    }
}

fn sent_away(place: &mut Queued) -> Rejection {
    match poll(place) {
        Poll::Ready(Err(rejection)) => rejection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn as_many_run_as_may_and_the_next_is_told_why_not() {
    let fixture = fixture(&options(2, 0));
    let first = fixture.enter();
    fixture.enter();
    for rejection in [
        fixture.try_admit().unwrap_err(),
        fixture.bulkhead.peek(&Call::new(), &Reading::taken(Moment::ORIGIN)).unwrap_err(),
    ] {
        assert_eq!(rejection.code(), Code::BulkheadFull);
        assert_eq!(rejection.context(), Some(Context::Used { used: 2, limit: 2 }));
        assert_eq!(&**rejection.policy(), "db");
    }
    assert!(
        matches!(fixture.admit(&Call::new()), Admission::Rejected(rejection) if rejection.code() == Code::BulkheadFull)
    );
    fixture.settle(first);
    assert!(fixture.bulkhead.peek(&Call::new(), &Reading::taken(Moment::ORIGIN)).is_ok());
    fixture.enter();
    let expected = BulkheadStats { max_concurrent: 2, active: 2, admitted: 3, rejected: 2, ..BulkheadStats::default() };
    assert_eq!(fixture.stats(), expected);
}

#[test]
fn every_outcome_gives_the_place_back() {
    let fixture = fixture(&options(1, 0));
    for outcome in
        [Outcome::Success, Outcome::Failure, Outcome::Overload, Outcome::Ignored, Outcome::Cancelled, Outcome::Rejected]
    {
        fixture.bulkhead.try_acquire().unwrap().complete(outcome);
        assert_eq!(fixture.stats().active, 0, "{outcome:?}");
    }
    drop(fixture.bulkhead.try_acquire().unwrap());
    assert_eq!(fixture.stats().active, 0);
}

#[test]
fn a_call_that_panics_gives_its_place_back() {
    let fixture = fixture(&options(1, 0));
    let bulkhead = fixture.bulkhead.clone();
    let panicked = std::thread::spawn(move || {
        let _permit = bulkhead.try_acquire().unwrap();
        panic!("on purpose");
    })
    .join();
    assert!(panicked.is_err());
    assert_eq!(fixture.stats().active, 0);
}

#[test]
fn who_waits_is_served_in_order_and_never_overtaken() {
    let fixture = fixture(&options(1, 3));
    let inside = fixture.enter();
    let (mut first, mut second) = (fixture.queue(), fixture.queue());
    assert!(poll(&mut second).is_pending() && poll(&mut first).is_pending());
    fixture.settle(inside);
    // The first has its place even before it runs again, and those who come now stand behind the second.
    assert_eq!(fixture.try_admit().unwrap_err().code(), Code::BulkheadFull);
    let mut third = fixture.queue();
    assert!(poll(&mut third).is_pending() && poll(&mut second).is_pending());
    fixture.settle(admitted(&mut first));
    assert!(poll(&mut third).is_pending());
    fixture.settle(admitted(&mut second));
    fixture.settle(admitted(&mut third));
    assert_eq!((fixture.stats().active, fixture.stats().queued), (0, 0));
}

#[test]
fn the_queue_is_as_long_as_it_says() {
    let fixture = fixture(&options(1, 2));
    fixture.enter();
    let _places = (fixture.queue(), fixture.queue());
    assert!(
        matches!(fixture.admit(&Call::new()), Admission::Rejected(rejection) if rejection.code() == Code::BulkheadFull)
    );
    assert_eq!(
        fixture.bulkhead.peek(&Call::new(), &Reading::taken(Moment::ORIGIN)).unwrap_err().code(),
        Code::BulkheadFull
    );
    assert_eq!((fixture.stats().queued, fixture.stats().rejected), (2, 1));
}

#[test]
fn a_wait_ends_in_time_and_a_grant_just_before_counts() {
    let fixture = fixture(&options(1, 2));
    let inside = fixture.enter();
    let (mut late, mut lucky) = (fixture.queue(), fixture.queue());
    assert!(poll(&mut late).is_pending() && poll(&mut lucky).is_pending());
    fixture.time.advance(100 * MS - Duration::from_nanos(1));
    assert!(poll(&mut late).is_pending() && poll(&mut lucky).is_pending());
    fixture.time.advance(Duration::from_nanos(1));
    let rejection = sent_away(&mut late);
    assert_eq!(rejection.code(), Code::BulkheadTimeout);
    assert_eq!(rejection.context(), Some(Context::Elapsed(100 * MS)));
    // It was let in at the last moment, and finds out only now that its time is also over.
    fixture.settle(inside);
    fixture.time.advance(MS);
    admitted(&mut lucky);
    let stats = fixture.stats();
    assert_eq!((stats.timed_out, stats.waited, stats.admitted, stats.active, stats.queued), (1, 1, 2, 1, 0));
    assert_eq!((stats.total_wait, stats.longest_wait), (101 * MS, 101 * MS));
}

#[test]
fn nobody_waits_beyond_its_own_deadline() {
    let fixture = fixture(&options(1, 1));
    fixture.enter();
    let call = Call::new().deadline(Moment::ORIGIN.after(30 * MS));
    let Admission::Queued(mut place) = fixture.admit(&call) else { panic!("there is a seat") };
    assert!(poll(&mut place).is_pending());
    fixture.time.advance(30 * MS);
    assert_eq!(sent_away(&mut place).code(), Code::DeadlinePassed);
    // The next one with that deadline need not even sit down.
    let now = Reading::of(fixture.bulkhead.clock());
    assert_eq!(fixture.bulkhead.peek(&call, &now).unwrap_err().code(), Code::DeadlinePassed);
    assert!(matches!(fixture.admit(&call), Admission::Rejected(rejection) if rejection.code() == Code::DeadlinePassed));
    assert_eq!(fixture.stats().queued, 0);
}

#[test]
fn without_a_wait_there_is_no_queue() {
    let fixture = fixture(&BulkheadOptions { max_wait: Duration::ZERO, ..options(1, 5) });
    fixture.enter();
    assert!(
        matches!(fixture.admit(&Call::new()), Admission::Rejected(rejection) if rejection.code() == Code::BulkheadFull)
    );
    let now = Reading::taken(Moment::ORIGIN);
    assert_eq!(fixture.bulkhead.peek(&Call::new(), &now).unwrap_err().code(), Code::BulkheadFull);
}

#[test]
fn growing_lets_in_those_who_wait_and_shrinking_lets_those_who_run_finish() {
    let fixture = fixture(&options(1, 4));
    let inside = fixture.enter();
    let mut places: Vec<_> = (0..3).map(|_| fixture.queue()).collect();
    fixture.bulkhead.resize(3).unwrap();
    let tickets = (admitted(&mut places[0]), admitted(&mut places[1]));
    assert!(poll(&mut places[2]).is_pending());
    fixture.bulkhead.resize(1).unwrap();
    fixture.settle(inside);
    fixture.settle(tickets.0);
    assert!(poll(&mut places[2]).is_pending(), "one still runs, and one is all that may");
    fixture.settle(tickets.1);
    fixture.settle(admitted(&mut places[2]));
    assert_eq!((fixture.stats().active, fixture.stats().max_concurrent), (0, 1));
}

#[test]
fn clear_sends_away_who_waits_and_nobody_else() {
    let fixture = fixture(&options(1, 4));
    let inside = fixture.enter();
    let mut places: Vec<_> = (0..3).map(|_| fixture.queue()).collect();
    assert!(poll(&mut places[0]).is_pending());
    fixture.settle(inside);
    assert_eq!(fixture.bulkhead.clear(), 2);
    fixture.settle(admitted(&mut places[0]));
    assert_eq!(sent_away(&mut places[1]).code(), Code::BulkheadCleared);
    drop(places);
    assert_eq!(fixture.bulkhead.clear(), 0);
    let stats = fixture.stats();
    assert_eq!((stats.active, stats.queued, stats.cleared, stats.rejected), (0, 0, 2, 0));
    fixture.enter();
}

#[test]
fn a_place_that_is_dropped_at_any_moment_gives_everything_back() {
    for polls in 0..3 {
        for granted in [false, true] {
            let fixture = fixture(&options(1, 2));
            let inside = fixture.enter();
            let (mut dropped, mut next) = (fixture.queue(), fixture.queue());
            for _ in 0..polls {
                assert!(poll(&mut dropped).is_pending());
            }
            if granted {
                fixture.settle(inside);
                drop(dropped);
            } else {
                drop(dropped);
                assert_eq!(fixture.stats().queued, 1);
                fixture.settle(inside);
            }
            fixture.settle(admitted(&mut next));
            let stats = fixture.stats();
            assert_eq!((stats.active, stats.queued, stats.admitted), (0, 0, 2), "{polls} {granted}");
        }
    }
}

#[test]
fn acquire_for_can_be_dropped_at_any_moment() {
    let fixture = fixture(&options(1, 2));
    for polls in 0..3 {
        let inside = fixture.bulkhead.try_acquire().unwrap();
        let call = Call::new();
        let mut waiting = Box::pin(fixture.bulkhead.acquire_for(&call));
        for _ in 0..polls {
            assert!(waiting.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
        }
        inside.success();
        drop(waiting);
        assert_eq!((fixture.stats().active, fixture.stats().queued), (0, 0));
    }
}

#[test]
fn who_was_let_in_while_disabled_gives_nothing_back() {
    let fixture = fixture(&BulkheadOptions { mode: Mode::Disabled, ..options(1, 0) });
    let uncounted = [fixture.enter(), fixture.enter()];
    assert_eq!((fixture.stats().active, fixture.stats().admitted), (0, 0));
    fixture.set(|options| options.mode = Mode::Enabled);
    let inside = fixture.enter();
    uncounted.into_iter().for_each(|ticket| fixture.settle(ticket));
    assert_eq!(fixture.stats().active, 1);
    fixture.try_admit().unwrap_err();
    // And the other way round: who was counted is given back whatever the mode is by then.
    fixture.set(|options| options.mode = Mode::Disabled);
    fixture.settle(inside);
    assert_eq!(fixture.stats().active, 0);
}

#[test]
fn who_waits_runs_when_the_mode_no_longer_makes_it_wait() {
    for (mode, active) in [(Mode::Disabled, 1), (Mode::MetricsOnly, 3)] {
        let fixture = fixture(&options(1, 2));
        fixture.enter();
        let (mut first, mut second) = (fixture.queue(), fixture.queue());
        fixture.set(|options| options.mode = mode);
        let tickets = [admitted(&mut first), admitted(&mut second)];
        assert_eq!(fixture.stats().active, active);
        tickets.into_iter().for_each(|ticket| fixture.settle(ticket));
        assert_eq!((fixture.stats().active, fixture.stats().queued), (1, 0));
    }
}

#[test]
fn metrics_only_tells_and_rejects_nobody() {
    let fixture = fixture(&BulkheadOptions { mode: Mode::MetricsOnly, ..options(1, 1) });
    let heard = fixture.events.subscribe(16);
    let now = Reading::taken(Moment::ORIGIN);
    for _ in 0..3 {
        assert!(matches!(fixture.admit(&Call::new()), Admission::Granted(_)));
        assert!(fixture.bulkhead.peek(&Call::new(), &now).is_ok());
    }
    fixture.enter();
    let acquired = Happening::BulkheadAcquired { waited: Duration::ZERO };
    let told: Vec<_> = std::iter::from_fn(|| heard.try_next()).map(|event| event.happening).collect();
    let queued = Happening::BulkheadQueued { waiting: 1 };
    let rejected = Happening::BulkheadRejected;
    assert_eq!(told, [acquired, queued, acquired, rejected, acquired, rejected, acquired]);
    let stats = fixture.stats();
    assert_eq!((stats.active, stats.admitted, stats.rejected, stats.queued), (4, 4, 2, 0));
    // Back to work: nobody enters until fewer than one are in.
    fixture.set(|options| options.mode = Mode::Enabled);
    let mut place = fixture.queue();
    for left in [3, 2, 1] {
        fixture.settle(Ticket { kind: 1, ..Ticket::BLANK });
        assert!(poll(&mut place).is_pending());
        assert_eq!(fixture.stats().active, left);
    }
    fixture.settle(Ticket { kind: 1, ..Ticket::BLANK });
    admitted(&mut place);
}

#[test]
fn events_tell_the_whole_story() {
    let fixture = fixture(&options(1, 1));
    let heard = fixture.events.subscribe(16);
    let inside = fixture.enter();
    let mut place = fixture.queue();
    fixture.try_admit().unwrap_err();
    fixture.time.advance(20 * MS);
    fixture.settle(inside);
    let ticket = admitted(&mut place);
    fixture.bulkhead.resize(1).unwrap();
    fixture.bulkhead.resize(2).unwrap();
    fixture.bulkhead.resize(1).unwrap();
    let mut place = fixture.queue();
    fixture.bulkhead.clear();
    sent_away(&mut place);
    fixture.settle(ticket);
    let told: Vec<_> = std::iter::from_fn(|| heard.try_next()).map(|event| event.happening).collect();
    let expected = [
        Happening::BulkheadAcquired { waited: Duration::ZERO },
        Happening::BulkheadQueued { waiting: 1 },
        Happening::BulkheadRejected,
        Happening::BulkheadAcquired { waited: 20 * MS },
        Happening::BulkheadResized { from: 1, to: 2 },
        Happening::BulkheadResized { from: 2, to: 1 },
        Happening::BulkheadQueued { waiting: 1 },
        Happening::BulkheadRejected,
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_wrong_option_changes_nothing() {
    let good = BulkheadOptions { max_concurrent: 2, queue: 3, max_wait: 5 * MS, mode: Mode::MetricsOnly };
    let fixture = fixture(&good);
    let wrong = [
        (BulkheadOptions { max_concurrent: 0, ..good.clone() }, "max_concurrent"),
        (BulkheadOptions { max_concurrent: 1_000_001, ..good.clone() }, "max_concurrent"),
        (BulkheadOptions { queue: 1_000_001, ..good.clone() }, "queue"),
        (BulkheadOptions { max_wait: Duration::from_secs(3601), ..good.clone() }, "max_wait"),
        (BulkheadOptions { max_wait: Duration::MAX, ..good.clone() }, "max_wait"),
    ];
    for (options, name) in wrong {
        assert_eq!(Bulkhead::new("x", &options).unwrap_err().option, name);
        assert_eq!(fixture.bulkhead.reconfigure(&options).unwrap_err().option, name);
        assert_eq!(fixture.bulkhead.options(), good);
        assert_eq!(fixture.stats().max_concurrent, 2);
    }
    fixture.bulkhead.resize(0).unwrap_err();
    let most = BulkheadOptions {
        max_concurrent: 1_000_000,
        queue: 1_000_000,
        max_wait: Duration::from_secs(3600),
        mode: Mode::Enabled,
    };
    fixture.bulkhead.reconfigure(&most).unwrap();
    assert_eq!(fixture.bulkhead.options(), most);
    assert_eq!(fixture.stats().max_concurrent, 1_000_000);
    assert_eq!(fixture.bulkhead.name(), &crate::name::Name::from("db"));
}

#[test]
fn reconfigure_of_the_queue_concerns_newcomers() {
    let fixture = fixture(&options(1, 2));
    let inside = fixture.enter();
    let (mut first, mut second) = (fixture.queue(), fixture.queue());
    fixture.set(|options| (options.queue, options.max_wait) = (1, MS));
    assert!(matches!(fixture.admit(&Call::new()), Admission::Rejected(_)));
    fixture.time.advance(99 * MS);
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    fixture.settle(inside);
    fixture.settle(admitted(&mut first));
    fixture.settle(admitted(&mut second));
    fixture.enter();
    let mut third = fixture.queue();
    fixture.time.advance(MS);
    assert_eq!(sent_away(&mut third).code(), Code::BulkheadTimeout);
}

/// A waker that calls back into the bulkhead when it is woken and when it is dropped.
struct Intruder(Bulkhead, AtomicUsize);

impl Wake for Intruder {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.stats();
    }
}

impl Drop for Intruder {
    fn drop(&mut self) {
        self.0.stats();
    }
}

#[test]
fn wakers_may_call_back_into_the_bulkhead() {
    let fixture = fixture(&options(1, 4));
    let poll_with = |place: &mut Queued| {
        let intruder = Arc::new(Intruder(fixture.bulkhead.clone(), AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&intruder));
        assert!(place.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_pending());
        intruder
    };
    let inside = fixture.enter();
    let mut places: Vec<_> = (0..4).map(|_| fixture.queue()).collect();
    for place in &mut places {
        poll_with(place);
    }
    // The waker of the last poll is woken, and the ones before are not.
    let last: Vec<_> = places.iter_mut().map(poll_with).collect();
    drop(places.pop());
    fixture.settle(inside);
    fixture.bulkhead.resize(2).unwrap();
    assert_eq!(fixture.bulkhead.clear(), 1);
    let woken: Vec<_> = last.iter().map(|intruder| intruder.1.load(Ordering::Relaxed)).collect();
    assert_eq!(woken, [1, 1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_is_served_and_never_more_than_may_run_at_a_time() {
    let limits = BulkheadOptions { max_wait: Duration::from_secs(3600), ..options(3, 64) };
    let bulkhead = Bulkhead::new("crowd", &limits).unwrap();
    let (inside, served) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..32)
        .map(|number| {
            let (bulkhead, inside, served) = (bulkhead.clone(), Arc::clone(&inside), Arc::clone(&served));
            tokio::spawn(async move {
                for round in 0..200 {
                    let permit = bulkhead.acquire_for(&Call::new()).await.unwrap();
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                    if (round + number) % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                    permit.success();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(served.load(Ordering::Relaxed), 6400);
    let stats = bulkhead.stats();
    assert_eq!((stats.active, stats.queued, stats.admitted), (0, 0, 6400));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_by_the_clock_of_the_runtime() {
    let environment = Environment { clock: Clock::runtime(), ..Environment::default() };
    let bulkhead = Bulkhead::in_environment("db", &options(1, 1), &environment).unwrap();
    let _inside = bulkhead.try_acquire().unwrap();
    let before = environment.clock.now();
    let rejection = bulkhead.acquire_for(&Call::new()).await.unwrap_err();
    assert_eq!(rejection.code(), Code::BulkheadTimeout);
    assert!(environment.clock.now().since(before) >= 100 * MS);
}

#[cfg(feature = "serde")]
#[test]
fn options_are_written_as_they_are_read() {
    let text = r#"{"mode":"enabled","max_concurrent":64,"queue":16,"max_wait":"100ms"}"#;
    let options: BulkheadOptions = serde_json::from_str(text).unwrap();
    assert_eq!(options, BulkheadOptions { max_concurrent: 64, queue: 16, ..BulkheadOptions::default() });
    assert_eq!(serde_json::to_string(&options).unwrap(), text);
    assert_eq!(serde_json::from_str::<BulkheadOptions>("{}").unwrap(), BulkheadOptions::default());
    assert!(serde_json::from_str::<BulkheadOptions>(r#"{"max_wiat":"1s"}"#).is_err());
}
