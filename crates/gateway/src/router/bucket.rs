//! The routes of one host, by path: a tree of segments, and beside it those that any path may match.

use regex::bytes::{RegexSet, RegexSetBuilder};

use super::pattern::{Pattern, Segment, split};
use super::{BuildError, MAX_SEGMENTS, PatternFault, Request, Route, Table};

/// Expressions in one list that are tried one after the other. In a longer list, one automaton made of all
/// of them tells which ones match, at the price of an allocation.
const TRIED_IN_TURN: usize = 8;

/// Bytes of the automaton of one list; ten thousand everyday expressions need 8 to 64 MiB.
const MAX_AUTOMATON_BYTES: usize = 256 << 20;

/// Bytes of what each thread remembers of its searches with one automaton. With less, ten thousand
/// expressions do not fit, and a search takes milliseconds in place of microseconds.
const MAX_SEARCH_BYTES: usize = 16 << 20;

/// A route in a list; its place tells which goes first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) place: usize,
    pub(super) route: usize,
}

/// A request and its best match so far.
pub(super) struct Search<'a, R> {
    routes: &'a [Route],
    request: &'a R,
    best: Option<Entry>,
}

impl<'a, R: Request> Search<'a, R> {
    pub(super) fn new(routes: &'a [Route], request: &'a R) -> Self {
        Self { routes, request, best: None }
    }

    pub(super) fn found(&self) -> Option<usize> {
        self.best.map(|entry| entry.route)
    }

    /// Whether a match at this place would be better than the one there is.
    fn wants(&self, place: usize) -> bool {
        self.best.is_none_or(|best| place < best.place)
    }

    /// Takes the first entry, of some in the order of their places, that is wanted, passes `path`, and
    /// whose conditions hold.
    fn offer<'e>(&mut self, entries: impl IntoIterator<Item = &'e Entry>, path: impl Fn(&Pattern, &str) -> bool) {
        for entry in entries {
            if !self.wants(entry.place) {
                return;
            }
            let route = &self.routes[entry.route];
            if path(&route.pattern, self.request.path()) && route.conditions.mismatch(self.request).is_none() {
                self.best = Some(*entry);
                return;
            }
        }
    }

    /// As `offer`, for entries whose path is known to be the request's.
    fn offer_matching<'e>(&mut self, entries: impl IntoIterator<Item = &'e Entry>) {
        self.offer(entries, |_, _| true);
    }
}

/// All routes under one host pattern. Entries are inserted by place, so every list is sorted.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    tree: Node,
    /// Those whose beginning is not known.
    expressions: Expressions,
    any: Vec<Entry>,
}

impl Bucket {
    /// Adds an entry whose place comes after those of all before it.
    pub(super) fn insert(&mut self, pattern: &Pattern, entry: Entry) {
        match pattern {
            Pattern::Template { segments, remainder } => {
                let node = self.tree.descend(segments.iter(), entry);
                let list = match remainder {
                    Some(_) => &mut node.below,
                    None => &mut node.here,
                };
                list.push(entry);
            }
            Pattern::Prefix(text) => {
                let node = self.literal_node(text, entry);
                node.here.push(entry);
                node.below.push(entry);
            }
            Pattern::Regex { beginning, .. } => {
                let expressions = match beginning {
                    Some(text) => &mut self.literal_node(text, entry).expressions,
                    None => &mut self.expressions,
                };
                expressions.entries.push(entry);
            }
            Pattern::Any => self.any.push(entry),
        }
    }

    /// The node of a path without parameters and without final slash. What lies deeper than the tree may
    /// go, only the beginning of an expression, is left to the expression.
    fn literal_node(&mut self, path: &str, entry: Entry) -> &mut Node {
        let literals = path.split('/').skip(1).take(MAX_SEGMENTS);
        let segments: Vec<_> = literals.map(|text| Segment::Literal(text.into())).collect();
        self.tree.descend(segments.iter(), entry)
    }

    /// Makes the automata, once all entries are in.
    pub(super) fn seal(&mut self, routes: &[Route]) -> Result<(), BuildError> {
        self.expressions.seal(routes)?;
        self.tree.seal(routes)
    }

    /// Offers every list of routes whose path is the request's, unless none of it could be better.
    pub(super) fn search<R: Request>(&self, search: &mut Search<'_, R>) {
        if let Some(rest) = search.request.path().strip_prefix('/') {
            self.tree.search(Some(rest), search);
        }
        self.expressions.search(search);
        search.offer_matching(&self.any);
    }
}

/// Routes with regular expressions.
#[derive(Debug, Default)]
struct Expressions {
    entries: Vec<Entry>,
    /// The same expressions in the same order, when they are many.
    automaton: Option<RegexSet>,
}

impl Expressions {
    fn seal(&mut self, routes: &[Route]) -> Result<(), BuildError> {
        let Some(first) = self.entries.get(TRIED_IN_TURN).and(self.entries.first()) else {
            return Ok(());
        };
        let sources = self.entries.iter().map(|entry| routes[entry.route].pattern.source());
        let automaton = RegexSetBuilder::new(sources)
            .unicode(false)
            .size_limit(MAX_AUTOMATON_BYTES)
            .dfa_size_limit(MAX_SEARCH_BYTES)
            .build()
            .map_err(|error| BuildError { route: first.route, fault: PatternFault::Regex(error.to_string()) })?;
        self.automaton = Some(automaton);
        Ok(())
    }

    fn search<R: Request>(&self, search: &mut Search<'_, R>) {
        let first = self.entries.first();
        if !first.is_some_and(|entry| search.wants(entry.place)) {
            return;
        }
        match &self.automaton {
            None => search.offer(&self.entries, Pattern::matches),
            Some(automaton) => {
                let matching = automaton.matches(search.request.path().as_bytes());
                search.offer_matching(matching.iter().map(|nth| &self.entries[nth]));
            }
        }
    }
}

/// A place in the tree of segments.
#[derive(Debug, Default)]
struct Node {
    /// The first place in this subtree.
    first: usize,
    literals: Table<Node>,
    parameter: Option<Box<Node>>,
    /// Routes for the path that ends here.
    here: Vec<Entry>,
    /// Routes for every path that goes on from here, if only by a slash.
    below: Vec<Entry>,
    /// Routes for paths that go on from here, if their expression matches.
    expressions: Expressions,
}

impl Node {
    fn new(first: usize) -> Self {
        Self { first, ..Self::default() }
    }

    /// The node at the end of the segments, made where it is missing. A node is made for the entry that
    /// needs it first, which gives it its `first`; the root's is 0.
    fn descend<'a>(&mut self, segments: impl Iterator<Item = &'a Segment>, entry: Entry) -> &mut Self {
        segments.fold(self, |node, segment| match segment {
            Segment::Literal(text) => {
                let child = node.literals.entry(text.clone());
                child.or_insert_with(|| Self::new(entry.place))
            }
            Segment::Parameter(_) => {
                let child = &mut node.parameter;
                child.get_or_insert_with(|| Box::new(Self::new(entry.place)))
            }
        })
    }

    fn seal(&mut self, routes: &[Route]) -> Result<(), BuildError> {
        self.expressions.seal(routes)?;
        let children = self.literals.values_mut();
        children.chain(self.parameter.as_deref_mut()).try_for_each(|child| child.seal(routes))
    }

    /// Looks along all branches that fit the `rest` of the path, which is `None` at its end. Literal
    /// branches come first: what they find lets most others be skipped.
    fn search<R: Request>(&self, rest: Option<&str>, search: &mut Search<'_, R>) {
        if !search.wants(self.first) {
            return;
        }
        let Some(rest) = rest else {
            return search.offer_matching(&self.here);
        };
        let (segment, tail) = split(rest);
        if let Some(child) = self.literals.get(segment) {
            child.search(tail, search);
        }
        if let Some(child) = &self.parameter
            && !segment.is_empty()
        {
            child.search(tail, search);
        }
        self.expressions.search(search);
        search.offer_matching(&self.below);
    }
}
