//! What was probably meant by a name that does not exist.

/// The candidate that is closest to `name`, if one is close: a third of the letters may be wrong.
pub(super) fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase().replace(['-', ' '], "_");
    let distance = |candidate: &str| strsim::damerau_levenshtein(&folded, candidate);
    let scored = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    let close = distance <= (name.chars().count().max(candidate.chars().count()) / 3).max(1);
    close.then_some(candidate)
}

/// Names in backquotes, with commas between them.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let keys = ["address", "admin", "max_idle", "http2"];
        for (written, meant) in [
            ("adress", Some("address")),
            ("addres", Some("address")),
            ("amdin", Some("admin")),
            ("max-idle", Some("max_idle")),
            ("MaxIdle", Some("max_idle")),
            ("HTTP2", Some("http2")),
            ("listen", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(written, keys), meant, "{written}");
        }
        assert_eq!(closest("a", []), None);
    }
}
