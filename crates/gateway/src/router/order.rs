//! Precedence: which of two routes is asked first.

use std::cmp::Reverse;

use super::pattern::{Pattern, Segment};
use crate::config::plan::{HostPattern, RouteMatch};

/// Where a route under one of its hosts stands; the smaller goes first. The fields are in the order in
/// which they decide.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: Reverse<i32>,
    host: HostRank,
    path: PathRank,
    methods: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    clients: Reverse<bool>,
    written: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Exact,
    Suffix(Reverse<usize>),
    None,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Template {
        literals: Reverse<usize>,
        /// Without the remainder, so that `/a/{x}` goes before `/a/{x*}`.
        parameters: Reverse<usize>,
    },
    Regex,
    Prefix(Reverse<usize>),
    Any,
}

impl Rank {
    pub(super) fn new(matches: &RouteMatch, host: Option<&HostPattern>, pattern: &Pattern, written: usize) -> Self {
        Self {
            priority: Reverse(matches.priority),
            host: match host {
                Some(HostPattern::Exact(_)) => HostRank::Exact,
                Some(HostPattern::Suffix(end)) => HostRank::Suffix(Reverse(end.len())),
                None => HostRank::None,
            },
            path: path_rank(pattern),
            methods: Reverse(!matches.methods.is_empty()),
            headers: Reverse(matches.headers.len()),
            query: Reverse(matches.query.len()),
            clients: Reverse(!matches.clients.is_empty()),
            written,
        }
    }
}

fn path_rank(pattern: &Pattern) -> PathRank {
    match pattern {
        Pattern::Template { segments, remainder } => {
            let literal = |segment: &&Segment| matches!(segment, Segment::Literal(_));
            let literals = segments.iter().filter(literal).count();
            if literals == segments.len() && remainder.is_none() {
                return PathRank::Exact;
            }
            PathRank::Template { literals: Reverse(literals), parameters: Reverse(segments.len() - literals) }
        }
        Pattern::Regex { .. } => PathRank::Regex,
        Pattern::Prefix(text) => PathRank::Prefix(Reverse(text.len())),
        Pattern::Any => PathRank::Any,
    }
}
