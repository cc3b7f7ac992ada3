//! Rate limits that admit: one for all calls, and one for each key. The rate is far above what anybody reaches, so that
//! every call is admitted and none fills the bucket to its brim again.

use std::num::NonZero;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota};
use tidegate_resilience::{Call, KeyedRateLimiter, Pipeline, RateLimitOptions, RateLimiter, TokenBucket};
use tower::Layer;
use tower::service_fn;
use tower_resilience::ratelimiter::RateLimiterLayer;

use super::keys::{Fresh, Known, key};
use super::memory::KEYS;
use super::{succeeds, succeeds_for};
use crate::contest::{Bar, Contender, Operation, Policy, answer, future, plain, service, stateful};

/// Calls in a second.
pub(super) const RATE: u32 = 1_000_000_000;

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            name: "rate-direct",
            about: "rate limit for all calls: admit",
            bar: Bar::Times(1.0),
            contenders: vec![
                Contender::new("ours", direct),
                Contender::new("governor", governor_direct),
                Contender::new("ours, with a permit", || plain(limiter(), succeeds)),
                Contender::new("tower-resilience (service)", tower_resilience_direct),
            ],
        },
        Operation {
            name: "rate-denied",
            about: "rate limit for all calls, used up: reject",
            bar: Bar::Open,
            contenders: vec![
                Contender::new("ours", || {
                    let limiter =
                        limited(RateLimitOptions::token_bucket(TokenBucket { rate: 1, per: HOUR, burst: None }));
                    succeeds(&limiter);
                    plain(limiter, |limiter| !succeeds(limiter))
                }),
                Contender::new("governor", || {
                    let quota = Quota::with_period(HOUR).expect("not zero");
                    let limiter = DefaultDirectRateLimiter::direct(quota);
                    limiter.check().expect("the first call is admitted");
                    plain(limiter, |limiter| limiter.check().is_err())
                }),
            ],
        },
        Operation {
            name: "rate-future",
            about: "rate limit for all calls, around a ready future",
            bar: Bar::Open,
            contenders: vec![
                Contender::new("ours", || {
                    future(Pipeline::of(limiter()), async |pipeline| pipeline.execute(|| answer(1)).await.is_ok())
                }),
                Contender::new("tower-resilience", tower_resilience_direct),
            ],
        },
        Operation {
            name: "rate-keyed",
            about: "rate limit for each of 10,000 keys: admit",
            bar: Bar::Nanos(45.0),
            contenders: vec![Contender::new("ours", keyed), Contender::new("governor", governor_keyed)],
        },
        Operation {
            name: "rate-new-key",
            about: "rate limit for each of 1,000,000 keys, which is the cap: admit another key",
            bar: Bar::Nanos(200.0),
            contenders: vec![
                Contender::new("ours", || {
                    let fresh = || Fresh::after(KEYS);
                    stateful(full(KEYS), fresh, |limiter, keys| limiter.check(&Call::new().key(keys.next())).is_ok())
                }),
                Contender::new("governor (without a cap)", || {
                    let fresh = || Fresh::after(KEYS);
                    stateful(governor_full(KEYS), fresh, |limiter, keys| limiter.check_key(keys.next()).is_ok())
                }),
            ],
        },
    ]
}

pub(super) fn limiter() -> RateLimiter {
    limited(RateLimitOptions::per_second(RATE))
}

fn limited(options: RateLimitOptions) -> RateLimiter {
    RateLimiter::new("bench", &options).expect("valid options")
}

pub(super) fn direct() -> Policy {
    plain(limiter(), |limiter| limiter.check(&Call::new()).is_ok())
}

pub(super) fn governor_direct() -> Policy {
    plain(DefaultDirectRateLimiter::direct(quota()), |limiter| limiter.check().is_ok())
}

pub(super) fn tower_resilience_direct() -> Policy {
    service(tower_resilience_layer().layer(service_fn(answer)), Result::is_ok)
}

pub(super) fn tower_resilience_layer() -> RateLimiterLayer {
    RateLimiterLayer::burst(RATE as usize, RATE as usize).build().expect("valid options")
}

pub(super) fn keyed() -> Policy {
    stateful(full(Known::COUNT), Known::new, |limiter, keys| succeeds_for(limiter, keys.next()))
}

pub(super) fn governor_keyed() -> Policy {
    stateful(governor_full(Known::COUNT), Known::new, |limiter, keys| limiter.check_key(keys.next()).is_ok())
}

fn quota() -> Quota {
    Quota::per_second(const { NonZero::new(RATE).expect("not zero") })
}

/// A limiter that has seen so many keys, and may see as many as in [`KEYS`].
pub(super) fn full(keys: u64) -> KeyedRateLimiter {
    let options = RateLimitOptions { max_keys: KEYS as u32, ..RateLimitOptions::per_second(RATE) };
    let limiter = KeyedRateLimiter::new("bench", &options).expect("valid options");
    for number in 0..keys {
        assert!(succeeds_for(&limiter, &key(number)), "there is room");
    }
    limiter
}

/// The same without a bound.
pub(super) fn governor_full(keys: u64) -> DefaultKeyedRateLimiter<String> {
    let limiter = DefaultKeyedRateLimiter::keyed(quota());
    for number in 0..keys {
        limiter.check_key(&key(number)).expect("far below the rate");
    }
    limiter
}
