//! What is wrong with a document, and where.

use std::fmt;

/// One thing that is wrong, or odd, at one place of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The option that causes it.
    pub path: DocumentPath,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// When a name refers to nothing: the map that has the names which exist.
    pub refers_to: Option<DocumentPath>,
}

impl Problem {
    /// A problem at `path`.
    pub fn new(path: DocumentPath, message: impl Into<String>) -> Self {
        Self { path, message: message.into(), help: None, refers_to: None }
    }

    /// The same problem with advice.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same problem, caused by a name that is not a key of the map at `names`.
    #[must_use]
    pub fn refers_to(self, names: DocumentPath) -> Self {
        Self { refers_to: Some(names), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// The way from the root of a document to one of its values. It displays as `routes[2].upstream`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct DocumentPath(Vec<Step>);

/// One step of a [`DocumentPath`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an item of a list, counted from 0.
    Index(usize),
}

impl DocumentPath {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// The value of `key` below this place.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.join(Step::Key(key.to_owned()))
    }

    /// The item at `index` below this place.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.join(Step::Index(index))
    }

    /// The steps from the root.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The value that one more step leads to.
    #[must_use]
    pub fn join(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for DocumentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    if key.contains(['.', '[', ' ', '"']) || key.is_empty() {
                        write!(f, "{key:?}")?;
                    } else {
                        f.write_str(key)?;
                    }
                }
            }
        }
        Ok(())
    }
}
