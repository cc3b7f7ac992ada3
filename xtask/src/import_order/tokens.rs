//! Rust source as the tokens that matter for paths: names, `::`, and punctuation. Comments,
//! strings, characters, lifetimes and numbers are passed over.

/// One token and the line it stands on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// An identifier or keyword.
    Name(String),
    /// `::`
    Separator,
    /// Any other character that is not white space.
    Mark(char),
}

/// Splits a source text into tokens.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source, line: 1 };
    let mut found = Vec::new();
    while let Some(first) = reader.rest.chars().next() {
        let line = reader.line;
        if let Some(kind) = reader.next(first) {
            found.push(Token { line, kind });
        }
    }
    found
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Takes one lexical element; white space and what is passed over give nothing.
    fn next(&mut self, first: char) -> Option<Kind> {
        if self.rest.starts_with("//") {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if first == '"' {
            self.string();
        } else if first == '\'' {
            self.character_or_lifetime();
        } else if self.rest.starts_with("::") {
            self.take(2);
            return Some(Kind::Separator);
        } else if is_name(first) {
            return self.name_or_literal(first);
        } else {
            self.take(first.len_utf8());
            return (!first.is_whitespace()).then_some(Kind::Mark(first));
        }
        None
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Block comments nest in Rust.
    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            let (step, change) = if self.rest.starts_with("/*") {
                (2, 1)
            } else if self.rest.starts_with("*/") {
                (2, -1)
            } else {
                (self.rest.chars().next().map_or(0, char::len_utf8), 0)
            };
            self.take(step);
            depth += change;
            if depth == 0 || step == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.take(1);
        while let Some(at) = self.rest.find(['"', '\\']) {
            let escaped = self.rest[at..].starts_with('\\');
            self.take(at + 1);
            if !escaped {
                return;
            }
            self.take(self.rest.chars().next().map_or(0, char::len_utf8));
        }
        self.take(self.rest.len());
    }

    fn raw_string(&mut self, hashes: usize) {
        self.take(hashes + 1);
        let end = format!("\"{}", "#".repeat(hashes));
        self.take(self.rest.find(&end).map_or(self.rest.len(), |at| at + end.len()));
    }

    /// `'a'` and `'\n'` are characters, `'a` is a lifetime.
    fn character_or_lifetime(&mut self) {
        self.take(1);
        let mut characters = self.rest.chars();
        let Some(first) = characters.next() else {
            return;
        };
        if first == '\\' {
            self.take(1);
            self.take(self.rest.chars().next().map_or(0, char::len_utf8));
            self.take(self.rest.find('\'').map_or(self.rest.len(), |at| at + 1));
        } else if characters.next() == Some('\'') {
            self.take(first.len_utf8() + 1);
        } else {
            self.take(self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len()));
        }
    }

    /// A name, or the literal that begins with one: `r"..."`, `br#"..."#`, `c"..."`, `b'x'`,
    /// `1_000u64`.
    fn name_or_literal(&mut self, first: char) -> Option<Kind> {
        let name = self.take(self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len()));
        if first.is_ascii_digit() {
            return None;
        }
        let hashes = self.rest.len() - self.rest.trim_start_matches('#').len();
        let quoted = self.rest[hashes..].starts_with('"');
        match name {
            "r" | "br" | "cr" if quoted => self.raw_string(hashes),
            "b" | "c" if quoted && hashes == 0 => self.string(),
            "b" if self.rest.starts_with('\'') => self.character_or_lifetime(),
            "r" if hashes == 1 => _ = self.take(1),
            _ => return Some(Kind::Name(name.to_owned())),
        }
        None
    }
}

fn is_name(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<(usize, String)> {
        let names = tokens(source).into_iter().filter_map(|token| match token.kind {
            Kind::Name(name) => Some((token.line, name)),
            _ => None,
        });
        names.collect()
    }

    #[test]
    fn what_is_not_code_is_passed_over() {
        let source = r####"
            // a
            /* b /* c */ d */ one
            "e \" f" r#"g " h"# br##"i "# j"## b"k" c"l" '"' '\'' b'\\' two
            'life: 0x1f_u64 1e9 r#three
        "####;
        assert_eq!(names(source), [(3, "one".to_owned()), (4, "two".to_owned()), (5, "three".to_owned())]);
    }

    #[test]
    fn lines_go_on_through_strings_and_comments() {
        assert_eq!(names("\"a\nb\"\n/*\n*/ x"), [(4, "x".to_owned())]);
    }

    #[test]
    fn an_unfinished_element_ends_the_source() {
        for source in ["/* x", "\"x", "r#\"x", "'\\", "'", "\"\\"] {
            assert_eq!(names(source), [], "{source}");
        }
    }
}
