//! Configuration texts: every text is accepted or explained, and what is accepted means the same when it is written out
//! and read again.

use tidegate::config::{Format, load_str};

/// The first byte says how the rest is written: `j` for JSON, `t` for TOML, anything else for YAML.
///
/// # Panics
/// When a text is neither accepted nor explained, or a document changes by being written out.
pub fn check(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let format = match choice {
        b'j' => Format::Json,
        b't' => Format::Toml,
        _ => Format::Yaml,
    };
    let variable = |name: &str| (name == "PORT").then(|| "8080".to_owned());
    match load_str("fuzz", text, format, &variable) {
        Err(explained) => assert!(!explained.to_string().is_empty(), "refused without a word"),
        Ok(loaded) => {
            let written = serde_json::to_string(&loaded.document).expect("a document can be written");
            // What looks like a variable would be replaced a second time.
            if !written.contains('$') {
                let again = load_str("again", &written, Format::Json, &variable).expect("what was written is accepted");
                assert_eq!(again.document, loaded.document, "{written}");
            }
        }
    }
}
