//! From a tree to a document, past every mistake on the way.
//!
//! Deserialisation stops at the first mistake. So it is done again and again, each time without the value
//! that stopped it, until nothing does. What is missing only because it was taken out is not reported.

use std::sync::Arc;

use serde::Deserialize;
use tidegate_gateway::config::{Document, Problem, Step};

use super::deserialize::NodeDeserializer;
use super::diagnostic::{Diagnostic, MOST};
use super::failure::{At, Failure};
use super::source::Source;
use super::suggest::{closest, listed};
use super::tree::{NodeId, Tree};

/// A tree that is read into a document.
pub(super) struct Reader {
    source: Arc<Source>,
    tree: Tree,
    problems: Vec<Diagnostic>,
}

impl Reader {
    pub(super) fn new(source: &Arc<Source>, tree: Tree, problems: Vec<Diagnostic>) -> Self {
        let source = Arc::clone(source);
        Self { source, tree, problems }
    }

    /// What was found so far.
    pub(super) fn into_problems(self) -> Vec<Diagnostic> {
        self.problems
    }

    /// Whether nothing was found so far.
    pub(super) fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    /// What is left of the document when every mistake is taken out; `None` when that is not enough.
    pub(super) fn document(&mut self) -> Option<Document> {
        // An empty YAML document is an empty scalar.
        let root = self.tree.root();
        let Some(root) = root.filter(|root| self.tree.text_of(*root) != Some("")) else {
            let message = "is empty: at least one listener is needed";
            self.problems.push(Diagnostic::error(&self.source, 0..0, message));
            return None;
        };
        // One more than is shown, so that it can be said that there are more.
        while self.problems.len() <= MOST {
            let failure = match Document::deserialize(NodeDeserializer::new(&self.tree, root)) {
                Ok(document) => return Some(document),
                Err(failure) => failure,
            };
            let at = failure.at.unwrap_or(At::Value(root));
            self.record(failure, at);
            if at == At::Value(root) {
                return None;
            }
        }
        None
    }

    /// Reports a failure, unless an earlier one explains it, and takes the value out.
    fn record(&mut self, failure: Failure, at: At) {
        let (At::Key(id) | At::Value(id)) = at;
        let explained = match (at, failure.missing) {
            (At::Value(_), Some(key)) => self.tree.has_lost_key(id, key),
            (At::Value(_), None) => self.tree.has_lost(id),
            (At::Key(_), _) => false,
        };
        if !explained {
            let span = match at {
                At::Key(id) => self.tree.key_of(id).unwrap_or_default(),
                At::Value(id) => self.tree.pointer(id),
            };
            let diagnostic = Diagnostic::error(&self.source, span, failure.message);
            let diagnostic = diagnostic.path(self.tree.path_of(id));
            self.problems.push(match failure.help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            });
        }
        match (at, failure.meant) {
            (At::Key(id), None) => self.tree.discard(id),
            (At::Key(id), Some(meant)) => self.tree.lose_as(id, meant),
            (At::Value(id), _) => self.tree.lose(id),
        }
    }

    /// Adds what checking the document found, each at its place in the text.
    pub(super) fn add(&mut self, problems: Vec<Problem>) {
        let room = (MOST + 1).saturating_sub(self.problems.len());
        let located = problems.into_iter().filter_map(|problem| self.located(problem));
        let located: Vec<_> = located.take(room).collect();
        self.problems.extend(located);
    }

    /// What is odd, each at its place in the text.
    pub(super) fn warnings(&self, warnings: Vec<Problem>) -> Vec<Diagnostic> {
        let located = warnings.into_iter().filter_map(|warning| self.located(warning));
        located.take(MOST + 1).map(Diagnostic::warning).collect()
    }

    /// A problem at its place; `None` when what was taken out explains it.
    fn located(&self, problem: Problem) -> Option<Diagnostic> {
        let (id, rest) = self.tree.find(&problem.path)?;
        let names = problem.refers_to.as_ref();
        let names = names.and_then(|path| self.tree.find(path));
        if self.is_explained(id, rest) || names.is_some_and(|names| self.is_lost_name(id, names)) {
            return None;
        }
        let own = self.tree.path_of(id);
        let path = rest.iter().fold(own, |path, step| path.join(step.clone()));
        let help = problem.help.or_else(|| self.advice(id, names?));
        let span = self.tree.pointer(id);
        let diagnostic = Diagnostic::error(&self.source, span, problem.message).path(path);
        Some(match help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        })
    }

    /// Whether a value looks wrong because of what it lost: what the next step would have led to, or at the
    /// end of the way anything of its own.
    fn is_explained(&self, id: NodeId, rest: &[Step]) -> bool {
        match rest.first() {
            None => self.tree.has_lost(id),
            Some(Step::Key(key)) => self.tree.has_lost_key(id, key),
            Some(Step::Index(_)) => false,
        }
    }

    /// Whether a name refers to something that is written, but was taken out alone or with all others.
    fn is_lost_name(&self, name: NodeId, (names, rest): (NodeId, &[Step])) -> bool {
        match rest {
            [] => (self.tree.text_of(name)).is_some_and(|name| self.tree.has_lost_key(names, name)),
            _ => self.is_explained(names, rest),
        }
    }

    /// Which of the names in a map was meant by one that is not there. Where there is no such map, none was.
    fn advice(&self, written: NodeId, (names, rest): (NodeId, &[Step])) -> Option<String> {
        let names = || self.tree.keys(names).take(if rest.is_empty() { usize::MAX } else { 0 });
        let meant = closest(self.tree.text_of(written)?, names());
        match meant {
            Some(meant) => Some(format!("did you mean `{meant}`?")),
            None => names().next().map(|_| format!("known: {}", listed(names().take(10)))),
        }
    }
}
