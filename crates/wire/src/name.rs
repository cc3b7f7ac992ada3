//! The field names a gateway acts on, recognised once while a head is parsed.
//!
//! A name in this table is an index away in [`Fields`](crate::fields::Fields); every other name is
//! [`Known::Other`] and is found by walking the fields. Recognition costs one table look-up and one
//! comparison: the slot is computed from the length and two letters, and the table is checked to be
//! free of collisions when it is compiled.

use http::HeaderName;

macro_rules! known_names {
    ($($variant:ident = $text:literal,)*) => {
        /// A field name that the gateway acts on, or [`Known::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Known {
            /// Any name that is not in the table.
            Other,
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        const NAMES: &[&str] = &["", $($text,)*];
        const VARIANTS: &[Known] = &[Known::Other, $(Known::$variant,)*];
        /// The same names in the terms of the `http` crate; the first is of no name.
        static HTTP_NAMES: [HeaderName; NAMES.len()] = [HeaderName::from_static("-"), $(HeaderName::from_static($text),)*];
    };
}

known_names! {
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentRange = "content-range",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Expect = "expect",
    Forwarded = "forwarded",
    Host = "host",
    Http2Settings = "http2-settings",
    KeepAlive = "keep-alive",
    Location = "location",
    MaxForwards = "max-forwards",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    RetryAfter = "retry-after",
    Server = "server",
    SetCookie = "set-cookie",
    Te = "te",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Via = "via",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedProto = "x-forwarded-proto",
    XRequestId = "x-request-id",
}

const SLOTS: usize = 256;

/// Slot to position in [`VARIANTS`]; zero means that no known name hashes here.
const TABLE: [u8; SLOTS] = {
    let mut table = [0; SLOTS];
    let mut i = 1;
    while i < NAMES.len() {
        let slot = slot(NAMES[i].as_bytes());
        assert!(table[slot] == 0, "two known names share a slot: change the factors in `slot`");
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 256 names")]
        {
            table[slot] = i as u8;
        }
        i += 1;
    }
    table
};

/// Case is folded with `| 0x20`; whatever that does to other bytes is caught by the comparison.
const fn slot(name: &[u8]) -> usize {
    let length = name.len();
    let first = (name[0] | 0x20) as usize;
    let middle = (name[length / 2] | 0x20) as usize;
    let last = (name[length - 1] | 0x20) as usize;
    (length * 2 + first * 42 + middle * 35 + last) % SLOTS
}

/// The longest known name.
const LONGEST: usize = 24;

/// The known names with each word capitalised, as in `Content-Length`, padded with zeros.
const TITLES: [[u8; LONGEST]; NAMES.len()] = {
    let mut titles = [[0; LONGEST]; NAMES.len()];
    let mut i = 0;
    while i < NAMES.len() {
        let name = NAMES[i].as_bytes();
        let mut at = 0;
        while at < name.len() {
            let begins_word = at == 0 || name[at - 1] == b'-';
            titles[i][at] = if begins_word { name[at].to_ascii_uppercase() } else { name[at] };
            at += 1;
        }
        i += 1;
    }
    titles
};

impl Known {
    /// How many values this enum has; the size of an index by name.
    pub const COUNT: usize = VARIANTS.len();

    /// The known name that `name` spells, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::Other;
        }
        let index = usize::from(TABLE[slot(name)]);
        let known = NAMES[index].as_bytes();
        // Nearly every peer writes one of two spellings, and comparing those is one instruction for
        // many letters.
        let spelt = known.len() == name.len()
            && (known == name || TITLES[index][..known.len()] == *name || known.eq_ignore_ascii_case(name));
        if spelt { VARIANTS[index] } else { Self::Other }
    }

    /// The name in the terms of the `http` crate; none for [`Known::Other`].
    #[must_use]
    pub fn http_name(self) -> Option<HeaderName> {
        (self != Self::Other).then(|| HTTP_NAMES[self as usize].clone())
    }

    /// The name in lower case; empty for [`Known::Other`].
    #[must_use]
    pub fn text(self) -> &'static str {
        NAMES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (index, name) in NAMES.iter().enumerate().skip(1) {
            assert_eq!(Known::of(name.as_bytes()), VARIANTS[index]);
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), VARIANTS[index]);
            assert_eq!(VARIANTS[index].text(), *name);
            assert_eq!(VARIANTS[index].http_name().as_ref().map(HeaderName::as_str), Some(*name));
        }
    }

    #[test]
    fn near_misses_are_other() {
        for name in ["", "h", "hos", "hostt", "transfer_encoding", "content-lengtH ", "cookie2"] {
            assert_eq!(Known::of(name.as_bytes()), Known::Other, "{name}");
        }
    }
}
