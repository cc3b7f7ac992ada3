//! `cargo xtask fuzz [TARGET...] [--seconds N | --corpus]`: libFuzzer over the targets of `fuzz/`, on stable.
//!
//! What libFuzzer needs from the compiler is coverage counters, and those are ordinary options.
//! Only the address sanitizer needs a nightly compiler; it has little to find where `unsafe` is
//! forbidden, so it is left to whoever wants it: `cargo +nightly fuzz run TARGET --features
//! libfuzzer`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::process::{cargo, output, root, run};

/// What makes a program's branches and comparisons visible to libFuzzer.
const INSTRUMENTED: &str = "\
--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares";

/// Time for each target unless `--seconds` says otherwise.
const SECONDS: &str = "60";

/// How much of the log of a failed run is shown.
const LINES: usize = 40;

/// Builds the targets and runs each for its time. Inputs that reach something new are kept in
/// `target/fuzz-corpus`, an input that breaks a promise in `fuzz/artifacts`; the next step is then
/// a test with that input.
pub(crate) fn run_targets(words: &[String]) -> Outcome {
    let (targets, bound) = parse(words)?;
    let host = host()?;
    let mut build = cargo(&["build", "--profile", "fuzz", "--package", "tidegate-fuzz", "--bins"]);
    // With a target given, build scripts and macros stay as they are.
    run(build.args(["--features", "libfuzzer", "--target", &host]).env("RUSTFLAGS", INSTRUMENTED))?;
    let binaries = root().join("target").join(&host).join("fuzz");
    targets.iter().try_for_each(|target| fuzz(&binaries.join(target), target, &bound))
}

/// One target for its time. What libFuzzer says goes to a file, because most of it is of no use to
/// anybody; its last lines are shown when it found something.
fn fuzz(binary: &Path, target: &str, bound: &str) -> Outcome {
    let found = root().join("target/fuzz-corpus").join(target);
    let artifacts = root().join("fuzz/artifacts").join(target);
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    let log = found.with_extension("log");
    let mut fuzzer = Command::new(binary);
    fuzzer.args([bound, "-timeout=10", "-print_final_stats=1"]);
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.arg(&found).arg(root().join("fuzz/corpus").join(target)).stderr(fs::File::create(&log)?);
    let outcome = run(&mut fuzzer);
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    let shown = if outcome.is_ok() { 0 } else { LINES.min(lines.len()) };
    let runs = lines.iter().filter(|line| line.starts_with("stat::number_of_executed_units"));
    for line in lines[lines.len() - shown..].iter().chain(runs) {
        eprintln!("{line}");
    }
    outcome
}

/// The targets, all of them if none is named, and what bounds each run: a time, where zero seconds
/// mean until something is found, or the inputs that are there, each once, so that every run is alike.
fn parse(words: &[String]) -> Outcome<(Vec<String>, String)> {
    let (mut targets, mut bound) = (Vec::new(), format!("-max_total_time={SECONDS}"));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--seconds" {
            let value = words.next().filter(|value| value.parse::<u32>().is_ok());
            bound = format!("-max_total_time={}", value.ok_or("--seconds takes a whole number")?);
        } else if word == "--corpus" {
            bound = "-runs=0".to_owned();
        } else {
            targets.push(word.clone());
        }
    }
    let known = known()?;
    if let Some(unknown) = targets.iter().find(|target| !known.contains(target)) {
        return Err(format!("no fuzz target {unknown}; there are {}", known.join(", ")).into());
    }
    Ok((if targets.is_empty() { known } else { targets }, bound))
}

/// The targets that exist, by their files.
fn known() -> Outcome<Vec<String>> {
    let mut known = Vec::new();
    for file in fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        known.extend(file?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    known.sort();
    Ok(known)
}

/// The platform this machine builds for.
fn host() -> Outcome<String> {
    let about = output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc does not name its host")?.to_owned())
}
