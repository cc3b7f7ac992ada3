//! `tidegate run`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::ended;
use crate::process;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration file, which ends in .yaml, .yml, .json or .toml
    #[arg(long, short, value_name = "FILE", default_value = "tidegate.yaml")]
    config: PathBuf,
}

pub(super) fn run(options: &Options) -> ExitCode {
    ended(process::run(&options.config))
}
