//! What may be written after `bench idle`, `bench slow`, `bench flood` and `bench failures`: numbers, and the program to measure.

use std::path::PathBuf;

use super::super::candidate::built;
use crate::Outcome;

/// A number that can be chosen: its option, its default and what it means.
pub(super) type Number = (&'static str, u64, &'static str);

/// What was chosen.
pub(super) struct Options {
    /// The program to measure.
    pub(super) program: PathBuf,
    /// One number for each option, in their order.
    pub(super) numbers: Vec<u64>,
}

/// Reads the words behind a command; nothing when help was asked for, which is printed. Without a
/// program, one is built.
pub(super) fn parse(command: &str, known: &[Number], words: &[String]) -> Outcome<Option<Options>> {
    match read(known, words)? {
        None => {
            print!("{}", usage(command, known));
            Ok(None)
        }
        Some((Some(program), numbers)) => Ok(Some(Options { program, numbers })),
        Some((None, numbers)) => Ok(Some(Options { program: built()?, numbers })),
    }
}

type Read = (Option<PathBuf>, Vec<u64>);

fn read(known: &[Number], words: &[String]) -> Outcome<Option<Read>> {
    let mut program = None;
    let mut numbers: Vec<u64> = known.iter().map(|(_, default, _)| *default).collect();
    let mut words = words.iter();
    while let Some(option) = words.next() {
        if matches!(option.as_str(), "--help" | "-h") {
            return Ok(None);
        }
        let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
        if option == "--tidegate" {
            program = Some(value.into());
            continue;
        }
        let place = known.iter().position(|(name, ..)| name == option);
        let number = value.parse().map_err(|_| format!("{option} takes a whole number"))?;
        numbers[place.ok_or_else(|| format!("no option {option}"))?] = number;
    }
    Ok(Some((program, numbers)))
}

fn usage(command: &str, known: &[Number]) -> String {
    let head = format!("cargo xtask bench {command} [OPTIONS]\n\n");
    let numbers =
        known.iter().map(|(name, default, meaning)| format!("  {name:<15} N  {meaning} (default {default})\n"));
    let program = "  --tidegate   FILE  an executable to measure, instead of building one from this tree\n";
    numbers.fold(head, |text, line| text + &line) + program
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Number] = &[("--clients", 10, "clients"), ("--rounds", 3, "rounds")];

    fn read_line(line: &str) -> Outcome<Option<Read>> {
        read(KNOWN, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn numbers_replace_their_defaults() {
        let (program, numbers) = read_line("--rounds 5 --tidegate /tmp/gate").expect("good").expect("no help");
        assert_eq!((program, numbers), (Some("/tmp/gate".into()), vec![10, 5]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in ["--rounds", "--rounds x", "--fast 1", "--clients -1"] {
            assert!(read_line(line).is_err(), "{line}");
        }
        assert!(read_line("--help").expect("help is no mistake").is_none());
    }
}
