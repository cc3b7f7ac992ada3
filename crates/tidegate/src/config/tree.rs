//! One tree of values for every format, each value with its place in the text.
//!
//! A tree holds at most [`MOST_NODES`] values, [`DEEPEST`] levels deep, counted as they are seen by readers:
//! a value that is named by several aliases counts each time. While problems are looked for, values that
//! have one are taken out, so that reading can go on behind them.

use std::ops::Range;

use tidegate_gateway::config::{DocumentPath, Step};

/// Values in the largest tree.
pub(super) const MOST_NODES: usize = 1 << 20;

/// Levels of the deepest tree.
pub(super) const DEEPEST: usize = 32;

/// The number of a value in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(usize);

/// A value and its place in the text.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) value: Value,
    presence: Presence,
}

#[derive(Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    Sequence(Vec<NodeId>),
    Map(Vec<Entry>),
}

/// A scalar before anybody asked for its type.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Whether it is text whatever it looks like.
    pub(super) quoted: bool,
    /// Whether variables were expanded in it; then it takes the type that is asked for.
    pub(super) expanded: bool,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: NodeId,
    /// The key that was meant by a wrong one.
    meant: Option<&'static str>,
}

impl Entry {
    pub(super) fn new(key: String, key_span: Range<usize>, value: NodeId) -> Self {
        let meant = None;
        Self { key, key_span, value, meant }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Present,
    /// Taken out, and nobody misses it.
    Discarded,
    /// Taken out, and what is around it may look incomplete for that reason alone.
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    root: Option<NodeId>,
}

/// A tree has too many values.
#[derive(Debug)]
pub(super) struct TooMany;

impl Tree {
    /// Adds a value.
    pub(super) fn add(&mut self, span: Range<usize>, value: Value) -> Result<NodeId, TooMany> {
        if self.nodes.len() >= MOST_NODES {
            return Err(TooMany);
        }
        self.nodes.push(Node { span, value, presence: Presence::Present });
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// Makes a value the root.
    pub(super) fn set_root(&mut self, root: NodeId) {
        self.root = Some(root);
    }

    /// The root; a text without any value has none.
    pub(super) fn root(&self) -> Option<NodeId> {
        self.root
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Changes every scalar that `change`, which sees its place too, finds nothing wrong with, and loses the others.
    pub(super) fn change_scalars(&mut self, mut change: impl FnMut(Range<usize>, &mut Scalar) -> Result<(), ()>) {
        for node in &mut self.nodes {
            if let Value::Scalar(scalar) = &mut node.value
                && change(node.span.clone(), scalar).is_err()
            {
                node.presence = Presence::Lost;
            }
        }
    }

    /// The items that are present, of a list.
    pub(super) fn items(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let items = match &self.node(id).value {
            Value::Sequence(items) => items.as_slice(),
            _ => &[],
        };
        items.iter().copied().filter(|item| self.is_present(*item))
    }

    /// The entries that are present, of a map.
    pub(super) fn entries(&self, id: NodeId) -> impl Iterator<Item = &Entry> {
        let entries = match &self.node(id).value {
            Value::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().filter(|entry| self.is_present(entry.value))
    }

    /// The keys of a map, also of values that were taken out.
    pub(super) fn keys(&self, id: NodeId) -> impl Iterator<Item = &str> {
        let entries = match &self.node(id).value {
            Value::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|entry| entry.key.as_str())
    }

    fn is_present(&self, id: NodeId) -> bool {
        self.node(id).presence == Presence::Present
    }

    /// Takes a value out that nobody misses.
    pub(super) fn discard(&mut self, id: NodeId) {
        self.nodes[id.0].presence = Presence::Discarded;
    }

    /// Takes a value out whose absence may look like another mistake.
    pub(super) fn lose(&mut self, id: NodeId) {
        self.nodes[id.0].presence = Presence::Lost;
    }

    /// Takes a value out that stood under a wrong key and is missed under the one that was meant.
    pub(super) fn lose_as(&mut self, id: NodeId, meant: &'static str) {
        self.lose(id);
        for node in &mut self.nodes {
            if let Value::Map(entries) = &mut node.value {
                let entry = entries.iter_mut().find(|entry| entry.value == id);
                entry.into_iter().for_each(|entry| entry.meant = Some(meant));
            }
        }
    }

    fn is_lost(&self, id: NodeId) -> bool {
        self.node(id).presence == Presence::Lost
    }

    /// Whether a list or map lost a value of its own.
    pub(super) fn has_lost(&self, id: NodeId) -> bool {
        match &self.node(id).value {
            Value::Scalar(_) => false,
            Value::Sequence(items) => items.iter().any(|item| self.is_lost(*item)),
            Value::Map(entries) => entries.iter().any(|entry| self.is_lost(entry.value)),
        }
    }

    /// Whether a map lost the value of `key`, or one that was meant to be it.
    pub(super) fn has_lost_key(&self, id: NodeId, key: &str) -> bool {
        let Value::Map(entries) = &self.node(id).value else {
            return false;
        };
        let named = |entry: &&Entry| entry.key == key || entry.meant == Some(key);
        entries.iter().filter(named).any(|entry| self.is_lost(entry.value))
    }

    /// The text of a scalar.
    pub(super) fn text_of(&self, id: NodeId) -> Option<&str> {
        match &self.node(id).value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// The way to a value, counting the items before it that were taken out.
    pub(super) fn path_of(&self, id: NodeId) -> DocumentPath {
        let root = DocumentPath::root();
        let from_root = self.root.and_then(|start| self.path_from(start, id, root));
        from_root.unwrap_or_default()
    }

    fn path_from(&self, from: NodeId, to: NodeId, path: DocumentPath) -> Option<DocumentPath> {
        if from == to {
            return Some(path);
        }
        match &self.node(from).value {
            Value::Scalar(_) => None,
            Value::Sequence(items) => {
                let mut items = items.iter().enumerate();
                items.find_map(|(index, item)| self.path_from(*item, to, path.index(index)))
            }
            Value::Map(entries) => {
                let mut entries = entries.iter();
                entries.find_map(|entry| self.path_from(entry.value, to, path.key(&entry.key)))
            }
        }
    }

    /// The value that a path leads to, among those present, or the last one on the way that exists; and
    /// the steps that are left from there.
    pub(super) fn find<'p>(&self, path: &'p DocumentPath) -> Option<(NodeId, &'p [Step])> {
        let mut found = self.root?;
        let mut rest = path.steps();
        while let Some((step, after)) = rest.split_first() {
            let next = match step {
                Step::Index(index) => self.items(found).nth(*index),
                Step::Key(key) => self.entries(found).find(|e| e.key == *key).map(|e| e.value),
            };
            match next {
                Some(next) => (found, rest) = (next, after),
                // A list of one may be written as its item alone.
                None if matches!(step, Step::Index(0)) && self.text_of(found).is_some() => {
                    rest = after;
                }
                None => break,
            }
        }
        Some((found, rest))
    }

    /// What to point at for a value: a scalar itself, a list or map by its key where it has one.
    pub(super) fn pointer(&self, id: NodeId) -> Range<usize> {
        let span = self.node(id).span.clone();
        if matches!(self.node(id).value, Value::Scalar(_)) {
            return span;
        }
        self.key_of(id).unwrap_or(span)
    }

    /// The place of a value's key.
    pub(super) fn key_of(&self, id: NodeId) -> Option<Range<usize>> {
        self.nodes.iter().find_map(|node| match &node.value {
            Value::Map(entries) => {
                let entry = entries.iter().find(|entry| entry.value == id)?;
                Some(entry.key_span.clone())
            }
            _ => None,
        })
    }
}
