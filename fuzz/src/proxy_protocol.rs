//! PROXY headers: a header takes its own bytes and no others, however it arrives.

use tidegate_wire::proxy_protocol::{ParseError, parse};

/// # Panics
/// When a header depends on the pieces it came in or on what follows it, or has one address without
/// the other.
pub fn check(data: &[u8]) {
    let whole = parse(data);
    let Ok(parsed) = whole else {
        if whole != Err(ParseError::Incomplete) {
            // What is refused stays refused, whatever else arrives.
            assert_eq!(parse(&[data, b"\r\n"].concat()), whole);
        }
        return;
    };
    assert!(parsed.consumed <= data.len());
    assert_eq!(parsed.source.is_some(), parsed.destination.is_some());
    let header = &data[..parsed.consumed];
    assert_eq!(parse(header), Ok(parsed), "what follows the header matters");
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end]), Err(ParseError::Incomplete), "the first {end} bytes");
    }
}
