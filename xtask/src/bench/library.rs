//! `cargo xtask bench library`: the resilience library beside others.
//!
//! The program is a package outside the workspace, `bench/library`, so that the rivals are neither built nor checked
//! with the product.

use std::process::Command;

use crate::Outcome;
use crate::process::{cargo, root, run as run_command};

/// Where it is built, and where its dependencies are pinned.
const TARGET: &str = "target/library-bench";
const MANIFEST: &str = "bench/library/Cargo.toml";

/// Builds the program and runs it with these words.
pub(super) fn run(words: &[String]) -> Outcome {
    run_command(&mut cargo(&["build", "--quiet", "--release", "--manifest-path", MANIFEST, "--target-dir", TARGET]))?;
    let program = root().join(TARGET).join("release/library-bench");
    run_command(Command::new(program).args(words))
}
