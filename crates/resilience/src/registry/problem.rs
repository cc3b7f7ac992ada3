//! What is wrong with a document.

use std::fmt;

use crate::lint::Lint;

/// One thing that is wrong, or doubtful, about a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as the document is written: `pipelines.checkout[2].retry.attempts`.
    pub path: String,
    /// What is wrong there and what may stand there.
    pub message: String,
    /// The kind of mistake, where it is one in the order of a pipeline.
    pub lint: Option<Lint>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)?;
        self.lint.map_or(Ok(()), |lint| write!(formatter, " [{}]", lint.name()))
    }
}

/// Everything that is wrong with a document: at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
