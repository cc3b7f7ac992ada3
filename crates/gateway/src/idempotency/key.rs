//! What a client writes as `Idempotency-Key`, and what requests are told apart by.

use super::KeyFault;
use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use tidegate_wire::fields::Fields;

/// The field with the key.
const FIELD: &str = "idempotency-key";

/// The most bytes of a key.
const MOST: usize = 255;

/// The key of a request, if it has one.
pub(crate) fn read(fields: &Fields) -> Result<Option<Vec<u8>>, KeyFault> {
    let mut values = fields.named(FIELD);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value).map(Some).ok_or(KeyFault::Malformed),
        (Some(_), Some(_)) => Err(KeyFault::Malformed),
    }
}

/// A string in quotes (RFC 9651 §3.3.3), as the draft has it, or the same without quotes, as most clients write it.
/// Both spellings of one key are one key.
fn parse(value: &[u8]) -> Option<Vec<u8>> {
    let key = match value.strip_prefix(b"\"") {
        Some(rest) => quoted(rest)?,
        None => value.iter().all(|byte| is_bare(*byte)).then(|| value.to_vec())?,
    };
    (1..=MOST).contains(&key.len()).then_some(key)
}

/// What stands in front of the closing quote, which has to be the end: the draft knows no parameters.
fn quoted(rest: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    let mut bytes = rest.iter().copied();
    loop {
        match bytes.next()? {
            b'"' => return bytes.next().is_none().then_some(key),
            b'\\' => key.push(bytes.next().filter(|byte| matches!(byte, b'"' | b'\\'))?),
            byte @ b' '..=b'~' => key.push(byte),
            _ => return None,
        }
    }
}

/// Whatever can be seen and means nothing in a list or an item: two fields that somebody has put together are no key.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"\\,;".contains(&byte)
}

/// Stands for bytes of any length: their SHA-256. Two that are the same were made of the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id([u8; SHA256_OUTPUT_LEN]);

impl Id {
    /// Of all of these together. Each goes in with its length, so that no byte can move from one to the next.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut id = [0; SHA256_OUTPUT_LEN];
        id.copy_from_slice(context.finish().as_ref());
        Self(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[&[u8]]) -> Result<Option<Vec<u8>>, KeyFault> {
        let mut fields = Fields::default();
        values.iter().for_each(|value| fields.append("Idempotency-Key", value));
        read(&fields)
    }

    #[test]
    fn a_key_is_a_string_with_quotes_or_without() {
        assert_eq!(of(&[]), Ok(None));
        for (value, key) in [
            (r#""8e03978e-40d5-43dd-bc93-6894a57f9324""#, "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            (" \t1 ", "1"),
            (r#""a \"b\" \\ c, d; e""#, r#"a "b" \ c, d; e"#),
            ("user:7/order=1+!", "user:7/order=1+!"),
        ] {
            assert_eq!(of(&[value.as_bytes()]), Ok(Some(key.as_bytes().to_vec())), "{value}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_key() {
        for value in [
            "",
            "\"\"",
            "\"a",
            "a\"",
            "\"a\"b",
            "\"a\";p=1",
            "\"a\", \"b\"",
            "a,b",
            "a;b",
            "a b",
            "a\\b",
            "\"a\\b\"",
            "\"a\tb\"",
            "\"",
            "\"\\",
        ] {
            assert_eq!(of(&[value.as_bytes()]), Err(KeyFault::Malformed), "{value}");
        }
        assert_eq!(of(&[b"\xc3\xa9"]), Err(KeyFault::Malformed));
        assert_eq!(of(&[b"\"\xc3\xa9\""]), Err(KeyFault::Malformed));
        assert_eq!(of(&[b"a", b"a"]), Err(KeyFault::Malformed), "also where both say the same");
    }

    #[test]
    fn a_key_has_a_bound() {
        let longest = vec![b'x'; MOST];
        assert_eq!(of(&[&longest]), Ok(Some(longest.clone())));
        assert_eq!(of(&[&[&longest[..], b"x"].concat()]), Err(KeyFault::Malformed));
        let quoted = [b"\"", &longest[..], b"\""].concat();
        assert_eq!(of(&[&quoted]), Ok(Some(longest)));
    }

    proptest! {
        #[test]
        fn whatever_can_be_said_can_be_quoted(key in "[ -~]{1,255}") {
            let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(parse(quoted.as_bytes()), Some(key.into_bytes()));
        }

        #[test]
        fn no_bytes_break_it(value in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(key) = parse(&value) {
                prop_assert!((1..=MOST).contains(&key.len()) && key.iter().all(|byte| (b' '..=b'~').contains(byte)));
            }
        }
    }

    #[test]
    fn bytes_do_not_move_from_one_part_to_the_next() {
        assert_eq!(Id::of(&[b"a", b"b"]), Id::of(&[b"a", b"b"]));
        assert_ne!(Id::of(&[b"ab", b""]), Id::of(&[b"a", b"b"]));
        assert_ne!(Id::of(&[b"a", b"b"]), Id::of(&[b"b", b"a"]));
        assert_ne!(Id::of(&[b"a"]), Id::of(&[b"a", b""]));
    }
}
