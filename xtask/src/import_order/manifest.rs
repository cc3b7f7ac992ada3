//! Edges between crates, as their manifests declare them.

use std::path::Path;

use super::order::Order;
use super::{Violation, read};

/// Dependencies that point up, over all crates of the map, and crates that the map leaves out.
pub(super) fn violations(root: &Path, order: &Order) -> Vec<Violation> {
    let folders = std::fs::read_dir(root.join("crates")).expect("the folder of the crates");
    let mut found = Vec::new();
    for folder in folders {
        let name = folder.expect("a folder that can be listed").file_name().to_string_lossy().into_owned();
        let file = Path::new("crates").join(&name).join("Cargo.toml");
        found.extend(edges_up(order, &name, &read(&root.join(&file))).into_iter().map(|(line, message)| Violation {
            file: file.clone(),
            line,
            message,
        }));
    }
    found
}

/// The lines of one manifest that are against the order, with what is wrong.
///
/// A dependency for tests may also name the last crate of the map, which exists for tests.
fn edges_up(order: &Order, name: &str, manifest: &str) -> Vec<(usize, String)> {
    let crates = order.crates();
    let height = |wanted: &str| crates.iter().position(|listed| listed == wanted);
    let Some(own) = height(name) else {
        return vec![(1, format!("crate {name} is not listed under `crates`"))];
    };
    let mut section = "";
    let mut found = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim();
        }
        let Some(other) = our_crate(line).filter(|_| section.ends_with("dependencies]")) else {
            continue;
        };
        let for_tests = section.contains("dev-dependencies") && crates.last().is_some_and(|last| last == other);
        match height(other) {
            Some(height) if height < own || for_tests => {}
            Some(_) => found.push((index + 1, format!("{name} may not depend on {other}, which stands above it"))),
            None => found.push((index + 1, format!("crate {other} is not listed under `crates`"))),
        }
    }
    found
}

/// The folder of one of our crates, when a manifest line declares a dependency on it.
fn our_crate(line: &str) -> Option<&str> {
    let package = line.split(['.', '=', ' ']).next()?;
    if package == "tidegate" { Some(package) } else { package.strip_prefix("tidegate-") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(name: &str, manifest: &str) -> Vec<usize> {
        let order = Order::parse("```order\ncrates: wire gateway testkit\n```").expect("a good map");
        edges_up(&order, name, manifest).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn a_dependency_on_a_higher_crate_is_found() {
        assert_eq!(lines("wire", "[dependencies]\nbytes = \"1\"\ntidegate-gateway.workspace = true\n"), [3]);
        assert_eq!(lines("gateway", "[dependencies]\ntidegate-wire.workspace = true\n"), []);
        assert_eq!(lines("gateway", "[dependencies]\ntidegate-cellar = { path = \"x\" }\n"), [2]);
    }

    #[test]
    fn the_crate_for_tests_is_for_tests_only() {
        assert_eq!(lines("wire", "[dev-dependencies]\ntidegate-testkit.workspace = true\n"), []);
        assert_eq!(lines("wire", "[dependencies]\ntidegate-testkit.workspace = true\n"), [2]);
        assert_eq!(lines("wire", "[dev-dependencies]\ntidegate-gateway.workspace = true\n"), [2]);
    }

    #[test]
    fn a_crate_outside_the_map_is_found() {
        assert_eq!(lines("cellar", "[package]\n"), [1]);
    }
}
