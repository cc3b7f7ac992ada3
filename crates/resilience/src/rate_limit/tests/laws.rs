//! What holds of every algorithm, whatever the clock says: the bare decisions, by readings that may also run backwards.
//!
//! A call counts from the latest reading on that was acted upon before it or by it, be it to admit a call or to move the
//! epoch: an outdated reading is one that was taken before another, but acted upon after it.

use proptest::prelude::*;

use super::*;
use crate::rate_limit::log::Log;
use crate::rate_limit::options::{Limit, Pace, Settings};
use crate::rate_limit::state::{Algorithm, Decision, Demand, Return, Standing, USED_BITS, Used};

/// An algorithm and what is used of it, without a handle around it.
pub(super) struct Pure {
    pub(super) limit: Limit,
    algorithm: Algorithm,
    number: u64,
    log: Log,
}

impl Pure {
    pub(super) fn new(options: &RateLimitOptions, epoch: u64) -> Self {
        let limit = Settings::try_from(options).expect("valid options").limit;
        let algorithm = Algorithm::new(limit, Moment::from_nanos(epoch));
        Self { limit, algorithm, number: 0, log: Log::default() }
    }

    pub(super) fn rebase(&mut self, now: u64) {
        let now = Moment::from_nanos(now);
        if self.algorithm.outgrown(now) {
            self.move_epoch(now);
        }
    }

    /// Lets the epoch move on, whether it is time to or not.
    pub(super) fn move_epoch(&mut self, now: Moment) {
        if let Algorithm::Counted(counted) = self.algorithm {
            self.turn_into(Algorithm::Counted(counted.rebased(now)), now);
        }
    }

    fn turn_into(&mut self, to: Algorithm, now: Moment) {
        let log = std::mem::take(&mut self.log);
        (self.number, self.log) = self.algorithm.carry((self.number, log), &to, now);
        self.algorithm = to;
    }

    fn epoch(&self) -> u64 {
        match self.algorithm {
            Algorithm::Counted(counted) => counted.epoch().as_nanos(),
            Algorithm::Exact(_) => 0,
        }
    }

    pub(super) fn reconfigure(&mut self, options: &RateLimitOptions, now: u64) {
        let now = Moment::from_nanos(now);
        self.limit = Settings::try_from(options).expect("valid options").limit;
        self.turn_into(self.algorithm.successor(self.limit, now), now);
    }

    fn used(&mut self) -> (Algorithm, Used<'_>) {
        (self.algorithm, self.algorithm.used(&mut self.number, &mut self.log))
    }

    /// Takes, and when the call begins, if it is admitted.
    pub(super) fn take(&mut self, demand: &Demand) -> Option<u64> {
        self.rebase(demand.now.as_nanos());
        let expected = self.peek(demand);
        let (before, log) = (self.number, self.log.clone());
        let (algorithm, used) = self.used();
        let decision = algorithm.take(used, demand);
        assert_eq!(decision, expected, "what was told before");
        assert!(self.number < 1 << USED_BITS, "it fits");
        let starts = decision.starts(demand.now);
        assert!(starts.is_some() || self.number == before && self.standing_of(log, demand) == self.standing(demand));
        starts.map(Moment::as_nanos)
    }

    fn standing_of(&mut self, mut log: Log, demand: &Demand) -> Standing {
        self.algorithm.standing(self.algorithm.used(&mut self.number, &mut log), demand.now)
    }

    pub(super) fn peek(&mut self, demand: &Demand) -> Decision {
        let (algorithm, used) = self.used();
        algorithm.peek(used, demand)
    }

    pub(super) fn standing(&mut self, demand: &Demand) -> Standing {
        let (algorithm, used) = self.used();
        algorithm.standing(used, demand.now)
    }

    /// The most that a call may cost.
    pub(super) fn most(&mut self) -> u32 {
        self.standing(&demand(0, 1, None)).limit
    }

    pub(super) fn recovered(&mut self, demand: &Demand) -> bool {
        let (algorithm, used) = self.used();
        algorithm.recovered(used, demand.now)
    }

    pub(super) fn untake(&mut self, cost: u32, starts: u64, now: u64) {
        let back = Return { cost, starts: Moment::from_nanos(starts), now: Moment::from_nanos(now) };
        let (algorithm, used) = self.used();
        algorithm.untake(used, &back);
    }

    pub(super) fn refund(&mut self, cost: u32) {
        let (algorithm, used) = self.used();
        algorithm.refund(used, cost);
    }
}

pub(super) fn demand(now: u64, cost: u32, patience: Option<u64>) -> Demand {
    Demand { now: Moment::from_nanos(now), cost, patience: patience.map(Moment::from_nanos) }
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::from_millis(1)),
        Just(SECOND),
        Just(SECOND * 3),
        (1_000_000..100_000_000_000_u64).prop_map(Duration::from_nanos),
        Just(SECOND * 86_400 * 100),
    ]
}

/// Any options that are allowed.
pub(super) fn any_limit() -> impl Strategy<Value = RateLimitOptions> {
    let rate = || prop_oneof![1..20_u32, Just(999_983), 1..1_000_000_u32];
    let wait = prop_oneof![2 => Just(0), 1 => 0..1_000_000_000_u64].prop_map(Duration::from_nanos);
    let small = || prop_oneof![1..5_u32, 1..1000_u32];
    let held = |count: u32, rate: u32, per: Duration| per.as_nanos() * u128::from(count) / u128::from(rate);
    let short = SECOND.as_nanos() * 86_400 * 10;
    prop_oneof![
        (rate(), span(), small(), wait)
            .prop_map(|(rate, per, burst, max_wait)| RateLimitOptions { max_wait, ..tokens(rate, per, burst) })
            .prop_filter("drains", move |options| {
                let TokenBucket { rate, per, burst } = options.token_bucket.expect("set");
                held(burst.expect("set"), rate, per) < short
            }),
        (rate(), span(), prop_oneof![0..5_u32, 0..1000_u32])
            .prop_filter("drains", move |(rate, per, queue)| held(queue + 1, *rate, *per) < short)
            .prop_map(|(rate, per, queue)| leaky(rate, per, queue)),
        (small(), span()).prop_map(|(limit, window)| fixed(limit, window)),
        (1..=64_u32, span()).prop_map(|(limit, window)| sliding(limit, window)),
        (65..2000_u32, span()).prop_map(|(limit, window)| sliding(limit, window)),
    ]
}

/// Whether the algorithm needs no rounding: a whole number of its units fits into a nanosecond and the time for one token,
/// and all it has to count stays below 2^54.
pub(super) fn is_exact(options: &RateLimitOptions) -> bool {
    let counts = |Pace { rate, per }, size: u32, wait: u64| {
        let (mut common, mut rest) = (u64::from(rate), per);
        while rest > 0 {
            (common, rest) = (rest, common % rest);
        }
        let units = u128::from(size) * u128::from(per) + u128::from(wait) * u128::from(rate);
        units / u128::from(common) < 1 << 54
    };
    match Settings::try_from(options).expect("valid options").limit {
        Limit::Tokens { pace, burst, max_wait } => counts(pace, burst, max_wait),
        Limit::Leaky { pace, queue } => counts(pace, queue + 1, 0),
        _ => true,
    }
}

/// A time that matters to this limit: that of one token or of a window.
fn pulse(limit: &Limit) -> u64 {
    match *limit {
        Limit::Tokens { pace: Pace { rate, per }, .. } | Limit::Leaky { pace: Pace { rate, per }, .. } => {
            per.div_ceil(u64::from(rate))
        }
        Limit::Fixed { window, .. } | Limit::Weighted { window, .. } | Limit::Exact { window, .. } => window,
    }
}

pub(super) fn stretch(limit: &Limit, thousandths: u64) -> u64 {
    (pulse(limit) / 1000).saturating_mul(thousandths)
}

/// A step of the clock, of which one in four goes backwards.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Nanos(i64),
    /// So many thousandths of what matters to the limit.
    Pulses(i64),
}

impl Step {
    pub(super) fn from(self, now: u64, limit: &Limit) -> u64 {
        let step = match self {
            Self::Nanos(nanos) => i128::from(nanos),
            Self::Pulses(thousandths) => i128::from(thousandths) * i128::from(pulse(limit)) / 1000,
        };
        u64::try_from((i128::from(now) + step).max(0)).unwrap_or(u64::MAX)
    }
}

pub(super) fn forward() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Nanos(0)),
        1 => Just(Step::Nanos(1)),
        4 => (0..3000_i64).prop_map(Step::Pulses),
        1 => Just(Step::Pulses(1000)),
        1 => (0..100_000_i64).prop_map(Step::Pulses),
        1 => (0..100_000_000_000_000_000_i64).prop_map(Step::Nanos),
    ]
}

pub(super) fn either_way() -> impl Strategy<Value = Step> {
    (forward(), 0..4).prop_map(|(step, back)| match (step, back) {
        (Step::Nanos(nanos), 0) => Step::Nanos(-nanos),
        (Step::Pulses(thousandths), 0) => Step::Pulses(-thousandths),
        (step, _) => step,
    })
}

/// How much a call costs, in thousandths of all there is; and how long it waits, in those of what matters.
pub(super) fn asking() -> impl Strategy<Value = (u32, Option<u64>)> {
    let cost = prop_oneof![6 => Just(0), 3 => 0..1000_u32, 1 => Just(1100)];
    (cost, prop::option::of(prop_oneof![1 => Just(u64::MAX), 2 => 0..20_000_u64]))
}

pub(super) fn priced(share: u32, most: u32) -> u32 {
    u32::try_from(u64::from(most) * u64::from(share) / 1000).expect("small").max(1)
}

/// A call that was admitted: when it counts from, when it begins, how much it costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) at: u64,
    pub(super) starts: u64,
    pub(super) cost: u32,
}

/// Whether never more was admitted than the documentation of the limit says.
pub(super) fn keeps_its_law(limit: &Limit, calls: &[Taken]) -> Result<(), TestCaseError> {
    match *limit {
        Limit::Tokens { pace, burst, max_wait } => {
            // A beginning that was waited for is rounded up to a nanosecond.
            let rounding = if max_wait > 0 { u128::from(pace.rate) } else { 0 };
            let starts: Vec<_> = calls.iter().map(|call| (call.starts.max(call.at), call.cost)).collect();
            flows(&starts, u128::from(burst), u128::from(pace.rate), u128::from(pace.per), rounding)
        }
        Limit::Leaky { pace, .. } => {
            for pair in calls.windows(2) {
                let [one, next] = [pair[0], pair[1]].map(|call| call.starts.max(call.at));
                let apart = u128::from(next - one + 1) * u128::from(pace.rate);
                prop_assert!(apart > u128::from(pair[0].cost) * u128::from(pace.per), "{pair:?}");
            }
            Ok(())
        }
        Limit::Weighted { limit, window } => {
            let at: Vec<_> = calls.iter().map(|call| (call.at, call.cost)).collect();
            flows(&at, u128::from(limit), u128::from(limit), u128::from(window), 0)
        }
        Limit::Fixed { limit, window } => within_all(calls, limit, |from, to| from.at / window == to.at / window),
        Limit::Exact { limit, window } => within_all(calls, limit, |from, to| to.at - from.at < window),
    }
}

/// Whether in no time more was admitted than `burst`, and `rate` in each `per` of it.
fn flows(calls: &[(u64, u32)], burst: u128, rate: u128, per: u128, rounding: u128) -> Result<(), TestCaseError> {
    for first in 0..calls.len() {
        let mut sum = 0;
        for (at, cost) in &calls[first..] {
            sum += u128::from(*cost);
            let time = u128::from(at - calls[first].0);
            prop_assert!(sum * per <= burst * per + rate * time + rounding, "{sum} from {} to {at}", calls[first].0);
        }
    }
    Ok(())
}

fn within_all(calls: &[Taken], limit: u32, together: impl Fn(&Taken, &Taken) -> bool) -> Result<(), TestCaseError> {
    for (index, last) in calls.iter().enumerate() {
        let sum: u32 = calls[..=index].iter().filter(|first| together(first, last)).map(|call| call.cost).sum();
        prop_assert!(sum <= limit, "{sum} of {limit} at {last:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn never_more_is_admitted_than_the_limit_says_whatever_the_clock_does(
        options in any_limit(),
        epoch in prop_oneof![Just(0), 0..1_000_000_000_000_000_000_u64],
        calls in prop::collection::vec((either_way(), asking()), 1..120),
    ) {
        let mut pure = Pure::new(&options, epoch);
        let most = pure.most();
        let (mut now, mut latest, mut taken) = (epoch, epoch, Vec::new());
        for (step, (share, patience)) in calls {
            now = step.from(now, &pure.limit).max(epoch);
            let patience = patience.map(|thousandths| now.saturating_add(stretch(&pure.limit, thousandths)));
            let cost = priced(share, most);
            if let Some(starts) = pure.take(&demand(now, cost, patience)) {
                latest = latest.max(now).max(pure.epoch());
                taken.push(Taken { at: latest, starts, cost });
            }
        }
        keeps_its_law(&pure.limit, &taken)?;
    }

    #[test]
    fn an_outdated_reading_admits_nothing_that_a_later_one_would_not(
        options in any_limit(),
        calls in prop::collection::vec((either_way(), asking()), 1..60),
        cost in 0..1000_u32,
    ) {
        let mut pure = Pure::new(&options, 0);
        let most = pure.most();
        let (mut now, mut latest) = (0, 0);
        for (step, (share, patience)) in calls {
            now = step.from(now, &pure.limit);
            latest = latest.max(now);
            pure.take(&demand(now, priced(share, most), patience));
            pure.rebase(latest);
            let cost = priced(cost, most);
            let (early, late) = (pure.peek(&demand(now, cost, None)), pure.peek(&demand(latest, cost, None)));
            prop_assert!(early != Decision::Now || late == Decision::Now, "{early:?} {late:?}");
            prop_assert!(pure.standing(&demand(now, 1, None)).used >= pure.standing(&demand(latest, 1, None)).used);
            prop_assert!(!pure.recovered(&demand(now, 1, None)) || pure.recovered(&demand(latest, 1, None)));
        }
    }

    #[test]
    fn who_comes_back_when_told_is_admitted_and_not_a_nanosecond_earlier(
        options in any_limit(),
        calls in prop::collection::vec((either_way(), asking()), 1..120),
    ) {
        let mut pure = Pure::new(&options, 0);
        let most = pure.most();
        let mut now = 0;
        for (step, (share, patience)) in calls {
            now = step.from(now, &pure.limit);
            let cost = priced(share, most);
            // With as much patience as before, whenever it comes.
            let patience = patience.map(|thousandths| stretch(&pure.limit, thousandths));
            let later = |now: u64| demand(now, cost, patience.map(|patience| now.saturating_add(patience)));
            pure.rebase(now);
            match pure.peek(&later(now)) {
                Decision::NotBefore(ready) | Decision::Full(ready) => {
                    prop_assert!(ready.as_nanos() > now);
                    let early = pure.peek(&later(ready.as_nanos() - 1));
                    prop_assert!(early.starts(ready).is_none(), "{early:?} before {ready:?}");
                    let ready = ready.as_nanos();
                    let then = pure.peek(&later(ready));
                    prop_assert!(then.starts(Moment::ORIGIN).is_some(), "{then:?} at {ready}");
                }
                Decision::TooLarge => prop_assert!(cost > most),
                Decision::Now | Decision::Later(_) => {}
            }
            pure.take(&later(now));
        }
    }

    #[test]
    fn what_is_left_is_what_is_admitted_and_it_is_all_there_when_it_is_said_to_be(
        options in any_limit(),
        calls in prop::collection::vec((forward(), asking()), 1..60),
    ) {
        let mut pure = Pure::new(&options, 0);
        let mut now = 0;
        for (step, (share, _)) in calls {
            now = step.from(now, &pure.limit);
            let Standing { limit, used, recovers } = pure.standing(&demand(now, 1, None));
            let left = limit - used;
            // A leaky bucket admits what is left to wait, and the others at once.
            let patience = matches!(pure.limit, Limit::Leaky { .. }).then_some(u64::MAX);
            pure.rebase(now);
            if left > 0 {
                let all = pure.peek(&demand(now, left, patience));
                prop_assert!(all.starts(Moment::ORIGIN).is_some(), "{all:?} of {left}");
            }
            let more = pure.peek(&demand(now, left + 1, patience));
            let waits = matches!(more, Decision::Later(_)) && !matches!(pure.limit, Limit::Leaky { .. });
            prop_assert!(waits || more.starts(Moment::ORIGIN).is_none(), "{more:?} beyond {left}");
            let recovers = recovers.as_nanos();
            prop_assert!(pure.recovered(&demand(recovers.max(now), 1, None)));
            prop_assert!(recovers <= now || !pure.recovered(&demand(recovers - 1, 1, None)), "not before {recovers}");
            pure.take(&demand(now, priced(share, limit), patience));
        }
    }
}

#[test]
fn rates_that_cannot_be_exact_are_a_little_lower_never_higher() {
    let million = 1_000_000_u128;
    for (rate, per, burst, max_wait) in [
        (999_983_u32, SECOND, 1_000_000_000_u32, 0_u64),
        (999_983, SECOND, 1, 3600),
        (999_983, SECOND * 1000, 1_000_000, 3600),
        (999_999_937, SECOND, 999_999_937, 0),
        (1, SECOND * 86_399 * 100, 1, 3600),
        (7, SECOND * 86_400, 700, 3600),
    ] {
        let options =
            RateLimitOptions { max_wait: SECOND * u32::try_from(max_wait).expect("short"), ..tokens(rate, per, burst) };
        let mut pure = Pure::new(&options, 0);
        assert!(pure.take(&demand(0, burst, None)).is_some());
        let Decision::NotBefore(full) = pure.peek(&demand(0, burst, None)) else { panic!("all is taken") };
        let (took, exact) = (u128::from(full.as_nanos()), per.as_nanos() * u128::from(burst) / u128::from(rate));
        assert!(took >= exact, "{rate}: {took} {exact}");
        let tolerance = if u128::from(rate) * SECOND.as_nanos() / per.as_nanos() <= million { million } else { 1000 };
        assert!(took - exact <= 1 + exact / tolerance, "{rate}: {took} {exact}");
    }
}

/// Where the numbers end, calls are refused or admitted, and nothing else happens.
#[test]
fn the_end_of_time_is_survived() {
    for (name, options) in each_algorithm() {
        for epoch in [0, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let mut pure = Pure::new(&options, epoch);
            for now in [0, epoch, u64::MAX - 1, u64::MAX, 0, u64::MAX] {
                for patience in [None, Some(0), Some(u64::MAX)] {
                    pure.take(&demand(now, 1, patience));
                    pure.take(&demand(now, 10, patience));
                    pure.untake(1, now, u64::MAX);
                    pure.untake(u32::MAX, u64::MAX, now);
                    pure.standing(&demand(now, 1, patience));
                }
            }
            pure.refund(u32::MAX);
            assert!(pure.take(&demand(u64::MAX, 1, None)).is_some(), "{name}: all was given back");
        }
    }
}
