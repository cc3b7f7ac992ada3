//! The command line.
//!
//! Every command ends the process with 0 when it did what it was asked for, 1 when it could not, and 2 when
//! it was asked for something that does not exist.

mod validate;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config;

/// An API gateway: fast, strict, and able to explain every answer.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration, and say everything that is wrong with it
    Validate(validate::Options),
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

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Validate(options) => validate::run(&options),
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
