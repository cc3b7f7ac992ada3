//! The commands that judge a change: tests, documents, and CI as a whole.

use std::process::Command;

use crate::Outcome;
use crate::process::{cargo, root, run};

/// All tests of the workspace. With further words, only what the runner selects by them.
///
/// The tests need no server, no fixed port and no package beyond what compiles the workspace. The
/// runner's summary comes last, so that whoever reads the end of the output sees what counted.
pub(crate) fn test(words: &[String]) -> Outcome {
    if words.is_empty() {
        run(&mut cargo(&["test", "--workspace", "--doc", "--quiet"]))?;
    }
    run(runner().args(words))
}

/// cargo-nextest where it is installed: one process per test, a time limit for each. Else cargo's
/// own runner.
fn runner() -> Command {
    let installed = cargo(&["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    if installed {
        cargo(&["nextest", "run", "--workspace"])
    } else {
        cargo(&["test", "--workspace", "--lib", "--bins", "--tests", "--examples"])
    }
}

/// The list of checks is the file `.ci/run`; this only saves remembering its name.
pub(crate) fn ci(_: &[String]) -> Outcome {
    run(Command::new("bash").arg(".ci/run").current_dir(root()))
}

/// The documentation of our crates, private items included: it is for people who change them, and so links in module
/// documents to what is private are checked and allowed.
pub(crate) fn docs(_: &[String]) -> Outcome {
    let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    run(cargo(&arguments).env("RUSTDOCFLAGS", "-Dwarnings -Arustdoc::private-intra-doc-links"))
}

/// The library's atomics in every order in which threads may meet, by loom. Words select models by name.
///
/// loom's atomics stand in for the real ones under a `cfg`, so that this is another build, in a folder of its own.
pub(crate) fn models(words: &[String]) -> Outcome {
    let filter = words.first().map_or("models", String::as_str);
    let arguments = ["test", "-p", "tidegate-resilience", "--lib", "--no-default-features", "--profile", "fuzz"];
    let folder = ["--target-dir", "target/models", "--", filter];
    run(cargo(&arguments).args(folder).env("RUSTFLAGS", "--cfg tidegate_models"))
}

/// Whether the tests notice when the decisions of the library are changed, by cargo-mutants. Takes hours for all of
/// them; words select files, such as `crates/resilience/src/retry/state.rs`.
pub(crate) fn mutants(words: &[String]) -> Outcome {
    if !cargo(&["mutants", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return Err("cargo-mutants is missing; `cargo install --locked cargo-mutants` installs it".into());
    }
    let all = ["crates/resilience/src/**/state.rs".to_owned()];
    let files = if words.is_empty() { &all[..] } else { words };
    let mut command = cargo(&["mutants", "--package", "tidegate-resilience", "--all-features", "--timeout", "60"]);
    run(files.iter().fold(&mut command, |command, file| command.args(["--file", file])))
}
