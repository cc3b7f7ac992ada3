//! Request targets: the normal form is a fixed point, and nothing in it climbs or hides.

use tidegate_gateway::path::{RequestTarget, normalize};

/// # Panics
/// When normalising twice changes anything, or when a normal form has what it must not have.
pub fn check(data: &[u8]) {
    let Ok(target) = RequestTarget::parse(data, data.len()) else { return };
    let Ok(normal) = target.normalize() else { return };
    let path = normal.as_str(target.path);
    if !path.starts_with('/') {
        // `*`, or the nothing of the authority form.
        assert!(matches!(path, "*" | ""), "{path:?}");
        return;
    }
    let again = normalize(path).expect("a normal form is refused");
    assert_eq!(again.as_str(path), path, "a normal form has another one");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path:?}");
    assert!(!path.contains("//") && !path.contains(['\\', '#', '?']), "{path:?}");
    for segment in path.split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        assert!(!matches!(name, "." | ".."), "{path:?} climbs");
    }
    escapes_are_needed(path);
}

/// Escapes are in upper case, and none stands for a character that needs none or for a control.
fn escapes_are_needed(path: &str) {
    for escape in path.split('%').skip(1) {
        let digits = escape.get(..2).expect("two digits behind every %");
        let byte = u8::from_str_radix(digits, 16).expect("hex digits");
        assert_eq!(digits, digits.to_ascii_uppercase());
        assert!(!byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte), "%{digits} hides a plain character");
        assert!(!byte.is_ascii_control(), "%{digits} is a control character");
    }
}
