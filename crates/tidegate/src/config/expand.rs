//! Variables in values: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar sign.
//!
//! They are expanded in scalars of the parsed tree, so that nothing in a variable can add structure, and
//! once only: what a variable holds is not looked at again. Keys are left alone. A dollar sign before
//! anything but `{` or `$` stands for itself.

use std::ops::Range;
use std::sync::Arc;

use super::Environment;
use super::diagnostic::Diagnostic;
use super::source::Source;
use super::tree::Tree;

/// Expands every scalar, and returns what went wrong with those that are lost.
pub(super) fn expand(tree: &mut Tree, source: &Arc<Source>, environment: Environment<'_>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    tree.change_scalars(|span, scalar| {
        if !scalar.text.contains('$') {
            return Ok(());
        }
        let result = expanded(&scalar.text, environment);
        let result = result.map_err(|fault| problems.push(fault.diagnostic(source, span)));
        (scalar.text, scalar.expanded) = result?;
        Ok(())
    });
    problems
}

/// Why a scalar cannot be expanded.
struct Fault {
    /// The expression as it is written.
    written: String,
    message: String,
    help: Option<&'static str>,
}

impl Fault {
    fn new(written: &str, message: String, help: Option<&'static str>) -> Self {
        let written = written.to_owned();
        Self { written, message, help }
    }

    /// Points at the expression, where the text of the scalar shows it as it is.
    fn diagnostic(self, source: &Arc<Source>, scalar: Range<usize>) -> Diagnostic {
        let shown = source.text.get(scalar.clone());
        let span = match shown.and_then(|text| text.find(&self.written)) {
            Some(at) => scalar.start + at..scalar.start + at + self.written.len(),
            None => scalar,
        };
        let diagnostic = Diagnostic::error(source, span, self.message);
        match self.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

/// The text with its variables expanded, and whether there were any.
fn expanded(text: &str, environment: Environment<'_>) -> Result<(String, bool), Fault> {
    let mut result = String::with_capacity(text.len());
    let mut found = false;
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        result.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$$") {
            result.push('$');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix("${") {
            let Some(end) = inner.find('}') else {
                let help = Some("write `$$` for a dollar sign that is meant as such");
                return Err(Fault::new(rest, "`${` without `}`".to_owned(), help));
            };
            result.push_str(&value(&rest[..end + 3], &inner[..end], environment)?);
            found = true;
            rest = &inner[end + 1..];
        } else {
            result.push('$');
            rest = &rest[1..];
        }
    }
    result.push_str(rest);
    Ok((result, found))
}

/// The value of one expression: `written` with its dollar sign and braces, `inner` without.
fn value(written: &str, inner: &str, environment: Environment<'_>) -> Result<String, Fault> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        let help = Some("write `${NAME}` or `${NAME:-default}`, and `$$` for a dollar sign");
        let message = format!("`{written}` is not a variable");
        return Err(Fault::new(written, message, help));
    }
    // As in a shell, a default also stands in for a variable that is empty.
    match (environment(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            let message = format!("the variable `{name}` is not set");
            let help = Some("set it, or give it a default: `${NAME:-default}`");
            Err(Fault::new(written, message, help))
        }
    }
}

/// Whether this is the name of a variable (POSIX, Base Definitions 8.1).
pub(super) fn is_name(name: &str) -> bool {
    let first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let other = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.as_bytes().first().is_some_and(first) && name.bytes().all(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str) -> Result<(String, bool), String> {
        let environment = |name: &str| match name {
            "PORT" => Some("8080".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${PORT}".to_owned()),
            _ => None,
        };
        expanded(text, &environment).map_err(|fault| fault.message)
    }

    #[test]
    fn variables_and_defaults_are_expanded_once() {
        for (text, expected) in [
            ("127.0.0.1:${PORT}", "127.0.0.1:8080"),
            ("${PORT:-1}${PORT}", "80808080"),
            ("${NONE:-9901}", "9901"),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-full}", "full"),
            ("${NONE:-a:-b}", "a:-b"),
            ("${TRICK}", "${PORT}"),
            ("$${PORT} ${PORT}", "${PORT} 8080"),
        ] {
            assert_eq!(result(text), Ok((expected.to_owned(), true)), "{text}");
        }
    }

    #[test]
    fn other_dollar_signs_stand_for_themselves() {
        for (text, expected) in [("^/a$", "^/a$"), ("$PORT", "$PORT"), ("a$$b", "a$b"), ("$", "$")] {
            assert_eq!(result(text), Ok((expected.to_owned(), false)));
        }
    }

    #[test]
    fn what_cannot_be_expanded_is_an_error() {
        for (text, message) in [
            ("${NONE}", "the variable `NONE` is not set"),
            ("a${PORT", "`${` without `}`"),
            ("${}", "`${}` is not a variable"),
            ("${1A}", "`${1A}` is not a variable"),
            ("${A B}", "`${A B}` is not a variable"),
            ("${PORT-1}", "`${PORT-1}` is not a variable"),
        ] {
            assert_eq!(result(text), Err(message.to_owned()), "{text}");
        }
    }
}
