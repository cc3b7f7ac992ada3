//! The ways in which servers have been known to read HTTP/1, as a table.
//!
//! Each dialect differs from the strict reader in one respect, or in a few that go together in some
//! family of servers. A new way to misread is one more value here and one more line in the table.

/// What ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// CRLF only; a CR or LF alone is an error.
    Crlf,
    /// LF, with a CR before it or not.
    Lf,
    /// CR, LF or CRLF.
    Either,
}

/// Which of Content-Length and Transfer-Encoding counts when both are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// Neither: an error.
    Refuse,
    /// Transfer-Encoding.
    Coding,
    /// Content-Length.
    Length,
}

/// When a Transfer-Encoding means chunked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// One field, whose value is `chunked`; anything else is an error.
    Exact,
    /// Any value that contains `chunked`; other values are ignored.
    Contains,
    /// When the last coding of the last field is `chunked`; other values are ignored.
    Last,
    /// When the first field is exactly `chunked`; other values are ignored.
    First,
    /// Any Transfer-Encoding field at all.
    Present,
}

/// How Content-Length is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// One field of digits that fits in 64 bits; anything else is an error.
    Strict,
    /// The first field, as C's `strtoul` reads it.
    First,
    /// The last field, as C's `strtoul` reads it.
    Last,
    /// The first field, digits only, modulo 2^32.
    Wrapping,
    /// The last element of the last field's comma-separated list.
    LastOfList,
}

/// What a line that begins with white space means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folds {
    /// An error.
    Refuse,
    /// It continues the value of the field before it.
    Join,
    /// It is a field of its own.
    Own,
    /// It is ignored.
    Skip,
}

/// How a field name is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// It must be a token.
    Token,
    /// White space around it is ignored.
    Trimmed,
    /// `_` and `-` are the same, as in CGI variables.
    Cgi,
}

/// How the size of a chunk is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Hex digits that fit in 64 bits, then nothing or an extension.
    Strict,
    /// As C's `strtoul` reads it, whatever follows.
    Prefix,
    /// Hex digits modulo 2^32, whatever follows.
    Wrapping,
}

/// Which Host counts when there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Exactly one may be there.
    One,
    /// The first.
    First,
    /// The last.
    Last,
}

/// One way to read HTTP/1 requests.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each field is documented at its type")]
pub struct Dialect {
    pub name: &'static str,
    pub lines: Lines,
    pub precedence: Precedence,
    pub coding: Coding,
    pub length: Length,
    pub folds: Folds,
    pub names: Names,
    pub sizes: Sizes,
    pub hosts: Hosts,
    /// A NUL ends a value, as in C strings; otherwise it is an error.
    pub nul_ends: bool,
    /// Transfer-Encoding counts in HTTP/1.0 too.
    pub codes_old: bool,
    /// The target is read up to the last space of the line instead of being a single word.
    pub greedy_target: bool,
    /// One empty line before a request line is ignored (RFC 9112 section 2.2).
    pub skips_empty_line: bool,
}

/// RFC 9112, nothing more: what a sender may generate.
pub const STRICT: Dialect = Dialect {
    name: "the RFC",
    lines: Lines::Crlf,
    precedence: Precedence::Refuse,
    coding: Coding::Exact,
    length: Length::Strict,
    folds: Folds::Refuse,
    names: Names::Token,
    sizes: Sizes::Strict,
    hosts: Hosts::One,
    nul_ends: false,
    codes_old: true,
    greedy_target: false,
    skips_empty_line: false,
};

/// Takes what comes; the base of most dialects.
const LENIENT: Dialect = Dialect {
    name: "a lenient server that prefers Transfer-Encoding",
    lines: Lines::Lf,
    precedence: Precedence::Coding,
    coding: Coding::Last,
    length: Length::First,
    folds: Folds::Join,
    names: Names::Trimmed,
    sizes: Sizes::Prefix,
    hosts: Hosts::First,
    nul_ends: true,
    codes_old: true,
    greedy_target: true,
    skips_empty_line: true,
};

/// The lenient models.
pub const DIALECTS: &[Dialect] = &[
    LENIENT,
    Dialect { name: "a server that prefers Content-Length", precedence: Precedence::Length, ..LENIENT },
    Dialect { name: "a server that knows no Transfer-Encoding in HTTP/1.0", codes_old: false, ..LENIENT },
    Dialect { name: "a server that takes any value with 'chunked' in it", coding: Coding::Contains, ..LENIENT },
    Dialect { name: "a server that takes any Transfer-Encoding for chunked", coding: Coding::Present, ..LENIENT },
    Dialect { name: "a server that looks at the first Transfer-Encoding", coding: Coding::First, ..LENIENT },
    Dialect {
        name: "a server that takes the last Content-Length and Host",
        length: Length::Last,
        hosts: Hosts::Last,
        ..LENIENT
    },
    Dialect { name: "a server that takes the last of a list of lengths", length: Length::LastOfList, ..LENIENT },
    Dialect { name: "a server with 32-bit lengths", length: Length::Wrapping, sizes: Sizes::Wrapping, ..LENIENT },
    Dialect { name: "a server that takes a folded line for a field", folds: Folds::Own, ..LENIENT },
    Dialect { name: "a server that ignores folded lines", folds: Folds::Skip, ..LENIENT },
    Dialect { name: "a server that ends lines at CR", lines: Lines::Either, ..LENIENT },
    Dialect { name: "a strict server that ends lines at LF", lines: Lines::Lf, ..STRICT },
    Dialect { name: "a CGI that takes '_' for '-'", names: Names::Cgi, ..LENIENT },
    Dialect {
        name: "a CGI that takes '_' for '-' and prefers Content-Length",
        names: Names::Cgi,
        precedence: Precedence::Length,
        length: Length::Last,
        hosts: Hosts::Last,
        ..LENIENT
    },
    Dialect { name: "a strict server that trims names", names: Names::Trimmed, nul_ends: true, ..STRICT },
];
