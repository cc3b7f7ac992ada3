//! Configuration files: YAML, JSON or TOML into a checked plan, or into everything that is wrong with them.
//!
//! The way is the same for every format. The text becomes a [`tree`] of values that know their place;
//! variables are [expanded](expand) in it; it is [`read`] into a `Document`, past every mistake; and the
//! document is checked by the gateway. Every problem, whichever step finds it, is a [`Diagnostic`] with line,
//! column and an excerpt, and all of them are reported at once.

mod deserialize;
mod diagnostic;
mod expand;
mod failure;
mod files;
mod json;
mod read;
mod reference;
mod schema;
mod secret;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod toml;
mod tree;
mod yaml;

use std::path::Path;
use std::sync::Arc;

use tidegate_gateway::config::{Document, Plan, check};

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use reference::reference;
pub use schema::schema;
pub(crate) use secret::{CONCEALED, conceal, is_secret};

use read::Reader;
use source::Source;

/// Looks a variable up by its name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How a configuration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2.
    Yaml,
    /// JSON (RFC 8259).
    Json,
    /// TOML 1.1.
    Toml,
}

impl Format {
    /// The format that the ending of a file name says: `.yaml`, `.yml`, `.json` or `.toml`.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What the data plane is built from.
    pub plan: Plan,
    /// What was written.
    pub document: Document,
    /// What is probably not meant.
    pub warnings: Diagnostics,
}

/// Loads a file. Relative paths in it start at its own folder.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of its text.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Loaded, Diagnostics> {
    let Some(format) = Format::of(path) else {
        let name = path.display().to_string();
        let diagnostic = Diagnostic::of_file(&name, "has none of the endings that say its format");
        let help = "call it `.yaml`, `.yml`, `.json` or `.toml`";
        return Err(diagnostic.help(help).into());
    };
    let source = Source::read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    load_source(&source, format, folder, environment)
}

/// Loads a text that is called `name` in messages. Relative paths in it start at the working directory.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of its text.
pub fn load_str(name: &str, text: &str, format: Format, environment: Environment<'_>) -> Result<Loaded, Diagnostics> {
    let source = Source::new(name, text)?;
    load_source(&source, format, Path::new(""), environment)
}

fn load_source(
    source: &Arc<Source>,
    format: Format,
    folder: &Path,
    environment: Environment<'_>,
) -> Result<Loaded, Diagnostics> {
    let (mut tree, mut problems) = match format {
        Format::Yaml => yaml::parse(source)?,
        Format::Json => json::parse(source)?,
        Format::Toml => (toml::parse(source)?, Vec::new()),
    };
    problems.extend(expand::expand(&mut tree, source, environment));
    let mut reader = Reader::new(source, tree, problems);
    let Some(document) = reader.document() else {
        return Err(reader.into_problems().into());
    };
    reader.add(files::unreadable(&document, folder));
    match check(&document, folder) {
        Ok(checked) if reader.is_valid() => {
            let warnings = reader.warnings(checked.warnings);
            Ok(Loaded { plan: checked.plan, document, warnings: warnings.into() })
        }
        Ok(_) => Err(reader.into_problems().into()),
        Err(problems) => {
            reader.add(problems);
            Err(reader.into_problems().into())
        }
    }
}
