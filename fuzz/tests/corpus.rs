//! The corpora, and small changes to every input in them, through all targets.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_fuzz::TARGETS;

/// Bytes that parsers trip over.
const SPITEFUL: &[u8] = b"\0\t\n\r \"%+,-./05:;=?@Aax_\x7f\x80\xff";

/// Longer inputs are tried as they are; changing each of their bytes would take minutes.
const CHANGED_UP_TO: usize = 512;

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files
        .map(|file| {
            let path = file.expect("a folder that can be listed").path();
            let bytes = fs::read(&path).expect("a file that can be read");
            (path, bytes)
        })
        .collect()
}

fn run(target: &str, changed: impl Fn(&[u8], &mut dyn FnMut(&[u8]))) {
    let (_, check) = TARGETS.iter().find(|(name, _)| *name == target).expect("a known target");
    let inputs = inputs(target);
    assert!(!inputs.is_empty(), "{target} has no corpus");
    for (path, bytes) in inputs {
        let mut last = Vec::new();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            changed(&bytes, &mut |input| {
                input.clone_into(&mut last);
                check(input);
            });
        }));
        assert!(outcome.is_ok(), "from {}: {}", path.display(), last.escape_ascii());
    }
}

/// The input itself, every beginning of it, and every byte replaced, doubled and left out.
fn everything_near(bytes: &[u8], check: &mut dyn FnMut(&[u8])) {
    check(bytes);
    if bytes.len() > CHANGED_UP_TO {
        return;
    }
    for at in 0..bytes.len() {
        let (before, after) = (&bytes[..at], &bytes[at + 1..]);
        check(before);
        check(&[before, after].concat());
        check(&[before, &bytes[at..=at], &bytes[at..]].concat());
        for spiteful in SPITEFUL {
            check(&[before, &[*spiteful], after].concat());
        }
    }
}

macro_rules! corpora {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            run(stringify!($target), everything_near);
        })*

        #[test]
        fn every_target_has_a_test() {
            assert_eq!(TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [$(stringify!($target)),*]);
        }
    };
}

corpora! { chunked head_round_trip path proxy_protocol request_head response_head }
