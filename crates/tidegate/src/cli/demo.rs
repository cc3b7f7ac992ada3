//! `tidegate demo`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use tidegate_gateway::config::units::Period;

use super::ended;
use crate::demo;

/// Milliseconds of the longest demo: a day.
const LONGEST: u64 = 86_400_000;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// End after this time, such as `30s` or `5m`, instead of on Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    at_most: Option<Duration>,
}

fn time(text: &str) -> Result<Duration, Error> {
    Period::<1, LONGEST>::deserialize(StrDeserializer::new(text)).map(Period::duration)
}

pub(super) fn run(options: &Options) -> ExitCode {
    ended(demo::run(options.at_most))
}
