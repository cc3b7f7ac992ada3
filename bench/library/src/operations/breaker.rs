//! Circuit breakers, closed and open. All look at the last 100 calls, but for failsafe, which has a moving average only;
//! ours looks at the last ten seconds by default, and has a second row for that.

use std::convert::Infallible;
use std::time::Duration;

use tidegate_resilience::{BreakerWindow, CircuitBreaker, CircuitBreakerOptions, Guard, Pipeline};
use tower::service_fn;
use tower_resilience::circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer};

use super::succeeds;
use crate::contest::{Bar, Contender, Operation, Policy, answer, future, plain, service};

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            name: "breaker-closed",
            about: "circuit breaker, closed: permit and record a success",
            bar: Bar::Nanos(30.0),
            contenders: vec![
                Contender::new("ours", closed),
                Contender::new("recloser", recloser_closed),
                Contender::new("failsafe", failsafe_closed),
                Contender::new("tower-resilience (service)", tower_resilience_closed),
            ],
        },
        Operation {
            name: "breaker-closed-time",
            about: "circuit breaker with a window of 10 s, closed: permit and record a success",
            bar: Bar::Nanos(30.0),
            contenders: vec![
                Contender::new("ours", || plain(breaker(BreakerWindow::Time(Duration::from_secs(10))), succeeds)),
                Contender::new("ours, window of 100 calls", closed),
            ],
        },
        Operation {
            name: "breaker-future",
            about: "circuit breaker, closed, around a ready future",
            bar: Bar::Open,
            contenders: vec![
                Contender::new("ours", || {
                    future(Pipeline::of(breaker(CALLS)), async |pipeline| pipeline.execute(|| answer(1)).await.is_ok())
                }),
                Contender::new("tower-resilience", tower_resilience_closed),
            ],
        },
        Operation {
            name: "breaker-open",
            about: "circuit breaker, open: rejection",
            bar: Bar::Open,
            contenders: vec![
                Contender::new("ours", || {
                    let breaker = breaker(CALLS);
                    breaker.force_open();
                    plain(breaker, |breaker| breaker.try_acquire().is_err())
                }),
                Contender::new("recloser", || {
                    let recloser = recloser::Recloser::custom().closed_len(1).open_wait(HOUR).build();
                    while !rejects(&recloser) {}
                    plain(recloser, rejects)
                }),
                Contender::new("failsafe", || {
                    let after_one =
                        failsafe::failure_policy::consecutive_failures(1, failsafe::backoff::constant(HOUR));
                    let breaker = failsafe::Config::new().failure_policy(after_one).build();
                    breaker.on_error();
                    plain(breaker, |breaker| !breaker.is_call_permitted())
                }),
                Contender::new("tower-resilience (service)", || {
                    let layer = CircuitBreakerLayer::builder().minimum_number_of_calls(1).wait_duration_in_open(HOUR);
                    let layer = layer.build().expect("valid options");
                    let failing = layer.layer_fn(service_fn(async |_: u64| Err::<u64, _>(std::fmt::Error)));
                    let policy = service(failing.clone(), |_| true);
                    policy()(100);
                    service(failing, |result| matches!(result, Err(CircuitBreakerError::OpenCircuit)))
                }),
            ],
        },
    ]
}

/// A window as the rivals have it.
pub(super) const CALLS: BreakerWindow = BreakerWindow::Calls(100);

pub(super) fn breaker(window: BreakerWindow) -> CircuitBreaker {
    CircuitBreaker::new("bench", &CircuitBreakerOptions { window, ..Default::default() }).expect("valid options")
}

pub(super) fn closed() -> Policy {
    plain(breaker(CALLS), succeeds)
}

pub(super) fn recloser_closed() -> Policy {
    plain(recloser::Recloser::default(), |recloser| recloser.call(|| Ok::<_, Infallible>(())).is_ok())
}

pub(super) fn failsafe_closed() -> Policy {
    plain(failsafe::Config::new().build(), |breaker| {
        let permitted = breaker.is_call_permitted();
        breaker.on_success();
        permitted
    })
}

pub(super) fn tower_resilience_closed() -> Policy {
    let layer = CircuitBreakerLayer::builder().build().expect("the defaults are valid");
    service(layer.layer_fn(service_fn(answer)), Result::is_ok)
}

/// Whether a call is rejected; one that is not fails.
fn rejects(recloser: &recloser::Recloser) -> bool {
    matches!(recloser.call(|| Err::<(), _>(())), Err(recloser::Error::Rejected))
}
