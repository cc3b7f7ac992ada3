//! Any sequence of calls, decided by both kinds of limiter exactly as by a model that remembers every call.

use proptest::prelude::*;

use super::laws::{any_limit, forward, is_exact};
use super::*;
use crate::rate_limit::KeyedRateLimiter;
use crate::rate_limit::options::{Limit, Pace, Settings};

/// All calls that were admitted, in the simplest form, and what follows from them.
struct Model {
    limit: Limit,
    /// When each call was admitted, and what it cost.
    calls: Vec<(u64, u32)>,
    /// Of a token bucket, what it holds, in `per`ths of a token, and since when.
    level: i128,
    since: u64,
    /// Of a leaky bucket, when the last call is through, in `rate`ths of a nanosecond.
    through: u128,
}

impl Model {
    fn new(options: &RateLimitOptions, now: u64) -> Self {
        let limit = Settings::try_from(options).expect("valid").limit;
        let level = match limit {
            Limit::Tokens { pace, burst, .. } => i128::from(burst) * i128::from(pace.per),
            _ => 0,
        };
        Self { limit, calls: Vec::new(), level, since: now, through: 0 }
    }

    fn sum(&self, counts: impl Fn(u64) -> bool) -> u128 {
        self.calls.iter().filter(|(at, _)| counts(*at)).map(|(_, cost)| u128::from(*cost)).sum()
    }

    /// When the call begins, if it is admitted.
    fn take(&mut self, now: u64, cost: u32, waits: bool) -> Option<u64> {
        let cost_wide = u128::from(cost);
        let at_once = |admitted: bool| admitted.then_some(now);
        let starts = match self.limit {
            Limit::Tokens { pace, burst, max_wait } => {
                self.tokens(pace, burst, if waits { max_wait } else { 0 }, now, cost)
            }
            Limit::Leaky { pace, queue } => self.leaky(pace, queue, now, cost, waits),
            Limit::Fixed { limit, window } => {
                at_once(self.sum(|at| at / window == now / window) + cost_wide <= u128::from(limit))
            }
            Limit::Exact { limit, window } => {
                at_once(self.sum(|at| now - at < window) + cost_wide <= u128::from(limit))
            }
            Limit::Weighted { limit, window } => {
                let this = self.sum(|at| at / window == now / window) + cost_wide;
                let last = self.sum(|at| at / window + 1 == now / window);
                let (window, left) = (u128::from(window), u128::from(window - now % window));
                at_once(this * window + last * left <= u128::from(limit) * window)
            }
        }?;
        self.calls.push((now, cost));
        Some(starts)
    }

    fn tokens(&mut self, Pace { rate, per }: Pace, burst: u32, wait: u64, now: u64, cost: u32) -> Option<u64> {
        let flown = i128::from(now - self.since) * i128::from(rate);
        self.level = (self.level + flown).min(i128::from(burst) * i128::from(per));
        self.since = now;
        let left = self.level - i128::from(cost) * i128::from(per);
        if cost > burst || -left > i128::from(wait) * i128::from(rate) {
            return None;
        }
        self.level = left;
        let missing = u64::try_from((-left).max(0)).expect("little");
        Some(now + missing.div_ceil(u64::from(rate)))
    }

    fn leaky(&mut self, Pace { rate, per }: Pace, queue: u32, now: u64, cost: u32, waits: bool) -> Option<u64> {
        let present = u128::from(now) * u128::from(rate);
        let begins = self.through.max(present);
        let through = begins + u128::from(cost) * u128::from(per);
        let fits = through <= present + u128::from(queue + 1) * u128::from(per);
        if cost > queue + 1 || !(begins == present || fits && waits) {
            return None;
        }
        self.through = through;
        Some(u64::try_from(begins.div_ceil(u128::from(rate))).expect("soon"))
    }
}

proptest! {
    #[test]
    fn every_decision_is_that_of_the_model(
        options in any_limit().prop_filter("exact", is_exact),
        start in prop_oneof![Just(0), 0..1_000_000_000_000_000_000_u64],
        calls in prop::collection::vec((forward(), any::<bool>(), 1..30_u32), 1..150),
    ) {
        let time = Clock::manual();
        time.advance(Duration::from_nanos(start));
        let environment = Environment { clock: time.clock(), ..Environment::default() };
        let limiter = RateLimiter::in_environment("search", &options, &environment).expect("valid");
        let keyed = KeyedRateLimiter::in_environment("search", &options, &environment).expect("valid");
        let mut model = Model::new(&options, start);
        let mut now = start;
        for (step, waits, cost) in calls {
            let next = step.from(now, &model.limit);
            time.advance(Duration::from_nanos(next - now));
            now = next;
            let cost = if cost > 10 { 1 } else { cost };
            let expected = model.take(now, cost, waits);
            let call = Call::new().key("ann").cost(cost);
            for limiter in [&limiter as &dyn AnyLimiter, &keyed] {
                prop_assert_eq!(limiter.ask(&call, now, waits), expected.ok_or(()), "at {} for {}", now, cost);
            }
        }
        let taken = model.calls.len() as u64;
        prop_assert_eq!((limiter.stats().allowed, keyed.stats().calls.allowed), (taken, taken));
        prop_assert_eq!(limiter.stats().denied, keyed.stats().calls.denied);
    }
}

/// Either kind of limiter.
trait AnyLimiter {
    /// When the call begins, if it is admitted; checks that this is what it was told when it only looked.
    fn ask(&self, call: &Call<'_>, now: u64, waits: bool) -> Result<u64, ()>;
}

impl<G: Guard> AnyLimiter for G {
    fn ask(&self, call: &Call<'_>, now: u64, waits: bool) -> Result<u64, ()> {
        let reading = Reading::of(self.clock());
        if !waits {
            return self.try_admit(call, &reading).map(|_| now).map_err(drop);
        }
        let told = self.peek(call, &reading);
        match self.admit(call, &reading) {
            Admission::Granted(_) => told.map(|()| now).map_err(drop),
            Admission::Later(moment, _) => told.map(|()| moment.as_nanos()).map_err(drop),
            Admission::Queued(_) => panic!("a limiter keeps no queue of futures"),
            Admission::Rejected(rejection) => {
                assert_eq!(told, Err(rejection));
                Err(())
            }
        }
    }
}
