//! YAML 1.2 into a tree.
//!
//! The only module that knows the YAML parser. It takes the parser's events one by one, so that nothing
//! grows past the tree's bounds: a value that an alias repeats is counted as often as it is seen, and an
//! alias inside the value that it names is refused. One document in a text, no tags, keys are scalars.

mod mask;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::diagnostic::Diagnostic;
use super::source::Source;
use super::tree::{DEEPEST, Entry, MOST_NODES, NodeId, Scalar, Tree, Value};

/// Parses a text, and returns the tree with the problems that do not stop parsing.
pub(super) fn parse(source: &Arc<Source>) -> Result<(Tree, Vec<Diagnostic>), Diagnostic> {
    let masked = mask::mask(&source.text);
    let mut composer = Composer::new(source, matches!(masked, Cow::Owned(_)));
    let mut parser = Parser::new_from_str(&masked);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let at = composer.offsets.of(error.marker().index());
            Diagnostic::error(source, at..at + 1, format!("this is not YAML: {}", error.info()))
        })?;
        let span = composer.range(span);
        composer.event(event, span)?;
    }
    Ok((composer.tree, composer.problems))
}

/// Byte offsets of characters: the parser counts characters.
struct Offsets(Option<Vec<usize>>, usize);

impl Offsets {
    fn new(text: &str) -> Self {
        let table = || text.char_indices().map(|(at, _)| at).collect();
        Self((!text.is_ascii()).then(table), text.len())
    }

    fn of(&self, character: usize) -> usize {
        match &self.0 {
            Some(table) => table.get(character).copied().unwrap_or(self.1),
            None => character.min(self.1),
        }
    }
}

/// A value, and how large it is with everything that its aliases repeat.
#[derive(Clone, Copy)]
struct Sized {
    id: NodeId,
    nodes: usize,
    height: usize,
}

/// A list or map that is not complete.
struct Open {
    start: usize,
    anchor: usize,
    nodes: usize,
    height: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<NodeId>),
    Map {
        entries: Vec<Entry>,
        /// The key whose value comes next.
        key: Option<(String, Range<usize>)>,
        /// The keys so far; a key that comes again is reported and its value left out.
        known: HashMap<String, usize>,
    },
}

struct Composer<'s> {
    source: &'s Arc<Source>,
    offsets: Offsets,
    masked: bool,
    tree: Tree,
    problems: Vec<Diagnostic>,
    open: Vec<Open>,
    anchors: HashMap<usize, Sized>,
    documents: usize,
}

impl<'s> Composer<'s> {
    fn new(source: &'s Arc<Source>, masked: bool) -> Self {
        Self {
            source,
            offsets: Offsets::new(&source.text),
            masked,
            tree: Tree::default(),
            problems: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            documents: 0,
        }
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.offsets.of(span.start.index())..self.offsets.of(span.end.index())
    }

    fn error(&self, span: Range<usize>, message: &str) -> Diagnostic {
        Diagnostic::error(self.source, span, message)
    }

    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), Diagnostic> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.document(span),
            Event::Scalar(.., Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                Err(self.error(span, "tags are not supported"))
            }
            Event::Scalar(text, style, anchor, None) => self.scalar(&text, style, anchor, span),
            Event::SequenceStart(anchor, None) => self.open(anchor, span, Content::Sequence(Vec::new())),
            Event::MappingStart(anchor, None) => {
                let (entries, known) = (Vec::new(), HashMap::new());
                let key = None;
                self.open(anchor, span, Content::Map { entries, key, known })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span.end),
            Event::Alias(anchor) => self.alias(anchor, span),
        }
    }

    fn document(&mut self, span: Range<usize>) -> Result<(), Diagnostic> {
        self.documents += 1;
        match self.documents {
            1 => Ok(()),
            _ => Err(self.error(span, "a configuration is one YAML document")),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, span: Range<usize>) -> Result<(), Diagnostic> {
        let text = match self.masked {
            true => mask::unmask(text),
            false => text.to_owned(),
        };
        if let Some(Content::Map { key: key @ None, .. }) = self.open.last_mut().map(|open| &mut open.content) {
            *key = Some((text, span));
            return Ok(());
        }
        let value = Value::Scalar(Scalar { text, quoted: style != ScalarStyle::Plain, expanded: false });
        let id = self.add(span.clone(), value)?;
        let (nodes, height) = (1, 0);
        self.put(Sized { id, nodes, height }, anchor, span)
    }

    fn open(&mut self, anchor: usize, span: Range<usize>, content: Content) -> Result<(), Diagnostic> {
        if let Some(Content::Map { key: None, .. }) = self.open.last().map(|open| &open.content) {
            return Err(self.error(span, "a key cannot be a list or a map"));
        }
        if self.open.len() >= DEEPEST {
            return Err(self.too_deep(span));
        }
        let (nodes, height) = (1, 0);
        let start = span.start;
        self.open.push(Open { start, anchor, nodes, height, content });
        Ok(())
    }

    fn close(&mut self, end: usize) -> Result<(), Diagnostic> {
        // The parser ends nothing that it has not started.
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let span = open.start..end;
        let value = match open.content {
            Content::Sequence(items) => Value::Sequence(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        let id = self.add(span.clone(), value)?;
        let (nodes, height) = (open.nodes, open.height);
        self.put(Sized { id, nodes, height }, open.anchor, span)
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>) -> Result<(), Diagnostic> {
        if let Some(Content::Map { key: None, .. }) = self.open.last().map(|open| &open.content) {
            return Err(self.error(span, "a key cannot be an alias"));
        }
        match self.anchors.get(&anchor) {
            Some(value) => self.put(*value, 0, span),
            None => Err(self.error(span, "an alias inside the value that it names")),
        }
    }

    fn add(&mut self, span: Range<usize>, value: Value) -> Result<NodeId, Diagnostic> {
        let added = self.tree.add(span.clone(), value);
        added.map_err(|_| self.too_many(span))
    }

    /// Puts a complete value where it belongs: into what is open, or at the root.
    fn put(&mut self, value: Sized, anchor: usize, span: Range<usize>) -> Result<(), Diagnostic> {
        if anchor != 0 {
            self.anchors.insert(anchor, value);
        }
        if self.open.len() + value.height > DEEPEST {
            return Err(self.too_deep(span));
        }
        let Some(open) = self.open.last_mut() else {
            self.tree.set_root(value.id);
            return Ok(());
        };
        open.nodes = open.nodes.saturating_add(value.nodes);
        open.height = open.height.max(value.height + 1);
        let too_many = open.nodes > MOST_NODES;
        let repeated = match &mut open.content {
            Content::Sequence(items) => {
                items.push(value.id);
                None
            }
            Content::Map { entries, key, known } => entry(entries, known, key.take(), value.id),
        };
        if let Some((key, span, first)) = repeated {
            let (line, _) = self.source.position(first);
            let message = format!("the key `{key}` is in this map already, in line {line}");
            self.problems.push(self.error(span, &message));
        }
        match too_many {
            true => Err(self.too_many(span)),
            false => Ok(()),
        }
    }

    fn too_deep(&self, span: Range<usize>) -> Diagnostic {
        self.error(span, &format!("is nested more than {DEEPEST} levels deep"))
    }

    fn too_many(&self, span: Range<usize>) -> Diagnostic {
        let message = format!("more than {MOST_NODES} values, counting what aliases repeat");
        self.error(span, &message)
    }
}

/// Adds an entry, unless its key is known: then that key is returned, with where it was first.
fn entry(
    entries: &mut Vec<Entry>,
    known: &mut HashMap<String, usize>,
    key: Option<(String, Range<usize>)>,
    value: NodeId,
) -> Option<(String, Range<usize>, usize)> {
    // A value never comes without a key before it.
    let (key, key_span) = key?;
    if let Some(first) = known.get(&key) {
        return Some((key, key_span, *first));
    }
    known.insert(key.clone(), key_span.start);
    entries.push(Entry::new(key, key_span, value));
    None
}
