//! Lets `${NAME:-default}` stand unquoted anywhere, though braces and colons mean something in YAML.
//!
//! `{ address: 127.0.0.1:${PORT} }` is not YAML: a plain scalar between braces ends at the next brace. So
//! before parsing, the characters of each expression that YAML could take for its own become as many
//! private-use characters, which it never does, and after parsing they become themselves again. The number
//! of characters stays the same, and with it every position. Quotes and backslashes are left alone, so that
//! an expression cannot hide the end of a quoted scalar.

use std::borrow::Cow;

use crate::config::expand::is_name;

/// `U+E000` stands for `U+0000`, and so on to the end of ASCII.
const FIRST: u32 = 0xe000;
const LAST: u32 = FIRST + 0x7f;

/// Hides the expressions of a text. A text that has the characters they are hidden by stays as it is.
pub(super) fn mask(text: &str) -> Cow<'_, str> {
    if !text.contains("${") || text.chars().any(|c| (FIRST..=LAST).contains(&c.into())) {
        return Cow::Borrowed(text);
    }
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        masked.push_str(&rest[..start]);
        rest = &rest[start..];
        let length = expression(rest).unwrap_or("${".len());
        let hide = length > "${".len();
        masked.extend(rest[..length].chars().map(|c| if hide { hidden(c) } else { c }));
        rest = &rest[length..];
    }
    masked.push_str(rest);
    Cow::Owned(masked)
}

/// The length of the expression at the start of `text`: it has a name, and ends on the same line.
fn expression(text: &str) -> Option<usize> {
    let end = text.find(['}', '\n', '\r'])?;
    let inner = text[..end].strip_prefix("${")?;
    let name = inner.split_once(":-").map_or(inner, |(name, _)| name);
    (text[end..].starts_with('}') && is_name(name)).then_some(end + 1)
}

fn hidden(character: char) -> char {
    let own = character.is_ascii_punctuation() || character == ' ';
    match character {
        '"' | '\'' | '\\' => character,
        _ if own => char::from_u32(FIRST + u32::from(character)).unwrap_or(character),
        _ => character,
    }
}

/// Shows what was hidden.
pub(super) fn unmask(text: &str) -> String {
    let shown = |character: char| match u32::from(character) {
        hidden @ FIRST..=LAST => char::from_u32(hidden - FIRST).unwrap_or(character),
        _ => character,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_lose_what_yaml_would_take() {
        for text in ["{a: ${B}}", "${A:-[x, y]} # c", "[${A:-b: c #d}, ${E}]"] {
            let masked = mask(text);
            assert_eq!(masked.chars().count(), text.chars().count());
            assert_eq!(unmask(&masked), text);
            assert!(!masked.contains("${"), "{masked}");
        }
    }

    #[test]
    fn everything_else_is_left_alone() {
        for text in ["$A {b}", "${", "${A", "${A\n}", "${1}", "${}", "${A B}", "\u{e041} ${A}"] {
            assert_eq!(mask(text), text);
        }
    }

    #[test]
    fn the_end_of_a_quoted_scalar_is_never_hidden() {
        let masked = mask("\"${A:-\" }");
        assert_eq!(masked.matches('"').count(), 2);
    }
}
