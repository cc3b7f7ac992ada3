//! The id that names one request in answers, logs and upstreams.
//!
//! Ids are made in the layout of UUID version 7 (RFC 9562 section 5.7), so that they sort by time and every store has
//! a type for them. The random part comes from a fast generator: unlikely to collide, easy to guess, no secret.

use fastrand::Rng;

use crate::hex;

/// The length of an id made here.
pub const LENGTH: usize = 36;
/// The longest id that is taken over from a client.
pub const MAX_LENGTH: usize = 128;

/// A new id for a request that arrived `unix_millis` milliseconds after the epoch; always ASCII.
pub fn make(unix_millis: u64, random: &mut Rng) -> [u8; LENGTH] {
    const VERSION: u128 = 7 << 76;
    const VARIANT: u128 = 0b10 << 62;
    const RANDOM: u128 = (0xfff << 64) | (u64::MAX >> 2) as u128;
    // The time fills the upper 48 bits; what is above them is shifted out, in the year 10889.
    let id = u128::from(unix_millis) << 80 | VERSION | VARIANT | (random.u128(..) & RANDOM);
    let digits: [u8; 32] = hex::encode(id);
    let mut text = [b'-'; LENGTH];
    for (group, at) in [(0..8, 0), (8..12, 9), (12..16, 14), (16..20, 19), (20..32, 24)] {
        text[at..at + group.len()].copy_from_slice(&digits[group]);
    }
    text
}

/// Whether an id that a client sent can be taken over: 1 to 128 letters, digits and `._:/+=-`.
///
/// These are the characters of UUIDs, base64, ULIDs and the ids that load balancers make; none of them means anything
/// to a shell, a log file or a page that shows the id.
#[must_use]
pub fn is_acceptable(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(byte);
    (1..=MAX_LENGTH).contains(&id.len()) && id.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;

    fn id(unix_millis: u64, seed: u64) -> String {
        String::from_utf8(make(unix_millis, &mut Rng::with_seed(seed)).to_vec()).unwrap()
    }

    proptest! {
        #[test]
        fn an_id_is_a_uuid_of_version_7(unix_millis in 0..1_u64 << 48, seed: u64) {
            let id = id(unix_millis, seed);
            let groups: Vec<&str> = id.split('-').collect();
            prop_assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
            prop_assert_eq!(u64::from_str_radix(&groups[..2].concat(), 16).unwrap(), unix_millis);
            prop_assert!(groups[2].starts_with('7'));
            prop_assert!(groups[3].starts_with(['8', '9', 'a', 'b']));
            prop_assert!(is_acceptable(id.as_bytes()));
        }

        #[test]
        fn ids_sort_by_time(earlier in 0..(1_u64 << 48) - 1, seeds: (u64, u64)) {
            prop_assert!(id(earlier, seeds.0) < id(earlier + 1, seeds.1));
        }
    }

    #[test]
    fn the_layout_of_the_rfc() {
        // RFC 9562 appendix A.6: the same time, our own random bits.
        assert!(id(1_645_557_742_000, 1).starts_with("017f22e2-79b0-7"));
        assert_eq!(&id(u64::MAX, 1)[..15], "ffffffff-ffff-7");
    }

    #[test]
    fn every_random_bit_is_used() {
        let mut random = Rng::with_seed(3);
        let ids = std::iter::repeat_with(|| make(0, &mut random)).take(200);
        let number =
            |id: [u8; LENGTH]| hex::decode(&id.into_iter().filter(|&b| b != b'-').collect::<Vec<_>>()).unwrap();
        let (ones, zeros) = ids.map(number).fold((0, 0), |(ones, zeros), id| (ones | id, zeros | !id));
        assert_eq!((ones & zeros).count_ones(), 74, "12 and 62 bits are random");
    }

    #[test]
    fn a_clients_id_is_plain_and_short() {
        for good in ["a", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "Root=1-67891233-abcdef012345678912345678", "a.b_c:d/e+f=g-"] {
            assert!(is_acceptable(good.as_bytes()), "{good}");
        }
        assert!(is_acceptable(&[b'a'; MAX_LENGTH]));
        for bad in ["", "a b", "a\"b", "a<b", "a\r\nb", "a;b", "a,b", "a%00", "\u{e9}", "${jndi}"] {
            assert!(!is_acceptable(bad.as_bytes()), "{bad}");
        }
        assert!(!is_acceptable(&[b'a'; MAX_LENGTH + 1]));
    }
}
