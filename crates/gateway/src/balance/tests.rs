//! Every algorithm over endpoints that a test makes up: as distributions, so that a wrong share shows.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::hash::Hasher;
use super::{Ask, Balancer, Blueprint, View};
use crate::config::document::SameSite;
use crate::config::plan::{Balance, Endpoint, EndpointHost, HashBy, StickyCookie};

/// Endpoints as a test wants them to be.
#[derive(Clone)]
struct Fake {
    usable: Vec<bool>,
    drains: Vec<bool>,
    in_flight: Vec<usize>,
    connections: Vec<usize>,
    latency: Vec<Duration>,
    share: Vec<f64>,
}

impl Fake {
    fn well(count: usize) -> Self {
        Self {
            usable: vec![true; count],
            drains: vec![false; count],
            in_flight: vec![0; count],
            connections: vec![0; count],
            latency: vec![Duration::from_millis(10); count],
            share: vec![1.0; count],
        }
    }

    fn without(count: usize, gone: &[usize]) -> Self {
        let mut fake = Self::well(count);
        gone.iter().for_each(|index| fake.usable[*index] = false);
        fake
    }
}

impl View for Fake {
    fn is_usable(&self, index: usize) -> bool {
        self.usable[index]
    }

    fn drains(&self, index: usize) -> bool {
        self.drains[index]
    }

    fn in_flight(&self, index: usize) -> usize {
        self.in_flight[index]
    }

    fn connections(&self, index: usize) -> usize {
        self.connections[index]
    }

    fn latency(&self, index: usize) -> Duration {
        self.latency[index]
    }

    fn share(&self, index: usize) -> f64 {
        self.share[index]
    }
}

fn endpoint(index: usize, weight: u32, tier: u8) -> Endpoint {
    let last = u8::try_from(index).expect("few endpoints");
    let host = EndpointHost::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
    Endpoint { host, port: 80, weight, tier, drain: false }
}

fn balancer(balance: &Balance, endpoints: &[Endpoint], panic_threshold: u32) -> Balancer {
    Balancer::new(&Blueprint::new(balance, endpoints, panic_threshold))
}

fn weighted(balance: &Balance, weights: &[u32]) -> Balancer {
    let endpoints: Vec<_> = weights.iter().enumerate().map(|(index, weight)| endpoint(index, *weight, 0)).collect();
    balancer(balance, &endpoints, 1)
}

fn even(balance: &Balance, count: usize) -> Balancer {
    weighted(balance, &vec![1; count])
}

fn ask(key: Option<u64>) -> Ask {
    Ask::new(key, Instant::now())
}

/// The key of client number so.
fn key(number: u64) -> Option<u64> {
    Some(Hasher::FIXED.hash(&number.to_le_bytes()))
}

/// How often each endpoint is chosen, every time for another client.
fn counts(balancer: &Balancer, view: &Fake, picks: u64) -> Vec<f64> {
    let mut counts = vec![0.0; view.usable.len()];
    for number in 0..picks {
        counts[balancer.pick(&ask(key(number)), view).expect("an endpoint")] += 1.0;
    }
    counts
}

/// The shares of all picks, which have to be near those that weights ask for.
fn assert_shares(what: &str, counts: &[f64], weights: &[f64], within: f64) {
    let all: f64 = counts.iter().sum();
    let weight: f64 = weights.iter().sum();
    for (index, (count, wanted)) in counts.iter().zip(weights).enumerate() {
        let (share, wanted) = (count / all, wanted / weight);
        assert!((share - wanted).abs() <= within, "{what}: endpoint {index} has {share:.3} instead of {wanted:.3}");
    }
}

fn sticky() -> Balance {
    Balance::StickyCookie(StickyCookie {
        name: "s".into(),
        key: "key".into(),
        ttl: None,
        path: "/".into(),
        secure: None,
        http_only: true,
        same_site: SameSite::Lax,
    })
}

fn maglev() -> Balance {
    Balance::Maglev(HashBy::Path)
}

fn all() -> Vec<Balance> {
    use Balance::{IpHash, LeastConnections, LeastRequests, PeakEwma, RoundRobin};
    vec![RoundRobin, LeastRequests, LeastConnections, PeakEwma, IpHash, maglev(), sticky()]
}

#[test]
fn idle_endpoints_have_even_shares() {
    for balance in all() {
        for count in [1, 2, 3, 8, 9, 25] {
            let counts = counts(&even(&balance, count), &Fake::well(count), 20_000);
            assert_shares(&format!("{balance:?} of {count}"), &counts, &vec![1.0; count], 0.02);
        }
    }
}

#[test]
fn weights_are_shares() {
    for balance in all() {
        for weights in [vec![1, 3], vec![5, 1, 1], vec![10, 1, 2, 3, 4, 1, 1, 2, 2, 3, 1, 1]] {
            let counts = counts(&weighted(&balance, &weights), &Fake::well(weights.len()), 40_000);
            let wanted: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
            assert_shares(&format!("{balance:?} of {weights:?}"), &counts, &wanted, 0.02);
        }
    }
}

#[test]
fn what_cannot_be_chosen_never_is() {
    for balance in all() {
        for count in [3, 12] {
            let balancer = even(&balance, count);
            let view = Fake::without(count, &[0]);
            for number in 0..1000 {
                let mut ask = ask(key(number));
                ask.note(1);
                let at = balancer.pick(&ask, &view).expect("an endpoint");
                assert!(at > 1, "{balance:?} chose {at}");
            }
        }
    }
}

#[test]
fn every_endpoint_is_tried_once() {
    for balance in all() {
        for count in [1, 2, 5, 30] {
            let balancer = even(&balance, count);
            let mut ask = ask(key(7));
            let mut tried = Vec::new();
            while let Some(at) = balancer.pick(&ask, &Fake::well(count)) {
                ask.note(at);
                tried.push(at);
            }
            tried.sort_unstable();
            assert_eq!(tried, (0..count).collect::<Vec<_>>(), "{balance:?}");
        }
    }
}

#[test]
fn trying_many_endpoints_ends() {
    for balance in all() {
        let balancer = even(&balance, 200);
        let mut ask = ask(key(7));
        let mut tried = 0;
        while let Some(at) = balancer.pick(&ask, &Fake::well(200)) {
            ask.note(at);
            tried += 1;
        }
        assert_eq!(tried, 64, "{balance:?}");
    }
}

#[test]
fn turns_by_weight_come_without_bursts() {
    let balancer = weighted(&Balance::RoundRobin, &[5, 1, 1]);
    let picks: Vec<_> = (0..7).filter_map(|_| balancer.pick(&ask(None), &Fake::well(3))).collect();
    assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn turns_of_one_that_is_away_are_shared_evenly() {
    for weights in [[1, 1, 1, 1], [2, 1, 1, 2]] {
        let balancer = weighted(&Balance::RoundRobin, &weights);
        let counts = counts(&balancer, &Fake::without(4, &[1]), 3000);
        let wanted: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
        assert_shares("turns", &counts, &[wanted[0], 0.0, wanted[2], wanted[3]], 0.01);
    }
}

#[test]
fn the_least_busy_for_its_weight_is_chosen() {
    let balancer = weighted(&Balance::LeastRequests, &[1, 1, 4]);
    for (in_flight, least) in [([2, 0, 5], 1), ([2, 2, 5], 2), ([1, 2, 5], 0)] {
        let view = Fake { in_flight: in_flight.to_vec(), ..Fake::well(3) };
        assert_eq!(balancer.pick(&ask(None), &view), Some(least), "{in_flight:?}");
    }
    let view = Fake { in_flight: vec![0, 9], connections: vec![4, 3], ..Fake::well(2) };
    assert_eq!(even(&Balance::LeastConnections, 2).pick(&ask(None), &view), Some(1));
}

#[test]
fn of_many_the_busiest_is_hardly_ever_chosen() {
    let mut view = Fake::well(20);
    view.in_flight = (0..20).collect();
    let counts = counts(&even(&Balance::LeastRequests, 20), &view, 20_000);
    // It wins only against nobody; the idle one wins whenever it is drawn, which is twice in twenty.
    assert!(counts[19] < 10.0, "{counts:?}");
    assert!((counts[0] / 20_000.0 - 0.1).abs() < 0.02, "{counts:?}");
}

/// Requests stay in flight for some time; the number that each endpoint has then follows its weight.
#[test]
fn many_endpoints_fill_by_weight() {
    let weights = [[4, 1]; 10].concat();
    let balancer = weighted(&Balance::LeastRequests, &weights);
    let mut view = Fake::well(20);
    for _ in 0..5000 {
        let at = balancer.pick(&ask(None), &view).expect("an endpoint");
        view.in_flight[at] += 1;
    }
    let counts: Vec<f64> = view.in_flight.iter().map(|count| *count as f64).collect();
    let wanted: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
    assert_shares("filled", &counts, &wanted, 0.005);
}

#[test]
fn peak_ewma_goes_where_answers_come_soon() {
    let balancer = even(&Balance::PeakEwma, 3);
    let view = Fake { latency: [10, 10, 100].map(Duration::from_millis).to_vec(), ..Fake::well(3) };
    assert_shares("slow", &counts(&balancer, &view, 20_000), &[1.0, 1.0, 0.0], 0.02);
    // Ten requests at 10 ms take as long as one at 100 ms.
    let view = Fake { latency: [10, 100].map(Duration::from_millis).to_vec(), in_flight: vec![8, 0], ..Fake::well(2) };
    assert_eq!(even(&Balance::PeakEwma, 2).pick(&ask(None), &view), Some(0));
    let view = Fake { in_flight: vec![10, 0], ..view };
    assert_eq!(even(&Balance::PeakEwma, 2).pick(&ask(None), &view), Some(1));
}

#[test]
fn peak_ewma_tries_what_it_does_not_know_with_one_request() {
    let balancer = even(&Balance::PeakEwma, 2);
    let mut view = Fake::well(2);
    view.latency[1] = Duration::ZERO;
    assert_eq!(balancer.pick(&ask(None), &view), Some(1));
    view.in_flight[1] = 1;
    assert_eq!(balancer.pick(&ask(None), &view), Some(0));
}

/// The same key finds the same endpoint in another process, and in whatever order endpoints are written.
#[test]
fn keys_stay_where_they_are() {
    for balance in [Balance::IpHash, maglev()] {
        let endpoints: Vec<_> = (0..10).map(|index| endpoint(index, 1, 0)).collect();
        let one = balancer(&balance, &endpoints, 1);
        let reversed: Vec<_> = endpoints.iter().rev().cloned().collect();
        let again = balancer(&balance, &reversed, 1);
        let view = Fake::well(10);
        for number in 0..1000 {
            let ask = ask(key(number));
            assert_eq!(one.pick(&ask, &view), again.pick(&ask, &view).map(|at| 9 - at), "{balance:?}");
        }
    }
    // Written down: an upgrade of the gateway must not move requests.
    let first = |balance: &Balance| {
        let balancer = even(balance, 10);
        (0..8).filter_map(|number| balancer.pick(&ask(key(number)), &Fake::well(10))).collect::<Vec<_>>()
    };
    assert_eq!(first(&Balance::IpHash), IP_HASH);
    assert_eq!(first(&maglev()), MAGLEV);
}

const IP_HASH: [usize; 8] = [5, 6, 3, 8, 1, 7, 8, 5];
const MAGLEV: [usize; 8] = [1, 1, 9, 3, 9, 8, 5, 6];

/// What part of the keys is elsewhere when endpoint 3 is `gone` from the configuration, or only unusable.
fn moved(balance: &Balance, count: usize, gone: bool) -> f64 {
    let endpoints: Vec<_> = (0..count).map(|index| endpoint(index, 1, 0)).collect();
    let before = balancer(balance, &endpoints, 1);
    let rest = endpoints.iter().enumerate().filter(|(index, _)| *index != 3).map(|(_, rest)| rest.clone());
    let rest: Vec<_> = rest.collect();
    let after = balancer(balance, &rest, 1);
    let moved = (0..20_000).filter(|number| {
        let ask = ask(key(*number));
        let was = before.pick(&ask, &Fake::well(count)).map(|at| endpoints[at].to_string());
        let is = match gone {
            true => after.pick(&ask, &Fake::well(count - 1)).map(|at| rest[at].to_string()),
            false => before.pick(&ask, &Fake::without(count, &[3])).map(|at| endpoints[at].to_string()),
        };
        was != is
    });
    moved.count() as f64 / 20_000.0
}

#[test]
fn few_keys_move_when_an_endpoint_leaves() {
    // Nothing special happens between any two numbers of endpoints.
    for count in [5, 10, 19, 20, 21, 50] {
        let own = 1.0 / count as f64;
        for (balance, gone, more) in [
            (Balance::IpHash, true, 0.01),
            (Balance::IpHash, false, 0.01),
            (maglev(), true, 0.01),
            (maglev(), false, 0.01),
        ] {
            let moved = moved(&balance, count, gone);
            assert!((own - 0.01..=own + more).contains(&moved), "{balance:?} of {count}: {moved}");
        }
    }
}

#[test]
fn the_keys_of_one_that_is_away_are_spread() {
    for balance in [Balance::IpHash, maglev()] {
        let counts = counts(&even(&balance, 5), &Fake::without(5, &[3]), 20_000);
        assert_shares(&format!("{balance:?}"), &counts, &[1.0, 1.0, 1.0, 0.0, 1.0], 0.025);
    }
}

#[test]
fn maglev_finds_an_endpoint_that_has_next_to_no_slots() {
    let mut weights = vec![1000; 40];
    weights[7] = 1;
    let mut view = Fake::without(40, &(0..40).collect::<Vec<_>>());
    view.usable[7] = true;
    let balancer = weighted(&maglev(), &weights);
    let endpoints: Vec<_> = (0..100).map(|number| balancer.pick(&ask(key(number)), &view)).collect();
    // A fortieth is more than the threshold of one percent.
    assert!(endpoints.iter().all(|at| *at == Some(7)), "{endpoints:?}");
}

#[test]
fn a_cookie_is_followed_while_its_endpoint_can_be_used() {
    let balancer = even(&sticky(), 4);
    let id = super::sticky::id("key", "10.0.0.2:80");
    let picks = |view: &Fake, id| (0..100).filter_map(|_| balancer.pick(&ask(id), view)).collect::<Vec<_>>();
    assert!(picks(&Fake::well(4), Some(id)).iter().all(|at| *at == 2));
    assert!(picks(&Fake::without(4, &[2]), Some(id)).iter().all(|at| *at != 2));
    // An endpoint that is not there, or a hash under another key.
    for stranger in [super::sticky::id("key", "10.0.0.9:80"), super::sticky::id("other", "10.0.0.2:80")] {
        assert!([0, 1, 2, 3].iter().all(|at| picks(&Fake::well(4), Some(stranger)).contains(at)));
    }
}

#[test]
fn below_the_threshold_health_is_ignored() {
    let endpoints: Vec<_> = (0..10).map(|index| endpoint(index, 1, 0)).collect();
    for balance in all() {
        let balancer = balancer(&balance, &endpoints, 50);
        let view = Fake::without(10, &[0, 1, 2, 3, 4]);
        let half = counts(&balancer, &view, 2000);
        assert!(half[..5].iter().all(|count| *count == 0.0), "{balance:?}: {half:?}");
        let less = counts(&balancer, &Fake::without(10, &[0, 1, 2, 3, 4, 5]), 20_000);
        assert_shares(&format!("{balance:?}"), &less, &[1.0; 10], 0.02);
    }
}

#[test]
fn without_a_threshold_nothing_is_better_than_the_ill() {
    let endpoints: Vec<_> = (0..3).map(|index| endpoint(index, 1, 0)).collect();
    let none = Fake::without(3, &[0, 1, 2]);
    for balance in all() {
        assert_eq!(balancer(&balance, &endpoints, 0).pick(&ask(None), &none), None, "{balance:?}");
        assert!(balancer(&balance, &endpoints, 1).pick(&ask(None), &none).is_some(), "{balance:?}");
    }
}

#[test]
fn what_drains_gets_nothing_even_from_the_desperate() {
    let endpoints: Vec<_> = (0..3).map(|index| endpoint(index, 1, 0)).collect();
    let mut view = Fake::without(3, &[0, 1, 2]);
    view.drains[1] = true;
    for balance in all() {
        for threshold in [1, 100] {
            let counts = counts(&balancer(&balance, &endpoints, threshold), &view, 200);
            assert!(counts[0] > 0.0 && counts[1] == 0.0 && counts[2] > 0.0, "{balance:?}: {counts:?}");
        }
        // Of the two that count, one is usable: that is half of them.
        let half = Fake { usable: vec![true, false, false], ..view.clone() };
        assert_eq!(counts(&balancer(&balance, &endpoints, 50), &half, 20), [20.0, 0.0, 0.0], "{balance:?}");
    }
}

#[test]
fn when_the_well_were_tried_the_ill_are() {
    let balancer = even(&Balance::RoundRobin, 3);
    let view = Fake::without(3, &[1]);
    let mut ask = ask(None);
    let mut order = Vec::new();
    while let Some(at) = balancer.pick(&ask, &view) {
        order.push(at);
        ask.note(at);
    }
    assert_eq!((order.len(), order.last()), (3, Some(&1)));
}

#[test]
fn a_lower_tier_serves_when_no_higher_one_can() {
    let tiers = [(0, 2), (1, 0), (2, 0), (3, 1)];
    let endpoints: Vec<_> = tiers.iter().map(|(index, tier)| endpoint(*index, 1, *tier)).collect();
    for balance in all() {
        let balancer = balancer(&balance, &endpoints, 1);
        let serving = |gone: &[usize]| -> Vec<usize> {
            let counts = counts(&balancer, &Fake::without(4, gone), 200);
            (0..4).filter(|at| counts[*at] > 0.0).collect()
        };
        assert_eq!(serving(&[]), [1, 2], "{balance:?}");
        assert_eq!(serving(&[1]), [2], "{balance:?}");
        assert_eq!(serving(&[1, 2]), [3], "{balance:?}");
        assert_eq!(serving(&[1, 2, 3]), [0], "{balance:?}");
        // None is well: as if all were.
        assert_eq!(serving(&[0, 1, 2, 3]), [1, 2], "{balance:?}");
    }
}

#[test]
fn spares_serve_before_the_ill() {
    let endpoints: Vec<_> = (0..6).map(|index| endpoint(index, 1, u8::from(index > 3))).collect();
    for balance in all() {
        let balancer = balancer(&balance, &endpoints, 50);
        let serving = |gone: &[usize]| -> Vec<usize> {
            let counts = counts(&balancer, &Fake::without(6, gone), 200);
            (0..6).filter(|at| counts[*at] > 0.0).collect()
        };
        assert_eq!(serving(&[0, 1]), [2, 3], "{balance:?}: half of them is enough");
        assert_eq!(serving(&[0, 1, 2]), [4, 5], "{balance:?}");
        assert_eq!(serving(&[0, 1, 2, 4]), [5], "{balance:?}");
        // No tier has enough: as if all were well.
        assert_eq!(serving(&[0, 1, 2, 4, 5]), [0, 1, 2, 3], "{balance:?}");
    }
}

#[test]
fn what_was_tried_opens_the_next_tier() {
    let endpoints = [endpoint(0, 1, 0), endpoint(1, 1, 1)];
    let balancer = balancer(&Balance::RoundRobin, &endpoints, 1);
    let mut ask = ask(None);
    let mut order = Vec::new();
    while let Some(at) = balancer.pick(&ask, &Fake::well(2)) {
        order.push(at);
        ask.note(at);
    }
    assert_eq!(order, [0, 1]);
}

#[test]
fn an_endpoint_that_starts_slowly_has_a_small_share() {
    for balance in all() {
        for (count, weights) in [(4, vec![1; 4]), (12, vec![1; 12]), (3, vec![2, 2, 1])] {
            let mut view = Fake::well(count);
            view.share[0] = 0.25;
            let counts = counts(&weighted(&balance, &weights), &view, 20_000);
            let mut wanted: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
            wanted[0] *= 0.25;
            assert_shares(&format!("{balance:?} of {weights:?}"), &counts, &wanted, 0.05);
        }
    }
}

#[test]
fn endpoints_that_all_start_slowly_share_all() {
    for balance in all() {
        for count in [1, 4, 12] {
            let view = Fake { share: vec![0.1; count], ..Fake::well(count) };
            let counts = counts(&even(&balance, count), &view, 20_000);
            assert_shares(&format!("{balance:?} of {count}"), &counts, &vec![1.0; count], 0.05);
        }
    }
}

/// While its share grows, keys come to an endpoint and none leaves it.
#[test]
fn keys_move_once_to_an_endpoint_that_starts_slowly() {
    for balance in [Balance::IpHash, maglev()] {
        let balancer = even(&balance, 5);
        let mut view = Fake::well(5);
        let has = |view: &Fake| -> Vec<u64> {
            (0..5000).filter(|number| balancer.pick(&ask(key(*number)), view) == Some(2)).collect()
        };
        view.share[2] = 0.3;
        let some = has(&view);
        view.share[2] = 1.0;
        let all = has(&view);
        assert!(some.iter().all(|number| all.contains(number)), "{balance:?}");
        assert!(some.len() * 2 < all.len(), "{balance:?}: {} of {}", some.len(), all.len());
    }
}
