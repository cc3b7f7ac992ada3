//! How long a message body is: RFC 9112 §6.3, read so that no two readers can differ.

use crate::fields::Fields;
use crate::head::{RequestHead, ResponseHead, Version};
use crate::name::Known;
use crate::parse::Refusal;
use http::{Method, StatusCode};

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// Exactly so many bytes follow: more than zero, or zero where HTTP/2 trailers may still come.
    Exact(u64),
    /// Chunks follow (RFC 9112 §7.1).
    Chunked,
    /// The body ends with the connection; only in responses.
    UntilClose,
}

/// The body length that a request announces.
///
/// # Errors
/// A [`Refusal`] for every combination that back ends are known to read in different ways.
pub fn of_request(head: &RequestHead) -> Result<BodyLength, Refusal> {
    refuse_aliases(&head.fields)?;
    if head.fields.has(Known::TransferEncoding) {
        if head.version != Version::Http11 || head.fields.has(Known::ContentLength) {
            return Err(Refusal::TransferEncoding);
        }
        return transfer_encoding(&head.fields).map(|()| BodyLength::Chunked);
    }
    Ok(exact(content_length(&head.fields)?.unwrap_or(0)))
}

/// The body length of a response to a request with `method`.
///
/// # Errors
/// A [`Refusal`] where the framing contradicts itself; the connection must not be used further.
pub fn of_response(head: &ResponseHead, method: &Method) -> Result<BodyLength, Refusal> {
    let chunked = head.fields.has(Known::TransferEncoding);
    if chunked && (head.version != Version::Http11 || head.fields.has(Known::ContentLength)) {
        return Err(Refusal::TransferEncoding);
    }
    if chunked {
        transfer_encoding(&head.fields)?;
    }
    let announced = content_length(&head.fields)?;
    let bodiless = head.status.is_informational()
        || head.status == StatusCode::NO_CONTENT
        || head.status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD;
    Ok(match (bodiless, chunked, announced) {
        (true, _, _) => BodyLength::None,
        (false, true, _) => BodyLength::Chunked,
        (false, false, Some(length)) => exact(length),
        (false, false, None) => BodyLength::UntilClose,
    })
}

/// The value of Content-Length: one field, digits only, no more than 2^64-1.
///
/// # Errors
/// [`Refusal::ContentLength`] for lists, signs, spaces, repeats (equal ones too) and overflow.
pub fn content_length(fields: &Fields) -> Result<Option<u64>, Refusal> {
    let Some(value) = fields.value(Known::ContentLength) else {
        return Ok(None);
    };
    if fields.is_repeated(Known::ContentLength) || value.is_empty() {
        return Err(Refusal::ContentLength);
    }
    let mut length = 0_u64;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Refusal::ContentLength);
        }
        length =
            length.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit))).ok_or(Refusal::ContentLength)?;
    }
    Ok(Some(length))
}

fn exact(length: u64) -> BodyLength {
    if length == 0 { BodyLength::None } else { BodyLength::Exact(length) }
}

/// Only a single `chunked` is understood; anything registered besides it is 501 (RFC 9112 §6.1).
fn transfer_encoding(fields: &Fields) -> Result<(), Refusal> {
    let value = fields.value(Known::TransferEncoding).unwrap_or_default();
    if fields.is_repeated(Known::TransferEncoding) {
        return Err(Refusal::TransferEncoding);
    }
    match value {
        _ if value.eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ if [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress"]
            .iter()
            .any(|coding| value.eq_ignore_ascii_case(coding)) =>
        {
            Err(Refusal::TransferCoding)
        }
        _ => Err(Refusal::TransferEncoding),
    }
}

/// Names that CGI-like back ends fold into a framing field, as `Transfer_Encoding`.
fn refuse_aliases(fields: &Fields) -> Result<(), Refusal> {
    let imitates = |name: &[u8]| {
        [Known::TransferEncoding, Known::ContentLength].iter().any(|framing| {
            let text = framing.text().as_bytes();
            name.len() == text.len()
                && name
                    .iter()
                    .zip(text)
                    .all(|(a, b)| a.eq_ignore_ascii_case(b) || (*b == b'-' && !a.is_ascii_alphanumeric()))
        })
    };
    let suspicious = |length: usize| length == "transfer-encoding".len() || length == "content-length".len();
    for field in fields.iter() {
        if field.known == Known::Other && suspicious(field.name.len()) && imitates(field.name) {
            return Err(Refusal::FramingAlias);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, fields: &[(&str, &str)]) -> Result<BodyLength, Refusal> {
        let mut head = RequestHead { version, ..RequestHead::default() };
        for (name, value) in fields {
            head.fields.append(name, value.as_bytes());
        }
        of_request(&head)
    }

    #[test]
    fn requests() {
        use Version::{Http10, Http11};
        type Case<'a> = (Version, &'a [(&'a str, &'a str)], Result<BodyLength, Refusal>);
        let table: &[Case<'_>] = &[
            (Http11, &[], Ok(BodyLength::None)),
            (Http11, &[("Content-Length", "0")], Ok(BodyLength::None)),
            (Http11, &[("Content-Length", "5")], Ok(BodyLength::Exact(5))),
            (Http11, &[("Content-Length", "18446744073709551615")], Ok(BodyLength::Exact(u64::MAX))),
            (Http11, &[("Content-Length", "18446744073709551616")], Err(Refusal::ContentLength)),
            (Http11, &[("Content-Length", "+5")], Err(Refusal::ContentLength)),
            (Http11, &[("Content-Length", "5,5")], Err(Refusal::ContentLength)),
            (Http11, &[("Content-Length", "")], Err(Refusal::ContentLength)),
            (Http11, &[("Content-Length", "5"), ("content-length", "5")], Err(Refusal::ContentLength)),
            (Http11, &[("Transfer-Encoding", "CHUNKED")], Ok(BodyLength::Chunked)),
            (Http10, &[("Transfer-Encoding", "chunked")], Err(Refusal::TransferEncoding)),
            (Http11, &[("Transfer-Encoding", "chunked"), ("Content-Length", "0")], Err(Refusal::TransferEncoding)),
            (Http11, &[("Transfer-Encoding", "chunked, chunked")], Err(Refusal::TransferEncoding)),
            (Http11, &[("Transfer-Encoding", "xchunked")], Err(Refusal::TransferEncoding)),
            (Http11, &[("Transfer-Encoding", "gzip")], Err(Refusal::TransferCoding)),
            (Http11, &[("Transfer_Encoding", "chunked")], Err(Refusal::FramingAlias)),
            (Http11, &[("content.length", "4")], Err(Refusal::FramingAlias)),
        ];
        for (version, fields, expected) in table {
            assert_eq!(request(*version, fields), *expected, "{fields:?}");
        }
    }

    #[test]
    fn responses_without_a_body_by_rule() {
        let mut head = ResponseHead::default();
        head.fields.append("content-length", b"7");
        assert_eq!(of_response(&head, &Method::GET), Ok(BodyLength::Exact(7)));
        assert_eq!(of_response(&head, &Method::HEAD), Ok(BodyLength::None));
        for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::EARLY_HINTS] {
            head.status = status;
            assert_eq!(of_response(&head, &Method::GET), Ok(BodyLength::None));
        }
        let head = ResponseHead::default();
        assert_eq!(of_response(&head, &Method::GET), Ok(BodyLength::UntilClose));
    }
}
