//! Request targets: parsed and normalised once, then routed, authorised and forwarded in that same form.
//!
//! A gateway that routes by one reading of a path while the service behind it acts on another can be
//! talked around. So there is one normal form, and what has no safe reading is refused, never repaired:
//!
//! | in the target | outcome | rule |
//! |---|---|---|
//! | a byte outside visible ASCII, `#` anywhere, `\` in the path | refused | RFC 9112 §3.2, RFC 3986 §2 |
//! | `%` without two hex digits | refused | RFC 3986 §2.1 |
//! | `%00`-`%1f`, `%7f` | refused | RFC 3986 §7.3 |
//! | encoded bytes that are not UTF-8 (overlong forms too) | refused | RFC 3986 §2.5, RFC 3629 §3 |
//! | an encoded letter, digit, `-`, `.`, `_`, `~` | decoded | RFC 3986 §6.2.2.2 |
//! | other encodings | kept, hex digits in upper case | RFC 3986 §6.2.2.1 |
//! | `%25` | kept, so nothing is ever decoded twice | RFC 3986 §2.4 |
//! | a character with no place in a path: `"`, `<`, `>`, `[`, `]`, `^`, `` ` ``, `{`, `\|`, `}` | encoded | RFC 3986 §3.3 |
//! | `//` | one `/` | |
//! | `.` and `..` segments, decoded ones too | removed | RFC 3986 §5.2.4 |
//! | `..` above the root | refused | |
//! | `..;x`, `.;x`, also with `%3b` | refused | servers that drop parameters would climb |
//! | `%2f`, `%5c` | kept and reported: a route must allow them | [`Separators`] |
//! | a dot segment between encoded separators, as in `a%2f..%2fb` | refused | |
//!
//! `//` is merged before dot segments are removed: `/a//../b` is `/b`, as on a file system. The query is
//! checked for bytes that may not be there and otherwise left alone.
//!
//! Reserved characters keep the spelling they came with: `/a!` and `/a%21` are two paths (RFC 3986 §2.2).
//! Nothing here knows routes or methods; whether a form of target suits a method is for the caller to say.

mod normal;
#[cfg(test)]
mod tests;

use std::fmt;

pub use normal::{Normal, NormalPath, Separators, normalize};

use crate::authority::{self, Authority, AuthorityFault};

/// A request target, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// Which of the forms of RFC 9112 section 3.2 it has.
    pub form: Target<'a>,
    /// The path as received: `/` where the absolute form leaves it empty, `*` in the asterisk form, empty
    /// in the authority form.
    pub path: &'a str,
    /// What follows the first `?`, as received.
    pub query: Option<&'a str>,
    /// Whether the scan saw that `path` is in normal form already.
    plain: bool,
}

/// The form of a request target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/path?query`
    Origin,
    /// `http://host:port/path?query`: its authority goes before `Host` (RFC 9112 section 3.2.2).
    Absolute {
        /// Whether the scheme is `https`; else it is `http`.
        https: bool,
        /// The authority.
        authority: Authority<'a>,
    },
    /// `*`, which only OPTIONS may use (RFC 9112 section 3.2.4).
    Asterisk,
    /// `host:port`, which only CONNECT may use (RFC 9112 section 3.2.3).
    Authority(Authority<'a>),
}

/// Why a request target was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetFault {
    /// It is longer than the limit (414; all others are 400).
    TooLong,
    /// It is none of the four forms.
    Form,
    /// The absolute form has a scheme other than `http` and `https`.
    Scheme,
    /// The authority is not acceptable.
    Authority(AuthorityFault),
    /// A byte that may not be written there.
    Byte,
    /// `%` without two hex digits.
    Escape,
    /// An encoded control character.
    Control,
    /// Encoded bytes that are not UTF-8.
    Utf8,
    /// `..` above the root.
    AboveRoot,
    /// A dot segment in disguise: with parameters, or between encoded separators.
    DotSegment,
    /// An encoded `/` or `\` that the route does not allow.
    Separator,
}

impl fmt::Display for TargetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the request target is too long",
            Self::Form => "the request target has no known form",
            Self::Scheme => "the scheme is neither http nor https",
            Self::Authority(fault) => return fault.fmt(f),
            Self::Byte => "the request target has a byte that is not allowed there",
            Self::Escape => "the path has a '%' without two hex digits",
            Self::Control => "the path has an encoded control character",
            Self::Utf8 => "the path has encoded bytes that are not UTF-8",
            Self::AboveRoot => "the path leads above its root",
            Self::DotSegment => "the path has a disguised dot segment",
            Self::Separator => "the path has an encoded separator",
        })
    }
}

impl std::error::Error for TargetFault {}

impl From<AuthorityFault> for TargetFault {
    fn from(fault: AuthorityFault) -> Self {
        Self::Authority(fault)
    }
}

impl<'a> RequestTarget<'a> {
    /// Takes apart the target of an HTTP/1 request line, or `:path` of HTTP/2, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// A [`TargetFault`] for a target that is too long, of no known form, or with bytes that may not be
    /// there. What is wrong inside the path shows in [`normalize`](Self::normalize).
    pub fn parse(target: &'a [u8], limit: usize) -> Result<Self, TargetFault> {
        if target.len() > limit {
            return Err(TargetFault::TooLong);
        }
        match target {
            [b'/', ..] => Self::with_path(Target::Origin, target),
            b"*" => Ok(Self::without_path(Target::Asterisk, "*")),
            _ => match split_scheme(target)? {
                Some((https, rest)) => Self::absolute(https, rest),
                None => Self::authority(target),
            },
        }
    }

    /// The path in normal form.
    ///
    /// # Errors
    ///
    /// A [`TargetFault`] for a path without a safe reading; see the table of the [module](self).
    pub fn normalize(&self) -> Result<NormalPath, TargetFault> {
        if self.plain {
            return Ok(NormalPath::SAME);
        }
        normal::rewrite(self.path)
    }

    /// RFC 9112 section 3.2.2. Userinfo is refused with the authority, as RFC 9110 section 4.2.4 advises
    /// for references from outside. An empty path is `/` (RFC 9110 section 4.2.3), for OPTIONS too: to its
    /// clients a gateway is the origin server, and making it `*` (RFC 9112 section 3.2.4) is for proxies.
    fn absolute(https: bool, rest: &'a [u8]) -> Result<Self, TargetFault> {
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?'));
        let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
        let authority = authority::parse(authority)?;
        let form = Target::Absolute { https, authority };
        match path {
            [] => Ok(Self::without_path(form, "/")),
            [b'?', query @ ..] => Ok(Self { query: Some(checked_query(query)?), ..Self::without_path(form, "/") }),
            _ => Self::with_path(form, path),
        }
    }

    /// RFC 9112 section 3.2.3: the port is not optional here.
    fn authority(target: &'a [u8]) -> Result<Self, TargetFault> {
        let authority = authority::parse(target).map_err(|_| TargetFault::Form)?;
        if authority.port.is_none() {
            return Err(TargetFault::Form);
        }
        Ok(Self::without_path(Target::Authority(authority), ""))
    }

    fn without_path(form: Target<'a>, path: &'static str) -> Self {
        Self { form, path, query: None, plain: true }
    }

    fn with_path(form: Target<'a>, bytes: &'a [u8]) -> Result<Self, TargetFault> {
        let scan = normal::scan(bytes);
        let (path, query) = bytes.split_at(scan.end);
        if scan.refused {
            return Err(TargetFault::Byte);
        }
        Ok(Self {
            form,
            path: std::str::from_utf8(path).map_err(|_| TargetFault::Byte)?,
            query: match query {
                [b'?', query @ ..] => Some(checked_query(query)?),
                _ => None,
            },
            plain: scan.plain,
        })
    }
}

/// Schemes compare without case (RFC 3986 section 3.1). `None`: no scheme is written.
fn split_scheme(target: &[u8]) -> Result<Option<(bool, &[u8])>, TargetFault> {
    for (scheme, https) in [("http://", false), ("https://", true)] {
        if let Some((head, rest)) = target.split_at_checked(scheme.len())
            && head.eq_ignore_ascii_case(scheme.as_bytes())
        {
            return Ok(Some((https, rest)));
        }
    }
    if target.windows(3).any(|three| three == b"://") {
        return Err(TargetFault::Scheme);
    }
    Ok(None)
}

/// RFC 3986 section 3.4 allows less than visible ASCII, but queries in the wild use all of it, and no part
/// of the gateway decides by their encoding. `#` would begin a fragment, which is never sent.
fn checked_query(query: &[u8]) -> Result<&str, TargetFault> {
    if query.iter().any(|b| !b.is_ascii_graphic() || *b == b'#') {
        return Err(TargetFault::Byte);
    }
    std::str::from_utf8(query).map_err(|_| TargetFault::Byte)
}
