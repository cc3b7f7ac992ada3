//! What is wrong with a configuration, shown as compilers show it: message, place, excerpt, advice.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};
use tidegate_gateway::config::DocumentPath;

use super::source::Source;

/// Characters of the longest message; what users wrote may be in it, however long.
const LONGEST: usize = 400;

/// Diagnostics that are shown at most.
pub(super) const MOST: usize = 64;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but something is probably not meant.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }

    fn level(self) -> Level<'static> {
        match self {
            Self::Error => Level::ERROR,
            Self::Warning => Level::WARNING,
        }
    }
}

/// One thing that is wrong, or odd.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    severity: Severity,
    source: Arc<Source>,
    /// What of the text it is about; `None` when that is the file as a whole.
    span: Option<Range<usize>>,
    path: Option<DocumentPath>,
    message: String,
    help: Option<String>,
}

impl Diagnostic {
    /// An error at a place of the text.
    pub(super) fn error(source: &Arc<Source>, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(source.first_line(span)), ..Self::of_source(source, message) }
    }

    /// An error that concerns a text as a whole.
    pub(super) fn of_source(source: &Arc<Source>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            source: Arc::clone(source),
            span: None,
            path: None,
            message: shortened(message.into()),
            help: None,
        }
    }

    /// An error that concerns a file whose text is not known.
    pub(super) fn of_file(name: &str, message: impl Into<String>) -> Self {
        Self::of_source(&Source::named(name, String::new()), message)
    }

    /// The same with the option that causes it.
    pub(super) fn path(self, path: DocumentPath) -> Self {
        Self { path: Some(path), ..self }
    }

    /// The same with advice.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same, as a warning.
    pub(super) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Line and column in the file, from 1; `None` when it concerns the file as a whole.
    pub fn position(&self) -> Option<(usize, usize)> {
        let span = self.span.as_ref()?;
        Some(self.source.position(span.start))
    }

    /// The message, after the path of the option that causes it.
    pub fn message(&self) -> String {
        match &self.path {
            Some(path) if !path.steps().is_empty() => format!("{path}: {}", self.message),
            _ => self.message.clone(),
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Where it stands in the file; what concerns the whole file comes first.
    fn offset(&self) -> Option<usize> {
        self.span.as_ref().map(|span| span.start)
    }

    fn render(&self, renderer: &Renderer) -> String {
        let message = match &self.span {
            Some(_) => self.message(),
            None => format!("{}: {}", self.source.name, self.message()),
        };
        let title = self.severity.level().primary_title(Cow::Owned(message));
        let mut group = Group::with_title(title);
        if let Some(span) = &self.span {
            group = group.element(self.excerpt(span));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }

    /// The line that `span` is on. Nothing else is handed over, because all of it would be laid out.
    fn excerpt(&self, span: &Range<usize>) -> Snippet<'_, Annotation<'_>> {
        let (start, line) = self.source.line(span.start);
        // A mistake may stand among the carriage returns that end a line, and those are not shown.
        let place = |offset: usize| (offset - start).min(line.len());
        let annotation = AnnotationKind::Primary.span(place(span.start)..place(span.end));
        Snippet::source(line)
            .line_start(self.source.position(span.start).0)
            .path(self.source.name.as_str())
            .annotation(annotation)
    }

    fn to_json(&self) -> Value {
        let end = self.span.as_ref().map(|span| self.source.position(span.end));
        json!({
            "severity": self.severity.as_str(),
            "file": self.source.name,
            "line": self.position().map(|(line, _)| line),
            "column": self.position().map(|(_, column)| column),
            "end_line": end.map(|(line, _)| line),
            "end_column": end.map(|(_, column)| column),
            "path": self.path.as_ref().map(ToString::to_string),
            "message": self.message,
            "help": self.help,
        })
    }
}

fn shortened(message: String) -> String {
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message,
    }
}

/// What was found in one configuration, in the order of the text: 64 diagnostics at most, and one more that
/// says so when there are others.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// For people, with an excerpt for each; in colour for terminals that show it.
    pub fn render(&self, colour: bool) -> String {
        let renderer = match colour {
            true => Renderer::styled(),
            false => Renderer::plain(),
        };
        let mut text = String::new();
        for diagnostic in &self.0 {
            text.push_str(&diagnostic.render(&renderer));
            text.push_str("\n\n");
        }
        text
    }

    /// For programs: one object for each, with `severity`, `file`, `line`, `column`, `end_line`,
    /// `end_column`, `path`, `message` and `help`. What does not apply is `null`.
    pub fn to_json(&self) -> Value {
        self.0.iter().map(Diagnostic::to_json).collect()
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(Diagnostic::offset);
        if let Some(first) = list.get(MOST) {
            let more = Diagnostic {
                severity: first.severity,
                ..Diagnostic::of_source(&first.source, "has more problems than are shown here")
            };
            list.truncate(MOST);
            list.push(more);
        }
        Self(list)
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}
