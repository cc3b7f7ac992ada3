//! Options: their ranges, and what a change of them keeps.

use super::*;
use crate::units::Ratio;

#[test]
fn a_wrong_option_is_named() {
    let wrong: [(&str, fn(&mut CircuitBreakerOptions)); 14] = [
        ("consecutive_failures", |options| options.consecutive_failures = Some(0)),
        ("failure_rate", |options| options.failure_rate = Some(Ratio::ZERO)),
        ("slow_call_rate", |options| options.slow_call_rate = Some(Ratio::ZERO)),
        ("slow_call", |options| options.slow_call = Duration::ZERO),
        ("window.calls", |options| options.window = BreakerWindow::Calls(0)),
        ("window.calls", |options| options.window = BreakerWindow::Calls(65_537)),
        ("window.time", |options| options.window = BreakerWindow::Time(Duration::from_millis(9))),
        ("min_calls", |options| options.min_calls = 0),
        ("min_calls", |options| options.window = BreakerWindow::Calls(19)),
        ("open_for", |options| options.open_for = Duration::MAX),
        ("open_growth", |options| options.open_growth = f64::NAN),
        ("open_max", |options| options.open_max = SECOND),
        ("probes", |options| options.probes = 0),
        ("ramp", |options| options.ramp = Some(Duration::ZERO)),
    ];
    for (option, change) in wrong {
        let mut options = CircuitBreakerOptions::default();
        change(&mut options);
        assert_eq!(CircuitBreaker::new("db", &options).expect_err(option).option, option);
    }
}

#[test]
fn other_options_keep_the_state_and_the_counts() {
    let bench = Bench::new(&CircuitBreakerOptions::default());
    bench.calls(4, Outcome::Failure);
    let stricter = CircuitBreakerOptions { consecutive_failures: Some(6), open_for: SECOND, ..Default::default() };
    bench.breaker.reconfigure(&stricter).expect("valid");
    assert_eq!((bench.breaker.stats().consecutive_failures, bench.breaker.stats().window_calls), (4, 4));
    bench.calls(2, Outcome::Failure);
    assert_eq!(bench.breaker.stats().time_until_probe, Some(SECOND));
    bench.breaker.reconfigure(&CircuitBreakerOptions::default()).expect("valid");
    assert_eq!(bench.state(), CircuitState::Open);

    let wrong = CircuitBreakerOptions { probes: 0, ..Default::default() };
    assert!(bench.breaker.reconfigure(&wrong).is_err());
    assert_eq!(bench.breaker.options(), CircuitBreakerOptions::default());
}

#[cfg(feature = "serde")]
#[test]
fn options_are_written_as_they_are_read() {
    let text = r#"{"failure_rate":"25%","window":{"calls":50},"slow_call_rate":"off","ramp":"30s","open_for":"5s"}"#;
    let options: CircuitBreakerOptions = serde_json::from_str(text).expect("options");
    assert_eq!((options.window, options.ramp), (BreakerWindow::Calls(50), Some(SECOND * 30)));
    let again = serde_json::to_string(&options).expect("text");
    assert_eq!(serde_json::from_str::<CircuitBreakerOptions>(&again).expect("options"), options);
    assert!(serde_json::from_str::<CircuitBreakerOptions>(r#"{"failure_rat":"25%"}"#).is_err());
    let timed: CircuitBreakerOptions = serde_json::from_str(r#"{"window":{"time":"2s"}}"#).expect("options");
    assert_eq!(timed.window, BreakerWindow::Time(SECOND * 2));
}
