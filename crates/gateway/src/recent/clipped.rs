//! The start of a text that somebody else chose, in a place of fixed size.

/// At most `N` bytes.
#[derive(Debug, Clone, Copy)]
pub struct Clipped<const N: usize> {
    bytes: [u8; N],
    length: usize,
    /// Whether there was more.
    clipped: bool,
}

impl<const N: usize> Clipped<N> {
    /// The first bytes of `text`.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        let kept = &text[..text.len().min(N)];
        let mut bytes = [0; N];
        bytes[..kept.len()].copy_from_slice(kept);
        Self { bytes, length: kept.len(), clipped: text.len() > N }
    }

    /// Keeps the first bytes of another text instead.
    pub(crate) fn set(&mut self, text: &[u8]) {
        self.length = text.len().min(N);
        self.clipped = text.len() > N;
        self.bytes[..self.length].copy_from_slice(&text[..self.length]);
    }

    /// What was kept.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Whether there was no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether this is `text`, and all of it.
    #[must_use]
    pub fn is(&self, text: &[u8]) -> bool {
        !self.clipped && self.as_bytes() == text
    }

    /// As text. An ellipsis marks that there was more; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(self.as_bytes()).into_owned();
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
    fn what_fits_is_kept_whole() {
        for text in ["", "a", "12345678", "€€"] {
            let kept = Clipped::<8>::new(text.as_bytes());
            assert_eq!(kept.text(), text);
            assert!(kept.is(text.as_bytes()));
            assert_eq!(kept.is_empty(), text.is_empty());
        }
    }

    #[test]
    fn what_does_not_fit_is_marked_and_equals_nothing() {
        let kept = Clipped::<8>::new(b"123456789");
        assert_eq!(kept.text(), "12345678…");
        assert!(!kept.is(b"12345678") && !kept.is(b"123456789"));
        assert_eq!(Clipped::<8>::new("€€€".as_bytes()).text(), "€€…", "no half of a character");
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(Clipped::<8>::new(b"a\xffb").text(), "a\u{fffd}b");
    }
}
