//! Keys for tables: 16 letters each, as short tokens and addresses have.

/// Known keys, asked for in an order that no cache foresees.
pub(super) struct Known {
    keys: Vec<String>,
    next: u64,
}

impl Known {
    pub(super) const COUNT: u64 = 10_000;

    /// A step that has no factor in common with the count, so that every key has its turn.
    const STEP: u64 = 6_007;

    pub(super) fn new() -> Self {
        Self { keys: (0..Self::COUNT).map(key).collect(), next: 0 }
    }

    pub(super) fn next(&mut self) -> &String {
        self.next = (self.next + Self::STEP) % Self::COUNT;
        &self.keys[self.next as usize]
    }
}

/// Keys that nobody has seen before.
pub(super) struct Fresh(String);

impl Fresh {
    pub(super) fn after(count: u64) -> Self {
        Self(key(count))
    }

    /// The next key, made in place by counting up its digits.
    pub(super) fn next(&mut self) -> &String {
        let mut digits = std::mem::take(&mut self.0).into_bytes();
        for digit in digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                break;
            }
            *digit = b'0';
        }
        self.0 = String::from_utf8(digits).expect("digits are text");
        &self.0
    }
}

/// The key with that number.
pub(super) fn key(number: u64) -> String {
    format!("{number:016}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_key_has_its_turn() {
        let mut known = Known::new();
        let seen: std::collections::HashSet<String> = (0..Known::COUNT).map(|_| known.next().clone()).collect();
        assert_eq!(seen.len() as u64, Known::COUNT);
    }

    #[test]
    fn fresh_keys_count_up() {
        let mut fresh = Fresh::after(98);
        assert_eq!([fresh.next().clone(), fresh.next().clone()], [key(99), key(100)]);
    }
}
