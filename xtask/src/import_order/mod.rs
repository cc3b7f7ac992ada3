//! Imports point down: a test, not a command.
//!
//! ARCHITECTURE.md lists the crates, and the modules of each crate, from the ground up. A crate may
//! depend on crates before it, a module may name modules before it in its own folder's line. Tests
//! count like any code: a module whose tests need a higher module cannot be tested alone. The map
//! is read from the document itself, so that it cannot say one thing while the code does another:
//! an unlisted module and a listed module without a file fail as well.
//!
//! What the compiler already refuses is not looked for: a source file can only name crates of its
//! manifest.

mod manifest;
mod order;
mod source;
mod tokens;

use std::path::{Path, PathBuf};

use order::Order;

/// One broken rule, placed so that an editor can jump to it.
#[derive(Debug, PartialEq)]
struct Violation {
    file: PathBuf,
    line: usize,
    message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// Everything in the workspace that is against its map.
fn violations(root: &Path, map: &Path) -> Vec<Violation> {
    let text = read(&root.join(map));
    let order = Order::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", map.display()));
    let mut found = manifest::violations(root, &order);
    for name in order.crates() {
        let folder = root.join("crates").join(name).join("src");
        let sources: Vec<(PathBuf, String)> = rust_files(&folder)
            .into_iter()
            .map(|file| (file.strip_prefix(&folder).expect("found below it").to_owned(), read(&file)))
            .collect();
        let shown = Path::new("crates").join(name).join("src");
        found.extend(source::violations(&order, name, &shown, &sources));
        found.extend(source::listed_without_a_file(&order, name, map, &sources));
    }
    found
}

/// Every Rust file below a folder, in a stable order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("a folder that can be listed").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn imports_point_down() {
    let found = violations(crate::process::root(), Path::new("ARCHITECTURE.md"));
    let report: Vec<String> = found.iter().map(Violation::to_string).collect();
    assert!(found.is_empty(), "imports against the order of ARCHITECTURE.md:\n{}", report.join("\n"));
}
