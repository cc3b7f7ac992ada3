//! Judges of paths: would back ends that decode and resolve in their own ways serve another resource?
//!
//! A gateway authorises one path and a back end serves another when they disagree about dot
//! segments, encoded or backward slashes, doubled slashes, or parameters after `;`. What the gateway
//! forwards must mean the same to all of these models.

/// Two models that resolve a target to different resources.
#[derive(Debug, PartialEq, Eq)]
pub struct PathDisagreement {
    /// The target that was forwarded.
    pub target: String,
    /// Every model and what it resolves the target to.
    pub readings: Vec<(&'static str, String)>,
}

type Model = (&'static str, fn(&str) -> String);

/// Models of servers; each takes the path without its query.
const MODELS: &[Model] = &[
    ("decodes once, then resolves", |path| resolve(&decode(path))),
    ("resolves, then decodes", |path| decode(&resolve(path))),
    ("takes a backslash for a slash", |path| resolve(&decode(path).replace('\\', "/"))),
    ("drops parameters, then resolves", |path| resolve(&decode(&without_parameters(path)))),
    ("decodes, drops parameters, then resolves", |path| resolve(&without_parameters(&decode(path)))),
    ("merges slashes first", |path| resolve(&merged(&decode(path)))),
    ("ends at NUL", |path| resolve(decode(path).split('\0').next().unwrap_or_default())),
];

/// The one path that every model resolves `target` to.
///
/// # Errors
/// When the models disagree.
pub fn agree_on_path(target: &str) -> Result<String, PathDisagreement> {
    let path = target.split(['?', '#']).next().unwrap_or(target);
    let readings: Vec<(&'static str, String)> = MODELS.iter().map(|(name, model)| (*name, model(path))).collect();
    let first = readings[0].1.clone();
    if readings.iter().all(|(_, reading)| *reading == first) {
        return Ok(first);
    }
    Err(PathDisagreement { target: target.to_owned(), readings })
}

/// Decodes escapes; each decoded byte is one character.
fn decode(path: &str) -> String {
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escape = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escape {
            Some(byte) => {
                decoded.push(char::from(byte));
                decoded.push_str(&part[2..]);
            }
            None => {
                decoded.push('%');
                decoded.push_str(part);
            }
        }
    }
    decoded
}

/// RFC 3986 section 5.2.4.
fn resolve(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Parameters of dot segments only: those of other segments are part of the name to every model.
fn without_parameters(path: &str) -> String {
    let bare = |segment: &str| match segment.split(';').next() {
        Some(dots @ ("." | "..")) => dots.to_owned(),
        _ => segment.to_owned(),
    };
    path.split('/').map(bare).collect::<Vec<_>>().join("/")
}

fn merged(path: &str) -> String {
    let mut merged = String::new();
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_mean_one_thing() {
        for target in ["/", "/a/b", "/a/b/", "/a;v=1/b", "/caf%C3%A9?x=/../y", "/a%20b"] {
            assert!(agree_on_path(target).is_ok(), "{:?}", agree_on_path(target));
        }
    }

    #[test]
    fn tricks_mean_different_things() {
        for target in [
            "/a/%2e%2e/b%2fc",
            "/a/..;/b",
            "/a%2f..%2fb",
            "/a\\..\\b",
            "/a/%5c../b",
            "/a//../b",
            "/a%00/../b",
            "/a/..%3b/b",
        ] {
            assert!(agree_on_path(target).is_err(), "{target}: {:?}", agree_on_path(target));
        }
    }
}
