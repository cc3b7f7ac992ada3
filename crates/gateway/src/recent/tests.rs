//! Rings as their readers see them.

use super::*;
use crate::fault::Fault;
use http::StatusCode;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};
use tidegate_wire::head::Version;

/// An exchange that ended so many seconds after the epoch, which is also its id.
fn entry(second: u64) -> Entry {
    Entry {
        started: SystemTime::UNIX_EPOCH,
        took: Duration::from_secs(second),
        request_id: Clipped::new(second.to_string().as_bytes()),
        trace_id: None,
        client: IpAddr::from([127, 0, 0, 1]),
        listener: SocketAddr::from(([127, 0, 0, 1], 80)),
        version: Version::Http11,
        method: Clipped::new(b"GET"),
        host: Clipped::new(b"a.example"),
        path: Clipped::new(b"/"),
        route: None,
        upstream: None,
        status: Some(StatusCode::NOT_FOUND),
        complete: true,
        fault: Some(Fault::NoRoute),
        request_bytes: 0,
        response_bytes: 0,
        trail: Trail::new(Instant::now()),
    }
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
        writers[0].record(|place| *place = entry(second));
    }
    assert_eq!(all(&recent), ["2", "1"]);
    for second in 3..=7 {
        writers[0].record(|place| *place = entry(second));
    }
    assert_eq!(all(&recent), ["7", "6", "5"]);
}

#[test]
fn all_workers_are_read_as_one() {
    let (recent, writers) = start(3, 4);
    for second in 1..=9 {
        writers[(second % 3) as usize].record(|place| *place = entry(second));
    }
    assert_eq!(all(&recent), ["9", "8", "7", "6", "5", "4", "3", "2", "1"]);
}

#[test]
fn a_reader_gets_what_it_wants_and_no_more_than_its_limit() {
    let (recent, writers) = start(2, 100);
    for second in 1..=150 {
        writers[(second % 2) as usize].record(|place| *place = entry(second));
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
    writers[0].record(|place| *place = entry(1));
    writers[0].record(|place| *place = entry(2));
    recent.ring(0).visit(|shown| {
        if shown.request_id.is(b"1") {
            writers[0].record(|place| *place = entry(3));
        }
    });
    assert_eq!(all(&recent), ["3", "1"]);
}

#[test]
fn off_keeps_nothing() {
    let (recent, writers) = start(1, 0);
    writers[0].record(|place| *place = entry(1));
    assert!(!writers[0].is_on() && all(&recent).is_empty());
    assert_eq!(recent.entries(), 0);
}

#[test]
fn the_size_can_change_and_the_same_size_changes_nothing() {
    let (recent, writers) = start(1, 2);
    writers[0].record(|place| *place = entry(1));
    writers[0].resize(2);
    assert_eq!(all(&recent), ["1"]);
    writers[0].resize(1);
    assert_eq!(recent.entries(), 1);
    writers[0].record(|place| *place = entry(2));
    writers[0].record(|place| *place = entry(3));
    assert_eq!(all(&recent), ["3"]);
    writers[0].resize(0);
    writers[0].record(|place| *place = entry(4));
    assert!(all(&recent).is_empty());
}

#[test]
fn an_entry_has_the_size_that_is_promised() {
    let further = (Trail::LIMIT - 1) * size_of::<Attempt>();
    assert!(size_of::<Entry>() + further < 2048, "{} and {further}", size_of::<Entry>());
}
