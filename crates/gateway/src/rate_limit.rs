//! The limits that requests of a listener or route have to pass, with handles to the library's limiters.
//!
//! How a limit counts is the library's. Here several of them are asked together: a request counts in all of them or in
//! none. And here is how answers tell of them (draft-ietf-httpapi-ratelimit-headers-10).

use std::cmp::Reverse;
use std::time::Duration;

use crate::config::plan::{self, KeyPart};
use tidegate_resilience::{
    Admission, Call, Clock, Guard, KeyedRateLimiter, Moment, Outcome, RateLimitStatus, RateLimiter, Reading, Rejection,
    Ticket, View,
};

/// The limits of one listener or route.
#[derive(Debug, Default)]
pub(crate) struct RateLimits(Box<[RateLimit]>);

/// One limit, as one listener or route has it.
#[derive(Debug)]
pub(crate) struct RateLimit {
    limiter: Limiter,
    pub(crate) by: Box<[KeyPart]>,
    cost: u32,
    /// How answers tell of it: its name as a structured field has it, and what follows that in `RateLimit-Policy`.
    told: Option<(Box<str>, Box<str>)>,
}

#[derive(Debug)]
enum Limiter {
    All(RateLimiter),
    ByKey(KeyedRateLimiter),
}

impl Limiter {
    fn find(view: &View, plan: &plan::RateLimit) -> Option<Self> {
        match plan.by.is_empty() {
            true => view.rate_limiter(&plan.policy).cloned().map(Self::All),
            false => view.keyed_rate_limiter(&plan.policy).cloned().map(Self::ByKey),
        }
    }
}

impl RateLimits {
    pub(crate) fn build(view: &View, plans: &[plan::RateLimit]) -> Self {
        // Every limit of a plan is a policy of the same plan, so that none is missing.
        let limits = plans.iter().filter_map(|plan| Some(RateLimit::new(Limiter::find(view, plan)?, plan)));
        Self(limits.collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RateLimit> + Clone {
        self.0.iter()
    }
}

impl RateLimit {
    fn new(limiter: Limiter, plan: &plan::RateLimit) -> Self {
        let told = plan.told.then(|| {
            let seconds = whole_seconds(plan.quota.window).max(1);
            (format!("{:?}", &*plan.policy).into(), format!(";q={};w={seconds}", plan.quota.limit).into())
        });
        Self { limiter, by: plan.by.clone().into(), cost: plan.cost, told }
    }

    #[inline]
    fn admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        match &self.limiter {
            Limiter::All(limiter) => limiter.admit(call, now),
            Limiter::ByKey(limiter) => limiter.admit(call, now),
        }
    }

    fn peek(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        match &self.limiter {
            Limiter::All(limiter) => limiter.peek(call, now),
            Limiter::ByKey(limiter) => limiter.peek(call, now),
        }
    }

    #[inline]
    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        match &self.limiter {
            Limiter::All(limiter) => limiter.settle(ticket, outcome, now),
            Limiter::ByKey(limiter) => limiter.settle(ticket, outcome, now),
        }
    }

    fn clock(&self) -> &Clock {
        match &self.limiter {
            Limiter::All(limiter) => limiter.clock(),
            Limiter::ByKey(limiter) => limiter.clock(),
        }
    }

    fn status(&self, key: &str) -> RateLimitStatus {
        match &self.limiter {
            Limiter::All(limiter) => limiter.status(),
            Limiter::ByKey(limiter) => limiter.status(key),
        }
    }
}

/// The keys under which a request is counted, in memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// One behind the other.
    text: String,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Keys {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Adds a key that is written to the end of what is there.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.ends.push(self.text.len());
    }

    /// The key at this place; empty where there is none.
    pub(crate) fn key(&self, place: usize) -> &str {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(place).and_then(|end| self.text.get(start..*end)).unwrap_or_default()
    }
}

/// What the limits of one request leave to the next.
#[derive(Debug, Default)]
pub(crate) struct LimitScratch {
    pub(crate) keys: Keys,
    pub(crate) telling: Telling,
}

impl LimitScratch {
    /// How many bytes of memory are held.
    pub(crate) fn capacity(&self) -> usize {
        self.keys.text.capacity() + self.telling.standing.capacity() + self.telling.policy.capacity()
    }
}

/// A request in front of one limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) limit: &'a RateLimit,
    /// What tells the request from others; empty where the limit is one for all.
    pub(crate) key: &'a str,
    /// When the answer is of no more use.
    pub(crate) deadline: Moment,
}

impl<'a> Ask<'a> {
    fn call(&self) -> Call<'a> {
        Call::new().key(self.key).cost(self.limit.cost).deadline(self.deadline)
    }
}

/// What limits have admitted.
#[derive(Debug)]
pub(crate) enum Turn<'a> {
    /// It may go on now.
    Now,
    /// It may go on from this moment on.
    At(Moment, Held<'a>),
}

/// What a request has taken before it begins. Dropped, it is given back: a call that never began is a rejected one to
/// the library.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    taken: Vec<(Ask<'a>, Ticket)>,
    outcome: Outcome,
    /// When that is known to happen.
    now: Option<Moment>,
}

impl Held<'_> {
    /// The request goes on, and what it took stays taken, whatever comes of it.
    pub(crate) fn keep(mut self) {
        self.outcome = Outcome::Success;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        for (ask, ticket) in self.taken.drain(..) {
            ask.limit.settle(
                ticket,
                self.outcome,
                &self.now.map_or_else(|| Reading::of(ask.limit.clock()), Reading::taken),
            );
        }
    }
}

/// Asks all of these limits: either each admits the request, or it has taken nothing from any.
///
/// Where more than one would refuse it, the one answers that does so for the longest time.
pub(crate) fn admit<'a>(
    asks: &(impl Iterator<Item = Ask<'a>> + Clone),
    now: &Reading<'_>,
) -> Result<Turn<'a>, Rejection> {
    let alone = asks.clone().nth(1).is_none();
    // Who is going to refuse is asked first. Asked, it counts the refusal, and nothing has to be given back: what is
    // given back was missing to somebody else for a moment.
    let first = if alone { None } else { tightest(asks.clone(), now) };
    let others = asks.clone().enumerate().filter(|(place, _)| Some(*place) != first);
    let others = others.map(|(_, ask)| ask);
    let mut held = Held { taken: Vec::new(), outcome: Outcome::Rejected, now: Some(now.moment()) };
    let mut begins = None;
    for ask in first.and_then(|first| asks.clone().nth(first)).into_iter().chain(others) {
        match ask.limit.admit(&ask.call(), now) {
            Admission::Granted(ticket) if alone => ask.limit.settle(ticket, Outcome::Success, now),
            Admission::Granted(ticket) => held.taken.push((ask, ticket)),
            Admission::Later(moment, ticket) => {
                begins = begins.max(Some(moment));
                held.taken.push((ask, ticket));
            }
            // No rate limit has a queue of this kind: who waits there knows the moment.
            Admission::Queued(_) => {}
            Admission::Rejected(rejection) => return Err(rejection),
        }
    }
    Ok(match begins {
        None => {
            held.keep();
            Turn::Now
        }
        Some(moment) => {
            // Who gives up does so later than now.
            held.now = None;
            Turn::At(moment, held)
        }
    })
}

/// The place of the limit that refuses the request for the longest time, if any does.
fn tightest<'a>(asks: impl Iterator<Item = Ask<'a>>, now: &Reading<'_>) -> Option<usize> {
    let refusals = asks.enumerate().filter_map(|(place, ask)| {
        let rejection = ask.limit.peek(&ask.call(), now).err()?;
        Some((place, rejection.retry_after().unwrap_or(Duration::MAX)))
    });
    refusals.max_by_key(|(place, time)| (*time, Reverse(*place))).map(|(place, _)| place)
}

/// How an answer tells of limits: the values of `RateLimit` and `RateLimit-Policy`, empty where none of them is told of.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    pub(crate) standing: String,
    pub(crate) policy: String,
}

impl Telling {
    /// Tells of these limits, the one first that will let through the fewest further requests like this one.
    pub(crate) fn write<'a>(&mut self, asks: impl Iterator<Item = Ask<'a>> + Clone) {
        self.standing.clear();
        self.policy.clear();
        let told = asks.filter(|ask| ask.limit.told.is_some());
        if told.clone().nth(1).is_none() {
            told.for_each(|ask| self.member(&ask, &ask.limit.status(ask.key)));
            return;
        }
        let mut standings: Vec<_> = told.map(|ask| (ask, ask.limit.status(ask.key))).collect();
        standings.sort_by_key(|(ask, status)| (status.remaining / ask.limit.cost.max(1), Reverse(status.reset_after)));
        for (ask, status) in &standings {
            self.member(ask, status);
        }
    }

    /// One member of both lists (RFC 9651 §3.1): a string with integers as parameters.
    fn member(&mut self, ask: &Ask<'_>, status: &RateLimitStatus) {
        let Some((name, quota)) = &ask.limit.told else { return };
        for list in [&mut self.standing, &mut self.policy] {
            if !list.is_empty() {
                list.push_str(", ");
            }
            list.push_str(name);
        }
        self.policy.push_str(quota);
        for (parameter, number) in [(";r=", status.remaining.into()), (";t=", whole_seconds(status.reset_after))] {
            self.standing.push_str(parameter);
            push_number(&mut self.standing, number);
        }
    }
}

/// Seconds, rounded up: nobody is to come too early.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Appends a number without the machinery of `format!`: it is done several times for every request.
pub(crate) fn push_number(out: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push_str(str::from_utf8(&digits[at..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::Quota;
    use tidegate_resilience::{Environment, FixedWindow, LeakyBucket, ManualClock, RateLimitOptions};

    const MINUTE: Duration = Duration::from_secs(60);

    struct World(ManualClock, Environment);

    impl World {
        fn new() -> Self {
            let manual = Clock::manual();
            let environment = Environment { clock: manual.clock(), ..Environment::default() };
            Self(manual, environment)
        }

        fn fixed(&self, name: &str, limit: u32, window: Duration, cost: u32) -> RateLimit {
            let options = RateLimitOptions::fixed_window(FixedWindow { limit, window });
            let limiter = KeyedRateLimiter::in_environment(name, &options, &self.1).expect("valid");
            let plan = plan::RateLimit {
                policy: name.into(),
                by: vec![KeyPart::Host],
                cost,
                quota: Quota { limit, window },
                told: true,
            };
            RateLimit::new(Limiter::ByKey(limiter), &plan)
        }

        fn ask(&self, limits: &[RateLimit], key: &str) -> Result<bool, Rejection> {
            let asks = limits.iter().map(|limit| Ask { limit, key, deadline: Moment::NEVER });
            admit(&asks, &Reading::of(&self.1.clock)).map(|turn| matches!(turn, Turn::Now))
        }
    }

    fn told(limits: &[RateLimit], key: &str) -> (String, String) {
        let mut telling = Telling { standing: "old".to_owned(), policy: "older".to_owned() };
        telling.write(limits.iter().map(|limit| Ask { limit, key, deadline: Moment::NEVER }));
        (telling.standing, telling.policy)
    }

    #[test]
    fn a_limit_is_told_as_structured_fields() {
        let world = World::new();
        let limits = [world.fixed("per-client", 10, MINUTE, 1)];
        world.0.advance(Duration::from_millis(17_500));
        for _ in 0..3 {
            assert!(world.ask(&limits, "a").expect("admitted"));
        }
        let (standing, policy) = told(&limits, "a");
        assert_eq!(standing, r#""per-client";r=7;t=43"#);
        assert_eq!(policy, r#""per-client";q=10;w=60"#);
        assert_eq!(told(&limits, "b").0, r#""per-client";r=10;t=0"#);
    }

    #[test]
    fn the_tightest_limit_is_told_first() {
        let world = World::new();
        let limits = [world.fixed("minute", 10, MINUTE, 1), world.fixed("hour", 20, 60 * MINUTE, 4)];
        assert!(world.ask(&limits, "a").expect("admitted"));
        let (standing, policy) = told(&limits, "a");
        assert_eq!(standing, r#""hour";r=16;t=3600, "minute";r=9;t=60"#);
        assert_eq!(policy, r#""hour";q=20;w=3600, "minute";q=10;w=60"#);
    }

    #[test]
    fn who_is_refused_by_one_counts_in_none() {
        let world = World::new();
        let limits = [world.fixed("wide", 10, MINUTE, 1), world.fixed("narrow", 2, 2 * MINUTE, 1)];
        assert!(world.ask(&limits, "a").is_ok() && world.ask(&limits, "a").is_ok());
        for _ in 0..5 {
            let rejection = world.ask(&limits, "a").expect_err("the narrow one is used up");
            assert_eq!((&**rejection.policy(), rejection.retry_after()), ("narrow", Some(2 * MINUTE)));
        }
        assert_eq!(told(&limits, "a").0, r#""narrow";r=0;t=120, "wide";r=8;t=60"#);
        let Limiter::ByKey(narrow) = &limits[1].limiter else { panic!("it is by key") };
        assert_eq!((narrow.stats().calls.allowed, narrow.stats().calls.denied), (2, 5));
        let Limiter::ByKey(wide) = &limits[0].limiter else { panic!("it is by key") };
        assert_eq!((wide.stats().calls.allowed, wide.stats().calls.denied), (2, 0));
    }

    #[test]
    fn of_two_that_refuse_the_longer_time_is_told() {
        let world = World::new();
        for order in [[0, 1], [1, 0]] {
            let mut limits = [world.fixed("short", 1, MINUTE, 1), world.fixed("long", 1, 5 * MINUTE, 1)];
            limits.sort_by_key(|limit| {
                order[usize::from(limit.told.as_ref().is_some_and(|(name, _)| name.contains("long")))]
            });
            assert!(world.ask(&limits, "a").is_ok());
            assert_eq!(&**world.ask(&limits, "a").expect_err("both").policy(), "long");
        }
    }

    #[test]
    fn who_gives_up_waiting_gives_its_turn_back() {
        let world = World::new();
        let options = RateLimitOptions::leaky_bucket(LeakyBucket { rate: 1, per: Duration::from_secs(1), queue: 1 });
        let limiter = RateLimiter::in_environment("paced", &options, &world.1).expect("valid");
        let quota = Quota { limit: 2, window: 2 * Duration::from_secs(1) };
        let plan = plan::RateLimit { policy: "paced".into(), by: vec![], cost: 1, quota, told: false };
        let limits = [RateLimit::new(Limiter::All(limiter), &plan), world.fixed("wide", 10, MINUTE, 1)];
        assert!(world.ask(&limits, "").expect("the first goes at once"));
        for _ in 0..3 {
            assert!(!world.ask(&limits, "").expect("the second waits, and gives up"));
        }
        assert_eq!(told(&limits, ""), (r#""wide";r=9;t=60"#.to_owned(), r#""wide";q=10;w=60"#.to_owned()));
        let ask = |limit| Ask { limit, key: "", deadline: Moment::NEVER };
        let Ok(Turn::At(moment, held)) = admit(&limits.iter().map(ask), &Reading::of(&world.1.clock)) else {
            panic!("it waits");
        };
        assert_eq!(moment, Moment::from_nanos(1_000_000_000));
        world.0.advance(Duration::from_secs(1));
        held.keep();
        assert_eq!(told(&limits, "").0, r#""wide";r=8;t=59"#);
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 4_000_000_000, u64::MAX] {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }
}
