//! The project's commands: `cargo xtask COMMAND`.
//!
//! Standard library only, so that the first thing a newcomer types compiles in seconds. A command
//! here runs other programs in the right order; no logic of the gateway lives in this crate. The
//! test that holds imports to the order of ARCHITECTURE.md lives here too, because this is the only
//! crate that looks at all others.

mod bench;
mod checks;
mod fuzz;
#[cfg(test)]
mod import_order;
mod process;

use std::process::ExitCode;

/// What a command returns; the message is shown to the person who typed it.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A command: its name, what it does in one line, and the function that does it.
type Command = (&'static str, &'static str, fn(&[String]) -> Outcome);

const COMMANDS: &[Command] = &[
    ("test", "all tests; further words go to the test runner", checks::test),
    ("ci", "everything a change must pass (.ci/run)", checks::ci),
    ("docs", "the API documentation, warnings denied", checks::docs),
    ("fuzz", "fuzz targets: [TARGET...] [--seconds N | --corpus]", fuzz::run_targets),
    ("models", "the library's atomics in every order, by loom: [NAME]", checks::models),
    ("mutants", "whether the library's tests notice changes: [FILE...]", checks::mutants),
    ("bench", "a comparison with nginx, HAProxy and Envoy; of the library: bench library", bench::run),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = words.split_first() else {
        return usage();
    };
    let Some((_, _, run)) = COMMANDS.iter().find(|(known, ..)| known == name) else {
        eprintln!("xtask: no command `{name}`");
        return usage();
    };
    match run(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("cargo xtask COMMAND\n");
    for (name, summary, _) in COMMANDS {
        eprintln!("  {name:<7} {summary}");
    }
    ExitCode::from(2)
}
