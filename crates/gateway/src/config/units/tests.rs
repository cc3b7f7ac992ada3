//! How values with units are read and written.

use serde_json::{Value, from_value, json};

use super::*;

/// What is read from `value`, or the message why not.
fn read<T: for<'de> serde::Deserialize<'de>>(value: Value) -> Result<T, String> {
    from_value(value).map_err(|error| error.to_string())
}

#[test]
fn times_are_read_with_their_unit() {
    type Time = Period<1, DAY>;
    for (written, milliseconds, shown) in
        [("1ms", 1, "1ms"), ("1500ms", 1500, "1500ms"), ("2s", 2000, "2s"), ("60s", 60_000, "1m"), ("24h", DAY, "24h")]
    {
        let time: Time = read(json!(written)).expect("a time");
        assert_eq!(time, Time::of(milliseconds), "{written}");
        assert_eq!(time.to_string(), shown);
        assert_eq!(time.duration().as_millis(), u128::from(milliseconds));
    }
    assert_eq!(Period::<0, DAY>::of(0).to_string(), "0s");
}

#[test]
fn times_that_are_none_are_refused() {
    let message = |value| read::<Period<1, DAY>>(value).expect_err("not a time");
    for wrong in ["", "5", "s", "-1s", "1.5s", "1 s", "1S", "1d", "18446744073709551615h"] {
        let expected = "expected a time such as `500ms`, `2s`, `5m` or `1h`";
        assert!(message(json!(wrong)).contains(expected), "{wrong}");
    }
    assert_eq!(message(json!("0s")), "`0s` is not from 1ms to 24h");
    assert_eq!(message(json!("25h")), "`25h` is not from 1ms to 24h");
    assert!(message(json!(5)).starts_with("invalid type: integer `5`"));
}

#[test]
fn sizes_are_read_with_or_without_a_unit() {
    type Any = Size<0, { u64::MAX }>;
    for (written, bytes, shown) in [
        (json!(65536), 65_536, "64KiB"),
        (json!("65536"), 65_536, "64KiB"),
        (json!("64KiB"), 65_536, "64KiB"),
        (json!("10MB"), 10_000_000, "10MB"),
        (json!("1GiB"), GIB, "1GiB"),
        (json!("7B"), 7, "7B"),
        (json!(0), 0, "0B"),
    ] {
        let size: Any = read(written).expect("a size");
        assert_eq!(size.bytes(), bytes);
        assert_eq!(size.to_string(), shown);
    }
    for wrong in [json!(-1), json!("64kib"), json!("1.5MiB"), json!("KiB"), json!("99999999TiB"), json!(1.5)] {
        assert!(read::<Any>(wrong.clone()).is_err(), "{wrong}");
    }
    assert_eq!(read::<Size<KIB, MIB>>(json!("1KB")), Err("`1KB` is not from 1KiB to 1MiB".to_owned()));
}

#[test]
fn counts_stay_in_their_range() {
    assert_eq!(read::<Count<1, 256>>(json!(256)), Ok(Count::of(256)));
    for wrong in [json!(0), json!(257), json!(-1), json!(u64::MAX), json!("4"), json!(1.0)] {
        let message = read::<Count<1, 256>>(wrong).expect_err("out of range");
        assert!(message.contains("a whole number from 1 to 256"), "{message}");
    }
}

#[test]
fn words_stand_for_nothing() {
    type Time = OrOff<Period<1, DAY>>;
    type Number = OrUnlimited<Count<1, 9>>;
    assert_eq!(read::<Time>(json!("off")), Ok(OrOff(None)));
    assert_eq!(read::<Time>(json!(false)), Ok(OrOff(None)));
    assert_eq!(read::<Time>(json!("1s")), Ok(OrOff(Some(Period::of(1000)))));
    assert!(read::<Time>(json!(true)).is_err());
    assert_eq!(read::<Number>(json!("unlimited")), Ok(OrUnlimited(None)));
    assert_eq!(read::<Number>(json!(9)), Ok(OrUnlimited(Some(Count::of(9)))));
    for wrong in [json!("off"), json!(false), json!(10), json!(-1), json!(1.5), json!([])] {
        assert!(read::<Number>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn a_list_of_one_may_be_its_item() {
    type List = OneOrMany<String>;
    assert_eq!(read::<List>(json!("a")), Ok(OneOrMany(vec!["a".to_owned()])));
    assert_eq!(read::<List>(json!(["a", "b"])).map(|list| list.0.len()), Ok(2));
    assert!(read::<List>(json!(1)).is_err());
}

#[test]
fn shares_are_read_with_their_sign() {
    type Share = Percent<0, 100>;
    assert_eq!(read::<Share>(json!("50%")).map(Share::hundredths), Ok(50));
    assert_eq!(Share::of(7).to_string(), "7%");
    assert_eq!(read::<Share>(json!("101%")), Err("`101%` is not from 0% to 100%".to_owned()));
    for wrong in [json!(50), json!("50"), json!("%"), json!("-1%"), json!("+1%"), json!("0.5"), json!("1.5%")] {
        assert!(read::<Share>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn factors_are_numbers_with_decimals() {
    type Deviations = Factor<100, 10_000>;
    for (written, value) in [(json!(1.9), 1.9), (json!(2), 2.0), (json!(0.1), 0.1), (json!(10), 10.0)] {
        assert_eq!(read::<Deviations>(written).map(Deviations::value), Ok(value));
    }
    for wrong in [json!(0), json!(10.1), json!(-1), json!("1.9"), json!(1e300)] {
        assert!(read::<Deviations>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn statuses_are_one_or_a_range() {
    let range: Statuses = read(json!("200-299")).expect("a range");
    assert!(range.contains(200) && range.contains(299) && !range.contains(199) && !range.contains(300));
    assert_eq!(range.to_string(), "200-299");
    assert_eq!(read(json!(503)), Ok(Statuses::of(503, 503)));
    assert_eq!(serde_json::to_value(Statuses::of(503, 503)).expect("written"), json!(503));
    for wrong in [json!(199), json!(600), json!("299-200"), json!("2xx"), json!("+200"), json!("200-"), json!("")] {
        assert!(read::<Statuses>(wrong.clone()).is_err(), "{wrong}");
    }
}
