//! Ejections against plain models.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn options() -> Outlier {
    Outlier {
        consecutive_failures: Some(5),
        failure_statuses: Vec::new(),
        max_ejected: 50,
        base_ejection: 30 * SECOND,
        max_ejection: 300 * SECOND,
        success_rate: Some(SuccessRate { interval: 10 * SECOND, min_hosts: 5, min_requests: 100, stdev_factor: 1.9 }),
    }
}

fn failing(failures_in_a_row: u32) -> Seen {
    Seen { failures_in_a_row, ..Seen::default() }
}

fn counted(ok: u64, failed: u64) -> Seen {
    Seen { counted: Some((ok, failed)), ..Seen::default() }
}

/// Who is ejected, by place.
fn ejected(ejections: &[Ejection]) -> Vec<usize> {
    (0..ejections.len()).filter(|index| ejections[*index].current().is_some()).collect()
}

#[test]
fn five_failures_in_a_row_eject_and_time_brings_back() {
    let (options, start) = (options(), Instant::now());
    let mut ejections = [Ejection::default(); 3];
    assert_eq!(judge(Some(&options), start, &mut ejections, &[failing(4), failing(0), failing(0)]), []);
    let changes = judge(Some(&options), start, &mut ejections, &[failing(5), failing(0), failing(0)]);
    assert_eq!(changes, [(0, Change::Ejected(Reason::ConsecutiveFailures))]);
    let calm = [Seen::default(); 3];
    assert_eq!(judge(Some(&options), start + 29 * SECOND, &mut ejections, &calm), []);
    assert_eq!(judge(Some(&options), start + 30 * SECOND, &mut ejections, &calm), [(0, Change::Returned)]);
}

#[test]
fn ejections_grow_to_their_bound_and_shrink_again() {
    let options = options();
    let mut now = Instant::now();
    let mut ejections = [Ejection::default(); 2];
    let mut eject = |now: &mut Instant| {
        judge(Some(&options), *now, &mut ejections, &[failing(5), failing(0)]);
        let (until, _) = ejections[0].current().expect("ejected");
        let length = until - *now;
        *now = until;
        assert_eq!(judge(Some(&options), *now, &mut ejections, &[Seen::default(); 2]), [(0, Change::Returned)]);
        length.as_secs()
    };
    let lengths: Vec<_> = (0..12).map(|_| eject(&mut now)).collect();
    assert_eq!(lengths, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
    now += 9 * 30 * SECOND;
    assert_eq!(eject(&mut now), 120, "twelve steps up, nine down, one up");
    now += 1000 * SECOND;
    assert_eq!(eject(&mut now), 30, "all is forgotten");
}

#[test]
fn a_single_endpoint_is_never_ejected() {
    let options = Outlier { max_ejected: 100, ..options() };
    let mut ejections = [Ejection::default()];
    assert_eq!(judge(Some(&options), Instant::now(), &mut ejections, &[failing(1000)]), []);
    let mut ejections = [Ejection::default(); 3];
    let others_are_out =
        [failing(1000), Seen { drains: true, ..Seen::default() }, Seen { unhealthy: true, ..Seen::default() }];
    assert_eq!(judge(Some(&options), Instant::now(), &mut ejections, &others_are_out), []);
}

#[test]
fn one_of_two_may_go_whatever_the_share() {
    let options = Outlier { max_ejected: 1, ..options() };
    let mut ejections = [Ejection::default(); 2];
    judge(Some(&options), Instant::now(), &mut ejections, &[failing(5), failing(5)]);
    assert_eq!(ejected(&ejections), [0]);
}

#[test]
fn who_found_no_room_goes_when_there_is_some() {
    let (options, now) = (options(), Instant::now());
    let mut ejections = [Ejection::default(); 2];
    judge(Some(&options), now, &mut ejections, &[failing(5), failing(9)]);
    assert_eq!(ejected(&ejections), [0]);
    let later = now + 30 * SECOND;
    judge(Some(&options), later, &mut ejections, &[failing(0), failing(9)]);
    assert_eq!(ejected(&ejections), [1]);
}

#[test]
fn without_options_everybody_returns() {
    let now = Instant::now();
    let mut ejections = [Ejection::default(); 2];
    judge(Some(&options()), now, &mut ejections, &[failing(5), failing(0)]);
    assert_eq!(judge(None, now, &mut ejections, &[failing(5), failing(5)]), [(0, Change::Returned)]);
}

#[test]
fn much_worse_than_the_others_is_ejected() {
    let (options, now) = (options(), Instant::now());
    let good = counted(1000, 0);
    let judged = |seen: &[Seen]| {
        let mut ejections = vec![Ejection::default(); seen.len()];
        judge(Some(&options), now, &mut ejections, seen)
    };
    let bad = counted(700, 300);
    assert_eq!(judged(&[good, good, bad, good, good]), [(2, Change::Ejected(Reason::SuccessRate))]);
    assert_eq!(judged(&[good, good, bad, good]), [], "too few to compare");
    assert_eq!(judged(&[good, good, counted(50, 49), good, good]), [], "too few requests");
    assert_eq!(judged(&[bad; 5]), [], "all are equally bad");
}

/// One thing that happens to an upstream.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Fail(usize, u32),
    Succeed(usize),
    Pass(usize),
    Unhealthy(usize, bool),
}

fn step(endpoints: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..100).prop_map(Step::Wait),
        (0..endpoints, 1_u32..8).prop_map(|(index, times)| Step::Fail(index, times)),
        (0..endpoints).prop_map(Step::Succeed),
        (0..endpoints).prop_map(Step::Pass),
        (0..endpoints, any::<bool>()).prop_map(|(index, is)| Step::Unhealthy(index, is)),
    ]
}

proptest! {
    /// A plain model: for each endpoint, the second at which it returns and how long its next ejection is.
    #[test]
    fn ejections_follow_the_rules(
        endpoints in 1_usize..7,
        max_ejected in 1_u32..=100,
        draining in prop::collection::vec(any::<bool>(), 6),
        steps in prop::collection::vec(step(6), 0..80),
    ) {
        let options = Outlier { max_ejected, success_rate: None, ..options() };
        let start = Instant::now();
        let mut second = 0;
        let mut ejections = vec![Ejection::default(); endpoints];
        let mut seen: Vec<_> = draining[..endpoints].iter().map(|drains| Seen { drains: *drains, ..Seen::default() }).collect();
        let mut returns: Vec<Option<u64>> = vec![None; endpoints];
        for step in steps {
            match step {
                Step::Wait(seconds) => second += seconds,
                Step::Fail(index, times) if index < endpoints => seen[index].failures_in_a_row += times,
                Step::Succeed(index) if index < endpoints => seen[index].failures_in_a_row = 0,
                Step::Pass(index) if index < endpoints => {
                    let now = start + Duration::from_secs(second);
                    let was = returns[index].take().is_some();
                    prop_assert_eq!(ejections[index].end(now), was);
                }
                Step::Unhealthy(index, is) if index < endpoints => seen[index].unhealthy = is,
                _ => {}
            }
            let out = |returns: &[Option<u64>]| returns.iter().flatten().count();
            let changes = judge(Some(&options), start + Duration::from_secs(second), &mut ejections, &seen);
            // Who is due returns.
            for (index, returns) in returns.iter_mut().enumerate() {
                let due = returns.take_if(|at| *at <= second).is_some();
                prop_assert_eq!(changes.contains(&(index, Change::Returned)), due);
            }
            // Who is ejected deserves it, and there is room.
            for (index, change) in &changes {
                let Change::Ejected(_) = change else { continue };
                prop_assert!(seen[*index].failures_in_a_row >= 5 && !seen[*index].drains && !seen[*index].unhealthy);
                let (until, _) = ejections[*index].current().expect("ejected");
                let length = (until - start).as_secs() - second;
                prop_assert!((30..=300).contains(&length) && length.is_multiple_of(30));
                returns[*index] = Some(second + length);
                seen[*index].failures_in_a_row = 0;
            }
            let active = seen.iter().filter(|seen| !seen.drains).count();
            let ejected_now = (0..endpoints).filter(|index| returns[*index].is_some() && !seen[*index].drains).count();
            prop_assert!(ejected_now <= (active * max_ejected as usize / 100).max(1));
            prop_assert!(out(&returns) < endpoints, "one is always left");
            prop_assert_eq!(ejected(&ejections).len(), out(&returns));
            // Who deserves it and was let off found no room.
            let serving = (0..endpoints)
                .filter(|index| returns[*index].is_none() && !seen[*index].drains && !seen[*index].unhealthy)
                .count();
            let room = ejected_now < (active * max_ejected as usize / 100).max(1) && serving > 1;
            let let_off = (0..endpoints).any(|index| {
                let seen = &seen[index];
                returns[index].is_none() && seen.failures_in_a_row >= 5 && !seen.drains && !seen.unhealthy
            });
            prop_assert!(!(room && let_off));
        }
    }
}
