//! TOML into a tree.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::source::Source;
use super::tree::{DEEPEST, Entry, MOST_NODES, NodeId, Scalar, Tree, Value};

/// Parses a text, or returns everything that keeps it from being TOML.
pub(super) fn parse(source: &Arc<Source>) -> Result<Tree, Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        let diagnostic = |error: &toml::de::Error| {
            let span = error.span().unwrap_or_default();
            Diagnostic::error(source, span, format!("this is not TOML: {}", error.message()))
        };
        return Err(errors.iter().map(diagnostic).collect());
    }
    let mut composer = Composer { source, tree: Tree::default() };
    let span = table.span();
    let root = composer.table(table.get_ref(), span, 0).map_err(|error| vec![error])?;
    composer.tree.set_root(root);
    Ok(composer.tree)
}

struct Composer<'s> {
    source: &'s Arc<Source>,
    tree: Tree,
}

type Span = std::ops::Range<usize>;

impl Composer<'_> {
    fn value(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<NodeId, Diagnostic> {
        let span = value.span();
        let plain = |text: String| Scalar { text, quoted: false, expanded: false };
        let scalar = match value.get_ref() {
            DeValue::Table(table) => return self.table(table, span, depth),
            DeValue::Array(items) => return self.array(items, span, depth),
            DeValue::Integer(integer) => plain(decimal(integer)),
            DeValue::Float(float) => plain(float.as_str().to_owned()),
            DeValue::Boolean(value) => plain(value.to_string()),
            DeValue::Datetime(datetime) => plain(datetime.to_string()),
            DeValue::String(text) => Scalar { quoted: true, ..plain(text.clone().into_owned()) },
        };
        self.add(span, Value::Scalar(scalar))
    }

    fn array(&mut self, items: &toml::de::DeArray<'_>, span: Span, depth: usize) -> Result<NodeId, Diagnostic> {
        self.check_depth(&span, depth)?;
        let items: Result<_, _> = items.iter().map(|item| self.value(item, depth + 1)).collect();
        self.add(span, Value::Sequence(items?))
    }

    fn table(&mut self, table: &DeTable<'_>, span: Span, depth: usize) -> Result<NodeId, Diagnostic> {
        self.check_depth(&span, depth)?;
        let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, _)| {
            let name = key.get_ref().clone().into_owned();
            Ok(Entry::new(name, key.span(), self.value(value, depth + 1)?))
        };
        let entries: Result<_, _> = table.iter().map(entry).collect();
        self.add(span, Value::Map(entries?))
    }

    fn check_depth(&self, span: &Span, depth: usize) -> Result<(), Diagnostic> {
        if depth < DEEPEST {
            return Ok(());
        }
        let message = format!("is nested more than {DEEPEST} levels deep");
        Err(Diagnostic::error(self.source, span.clone(), message))
    }

    fn add(&mut self, span: Span, value: Value) -> Result<NodeId, Diagnostic> {
        self.tree
            .add(span.clone(), value)
            .map_err(|_| Diagnostic::error(self.source, span, format!("more than {MOST_NODES} values")))
    }
}

/// An integer as the other formats write it. One that is too large stays as it is written, and is no
/// integer to whoever asks for one.
fn decimal(integer: &DeInteger<'_>) -> String {
    match i128::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) => number.to_string(),
        Err(_) => integer.to_string(),
    }
}
