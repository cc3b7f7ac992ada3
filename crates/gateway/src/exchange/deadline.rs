//! How long somebody waits: what a client says of it, and what an upstream is told.

use std::time::Duration;
use tidegate_resilience::{Clock, Deadline};
use tidegate_wire::fields::Fields;
use tidegate_wire::name::Known;

/// The field of gRPC: digits and a unit ("gRPC over HTTP2", Timeout).
const GRPC_TIMEOUT: &str = "grpc-timeout";

const UNITS: [(u8, u64); 6] = [
    (b'H', 3_600_000_000_000),
    (b'M', 60_000_000_000),
    (b'S', 1_000_000_000),
    (b'm', 1_000_000),
    (b'u', 1000),
    (b'n', 1),
];

/// Whether the request is gRPC.
pub(super) fn is_grpc(fields: &Fields) -> bool {
    fields.value(Known::ContentType).is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// How long a gRPC client waits, where it says so.
pub(super) fn asked(fields: &Fields) -> Option<Duration> {
    if !is_grpc(fields) {
        return None;
    }
    let (unit, digits) = fields.named(GRPC_TIMEOUT).next()?.split_last()?;
    let scale = UNITS.iter().find(|(known, _)| known == unit)?.1;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(Duration::from_nanos(number.saturating_mul(scale)))
}

/// Tells the upstream how long it has, and which attempt this is where that is `wanted`.
pub(super) fn tell(fields: &mut Fields, attempt: u32, wanted: bool) {
    let grpc = is_grpc(fields);
    if !grpc && !wanted {
        return;
    }
    let left = Deadline::remaining(&Clock::system()).map(|left| left.as_millis().max(1));
    if let (true, Some(left)) = (grpc, left) {
        // At most eight digits: beyond a day nobody counts milliseconds.
        set(fields, GRPC_TIMEOUT, &format!("{}m", left.min(99_999_999)));
    }
    if wanted {
        set(fields, "x-attempt", &attempt.to_string());
        match left {
            Some(left) => set(fields, "x-timeout-ms", &left.to_string()),
            None => fields.remove_where(|field| field.name.eq_ignore_ascii_case(b"x-timeout-ms")),
        }
    }
}

fn set(fields: &mut Fields, name: &str, value: &str) {
    fields.remove_where(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
    fields.append(name, value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(content_type: &str, timeout: &str) -> Fields {
        let mut fields = Fields::default();
        fields.set(Known::ContentType, content_type.as_bytes());
        fields.append(GRPC_TIMEOUT, timeout.as_bytes());
        fields
    }

    #[test]
    fn the_time_that_a_client_gives() {
        for (written, meant) in [
            ("1S", Some(Duration::from_secs(1))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("7n", Some(Duration::from_nanos(7))),
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("123456789S", None),
        ] {
            assert_eq!(asked(&fields("application/grpc+proto", written)), meant, "{written}");
        }
        assert_eq!(asked(&fields("application/json", "1S")), None);
    }

    #[test]
    fn an_upstream_is_told_what_is_left() {
        let clock = Clock::system();
        let within = clock.now().after(Duration::from_secs(60));
        let _entered = Deadline::enter(&clock, within);
        let mut plain = fields("application/json", "1S");
        tell(&mut plain, 2, true);
        assert_eq!(plain.named("x-attempt").next(), Some(b"2".as_slice()));
        assert_eq!(plain.named(GRPC_TIMEOUT).next(), Some(b"1S".as_slice()));
        assert!(plain.named("x-timeout-ms").next().is_some_and(|left| left.len() == 5), "59,999 or less");
        let mut grpc = fields("application/grpc", "90S");
        tell(&mut grpc, 1, false);
        let left = asked(&grpc).expect("a time");
        assert!(left <= Duration::from_secs(60) && grpc.named(GRPC_TIMEOUT).count() == 1);
        assert_eq!(grpc.named("x-attempt").next(), None);
    }
}
