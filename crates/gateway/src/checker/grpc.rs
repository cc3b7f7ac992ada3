//! The messages of `grpc.health.v1.Health/Check`: two, of one field each.
//!
//! ```text
//! message HealthCheckRequest  { string service = 1; }
//! message HealthCheckResponse { ServingStatus status = 1; }   // 1 is SERVING
//! ```

use bytes::{BufMut, Bytes, BytesMut};

/// The path of the method.
pub(super) const METHOD: &str = "/grpc.health.v1.Health/Check";

/// Bytes of an answer beyond which it is none to this question.
pub(super) const LONGEST: usize = 4096;

/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Field 1, length-delimited.
const SERVICE_FIELD: u8 = 1 << 3 | 2;

/// Field 1, a number.
const STATUS_FIELD: u64 = 1 << 3;

/// The status of a service that serves.
pub(super) const SERVING: u64 = 1;

/// What a status is called.
pub(super) fn name(status: u64) -> &'static str {
    match status {
        SERVING => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

/// The question about `service`, with its prefix.
pub(super) fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE_FIELD);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}

/// The status that the answer says; `None` where it is none.
pub(super) fn answer(framed: &[u8]) -> Option<u64> {
    let (prefix, message) = framed.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    if prefix[0] != 0 || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let mut rest = message;
    // A field that is left out has the first value; of one that is there twice the last counts.
    let mut status = 0;
    while !rest.is_empty() {
        match take_varint(&mut rest)? {
            STATUS_FIELD => status = take_varint(&mut rest)?,
            other => skip(other, &mut rest)?,
        }
    }
    Some(status)
}

/// Passes over a field that a later version may have added.
fn skip(tag: u64, rest: &mut &[u8]) -> Option<()> {
    let length = match tag & 7 {
        0 => return take_varint(rest).map(drop),
        1 => 8,
        2 => usize::try_from(take_varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    *rest = rest.get(length..)?;
    Some(())
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number > 0x7f {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8((number & 0x7f) as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_question_is_as_protobuf_has_it() {
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B").as_ref(), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = question(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn answers_are_read() {
        for (bytes, status) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(SERVING)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 2, 8, 3], Some(3)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 8, 1], Some(SERVING)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[0, 0, 0, 0, 1, 8], None),
            (&[], None),
        ] {
            assert_eq!(answer(bytes), status, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = answer(&bytes);
            let mut framed = vec![0, 0, 0, 0, u8::try_from(bytes.len()).expect("short")];
            framed.extend_from_slice(&bytes);
            let _ = answer(&framed);
        }

        #[test]
        fn numbers_survive(number: u64) {
            let mut out = BytesMut::new();
            put_varint(&mut out, number);
            let mut rest = &out[..];
            prop_assert_eq!(take_varint(&mut rest), Some(number));
            prop_assert!(rest.is_empty());
        }
    }
}
