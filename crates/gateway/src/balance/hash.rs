//! SipHash-2-4 (Aumasson and Bernstein 2012).
//!
//! A hash that decides where requests go has to be the same in every process, on every machine and in
//! every version, which neither the standard library nor the hashers of maps promise. It is keyed, so
//! that what is hashed cannot be told from the hash without the key.

/// Hashes with one key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hasher {
    key: [u64; 2],
}

impl Hasher {
    /// For keys of requests and places in tables. Never to be changed: requests would move.
    pub(crate) const FIXED: Self = Self { key: [0x7469_6465_6761_7465, 0x6261_6c61_6e63_6572] };

    /// A hasher whose key is made of a text.
    pub(crate) fn keyed(text: &str) -> Self {
        let half = |number: u64| Self { key: [Self::FIXED.key[0], number] }.hash(text.as_bytes());
        Self { key: [half(0), half(1)] }
    }

    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        let [k0, k1] = self.key;
        let mut state = State([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ]);
        let (words, rest) = bytes.as_chunks();
        for word in words {
            state.take(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = bytes.len().to_le_bytes()[0];
        state.take(u64::from_le_bytes(last));
        state.0[2] ^= 0xff;
        (0..4).for_each(|_| state.round());
        state.0.iter().fold(0, |hash, word| hash ^ word)
    }
}

struct State([u64; 4]);

impl State {
    fn take(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    fn round(&mut self) {
        let [mut v0, mut v1, mut v2, mut v3] = self.0;
        v0 = v0.wrapping_add(v1);
        v1 = v1.rotate_left(13) ^ v0;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v3);
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.wrapping_add(v3);
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v2 = v2.rotate_left(32);
        self.0 = [v0, v1, v2, v3];
    }
}

/// Two hashes made one, for the score of a request at an endpoint (the finalizer of MurmurHash3).
pub(super) fn mix(key: u64, id: u64) -> u64 {
    let mut mixed = key ^ id;
    mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ mixed >> 33
}

/// A hash as a position among `count`.
pub(super) fn position(hash: u64, count: usize) -> usize {
    usize::try_from(hash % count as u64).unwrap_or(0)
}

/// A hash as a number above 0, up to 1.
pub(super) fn fraction(hash: u64) -> f64 {
    ((hash >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors that the authors published: bytes 0, 1, 2, ... under the key 0, 1, ... 15.
    #[test]
    fn hashes_are_those_of_the_paper() {
        let hasher = Hasher { key: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908] };
        let bytes: Vec<u8> = (0..15).collect();
        assert_eq!(hasher.hash(&bytes), 0xa129_ca61_49be_45e5);
        assert_eq!(hasher.hash(b""), 0x726f_db47_dd0e_0e31);
        assert_eq!(hasher.hash(&bytes[..8]), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn keys_separate() {
        let hashers = [Hasher::FIXED, Hasher::keyed("a"), Hasher::keyed("b")];
        let hashes = hashers.map(|hasher| hasher.hash(b"10.0.0.1:80"));
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
    }
}
