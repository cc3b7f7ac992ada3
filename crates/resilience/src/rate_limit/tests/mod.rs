//! Limiters call by call, by a clock that only the test moves.

mod change;
mod giving_back;
mod keyed;
mod laws;
mod model;
mod modes;
mod options;

use std::time::Duration;

use crate::call::Call;
use crate::clock::{Clock, ManualClock, Moment, Reading};
use crate::error::{Code, Rejection};
use crate::event::{Happening, Listener};
use crate::outcome::Outcome;
use crate::policy::{Admission, Environment, Guard, Mode, Ticket};
use crate::rate_limit::{FixedWindow, LeakyBucket, RateLimitOptions, RateLimiter, SlidingWindow, TokenBucket};

const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

/// A limiter, the time, and its events.
struct Bench {
    limiter: RateLimiter,
    time: ManualClock,
    listener: Listener,
}

impl Bench {
    fn new(options: &RateLimitOptions) -> Self {
        let time = Clock::manual();
        let environment = Environment { clock: time.clock(), ..Environment::default() };
        let listener = environment.events.subscribe(1000);
        let limiter = RateLimiter::in_environment("search", options, &environment).expect("valid options");
        Self { limiter, time, listener }
    }

    fn now(&self) -> Moment {
        self.limiter.clock().now()
    }

    fn reading(&self) -> Reading<'_> {
        Reading::of(self.limiter.clock())
    }

    /// Asks for so much at once.
    fn ask(&self, cost: u32) -> Result<Ticket, Rejection> {
        self.limiter.try_admit(&Call::new().cost(cost), &self.reading())
    }

    /// Takes so much at once, if it is there.
    fn takes(&self, cost: u32) -> bool {
        self.ask(cost).is_ok()
    }

    /// How many calls of cost 1 are admitted at once, one after the other.
    fn drain(&self) -> u32 {
        (0..).take_while(|_| self.takes(1)).count().try_into().expect("few")
    }

    /// Asks for so much, waiting if need be: when the call begins, and its ticket.
    fn queue(&self, call: &Call<'_>) -> Result<(Moment, Ticket), Rejection> {
        match self.limiter.admit(call, &self.reading()) {
            Admission::Granted(ticket) => Ok((self.now(), ticket)),
            Admission::Later(moment, ticket) => Ok((moment, ticket)),
            Admission::Rejected(rejection) => Err(rejection),
            Admission::Queued(_) => panic!("a limiter keeps no queue of futures"),
        }
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.limiter.settle(ticket, outcome, &self.reading());
    }

    fn reconfigure(&self, options: &RateLimitOptions) {
        self.limiter.reconfigure(options).expect("valid options");
    }

    fn remaining(&self) -> u32 {
        self.limiter.status().remaining
    }

    /// What it told since the last time.
    fn told(&self) -> Vec<Happening> {
        std::iter::from_fn(|| self.listener.try_next()).map(|event| event.happening).collect()
    }
}

fn tokens(rate: u32, per: Duration, burst: u32) -> RateLimitOptions {
    RateLimitOptions::token_bucket(TokenBucket { rate, per, burst: Some(burst) })
}

fn leaky(rate: u32, per: Duration, queue: u32) -> RateLimitOptions {
    RateLimitOptions::leaky_bucket(LeakyBucket { rate, per, queue })
}

fn fixed(limit: u32, window: Duration) -> RateLimitOptions {
    RateLimitOptions::fixed_window(FixedWindow { limit, window })
}

fn sliding(limit: u32, window: Duration) -> RateLimitOptions {
    RateLimitOptions::sliding_window(SlidingWindow { limit, window })
}

/// One of each algorithm: 100 in a second, or 10 where every call is remembered; of the leaky bucket 1 at once.
fn each_algorithm() -> [(&'static str, RateLimitOptions); 5] {
    [
        ("token bucket", tokens(100, SECOND, 100)),
        ("leaky bucket", leaky(100, SECOND, 99)),
        ("fixed window", fixed(100, SECOND)),
        ("weighted sliding window", sliding(100, SECOND)),
        ("exact sliding window", sliding(10, SECOND)),
    ]
}
