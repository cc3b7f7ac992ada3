//! Texts that nobody writes by mistake.

use proptest::prelude::*;

use super::*;

const FORMATS: [Format; 3] = [Format::Yaml, Format::Json, Format::Toml];

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let names = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{names}]\n"));
    }
    assert_eq!(errors(&text, Format::Yaml), ["6:55 more than 1048576 values, counting what aliases repeat"]);
}

#[test]
fn aliases_that_deepen_are_refused() {
    let mut text = String::from("a0: &a0 [x]\n");
    for level in 1..40 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(errors(&text, Format::Yaml), ["32:12 is nested more than 32 levels deep"]);
}

#[test]
fn deep_nesting_is_refused_in_every_format() {
    for depth in [33, 100_000] {
        let lists = "[".repeat(depth);
        let json = format!("{{\"a\": {lists}{}}}", "]".repeat(depth));
        let toml = format!("a = {lists}{}", "]".repeat(depth));
        let maps = "{a: ".repeat(depth);
        for (text, format) in
            [(lists.as_str(), Format::Yaml), (&maps, Format::Yaml), (&json, Format::Json), (&toml, Format::Toml)]
        {
            let found = errors(text, format);
            let named = |line: &String| line.contains("nested") || line.contains("recursion");
            assert!(found.iter().any(named), "{format:?} {depth} {found:?}");
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_at_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, b"\xef\xbb\xbfworkers: 1\n# \xc3\xbc \xff\xfe\n").expect("the file is written");
    let errors = load(&path, &environment).expect_err("not UTF-8");
    assert_eq!(lines(&errors), ["2:5 is not UTF-8"]);
}

#[test]
fn texts_that_are_too_large_are_refused() {
    let text = "#".repeat((4 << 20) + 1);
    assert_eq!(errors(&text, Format::Yaml), ["0:0 is larger than 4 MiB"]);
    let errors = load(Path::new("/dev/zero"), &environment);
    assert!(errors.is_err());
}

#[test]
fn long_values_are_shortened_in_messages() {
    let text = format!("workers: {}", "x".repeat(100_000));
    let found = errors(&text, Format::Yaml);
    assert!(found[0].len() < 500, "{}", found[0].len());
}

/// Fragments of configurations, in an order that makes no sense.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        Just("listeners"),
        Just("address"),
        Just("routes"),
        Just("upstreams"),
        Just("match"),
        Just("127.0.0.1:0"),
        Just(":"),
        Just(": "),
        Just("- "),
        Just("\n"),
        Just("\r\n"),
        Just("  "),
        Just("\t"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just("\""),
        Just("'"),
        Just("&a "),
        Just("*a"),
        Just("|\n"),
        Just("> "),
        Just("${"),
        Just("${PORT:-x}"),
        Just("$$"),
        Just("\\"),
        Just("\\u00e9"),
        Just("? "),
        Just("!"),
        Just("%"),
        Just("#"),
        Just("---"),
        Just("..."),
        Just("ü"),
        Just("\u{feff}"),
        Just("\u{e07b}"),
        Just("1"),
        Just("="),
        Just("[["),
        Just("null"),
        Just("\u{85}"),
        Just("@"),
        Just("`"),
        Just("<<"),
    ];
    proptest::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat())
}

/// A valid text with a few bytes overwritten.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    let damage = (0..text.len(), any::<char>());
    proptest::collection::vec(damage, 1..4).prop_map(move |damages| {
        let mut characters: Vec<_> = text.chars().collect();
        for (at, character) in damages {
            let length = characters.len();
            characters[at % length] = character;
        }
        characters.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in any::<String>()) {
        for format in FORMATS {
            let _ = errors(&text, format);
        }
    }

    #[test]
    fn no_fragments_make_the_loader_panic(text in fragments()) {
        for format in FORMATS {
            let _ = load_text(&text, format).map_err(|errors| errors.to_string());
        }
    }

    #[test]
    fn no_damage_makes_the_loader_panic(yaml in damaged(YAML), json in damaged(JSON), toml in damaged(TOML)) {
        for (text, format) in [(yaml, Format::Yaml), (json, Format::Json), (toml, Format::Toml)] {
            let _ = load_text(&text, format).map_err(|errors| errors.to_string());
        }
    }
}
