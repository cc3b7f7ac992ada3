//! What options may be, and how they are written.

use super::*;

#[test]
fn values_that_cannot_be_are_named() {
    type Change = fn(&mut PoolOptions);
    let wrong: [(&str, Change); 11] = [
        ("size", |options| options.size = 0),
        ("size", |options| options.size = 1_000_001),
        ("overflow", |options| options.overflow = 1_000_001),
        ("min_idle", |options| options.min_idle = 11),
        ("max_lifetime", |options| options.max_lifetime = Some(Duration::ZERO)),
        ("idle_timeout", |options| options.idle_timeout = Some(Duration::ZERO)),
        ("queue", |options| options.queue = 1_000_001),
        ("max_wait", |options| options.max_wait = Duration::from_nanos(3_600_000_000_001)),
        ("connect_timeout", |options| options.connect_timeout = Duration::ZERO),
        ("connect_timeout", |options| options.connect_timeout = Duration::from_micros(999)),
        ("connect_timeout", |options| options.connect_timeout = Duration::MAX),
    ];
    for (name, change) in wrong {
        let mut options = PoolOptions::default();
        change(&mut options);
        let error = Pool::new("tools", Maker(Arc::default()), &options).unwrap_err();
        assert_eq!(error.option, name);
    }
}

#[tokio::test]
async fn the_widest_options_work() {
    let options = PoolOptions {
        size: 1_000_000,
        overflow: 1_000_000,
        min_idle: 1,
        max_lifetime: Some(Duration::MAX),
        idle_timeout: Some(Duration::MAX),
        queue: 1_000_000,
        max_wait: Duration::from_secs(3600),
        connect_timeout: Duration::from_millis(1),
        ..Default::default()
    };
    let bench = Bench::new(&options);
    bench.clock.advance(Duration::from_nanos(u64::MAX / 2));
    bench.pool.maintain().await.unwrap();
    bench.expect(1, 0, 0);
    assert_eq!(bench.pool.options(), options);
}

#[cfg(feature = "serde")]
#[test]
fn options_are_read_and_written_as_text() {
    let text = r#"{"size":4,"max_lifetime":"off","idle_timeout":"90s","order":"fifo","max_wait":"250ms"}"#;
    let options: PoolOptions = serde_json::from_str(text).unwrap();
    let expected = PoolOptions {
        size: 4,
        max_lifetime: None,
        idle_timeout: Some(Duration::from_secs(90)),
        order: crate::pool::PoolOrder::Fifo,
        max_wait: Duration::from_millis(250),
        ..Default::default()
    };
    assert_eq!(options, expected);
    let written = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<PoolOptions>(&written).unwrap(), expected);
    assert!(serde_json::from_str::<PoolOptions>(r#"{"max_size":4}"#).is_err());
}
