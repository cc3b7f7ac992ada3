//! `tidegate validate`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Format, print, show};
use crate::config::{Diagnostics, Loaded};
use crate::process;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration file, which ends in .yaml, .yml, .json or .toml
    #[arg(default_value = "tidegate.yaml")]
    file: PathBuf,

    /// How to show what was found: text on standard error, JSON on standard output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(options: &Options) -> ExitCode {
    let result = process::load(&options.file);
    let valid = result.is_ok();
    let found = match &result {
        Ok(loaded) => &loaded.warnings,
        Err(errors) => errors,
    };
    let printed = match options.format {
        Format::Json => print(&format!("{:#}\n", report(options, found, valid))),
        Format::Text => {
            show(found);
            result.as_ref().map_or(ExitCode::FAILURE, |loaded| print(&summary(options, loaded)))
        }
    };
    match valid {
        true => printed,
        false => ExitCode::FAILURE,
    }
}

fn report(options: &Options, found: &Diagnostics, valid: bool) -> serde_json::Value {
    let file = options.file.display().to_string();
    json!({ "file": file, "valid": valid, "problems": found.to_json() })
}

fn summary(options: &Options, loaded: &Loaded) -> String {
    let plan = &loaded.plan;
    let counts = [
        counted(plan.listeners.len(), "listener"),
        counted(plan.upstreams.len(), "upstream"),
        counted(plan.routes.len(), "route"),
    ];
    format!("{} is valid: {}\n", options.file.display(), counts.join(", "))
}

fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}
