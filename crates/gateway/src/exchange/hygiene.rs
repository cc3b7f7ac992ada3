//! What a connection says to its neighbour ends here (RFC 9110 §7.6.1).

use crate::forwarded::is_spoofable;
use tidegate_wire::fields::{Field, Fields};
use tidegate_wire::head::tokens;
use tidegate_wire::name::Known;

/// The most names that Connection may list; further ones are not needed by anyone.
const MAX_NAMED: usize = 16;

/// Removes the hop-by-hop fields and those that Connection names.
///
/// It runs before the gateway adds anything, so that a sender cannot use Connection to take away
/// what is added; and before routing, so that what is routed by is what is forwarded. Names that
/// frame or address the message stay, whoever names them.
pub(super) fn remove_connection_fields(fields: &mut Fields) {
    if fields.has(Known::Connection) {
        let named: Vec<Vec<u8>> = fields
            .values(Known::Connection)
            .flat_map(tokens)
            .take(MAX_NAMED)
            .filter(|name| !is_option(name))
            .map(<[u8]>::to_vec)
            .collect();
        fields.remove(Known::Connection);
        if !named.is_empty() {
            fields.remove_where(|field| {
                !is_essential(field) && named.iter().any(|name| name.eq_ignore_ascii_case(field.name))
            });
        }
    }
    for known in [
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::ProxyAuthenticate,
        Known::ProxyAuthorization,
        Known::Te,
        Known::Trailer,
        Known::TransferEncoding,
        Known::Upgrade,
        Known::Http2Settings,
    ] {
        fields.remove(known);
    }
}

/// What Connection may say besides the names of fields.
fn is_option(token: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"upgrade", b"te"].iter().any(|option| token.eq_ignore_ascii_case(option))
}

fn is_essential(field: Field<'_>) -> bool {
    matches!(field.known, Known::Host | Known::ContentLength | Known::ContentType | Known::ContentEncoding)
}

/// Removes from an answer's trailer section what frames or routes a message (RFC 9110 §6.5.1).
pub(super) fn clean_response_trailers(trailers: &mut Fields) {
    trailers.remove_where(|field| field.known != Known::Other);
}

/// Removes from a request's trailer section what may only stand in a head (RFC 9110 §6.5.1): whatever frames,
/// addresses, authenticates or routes a message. A back end that merges trailers into the head then
/// learns nothing that the gateway has not seen there.
pub(super) fn clean_request_trailers(trailers: &mut Fields) {
    trailers.remove_where(|field| field.known != Known::Other || is_forbidden_in_trailers(field.name));
}

fn is_forbidden_in_trailers(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let starts = |prefix: &[u8]| lower.starts_with(prefix);
    is_spoofable(name)
        || starts(b"proxy-")
        || starts(b"if-")
        || starts(b"sec-")
        || starts(b"content-")
        || lower.contains(&b'_')
        || [
            &b"range"[..],
            b"allow",
            b"age",
            b"expires",
            b"pragma",
            b"vary",
            b"warning",
            b"origin",
            b"referer",
            b"true-client-ip",
            b"cf-connecting-ip",
            b"set-cookie2",
            b"www-authenticate",
        ]
        .contains(&lower.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(fields: &Fields) -> Vec<String> {
        fields.iter().map(|field| String::from_utf8_lossy(field.name).into_owned()).collect()
    }

    #[test]
    fn connection_takes_its_fields_along() {
        let mut fields = Fields::default();
        for (name, value) in [
            ("Host", "a"),
            ("Connection", "close, X-Api-Key, host"),
            ("connection", "Content-Length"),
            ("X-API-KEY", "secret"),
            ("Content-Length", "3"),
            ("Keep-Alive", "5"),
            ("Te", "trailers"),
            ("Accept", "*/*"),
        ] {
            fields.append(name, value.as_bytes());
        }
        remove_connection_fields(&mut fields);
        assert_eq!(names(&fields), ["Host", "Content-Length", "Accept"]);
    }

    #[test]
    fn trailers_say_nothing_that_a_head_says() {
        let mut fields = Fields::default();
        for name in [
            "grpc-status",
            "Authorization",
            "Host",
            "X-Real-Ip",
            "x_user",
            "X-Sum",
            "Content-Length",
            "Digest",
            "Cookie",
        ] {
            fields.append(name, b"1");
        }
        clean_request_trailers(&mut fields);
        assert_eq!(names(&fields), ["grpc-status", "X-Sum", "Digest"]);
    }
}
