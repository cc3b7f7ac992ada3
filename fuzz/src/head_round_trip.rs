//! Heads: what is written is read back as the same head, and a head is the same however it arrives.

use tidegate_wire::fields::Fields;
use tidegate_wire::head::{RequestHead, ResponseHead};
use tidegate_wire::parse::{self, HeadLimits, Refusal};

/// # Panics
/// When a head changes by being forwarded, or depends on the pieces it came in.
pub fn check(data: &[u8]) {
    let limits = HeadLimits::default();
    let mut head = RequestHead::default();
    if let Ok(Some(taken)) = parse::request(data, &limits, &mut head) {
        arrives_in_pieces(&data[..taken], |part| parse::request(part, &limits, &mut RequestHead::default()));
        let written = finished(|out| head.write(out));
        let mut again = RequestHead::default();
        assert_eq!(parse::request(&written, &limits, &mut again), Ok(Some(written.len())));
        assert_eq!((&again.method, &again.target), (&head.method, &head.target));
        same_fields(&again.fields, &head.fields);
        assert_eq!(finished(|out| again.write(out)), written);
    }
    let mut head = ResponseHead::default();
    if let Ok(Some(taken)) = parse::response(data, &limits, &mut head) {
        arrives_in_pieces(&data[..taken], |part| parse::response(part, &limits, &mut ResponseHead::default()));
        let written = finished(|out| head.write(out));
        let mut again = ResponseHead::default();
        assert_eq!(parse::response(&written, &limits, &mut again), Ok(Some(written.len())));
        assert_eq!(again.status, head.status);
        same_fields(&again.fields, &head.fields);
        assert_eq!(finished(|out| again.write(out)), written);
    }
}

/// What a head looks like on the wire, with its empty line.
fn finished(write: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out.extend_from_slice(b"\r\n");
    no_loose_line_ends(&out);
    out
}

/// Nothing that another reader could take for the end of a line, or of the head, stands inside one.
fn no_loose_line_ends(head: &[u8]) {
    let text = head.strip_suffix(b"\r\n\r\n").expect("a head ends with an empty line");
    let lines = text.split(|byte| *byte == b'\n');
    let last = lines.clone().count() - 1;
    for (number, line) in lines.enumerate() {
        let line = if number == last { line } else { line.strip_suffix(b"\r").expect("a line ends in CRLF") };
        assert!(!line.is_empty(), "an empty line inside a head");
        assert!(!line.iter().any(|byte| matches!(byte, b'\r' | 0)), "CR or NUL inside a line");
        assert!(!line.starts_with(b" ") && !line.starts_with(b"\t"), "a folded line");
    }
}

/// Every shorter beginning of an acceptable head is incomplete: never refused, never accepted. The
/// end is the place where that is hardest, and long heads are not tried at every byte.
fn arrives_in_pieces(head: &[u8], parse: impl Fn(&[u8]) -> Result<Option<usize>, Refusal>) {
    for end in (1..head.len()).rev().take(64).chain((1..head.len()).step_by(97)) {
        assert_eq!(parse(&head[..end]), Ok(None), "the first {end} bytes");
    }
}

fn same_fields(ours: &Fields, other: &Fields) {
    assert_eq!(ours.iter().collect::<Vec<_>>(), other.iter().collect::<Vec<_>>());
}
