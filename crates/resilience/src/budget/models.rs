//! The ledger under every order of its atomics.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::*;
use crate::sync::explore;
use crate::units::Ratio;

/// Half a second: slots of the ledger.
const SLOT: u64 = 500_000_000;

/// A window of two slots. The floor is for the whole window, which is a second.
fn settings(percent: u8, floor: u32) -> Arc<Settings> {
    let options =
        RetryBudgetOptions { ratio: Ratio::percent(percent), min_per_second: floor, window: Duration::from_secs(1) };
    Arc::new(Settings::try_from(&options).expect("in range"))
}

/// Withdraws in threads, each at a slot; the number that was granted.
fn withdraw_at(ledger: &Arc<Ledger>, settings: &Arc<Settings>, slots: &[u64]) -> u64 {
    let threads: Vec<_> = slots
        .iter()
        .map(|slot| {
            let (ledger, settings, now) = (Arc::clone(ledger), Arc::clone(settings), Moment::from_nanos(slot * SLOT));
            thread::spawn(move || u64::from(ledger.withdraw(now, &settings)))
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
}

#[test]
fn withdrawals_in_one_slot_are_exactly_what_is_allowed() {
    explore(None, || {
        let ledger = Arc::new(Ledger::default());
        assert_eq!(withdraw_at(&ledger, &settings(0, 2), &[0, 0, 0]), 2);
    });
}

#[test]
fn withdrawals_across_slots_are_exactly_what_is_allowed() {
    explore(None, || {
        let ledger = Arc::new(Ledger::default());
        assert_eq!(withdraw_at(&ledger, &settings(0, 1), &[0, 1, 1]), 1);
    });
}

#[test]
fn who_sees_the_gate_in_a_slot_sees_the_slots_closed_before() {
    explore(None, || {
        let (ledger, settings) = (Arc::new(Ledger::default()), settings(0, 2));
        assert!(ledger.withdraw(Moment::ORIGIN, &settings));
        assert_eq!(withdraw_at(&ledger, &settings, &[1, 1]), 1);
    });
}

#[test]
fn no_withdrawal_is_lost_when_its_slot_is_closed() {
    // A thread that closes with an outdated count needs two preemptions; all orders take minutes.
    explore(Some(3), || {
        let (ledger, settings) = (Arc::new(Ledger::default()), settings(0, 8));
        assert!(ledger.withdraw(Moment::ORIGIN, &settings));
        assert_eq!(withdraw_at(&ledger, &settings, &[0, 1, 1]), 3);
        assert_eq!(ledger.recent(Moment::from_nanos(SLOT), 2), (0, 4));
    });
}

#[test]
fn withdrawals_never_exceed_the_share_of_the_deposits() {
    explore(None, || {
        let (ledger, settings) = (Arc::new(Ledger::default()), settings(50, 0));
        ledger.deposit(0, Moment::ORIGIN);
        let depositor = {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || ledger.deposit(0, Moment::ORIGIN))
        };
        let granted = withdraw_at(&ledger, &settings, &[0, 0]);
        depositor.join().expect("no panic");
        let rest = u64::from(ledger.withdraw(Moment::ORIGIN, &settings));
        assert_eq!(granted + rest, 1);
    });
}

#[test]
fn deposits_in_one_place_are_all_counted() {
    explore(None, || {
        let ledger = Arc::new(Ledger::default());
        let threads: Vec<_> = [0, 4, 4]
            .map(|slot| {
                let ledger = Arc::clone(&ledger);
                // Slots 0 and 4 share a place in the ring of a model.
                thread::spawn(move || ledger.deposit(0, Moment::from_nanos(slot * SLOT)))
            })
            .into();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(ledger.recent(Moment::from_nanos(4 * SLOT), 2), (2, 0));
    });
}
