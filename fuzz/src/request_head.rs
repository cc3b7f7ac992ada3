//! Requests: whatever ours accepts, hyper accepts and reads in the same way.

use http::Uri;
use tidegate_wire::fields::Fields;
use tidegate_wire::framing::{self, BodyLength};
use tidegate_wire::head::RequestHead;
use tidegate_wire::parse::{self, HeadLimits};

use crate::hyper_judge::{self, SeenRequest};

/// The longest body that hyper has a number for.
const HYPER_MOST: u64 = u64::MAX - 2;

/// # Panics
/// When the two readers disagree on a request that ours accepts.
pub fn check(data: &[u8]) {
    let mut head = RequestHead::default();
    let Ok(Some(taken)) = parse::request(data, &HeadLimits::default(), &mut head) else { return };
    let Ok(length) = framing::of_request(&head) else { return };
    // hyper also parses the target, which ours leaves to the next layer.
    let Ok(uri) = Uri::try_from(head.target.as_slice()) else { return };
    if matches!(length, BodyLength::Exact(length) if length > HYPER_MOST) {
        return;
    }
    let seen = hyper_judge::request(&data[..taken]).expect("hyper refuses what ours accepts");
    assert_eq!(seen.method, head.method);
    assert_eq!(seen.uri, uri);
    assert_eq!(pairs(&seen.fields), pairs(&head.fields.to_header_map()));
    assert_eq!(named(&head.fields), pairs(&seen.fields));
    assert_eq!(length_of(&seen), length);
}

fn length_of(seen: &SeenRequest) -> BodyLength {
    match seen.length {
        None => BodyLength::Chunked,
        Some(0) => BodyLength::None,
        Some(length) => BodyLength::Exact(length),
    }
}

/// The fields of a map, sorted by name; those with the same name in their order.
pub(crate) fn pairs(map: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut pairs: Vec<_> =
        map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned())).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

/// Our fields in the same shape.
pub(crate) fn named(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    let name = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
    let mut pairs: Vec<_> = fields.iter().map(|field| (name(field.name), field.value.to_owned())).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}
