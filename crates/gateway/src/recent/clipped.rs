//! The start of a text that somebody else chose.

/// Its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clipped {
    bytes: Box<[u8]>,
    /// Whether there was more.
    clipped: bool,
}

impl Clipped {
    pub(super) fn new(bytes: &[u8], clipped: bool) -> Self {
        Self { bytes: bytes.into(), clipped }
    }

    /// Whether this is `text`, and all of it.
    #[must_use]
    pub fn is(&self, text: &[u8]) -> bool {
        !self.clipped && *self.bytes == *text
    }

    /// As text. An ellipsis marks that there was more; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.clipped {
            // A character that was cut in two.
            text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
            text.push('…');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_equals_its_text() {
        for text in ["", "a", "12345678", "€€"] {
            let kept = Clipped::new(text.as_bytes(), false);
            assert_eq!(kept.text(), text);
            assert!(kept.is(text.as_bytes()));
        }
    }

    #[test]
    fn what_is_clipped_is_marked_and_equals_nothing() {
        let kept = Clipped::new(b"12345678", true);
        assert_eq!(kept.text(), "12345678…");
        assert!(!kept.is(b"12345678") && !kept.is(b"123456789"));
        assert_eq!(Clipped::new(&"€€€".as_bytes()[..8], true).text(), "€€…", "no half of a character");
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(Clipped::new(b"a\xffb", false).text(), "a\u{fffd}b");
    }
}
