//! Texts that somebody else chose, clipped, one behind the other: most are short, and what is not touched of a place
//! costs nothing.

use super::clipped::Clipped;

/// How many bytes of each are kept, in the order of [`Which`].
const MOST: [usize; 4] = [128, 24, 64, 128];

/// Room for all of them.
const ROOM: usize = MOST[0] + MOST[1] + MOST[2] + MOST[3];

/// One of the texts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    RequestId,
    Method,
    Host,
    Path,
}

/// The texts of one exchange.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    /// Where each of them ends.
    ends: [u16; MOST.len()],
    /// Whether there was more.
    clipped: [bool; MOST.len()],
    bytes: [u8; ROOM],
}

impl Default for Texts {
    fn default() -> Self {
        Self { ends: [0; MOST.len()], clipped: [false; MOST.len()], bytes: [0; ROOM] }
    }
}

impl Texts {
    /// Keeps the first bytes of these instead, in the order of [`Which`].
    pub(super) fn set(&mut self, texts: [&[u8]; MOST.len()]) {
        let mut end = 0;
        for (which, text) in texts.into_iter().enumerate() {
            let length = text.len().min(MOST[which]);
            self.bytes[end..end + length].copy_from_slice(&text[..length]);
            end += length;
            self.ends[which] = u16::try_from(end).unwrap_or(u16::MAX);
            self.clipped[which] = length < text.len();
        }
    }

    pub(super) fn get(&self, which: Which) -> Clipped {
        let which = which as usize;
        let start = which.checked_sub(1).map_or(0, |before| self.ends[before].into());
        Clipped::new(&self.bytes[start..self.ends[which].into()], self.clipped[which])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(texts: &Texts) -> [String; 4] {
        [Which::RequestId, Which::Method, Which::Host, Which::Path].map(|which| texts.get(which).text())
    }

    #[test]
    fn each_text_is_its_own() {
        let mut texts = Texts::default();
        assert_eq!(shown(&texts), ["", "", "", ""]);
        texts.set([b"id", b"GET", b"", b"/a"]);
        assert_eq!(shown(&texts), ["id", "GET", "", "/a"]);
        texts.set([b"", b"", b"h", b""]);
        assert_eq!(shown(&texts), ["", "", "h", ""]);
    }

    #[test]
    fn each_text_is_clipped_for_itself() {
        let long = [b'x'; 200];
        let mut texts = Texts::default();
        texts.set([&long, &long, &long, &long]);
        for (text, most) in shown(&texts).iter().zip(MOST) {
            assert_eq!(*text, format!("{}…", "x".repeat(most)));
        }
        texts.set([&long[..128], &long[..24], &long[..64], &long[..128]]);
        assert!(shown(&texts).iter().all(|text| !text.contains('…')));
    }
}
