//! The command line.
//!
//! Every command ends the process with 0 when it did what it was asked for, 1 when it could not, and 2 when
//! it was asked for something that does not exist. `run` and `demo` tell two cases of 1 apart: 1 is a
//! configuration that is not valid, 3 is a valid one that cannot be served here and now.

mod demo;
mod diff;
mod explain;
mod run;
mod validate;

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::{self, Diagnostics, Loaded};
use crate::process::{self, Failure};

/// An API gateway: fast, strict, and able to explain every answer.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway with a configuration file
    Run(run::Options),
    /// Try a gateway with three sample services, without any configuration
    Demo(demo::Options),
    /// Check a configuration file, and say everything that is wrong with it
    Validate(validate::Options),
    /// Say what a change of the configuration means: for requests, limits and protection
    Diff(diff::Options),
    /// Say which route answers a request, and why no other does, without sending it
    Explain(explain::Options),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print the version
    Version,
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the reference of the configuration, in Markdown
    #[command(hide = true)]
    Reference,
}

/// How a command shows what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Validate(options) => validate::run(&options),
        Command::Diff(options) => diff::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Schema => print(&format!("{:#}\n", config::schema())),
        Command::Version => print(concat!("tidegate ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Completions { shell } => print(&completions(shell)),
        Command::Reference => print(&config::reference()),
    }
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes to standard output. A reader that has gone away is no reason to panic, as `println!` would.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says why the process did not serve, if so.
fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration(problems)) => {
            show(&problems);
            ExitCode::FAILURE
        }
        Err(Failure::Start(error)) => {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "tidegate cannot start: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// A valid configuration, or nothing and what is wrong with it on standard error.
fn loaded(file: &Path) -> Option<Loaded> {
    process::load(file).inspect_err(show).ok()
}

/// Excerpts on standard error, in colour where it is a terminal and nobody asked for none
/// (<https://no-color.org>).
fn show(found: &Diagnostics) {
    let colour = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    // Where standard error is closed there is nobody to tell.
    let _ = io::stderr().lock().write_all(found.render(colour).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn completions_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(completions(shell).contains("validate"), "{shell}");
        }
    }
}
