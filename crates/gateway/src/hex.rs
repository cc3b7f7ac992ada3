//! Numbers as lower-case hexadecimal text of a fixed length, without the machinery of `fmt`.

/// The lowest `N` digits of `value`.
pub(crate) fn encode<const N: usize>(value: u128) -> [u8; N] {
    const { assert!(N.is_multiple_of(2) && N <= 32, "whole bytes of a u128") };
    let mut text = [0; N];
    let bytes = value.to_be_bytes();
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(&bytes[16 - N / 2..]) {
        *pair = PAIRS[usize::from(*byte)];
    }
    text
}

/// The two digits of every byte.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [b"0123456789abcdef"[byte >> 4], b"0123456789abcdef"[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The number that `text` spells in lower case, at most 32 digits; `None` for anything else.
pub(crate) fn decode(text: &[u8]) -> Option<u128> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    // A digit that is none sets a high bit, which is looked for once at the end.
    let mut value = 0;
    let mut seen = 0;
    for digit in text {
        let digit = DIGITS[usize::from(*digit)];
        seen |= digit;
        value = value << 4 | u128::from(digit & 15);
    }
    (seen < 16).then_some(value)
}

/// The value of every digit; 255 for what is none.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_is_what_fmt_writes_and_reads_back(value: u128) {
            let text: [u8; 32] = encode(value);
            let expected = format!("{value:032x}");
            prop_assert_eq!(text.as_slice(), expected.as_bytes());
            prop_assert_eq!(decode(&text), Some(value));
            let end: [u8; 6] = encode(value);
            prop_assert_eq!(end.as_slice(), &text[26..]);
        }
    }

    #[test]
    fn only_lower_case_digits_are_read() {
        for text in [b"".as_slice(), b"A", b"g", b" 1", b"+1", b"0x1", &[b'0'; 33]] {
            assert_eq!(decode(text), None, "{text:?}");
        }
        assert_eq!(decode(b"0f"), Some(15));
    }
}
