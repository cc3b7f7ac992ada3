//! The arithmetic of the core, window by window.

use super::*;
use crate::adaptive::options::Settings;
use crate::adaptive::state::{Limit, Order, Sample, Slow, Window, room};
use crate::clock::Moment;

const SECOND: Duration = Duration::from_secs(1);

/// A core at a moment that moves on by a second with every window.
struct Core {
    limit: Limit,
    now: Moment,
}

fn core(options: &AdaptiveOptions) -> Core {
    Core { limit: Limit::new(Settings::try_from(options).unwrap(), Moment::ORIGIN), now: Moment::ORIGIN }
}

/// A core that has learnt from windows without load that calls take 100 ms.
fn taught(options: &AdaptiveOptions) -> Core {
    let mut core = core(options);
    for _ in 0..10 {
        core.idle(100);
    }
    assert_eq!(core.no_load(), 100.0);
    core
}

impl Core {
    fn close(&mut self, window: Window) -> Order {
        self.now = self.now.after(SECOND);
        self.limit.close(&window, self.now, 0.5)
    }

    /// A window of calls that took so many milliseconds and filled the limit, some of which were dropped.
    fn full(&mut self, millis: u32, samples: u32, drops: u32) -> u32 {
        self.close(Window { samples, mean: f64::from(millis) * 1e6, drops, peak: 1_000_000 }).limit
    }

    fn busy(&mut self, millis: u32) -> u32 {
        self.full(millis, 100, 0)
    }

    fn idle(&mut self, millis: u32) -> u32 {
        self.close(Window { samples: 100, mean: f64::from(millis) * 1e6, drops: 0, peak: 0 }).limit
    }

    /// In milliseconds.
    fn no_load(&self) -> f64 {
        let [no_load, _] = self.limit.latencies();
        no_load.unwrap_or_default().as_secs_f64() * 1e3
    }
}

/// Options whose probes do not come in the way.
fn options() -> AdaptiveOptions {
    AdaptiveOptions { probe: Some(3600 * SECOND), ..AdaptiveOptions::default() }
}

fn vegas(initial: u32) -> AdaptiveOptions {
    AdaptiveOptions { algorithm: AdaptiveAlgorithm::Vegas(Vegas::default()), initial, ..options() }
}

fn aimd(initial: u32) -> AdaptiveOptions {
    AdaptiveOptions { algorithm: AdaptiveAlgorithm::Aimd(Aimd::default()), initial, ..options() }
}

fn near(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-3
}

#[test]
fn the_gradient_grows_by_the_smoothed_queue_while_latency_is_low() {
    let mut core = taught(&options());
    // 20.8, 21.6, 22.4, 23.2, 24.0 (which binary fractions may miss), 24.8
    let limits: Vec<_> = (0..6).map(|_| core.busy(100)).collect();
    assert_eq!(limits[..4], [20, 21, 22, 23]);
    assert_eq!(limits[5], 24);
    // Up to the tolerance, latency is low.
    assert_eq!(core.busy(150), 25);
}

#[test]
fn the_gradient_shrinks_by_half_at_most_before_smoothing() {
    // 20 * 0.75 + 4 = 19, a fifth of the way: 19.8
    assert_eq!(taught(&options()).busy(200), 19);
    // 20 * 0.5 + 4 = 14, a fifth of the way: 18.8
    assert_eq!(taught(&options()).busy(300), 18);
    assert_eq!(taught(&options()).busy(30_000), 18);
    let whole = Gradient { smoothing: Ratio::ONE, tolerance: 1.0, queue_size: 0 };
    let whole = AdaptiveOptions { algorithm: AdaptiveAlgorithm::Gradient(whole), ..options() };
    assert_eq!(taught(&whole).busy(125), 16);
}

#[test]
fn the_gradient_shrinks_with_the_share_of_drops() {
    // 20 * 0.75 + 2 = 17: 19.4
    assert_eq!(taught(&options()).full(100, 50, 50), 19);
    // 20 * 0.5 = 10: 18
    assert_eq!(taught(&options()).full(100, 0, 100), 18);
    // Even where nothing is known yet of any latency.
    assert_eq!(core(&options()).close(Window { samples: 0, mean: 0.0, drops: 100, peak: 20 }).limit, 18);
    // Whichever of the two says less: 20 * 0.5 + 2 = 12: 18.4
    assert_eq!(taught(&options()).full(300, 50, 50), 18);
    // One in a thousand is no reason not to grow.
    assert_eq!([(); 2].map(|()| taught(&options()).full(100, 999, 1)), [20; 2]);
    let mut core = taught(&options());
    core.full(100, 999, 1);
    assert_eq!(core.full(100, 999, 1), 21);
}

#[test]
fn only_a_limit_that_was_approached_grows_and_only_drops_shrink_another() {
    let window = Window { samples: 100, mean: 1e8, drops: 0, peak: 9 };
    let whole = Gradient { smoothing: Ratio::ONE, ..Gradient::default() };
    let options = AdaptiveOptions { algorithm: AdaptiveAlgorithm::Gradient(whole), ..options() };
    assert_eq!(taught(&options).close(window).limit, 20);
    assert_eq!(taught(&options).close(Window { peak: 10, ..window }).limit, 24);
    assert_eq!(taught(&options).close(Window { mean: 3e8, ..window }).limit, 20);
    assert_eq!(taught(&options).close(Window { samples: 0, drops: 1, ..window }).limit, 10);
    // Half of 20.8, as far as anybody sees it, is 10.
    let mut core = taught(&self::options());
    core.busy(100);
    assert_eq!(core.close(Window { peak: 10, ..window }).limit, 21);
}

#[test]
fn vegas_keeps_the_queue_between_alpha_and_beta() {
    // Of 20, the logarithm is 1.3: up to 1.3 queueing it grows by 7.8, below 3.9 by 1.3, above 7.8 it shrinks by 1.3.
    for (millis, limit) in [(100, 27), (105, 27), (106, 21), (117, 21), (118, 20), (153, 20), (154, 18), (10_000, 18)] {
        assert_eq!(taught(&vegas(20)).busy(millis), limit, "{millis}");
    }
    // Of 100, it is 2: 2, 6 and 12.
    for (millis, limit) in [(102, 112), (103, 102), (105, 102), (106, 100), (107, 100), (113, 100), (114, 98)] {
        assert_eq!(taught(&vegas(100)).busy(millis), limit, "{millis}");
    }
    // Of less than 10, it is taken for 1.
    assert_eq!(taught(&vegas(4)).busy(100), 10);
    assert_eq!(taught(&vegas(9)).busy(100_000), 8);
    let wide = AdaptiveAlgorithm::Vegas(Vegas { alpha: 4, beta: 8 });
    assert_eq!(taught(&AdaptiveOptions { algorithm: wide, ..vegas(100) }).busy(107), 102);
    assert_eq!(taught(&vegas(20)).full(100, 1000, 1), 18);
    assert_eq!(taught(&vegas(20)).full(100, 0, 1), 18);
}

#[test]
fn aimd_adds_one_and_takes_a_share() {
    assert_eq!(taught(&aimd(20)).busy(100), 21);
    assert_eq!(taught(&aimd(20)).busy(100_000), 21);
    assert_eq!(taught(&aimd(20)).full(100, 1000, 1), 18);
    assert_eq!(taught(&aimd(5)).full(100, 1000, 1), 4);
    let half = AdaptiveAlgorithm::Aimd(Aimd { backoff: Ratio::percent(50), ..Aimd::default() });
    assert_eq!(taught(&AdaptiveOptions { algorithm: half, ..aimd(20) }).full(100, 0, 1), 10);
    assert_eq!(taught(&aimd(20)).idle(100), 20);
    // It shrinks by one at least.
    let hardly = AdaptiveAlgorithm::Aimd(Aimd { backoff: Ratio::percent(99), ..Aimd::default() });
    let mut core = taught(&AdaptiveOptions { algorithm: hardly, ..aimd(20) });
    assert_eq!([(); 3].map(|()| core.full(100, 0, 1)), [19, 18, 17]);
}

#[test]
fn the_limit_stays_between_its_ends() {
    for options in [options(), vegas(20), aimd(20)] {
        let mut core = taught(&AdaptiveOptions { min: 15, max: 25, ..options });
        assert_eq!((0..50).map(|_| core.busy(100)).last(), Some(25));
        assert_eq!((0..50).map(|_| core.full(100, 0, 100)).last(), Some(15));
    }
}

#[test]
fn the_latency_without_load_is_learnt() {
    let mut core = core(&options());
    assert_eq!(core.limit.latencies(), [None, None]);
    core.full(100, 0, 1);
    assert_eq!(core.limit.latencies(), [None, None]);
    // At first it is the plain average, of loaded windows too.
    for _ in 0..5 {
        core.busy(100);
    }
    for _ in 0..5 {
        core.idle(200);
    }
    assert!(near(core.no_load(), 150.0), "{}", core.no_load());
    assert_eq!(core.limit.latencies()[1], Some(200 * MS));
    // Then what is higher counts only without load, and by 2 of 601.
    core.busy(450);
    assert!(near(core.no_load(), 150.0), "{}", core.no_load());
    core.idle(450);
    assert!(near(core.no_load(), 150.0 + 300.0 * 2.0 / 601.0), "{}", core.no_load());
    // What is lower counts always.
    let before = core.no_load();
    core.busy(100);
    assert!(near(core.no_load(), before + (100.0 - before) * 2.0 / 601.0), "{}", core.no_load());
    // And what is lower by far brings it down at once.
    let before = core.no_load();
    core.idle(50);
    assert!(near(core.no_load(), (before + (50.0 - before) * 2.0 / 601.0) * 0.9), "{}", core.no_load());
}

#[test]
fn without_probes_a_loaded_service_may_teach_that_it_is_slower() {
    for options in [AdaptiveOptions { probe: None, ..options() }, aimd(20)] {
        let mut core = taught(&options);
        core.busy(400);
        assert!(near(core.no_load(), 100.0 + 300.0 * 2.0 / 601.0), "{}", core.no_load());
    }
}

#[test]
fn a_service_that_is_never_without_load_is_probed() {
    let mut core = taught(&AdaptiveOptions { initial: 40, max: 40, probe: Some(80 * SECOND), ..options() });
    // The last idle window was at 10 s, and with this chance the next probe is 80 s later.
    assert_eq!((0..79).map(|_| core.busy(200)).min(), Some(16));
    let found = core.busy(100);
    let began = core.now;
    let order = core.limit.order(core.now);
    assert_eq!((order.limit, order.needed, order.counts_from), (found, 10, began));
    // One window to settle, and one that measures: whatever is dropped then is not the limit's fault.
    let order = core.close(Window { samples: 100, mean: 7e8, drops: 100, peak: 40 });
    assert_eq!((order.limit, order.needed, order.counts_from), (found, 50, began));
    assert_eq!(core.no_load(), 100.0);
    let after = core.busy(160);
    assert_eq!(core.no_load(), 160.0);
    assert!(after / 2 == found, "{after} {found}");
    // It was not lower, so the next one comes in its turn.
    for _ in 0..79 {
        assert!(core.busy(160) >= after);
    }
    assert!(core.busy(160) <= 20);
}

#[test]
fn probes_follow_soon_while_the_latency_falls() {
    let mut core = core(&AdaptiveOptions { probe: Some(40 * SECOND), initial: 100, min: 7, ..options() });
    // What is seen at first may be a loaded service: the first probe comes after a tenth of the time.
    (0..3).for_each(|_| assert!(core.busy(100) >= 100));
    assert!((50..60).contains(&core.busy(100)));
    core.busy(100);
    assert!(core.busy(75) >= 100);
    (0..3).for_each(|_| assert!(core.busy(75) >= 100));
    assert!(core.busy(75) < 60);
    core.busy(75);
    // It has fallen by a fifth, and no more.
    core.busy(60);
    (0..39).for_each(|_| assert!(core.busy(60) >= 100));
    assert!(core.busy(60) < 70);
}

#[test]
fn chance_moves_a_probe_by_a_quarter() {
    for (chance, seconds) in [(0.0, 60), (0.25, 70), (0.5, 80), (1.0, 100)] {
        let mut core = core(&AdaptiveOptions { initial: 40, max: 40, probe: Some(80 * SECOND), ..options() });
        let idle = Window { samples: 100, mean: 1e8, drops: 0, peak: 0 };
        core.limit.close(&idle, core.now, chance);
        assert!((1..seconds).all(|_| core.busy(100) == 40), "{chance}");
        assert_eq!(core.busy(100), 20, "{chance}");
    }
}

#[test]
fn a_probe_that_measured_nothing_teaches_nothing() {
    for (samples, drops, no_load) in [(0, 60, 100.0), (30, 30, 100.0), (31, 30, 300.0)] {
        let mut core = taught(&AdaptiveOptions { probe: Some(10 * SECOND), ..options() });
        for _ in 0..10 {
            core.busy(100);
        }
        assert_eq!(core.limit.order(core.now).counts_from, core.now);
        core.busy(100);
        core.full(300, samples, drops);
        assert_eq!(core.no_load(), no_load, "{samples} {drops}");
    }
}

#[test]
fn a_probe_keeps_to_the_lowest_limit_and_needs_enough_samples() {
    let low = AdaptiveOptions { initial: 20, min: 15, max: 20, min_samples: 70, probe: Some(10 * SECOND), ..options() };
    let mut core = core(&low);
    core.busy(100);
    let order = core.limit.order(core.now);
    assert_eq!((order.limit, order.needed, order.counts_from), (15, 70, core.now));
    core.busy(100);
    assert_eq!(core.limit.order(core.now).needed, 70);
}

#[test]
fn aimd_has_no_need_of_probes() {
    let mut core = core(&AdaptiveOptions { probe: Some(SECOND), ..aimd(20) });
    assert!((0..100).map(|_| core.busy(100)).is_sorted());
}

#[test]
fn a_change_ends_a_probe_that_is_no_longer_wanted_and_brings_one_that_is_forward() {
    let set =
        |core: &mut Core, options: &AdaptiveOptions| core.limit.change(Settings::try_from(options).unwrap(), core.now);
    let often = AdaptiveOptions { probe: Some(10 * SECOND), ..options() };
    let mut core = core(&often);
    assert_eq!(core.busy(100), 10);
    assert_eq!(set(&mut core, &often).limit, 10);
    assert_eq!(set(&mut core, &AdaptiveOptions { probe: None, ..options() }).limit, 20);
    assert!(core.busy(100) >= 20);
    assert!(set(&mut core, &often).limit >= 20);
    assert!(core.busy(100) <= 11);
    // It does not put off one that is near.
    let mut core = taught(&often);
    for _ in 0..9 {
        core.busy(100);
    }
    set(&mut core, &options());
    assert!(core.busy(100) < 20);
}

#[test]
fn a_window_lasts_as_long_as_calls_take() {
    let closes_after = |millis| {
        let mut core = core(&options());
        let order = core.close(Window { samples: 10, mean: millis * 1e6, drops: 0, peak: 0 });
        order.closes_at.since(core.now)
    };
    assert_eq!([1.0, 50.0, 51.0, 1500.0, 1e5].map(closes_after), [100, 100, 102, 3000, 3000].map(|time| time * MS));
    let core = core(&options());
    assert_eq!(core.limit.order(core.now).closes_at, Moment::ORIGIN.after(100 * MS));
    assert_eq!(core.limit.order(Moment::NEVER).closes_at, Moment::NEVER);
}

#[test]
fn what_is_slow_depends_on_the_algorithm() {
    let slow = |core: &Core| core.limit.order(core.now).slow;
    assert_eq!(slow(&core(&options())), Slow { from: Duration::MAX, drops: false });
    assert_eq!(slow(&taught(&options())), Slow { from: 150 * MS, drops: false });
    assert_eq!(slow(&taught(&vegas(20))), Slow { from: 200 * MS, drops: false });
    assert_eq!(slow(&core(&aimd(20))), Slow { from: 5 * SECOND, drops: true });
}

#[test]
fn what_a_call_says() {
    let slow = Slow { from: 100 * MS, drops: false };
    let strict = Slow { drops: true, ..slow };
    for (outcome, quick, late, late_and_strict) in [
        (Outcome::Success, Some(Sample::Latency), Some(Sample::Latency), Some(Sample::Drop)),
        (Outcome::Failure, None, Some(Sample::Drop), Some(Sample::Drop)),
        (Outcome::Overload, Some(Sample::Drop), Some(Sample::Drop), Some(Sample::Drop)),
        (Outcome::Ignored, None, None, None),
        (Outcome::Cancelled, None, None, None),
        (Outcome::Rejected, None, None, None),
    ] {
        assert_eq!(slow.sample(outcome, 100 * MS), quick, "{outcome:?}");
        assert_eq!(slow.sample(outcome, 101 * MS), late, "{outcome:?}");
        assert_eq!(strict.sample(outcome, 101 * MS), late_and_strict, "{outcome:?}");
    }
}

#[test]
fn a_share_is_of_whole_calls() {
    for (limit, percent, calls) in
        [(20, 15, 3), (20, 14, 2), (100, 29, 29), (1, 70, 1), (3, 10, 1), (20, 0, 0), (1_000_000, 100, 1_000_000)]
    {
        assert_eq!(room(limit, Ratio::percent(percent).get()), calls, "{percent}% of {limit}");
    }
}

proptest! {
    #[test]
    fn whatever_is_measured_the_limit_stays_between_its_ends(
        kind in 0..3,
        windows in prop::collection::vec((0..70_000u32, 1.0..1e11f64, 0..70_000u32, any::<u32>(), any::<u64>(), 0.0..1.0f64), 1..100),
    ) {
        let options = [options(), vegas(20), aimd(20)][kind as usize].clone();
        let mut limit = core(&AdaptiveOptions { min: 7, max: 90, probe: Some(SECOND), ..options }).limit;
        for (samples, mean, drops, peak, now, chance) in windows {
            let now = Moment::from_nanos(now);
            let order = limit.close(&Window { samples, mean, drops, peak }, now, chance);
            prop_assert!((7..=90).contains(&order.limit));
            prop_assert!(order.closes_at > now || now == Moment::NEVER);
        }
    }
}
