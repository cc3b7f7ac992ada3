//! Rings as their readers see them.

use super::decisions::Decisions;
use super::*;
use crate::fault::Fault;
use http::StatusCode;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tidegate_wire::head::Version;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static NAMES: LazyLock<Arc<Names>> = LazyLock::new(Arc::default);

/// Records an exchange that ended so many seconds after the start, which is also its id.
fn record(writer: &Writer, second: u64) {
    record_in(writer, second, &NAMES);
}

/// The same, to the first route and the first endpoint of the first upstream of a configuration.
fn record_in(writer: &Writer, second: u64, names: &Arc<Names>) {
    let mut trail = Trail::new(*START, 0);
    trail.begin(0, None, false, *START);
    record_trail(writer, second, names, &mut trail);
}

fn record_trail(writer: &Writer, second: u64, names: &Arc<Names>, trail: &mut Trail) {
    let id = second.to_string();
    let mut ended = Ended {
        began: *START,
        took: Duration::from_secs(second),
        request_id: id.as_bytes(),
        trace_id: None,
        client: IpAddr::from([127, 0, 0, 1]),
        listener: SocketAddr::from(([127, 0, 0, 1], 80)),
        version: Version::Http11,
        method: b"GET",
        host: b"a.example",
        path: b"/",
        route: Some(0),
        upstream: Some(0),
        status: Some(StatusCode::NOT_FOUND),
        complete: true,
        fault: Some(Fault::NoRoute),
        request_bytes: 0,
        response_bytes: 0,
        trail,
    };
    writer.record(&mut ended, names);
}

fn names(name: &str) -> Arc<Names> {
    let upstream = UpstreamNames { name: name.into(), endpoints: [format!("{name}:80").into()].into() };
    Arc::new(Names::new([Arc::from(name)].into_iter(), [upstream].into_iter()))
}

/// The memory of `workers`, and the end of each of them.
fn start(workers: usize, entries: usize) -> (Arc<Recent>, Vec<Writer>) {
    let recent = Arc::new(Recent::new(workers, entries));
    let writers = (0..workers).map(|worker| Writer::new(Arc::clone(&recent), worker)).collect();
    (recent, writers)
}

fn ids(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.request_id.text()).collect()
}

fn all(recent: &Recent) -> Vec<String> {
    ids(&recent.latest(100, |_| true))
}

#[test]
fn the_last_exchanges_are_kept_the_newest_first() {
    let (recent, writers) = start(1, 3);
    assert!(all(&recent).is_empty());
    for second in 1..=2 {
        record(&writers[0], second);
    }
    assert_eq!(all(&recent), ["2", "1"]);
    for second in 3..=7 {
        record(&writers[0], second);
    }
    assert_eq!(all(&recent), ["7", "6", "5"]);
}

#[test]
fn all_workers_are_read_as_one() {
    let (recent, writers) = start(3, 4);
    for second in 1..=9 {
        record(&writers[(second % 3) as usize], second);
    }
    assert_eq!(all(&recent), ["9", "8", "7", "6", "5", "4", "3", "2", "1"]);
}

#[test]
fn a_reader_gets_what_it_wants_and_no_more_than_its_limit() {
    let (recent, writers) = start(2, 100);
    for second in 1..=150 {
        record(&writers[(second % 2) as usize], second);
    }
    assert_eq!(ids(&recent.latest(3, |_| true)), ["150", "149", "148"]);
    let even = |entry: &Entry| entry.took.as_secs().is_multiple_of(2);
    assert_eq!(ids(&recent.latest(2, even)), ["150", "148"]);
    assert_eq!(ids(&recent.latest(9, |entry| entry.request_id.is(b"77"))), ["77"]);
    assert!(recent.latest(0, |_| true).is_empty());
}

#[test]
fn what_is_being_read_keeps_its_place_and_nothing_waits() {
    let (recent, writers) = start(1, 2);
    record(&writers[0], 1);
    record(&writers[0], 2);
    let reading = recent.ring(0);
    let held = reading.read(0);
    record(&writers[0], 3);
    let other = reading.read(1);
    record(&writers[0], 4);
    drop((held, other));
    assert_eq!(all(&recent), ["3", "1"]);
}

#[test]
fn pages_are_filled_one_after_the_other() {
    let (recent, writers) = start(1, 100);
    for second in 1..=250 {
        record(&writers[0], second);
        assert_eq!(all(&recent)[0], second.to_string());
    }
    let newest: Vec<_> = (151..=250).rev().map(|second| second.to_string()).collect();
    assert_eq!(all(&recent), newest);
}

#[test]
fn a_page_that_is_read_loses_no_more_than_what_is_in_the_way() {
    let (recent, writers) = start(1, 64);
    (1..=66).for_each(|second| record(&writers[0], second));
    let reading = recent.ring(0);
    let held = reading.read(0);
    record(&writers[0], 67);
    drop(held);
    let kept = ids(&recent.latest(100, |_| true));
    assert!(["67", "66", "65", "3", "6"].iter().all(|id| kept.contains(&(*id).to_owned())), "{kept:?}");
    assert_eq!(kept.len(), 64);
}

#[test]
fn names_are_those_of_the_configuration_that_the_request_came_under() {
    let (recent, writers) = start(1, 64);
    let (old, new) = (names("old"), names("new"));
    let under = |number: u64| if number.is_multiple_of(3) { &new } else { &old };
    for second in 1..=100 {
        record_in(&writers[0], second, under(second));
        for entry in recent.latest(64, |_| true) {
            let expected = if entry.took.as_secs().is_multiple_of(3) { "new" } else { "old" };
            assert_eq!(entry.route.as_deref(), Some(expected));
            assert_eq!(entry.upstream.as_deref(), Some(expected));
            assert_eq!(*entry.attempts[0].endpoint, *format!("{expected}:80"));
        }
    }
}

#[test]
fn what_was_decided_is_kept_with_its_exchange_alone() {
    let (recent, writers) = start(1, 2);
    let names = names("app");
    let passed_over = Some(PassedOver { unfit: 0, tried: 1 });
    for second in 1..=4 {
        let mut trail = Trail::new(*START, 0);
        trail.begin(0, passed_over.filter(|_| second == 3), false, *START);
        if second == 2 || second == 3 {
            trail.decided(Decision::Waited(Duration::from_secs(second)));
        }
        record_trail(&writers[0], second, &names, &mut trail);
    }
    let kept = recent.latest(2, |_| true);
    assert!(kept[0].decisions.is_empty(), "nothing is left of what was there");
    assert_eq!(kept[1].decisions, [Decision::Waited(Duration::from_secs(3))]);
    let attempts: Vec<_> = kept.iter().map(|entry| &entry.attempts[0]).collect();
    assert_eq!(attempts.iter().map(|attempt| attempt.endpoints).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(attempts.iter().map(|attempt| attempt.passed_over).collect::<Vec<_>>(), [None, passed_over]);
}

#[test]
fn off_keeps_nothing() {
    let (recent, writers) = start(1, 0);
    record(&writers[0], 1);
    assert!(!writers[0].is_on() && all(&recent).is_empty());
    assert_eq!(recent.entries(), 0);
}

#[test]
fn the_size_can_change_and_the_same_size_changes_nothing() {
    let (recent, writers) = start(1, 2);
    record(&writers[0], 1);
    writers[0].resize(2);
    assert_eq!(all(&recent), ["1"]);
    writers[0].resize(1);
    assert_eq!(recent.entries(), 1);
    record(&writers[0], 2);
    record(&writers[0], 3);
    assert_eq!(all(&recent), ["3"]);
    writers[0].resize(0);
    record(&writers[0], 4);
    assert!(all(&recent).is_empty());
}

#[test]
fn an_entry_has_the_size_that_is_promised() {
    let further = (Trail::LIMIT - 1) * size_of::<trail::Step>();
    let decisions = (Decisions::LIMIT + 1) * size_of::<Decision>();
    let slot = size_of::<slot::Slot>();
    assert!(slot + further + decisions < 2048, "{slot}, {further} and {decisions}");
}
