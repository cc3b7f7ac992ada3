//! Names of upstreams and routes, as they appear in logs and metrics.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Flaw;
use crate::config::plan::PathPattern;

/// Bytes of the longest name.
const LONGEST: usize = 128;

/// The name of an upstream.
pub(super) fn upstream(name: &str) -> Result<Arc<str>, Flaw> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > LONGEST || !name.bytes().all(allowed) {
        return Err(Flaw::new(format!("`{}` is not a name", name.escape_debug()))
            .help(format!("take letters, digits, `-`, `_` and `.`, {LONGEST} of them at most")));
    }
    Ok(name.into())
}

/// The name that a route was given.
pub(super) fn route(name: &str) -> Result<Arc<str>, Flaw> {
    if name.is_empty() || name.len() > LONGEST || name.chars().any(char::is_control) {
        return Err(Flaw::new(format!("a name has 1 to {LONGEST} bytes and no control characters")));
    }
    Ok(name.into())
}

/// The name of a route that was given none: what its path looks like.
pub(super) fn derived(path: &PathPattern) -> String {
    let mut name = match path {
        PathPattern::Template(path) => format!("path {path}"),
        PathPattern::Prefix(path) => format!("prefix {path}"),
        PathPattern::Regex(regex) => format!("regex {}", regex.escape_debug()),
        PathPattern::Any => "any path".to_owned(),
    };
    let end = (0..=LONGEST).rev().find(|end| name.is_char_boundary(*end));
    name.truncate(end.unwrap_or(0));
    name
}

/// Names that are taken, and how often each derived one was asked for.
#[derive(Default)]
pub(super) struct Taken {
    names: HashSet<Arc<str>>,
    asked: HashMap<String, usize>,
}

impl Taken {
    /// Takes `name`; `false` when somebody has it already.
    pub(super) fn take(&mut self, name: &Arc<str>) -> bool {
        self.names.insert(Arc::clone(name))
    }

    /// Takes `name`, or the first of `name #2`, `name #3` and so on that is free.
    pub(super) fn take_numbered(&mut self, name: &str) -> Arc<str> {
        loop {
            let asked = self.asked.entry(name.to_owned()).or_insert(0);
            *asked += 1;
            let numbered: Arc<str> = match *asked {
                1 => name.into(),
                number => format!("{name} #{number}").into(),
            };
            if self.take(&numbered) {
                return numbered;
            }
        }
    }
}
