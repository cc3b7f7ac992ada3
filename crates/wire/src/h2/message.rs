//! Heads between HTTP/2 and the gateway's own form.

use crate::fields::Fields;
use crate::framing::{self, BodyLength};
use crate::head::{RequestHead, ResponseHead, Version};
use crate::name::Known;
use crate::parse::{HeadLimits, Refusal};
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

/// Digits of the largest length there is.
const MOST_DIGITS: usize = 20;

/// Reads a request of a client; `ended` tells that nothing follows the head.
///
/// # Errors
/// A [`Refusal`] where RFC 9113 §8 is broken in a way that `h2` lets pass, or a limit.
pub(super) fn read_request(
    parts: http::request::Parts,
    ended: bool,
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<BodyLength, Refusal> {
    head.clear();
    head.version = Version::Http2;
    head.method = parts.method;
    let uri = parts.uri.into_parts();
    // RFC 9113 §8.3.1: a scheme is needed, and RFC 3986 §3.1 knows no empty one; `h2` lets it pass.
    if uri.scheme.as_ref().is_some_and(|scheme| scheme.as_str().is_empty()) {
        return Err(Refusal::Http2Message);
    }
    read_path(uri.path_and_query.as_ref(), head)?;
    read_fields(&parts.headers, uri.authority.as_ref(), head)?;
    if head.fields.len() > limits.fields {
        return Err(Refusal::TooManyFields);
    }
    let announced = framing::of_request(head)?;
    Ok(match (ended, announced) {
        (true, BodyLength::Exact(_)) => return Err(Refusal::ContentLength),
        (true, _) => BodyLength::None,
        (false, BodyLength::None) if !head.fields.has(Known::ContentLength) => BodyLength::Chunked,
        (false, announced) => announced,
    })
}

/// RFC 9113 §8.3.1: `:path` is there in all requests but CONNECT, and begins with a slash in all but
/// `OPTIONS *`; what looks like an absolute URI is none.
fn read_path(path: Option<&PathAndQuery>, head: &mut RequestHead) -> Result<(), Refusal> {
    let path = match path {
        Some(path) => path.as_str(),
        None if head.method == Method::CONNECT => return Ok(()),
        None => return Err(Refusal::Http2Message),
    };
    if !path.starts_with('/') && path != "*" {
        return Err(Refusal::Http2Message);
    }
    head.target.extend_from_slice(path.as_bytes());
    Ok(())
}

/// RFC 9113 §8.3.1: `:authority` stands for Host; where both are sent they must agree. §8.2.3: the
/// crumbs of Cookie are joined.
fn read_fields(map: &HeaderMap, authority: Option<&Authority>, head: &mut RequestHead) -> Result<(), Refusal> {
    if let Some(authority) = authority {
        head.fields.append_checked("host", authority.as_str().as_bytes(), Known::Host);
    }
    let mut cookie = Vec::new();
    for (name, value) in map {
        let value = value.as_bytes();
        // RFC 9113 §8.2.1: such a value is malformed; back ends differ on whether they strip it.
        if value.first().is_some_and(is_space) || value.last().is_some_and(is_space) {
            return Err(Refusal::Http2Message);
        }
        match (Known::of(name.as_str().as_bytes()), authority) {
            (Known::Host, Some(authority)) => {
                if !authority.as_str().as_bytes().eq_ignore_ascii_case(value) {
                    return Err(Refusal::Http2Message);
                }
            }
            (Known::Cookie, _) => {
                if !cookie.is_empty() {
                    cookie.extend_from_slice(b"; ");
                }
                cookie.extend_from_slice(value);
            }
            (known, _) => head.fields.append_checked(name.as_str(), value, known),
        }
    }
    if !cookie.is_empty() {
        head.fields.append_checked("cookie", &cookie, Known::Cookie);
    }
    Ok(())
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Reads a response of an upstream.
///
/// # Errors
/// A [`Refusal`] where it has more fields than allowed.
pub(super) fn read_response(
    status: StatusCode,
    map: &HeaderMap,
    limits: &HeadLimits,
    head: &mut ResponseHead,
) -> Result<(), Refusal> {
    head.clear();
    head.version = Version::Http2;
    head.status = status;
    if map.len() > limits.fields {
        return Err(Refusal::TooManyFields);
    }
    head.fields.extend_from(map);
    Ok(())
}

/// A request for an upstream; Host becomes `:authority`. `None` where `http` has no form for it: it
/// is stricter about the characters of a query than the clients of HTTP/1 are.
pub(super) fn write_request(head: &RequestHead, scheme: Scheme, length: BodyLength) -> Option<http::Request<()>> {
    let authority = head.fields.value(Known::Host).unwrap_or_default();
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(Authority::try_from(authority).ok()?);
    uri.path_and_query = Some(PathAndQuery::try_from(head.target.as_slice()).ok()?);
    let mut request = http::Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = write_fields(&head.fields, length, |known| known != Known::Host);
    Some(request)
}

/// A response for a client.
pub(super) fn write_response(head: &ResponseHead, length: BodyLength) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = head.status;
    *response.headers_mut() = write_fields(&head.fields, length, |_| true);
    response
}

/// A trailer section.
pub(super) fn write_trailers(fields: &Fields) -> HeaderMap {
    write_fields(fields, BodyLength::None, |_| true)
}

/// The fields, without those that belong to an HTTP/1 connection (RFC 9113 §8.2.2) and with the length
/// of the body.
fn write_fields(fields: &Fields, length: BodyLength, wanted: impl Fn(Known) -> bool) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len() + 1);
    fields.for_each_http(|known, name, mut value| {
        if is_of_connection(known) || !wanted(known) {
            return;
        }
        // Names of one request never come again: kept out of the compression table, they do not drive
        // out what does (RFC 7541 §7.1.3 calls such fields sensitive).
        value.set_sensitive(matches!(known, Known::XRequestId | Known::Traceparent));
        map.append(name, value);
    });
    if let BodyLength::Exact(length) = length {
        let mut digits = Vec::with_capacity(MOST_DIGITS);
        crate::h1::write_number(&mut digits, length);
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(digits)) {
            map.insert(http::header::CONTENT_LENGTH, value);
        }
    }
    map
}

fn is_of_connection(known: Known) -> bool {
    matches!(
        known,
        Known::Connection | Known::KeepAlive | Known::ProxyConnection | Known::TransferEncoding | Known::Upgrade
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request(uri: &str, fields: &[(&str, &str)], ended: bool) -> (RequestHead, Result<BodyLength, Refusal>) {
        let mut request = http::Request::new(());
        *request.uri_mut() = uri.parse().unwrap();
        for (name, value) in fields {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, http::HeaderValue::from_str(value).unwrap());
        }
        let mut head = RequestHead::default();
        let length = read_request(request.into_parts().0, ended, &HeadLimits::default(), &mut head);
        (head, length)
    }

    fn lines(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_reads_like_one_of_http1() {
        let fields = [("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("host", "A.test"), ("x-empty", "")];
        let (head, length) = request("https://a.test/x?y", &fields, true);
        assert_eq!(length, Ok(BodyLength::None));
        assert_eq!(head.target, b"/x?y");
        assert_eq!(lines(&head.fields), "host: a.test\r\naccept: */*\r\nx-empty: \r\ncookie: a=1; b=2\r\n");
    }

    #[test]
    fn lengths() {
        type Case<'a> = (&'a [(&'a str, &'a str)], bool, Result<BodyLength, Refusal>);
        let table: &[Case<'_>] = &[
            (&[], true, Ok(BodyLength::None)),
            (&[], false, Ok(BodyLength::Chunked)),
            (&[("content-length", "3")], false, Ok(BodyLength::Exact(3))),
            (&[("content-length", "3")], true, Err(Refusal::ContentLength)),
            (&[("content-length", "0")], false, Ok(BodyLength::None)),
            (&[("content-length", "3"), ("content-length", "3")], false, Err(Refusal::ContentLength)),
            (&[("content_length", "3")], false, Err(Refusal::FramingAlias)),
        ];
        for (fields, ended, expected) in table {
            assert_eq!(request("http://a.test/", fields, *ended).1, *expected, "{fields:?}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for fields in [[("host", "b.test")], [("x", " a")], [("x", "a\t")]] {
            assert_eq!(request("http://a.test/", &fields, true).1, Err(Refusal::Http2Message), "{fields:?}");
        }
        assert_eq!(request("*", &[("host", "a.test")], true).1, Ok(BodyLength::None));
        let many: Vec<_> = (0..200).map(|_| ("x", "y")).collect();
        assert_eq!(request("http://a.test/", &many, true).1, Err(Refusal::TooManyFields));
    }

    #[test]
    fn a_request_without_a_path_is_refused() {
        let mut request = http::Request::new(());
        *request.uri_mut() = Uri::from_parts(http::uri::Parts::default()).unwrap();
        let parts = request.into_parts().0;
        let read = read_request(parts, true, &HeadLimits::default(), &mut RequestHead::default());
        assert_eq!(read, Err(Refusal::Http2Message));
    }

    #[test]
    fn an_upstream_gets_the_authority_and_no_connection_fields() {
        let mut head = RequestHead { target: b"/x?a=1".to_vec(), ..RequestHead::default() };
        for (name, value) in [("Host", "a.test:81"), ("Connection", "upgrade"), ("Upgrade", "x"), ("X-A", "1")] {
            head.fields.append(name, value.as_bytes());
        }
        let request = write_request(&head, Scheme::HTTP, BodyLength::Exact(7)).unwrap();
        assert_eq!(request.uri(), "http://a.test:81/x?a=1");
        let names: Vec<_> = request.headers().keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["x-a", "content-length"]);
        head.target = b"/x?<".to_vec();
        assert!(write_request(&head, Scheme::HTTP, BodyLength::None).is_none());
    }
}
