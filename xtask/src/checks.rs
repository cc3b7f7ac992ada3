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
