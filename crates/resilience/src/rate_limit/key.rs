//! Keys as a table holds them: short ones in place, longer ones on the heap, and very long ones as a digest, so that
//! nobody fills the memory with the length of keys.

use std::hash::{BuildHasher, RandomState};

/// Up to so many bytes stand in place.
const SHORT: usize = 22;

/// Up to so many bytes are kept.
const LONG: usize = 256;

/// Makes digests of very long keys: SipHash twice, with keys of its own each.
#[derive(Debug, Default)]
pub(super) struct Digests(RandomState, RandomState);

/// A key that somebody asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sought<'k> {
    Bytes(&'k [u8]),
    /// Two different keys have the same with a probability of 2⁻¹²⁸.
    Digest([u64; 2]),
}

/// A key that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
    Digest([u64; 2]),
}

impl Digests {
    #[inline]
    pub(super) fn sought<'k>(&self, key: &'k str) -> Sought<'k> {
        match key.len() {
            0..=LONG => Sought::Bytes(key.as_bytes()),
            _ => Sought::Digest([self.0.hash_one(key), self.1.hash_one(key)]),
        }
    }
}

impl Sought<'_> {
    #[inline]
    pub(super) fn is(&self, key: &Key) -> bool {
        match (self, key) {
            (Self::Bytes(bytes), Key::Short { length, bytes: short }) => {
                short.get(..usize::from(*length)) == Some(*bytes)
            }
            (Self::Bytes(bytes), Key::Long(long)) => **long == **bytes,
            (Self::Digest(digest), Key::Digest(held)) => digest == held,
            _ => false,
        }
    }
}

impl From<Sought<'_>> for Key {
    fn from(key: Sought<'_>) -> Self {
        match key {
            Sought::Digest(digest) => Self::Digest(digest),
            Sought::Bytes(bytes) if bytes.len() > SHORT => Self::Long(bytes.into()),
            Sought::Bytes(bytes) => {
                let mut short = [0; SHORT];
                short[..bytes.len()].copy_from_slice(bytes);
                // At most `SHORT`, as matched above.
                Self::Short { length: u8::try_from(bytes.len()).unwrap_or(0), bytes: short }
            }
        }
    }
}
