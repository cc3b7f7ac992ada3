//! Responses: whatever ours accepts, hyper accepts and reads in the same way.

use http::Method;
use tidegate_wire::framing::{self, BodyLength};
use tidegate_wire::head::ResponseHead;
use tidegate_wire::parse::{self, HeadLimits};

use crate::hyper_judge;
use crate::request_head::{named, pairs};

/// The longest body that hyper has a number for.
const HYPER_MOST: u64 = u64::MAX - 2;

/// The first byte says which method the request had; the response follows.
///
/// # Panics
/// When the two readers disagree on a response that ours accepts.
pub fn check(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let method = if choice % 2 == 0 { Method::GET } else { Method::HEAD };
    let mut head = ResponseHead::default();
    let Ok(Some(taken)) = parse::response(data, &HeadLimits::default(), &mut head) else { return };
    let Ok(length) = framing::of_response(&head, &method) else { return };
    // hyper hands out final responses only, and no change of protocol that nobody asked for.
    if head.status.is_informational() || matches!(length, BodyLength::Exact(length) if length > HYPER_MOST) {
        return;
    }
    let seen = hyper_judge::response(&data[..taken], method).expect("hyper refuses what ours accepts");
    assert_eq!(seen.status, head.status);
    assert_eq!(pairs(&seen.fields), named(&head.fields));
    let expected = match length {
        BodyLength::None => Some(0),
        BodyLength::Exact(length) => Some(length),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    };
    assert_eq!(seen.length, expected);
}
