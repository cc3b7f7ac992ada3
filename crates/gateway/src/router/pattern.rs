//! Path patterns, brought to the same normal form as the paths they are compared with.
//!
//! A user may write `/café` or `/my file`; requests arrive as `/caf%C3%A9` and `/my%20file`. So the literal
//! text of a pattern is encoded and then normalised like a path. Text that no normal path contains would
//! never match, and is a [`PatternFault`].

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};

use super::{MAX_SEGMENTS, PatternFault};
use crate::config::plan::PathPattern;
use crate::path::normalize;

/// A path pattern in normal form.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Whole segments, and perhaps everything below them.
    Template {
        segments: Vec<Segment>,
        /// The name of what is below.
        remainder: Option<Box<str>>,
    },
    /// The beginning of a path, without a final slash; empty for every path that begins with one.
    Prefix(Box<str>),
    /// The whole path, by an expression that is anchored at both ends.
    Regex {
        regex: Regex,
        /// How all its paths begin, by whole segments: from the first `/` up to, not including, the last
        /// one that is certain. `None` when not even the first `/` is.
        beginning: Option<Box<str>>,
    },
    /// Every path.
    Any,
}

/// One segment of a template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// This text. Only the last one may be empty.
    Literal(Box<str>),
    /// Any text but none, under this name.
    Parameter(Box<str>),
}

impl Pattern {
    pub(super) fn compile(pattern: &PathPattern) -> Result<Self, PatternFault> {
        match pattern {
            PathPattern::Template(text) => template(text),
            PathPattern::Prefix(text) => prefix(text),
            PathPattern::Regex(source) => expression(source),
            PathPattern::Any => Ok(Self::Any),
        }
    }

    /// Whether a normal path is the pattern's.
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Template { .. } => self.parts(path).is_some(),
            Self::Prefix(text) => {
                let rest = path.strip_prefix(&**text);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex { regex, .. } => regex.is_match(path.as_bytes()),
            Self::Any => true,
        }
    }

    /// The anchored source of a regular expression; empty for other patterns.
    pub(super) fn source(&self) -> &str {
        match self {
            Self::Regex { regex, .. } => regex.as_str(),
            _ => "",
        }
    }

    /// The values of the parameters or named groups; empty when the path is not the pattern's.
    pub(super) fn captures<'a>(&'a self, path: &'a str) -> Vec<(&'a str, &'a str)> {
        match self {
            Self::Template { .. } => self.parts(path).unwrap_or_default(),
            Self::Regex { regex, .. } => named_groups(regex, path),
            Self::Prefix(_) | Self::Any => Vec::new(),
        }
    }

    /// The parameters of a template with their values, when it matches.
    fn parts<'a>(&'a self, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let Self::Template { segments, remainder } = self else {
            return None;
        };
        let mut parts = Vec::new();
        let mut rest = path.strip_prefix('/');
        for segment in segments {
            let text;
            (text, rest) = split(rest?);
            match segment {
                Segment::Literal(literal) if **literal == *text => {}
                Segment::Parameter(name) if !text.is_empty() => parts.push((&**name, text)),
                _ => return None,
            }
        }
        match (remainder, rest) {
            (Some(name), Some(rest)) => parts.push((&**name, rest)),
            (None, None) => {}
            _ => return None,
        }
        Some(parts)
    }
}

/// The first segment, and what follows its slash.
pub(super) fn split(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once('/') {
        Some((segment, tail)) => (segment, Some(tail)),
        None => (rest, None),
    }
}

/// Normal paths are ASCII, so classes such as `\w` need not know Unicode, which makes them small.
fn expression(source: &str) -> Result<Pattern, PatternFault> {
    let fault = |message: String| PatternFault::Regex(message);
    // By itself first: `a)|(b` must not slip out of the anchors.
    let parsed = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(source)
        .map_err(|error| fault(error.to_string()))?;
    let regex = RegexBuilder::new(&format!(r"\A(?:{source})\z"))
        .unicode(false)
        .build()
        .map_err(|error| fault(error.to_string()))?;
    let literal = leading_literal(&parsed).filter(|text| text.starts_with('/'));
    let whole_segments = literal.and_then(|text| text.rsplit_once('/'));
    Ok(Pattern::Regex { regex, beginning: whole_segments.map(|(beginning, _)| beginning.into()) })
}

/// The text with which every match begins; empty text is `None`.
fn leading_literal(parsed: &Hir) -> Option<&str> {
    let first = match parsed.kind() {
        HirKind::Concat(parts) => {
            let anchor = HirKind::Look(Look::Start);
            parts.iter().find(|part| *part.kind() != anchor)?
        }
        _ => parsed,
    };
    match first.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok(),
        _ => None,
    }
}

fn named_groups<'a>(regex: &'a Regex, path: &'a str) -> Vec<(&'a str, &'a str)> {
    let Some(found) = regex.captures(path.as_bytes()) else {
        return Vec::new();
    };
    let value = |name| path.get(found.name(name)?.range());
    let names = regex.capture_names().flatten();
    names.filter_map(|name| Some((name, value(name)?))).collect()
}

fn template(text: &str) -> Result<Pattern, PatternFault> {
    let mut segments = Vec::new();
    let mut names = Vec::new();
    let mut remainder = None;
    for segment in raw_segments(text)? {
        if remainder.is_some() {
            return Err(PatternFault::Parameter);
        }
        let Some(name) = braced(segment) else {
            segments.push(Segment::Literal(literal(segment)?));
            continue;
        };
        let bare = name.strip_suffix('*').unwrap_or(name);
        if !is_name(bare) || names.contains(&bare) {
            return Err(PatternFault::Parameter);
        }
        names.push(bare);
        if bare == name {
            segments.push(Segment::Parameter(bare.into()));
        } else {
            remainder = Some(bare.into());
        }
    }
    Ok(Pattern::Template { segments, remainder })
}

fn prefix(text: &str) -> Result<Pattern, PatternFault> {
    let mut normal = String::with_capacity(text.len());
    let mut segments = raw_segments(text)?;
    segments.pop_if(|last| last.is_empty());
    for segment in segments {
        normal.push('/');
        normal.push_str(&literal(segment)?);
    }
    Ok(Pattern::Prefix(normal.into()))
}

/// The segments as written. Only the last one may be empty: a final slash.
fn raw_segments(text: &str) -> Result<Vec<&str>, PatternFault> {
    let rest = text.strip_prefix('/').ok_or(PatternFault::NoSlash)?;
    let segments: Vec<_> = rest.split('/').collect();
    if segments.len() > MAX_SEGMENTS {
        return Err(PatternFault::TooDeep);
    }
    match segments.split_last() {
        Some((_, before)) if before.contains(&"") => Err(PatternFault::Segment),
        _ => Ok(segments),
    }
}

fn braced(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// Parameter names are those of most languages, so that they can be used in other options.
fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && text.starts_with(|c: char| !c.is_ascii_digit())
}

/// A literal segment in normal form. A brace that is meant literally is written `%7B` or `%7D`.
fn literal(segment: &str) -> Result<Box<str>, PatternFault> {
    if segment.contains(['{', '}']) {
        return Err(PatternFault::Parameter);
    }
    if matches!(segment, "." | "..") {
        return Err(PatternFault::Segment);
    }
    let mut path = String::with_capacity(segment.len() + 1);
    path.push('/');
    for byte in segment.bytes() {
        if byte.is_ascii_graphic() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    let normal = normalize(&path).map_err(PatternFault::Path)?;
    let normal = &normal.as_str(&path)[1..];
    if normal.is_empty() != segment.is_empty() {
        return Err(PatternFault::Segment);
    }
    Ok(normal.into())
}
