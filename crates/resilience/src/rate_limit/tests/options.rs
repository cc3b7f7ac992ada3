//! Options: their ranges, and how they are written.

use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const MILLISECOND: Duration = Duration::from_millis(1);

fn wrong_option(options: &RateLimitOptions) -> Option<&'static str> {
    RateLimiter::new("search", options).err().map(|wrong| wrong.option)
}

#[test]
fn a_wrong_option_is_named() {
    let wrong = [
        ("token_bucket", RateLimitOptions::default()),
        ("token_bucket", RateLimitOptions { fixed_window: fixed(1, SECOND).fixed_window, ..tokens(1, SECOND, 1) }),
        ("token_bucket", RateLimitOptions { leaky_bucket: leaky(1, SECOND, 1).leaky_bucket, ..sliding(1, SECOND) }),
        ("token_bucket.rate", tokens(0, SECOND, 1)),
        ("token_bucket.rate", tokens(1_000_000_001, SECOND * 10, 1)),
        ("token_bucket.rate", tokens(1_000_001, MILLISECOND, 1)),
        ("token_bucket.per", tokens(1, MILLISECOND - NANO, 1)),
        ("token_bucket.per", tokens(1, DAY * 100 + NANO, 1)),
        ("token_bucket.burst", tokens(1, SECOND, 0)),
        ("token_bucket.burst", tokens(1_000_000_000, SECOND, 1_000_000_001)),
        ("token_bucket.burst", tokens(1, DAY, 101)),
        ("max_wait", RateLimitOptions { max_wait: SECOND * 3600 + NANO, ..tokens(1, SECOND, 1) }),
        ("max_wait", RateLimitOptions { max_wait: NANO, ..leaky(1, SECOND, 1) }),
        ("max_keys", RateLimitOptions { max_keys: 0, ..tokens(1, SECOND, 1) }),
        ("max_keys", RateLimitOptions { max_keys: 100_000_001, ..tokens(1, SECOND, 1) }),
        ("sliding_window.limit", sliding(0, SECOND)),
        ("sliding_window.limit", sliding(4_000_001, SECOND)),
        ("sliding_window.window", sliding(1, Duration::ZERO)),
        ("fixed_window.limit", fixed(0, SECOND)),
        ("fixed_window.limit", fixed(4_000_000_001, SECOND)),
        ("fixed_window.window", fixed(1, Duration::MAX)),
        ("leaky_bucket.rate", leaky(0, SECOND, 1)),
        ("leaky_bucket.rate", leaky(1_000_001, MILLISECOND, 1)),
        ("leaky_bucket.per", leaky(1, Duration::ZERO, 1)),
        ("leaky_bucket.queue", leaky(1_000_000_000, SECOND, 1_000_000_001)),
        ("leaky_bucket.queue", leaky(1, DAY, 100)),
    ];
    for (option, options) in wrong {
        assert_eq!(wrong_option(&options), Some(option), "{options:?}");
    }
}

#[test]
fn the_ends_of_the_ranges_are_allowed() {
    let right = [
        tokens(1, MILLISECOND, 1),
        tokens(1_000_000, MILLISECOND, 1_000_000_000),
        tokens(1_000_000_000, SECOND, 1_000_000_000),
        tokens(1, DAY, 100),
        tokens(1, DAY * 100, 1),
        RateLimitOptions { max_wait: SECOND * 3600, max_keys: 1, ..tokens(999_999_999, SECOND, 1_000_000_000) },
        RateLimitOptions { max_keys: 100_000_000, ..RateLimitOptions::per_second(1) },
        sliding(1, MILLISECOND),
        sliding(64, DAY * 100),
        sliding(4_000_000, DAY * 100),
        fixed(4_000_000_000, DAY * 100),
        leaky(1_000_000_000, SECOND, 1_000_000_000),
        leaky(1, DAY, 99),
        leaky(1, DAY * 100, 0),
    ];
    for options in right {
        assert_eq!(wrong_option(&options), None, "{options:?}");
        let limiter = RateLimiter::new("search", &options).expect("valid");
        assert!(limiter.try_acquire().is_ok(), "{options:?}");
    }
}

#[test]
fn a_bucket_holds_as_much_as_flows_in_unless_it_is_told_otherwise() {
    let bench = Bench::new(&RateLimitOptions::per_second(5));
    assert_eq!(bench.limiter.status().limit, 5);
    assert_eq!(bench.drain(), 5);
}

#[test]
fn a_wrong_change_changes_nothing() {
    for (name, options) in each_algorithm() {
        let bench = Bench::new(&options);
        bench.takes(1);
        let before = bench.limiter.status();
        assert!(bench.limiter.reconfigure(&tokens(0, SECOND, 1)).is_err());
        assert_eq!((bench.limiter.options(), bench.limiter.status()), (options, before), "{name}");
    }
}

#[cfg(feature = "serde")]
#[test]
fn options_are_written_as_they_are_read() {
    let texts = [
        r#"{"token_bucket":{"rate":100,"burst":20},"max_wait":"50ms","mode":"metrics_only"}"#,
        r#"{"token_bucket":{"rate":7,"per":"3s"},"max_keys":17}"#,
        r#"{"sliding_window":{"limit":100,"window":"1m"}}"#,
        r#"{"fixed_window":{"limit":100,"window":"1h"}}"#,
        r#"{"leaky_bucket":{"rate":3,"per":"2s","queue":7}}"#,
        r#"{"leaky_bucket":{"rate":3}}"#,
    ];
    for text in texts {
        let options: RateLimitOptions = serde_json::from_str(text).expect(text);
        assert_eq!(wrong_option(&options), None, "{text}");
        let again = serde_json::to_string(&options).expect("text");
        assert_eq!(serde_json::from_str::<RateLimitOptions>(&again).expect(&again), options);
        assert_eq!(
            again.matches("bucket").count() + again.matches("window\":{").count(),
            1,
            "{again}: only what is set"
        );
    }
    let first: RateLimitOptions = serde_json::from_str(texts[0]).expect("options");
    let bucket = TokenBucket { rate: 100, per: SECOND, burst: Some(20) };
    let expected = RateLimitOptions { max_wait: MILLISECOND * 50, mode: Mode::MetricsOnly, ..Default::default() };
    assert_eq!(first, RateLimitOptions { token_bucket: Some(bucket), ..expected });
    let last: RateLimitOptions = serde_json::from_str(texts[5]).expect("options");
    assert_eq!(last, leaky(3, SECOND, 100));
}

#[cfg(feature = "serde")]
#[test]
fn what_is_no_option_is_refused() {
    for text in [r#"{"rate":1}"#, r#"{"token_bucket":{"rate":1,"brust":2}}"#, r#"{"sliding_window":{"limit":1}}"#] {
        assert!(serde_json::from_str::<RateLimitOptions>(text).is_err(), "{text}");
    }
}
