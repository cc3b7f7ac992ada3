//! What may be written after `cargo xtask bench`.

use std::path::PathBuf;
use std::time::Duration;

use super::scenario::{SCENARIOS, Scenario};
use crate::Outcome;

/// The help text.
pub(super) const USAGE: &str = "\
cargo xtask bench [OPTIONS]
cargo xtask bench idle|slow --help     memory of idle connections; honest clients beside slow ones
cargo xtask bench failures --help      what clients notice of upstreams that fail
cargo xtask bench library --help       the resilience library beside others

  --scenario A,B       get, post-10k, body-100k, body-1m, tls-h1, tls-h2 (default: all)
  --candidate A,B      tidegate, nginx, haproxy, haproxy-tcp, envoy (default: all; envoy where there is one)
  --tidegate FILE      an executable to measure, instead of building one from this tree
  --also NAME=FILE     another Tidegate executable beside it, for example of an earlier commit; repeatable
  --rounds N           turns of every candidate per scenario (default 5)
  --seconds N          length of one turn (default 3)
  --warm-up N          seconds of load before each turn (default 1)
  --proxy-core N       the core of the candidates (default 0)
  --load-cores LIST    the cores of load and service, as taskset takes them (default: all others)
  --json FILE          every single turn, with the machine and the versions
";

/// The options, checked.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) scenarios: Vec<&'static Scenario>,
    /// Names of candidates; empty for all that can be found.
    pub(super) candidates: Vec<String>,
    pub(super) tidegate: Option<PathBuf>,
    pub(super) also: Vec<(String, PathBuf)>,
    pub(super) rounds: usize,
    pub(super) turn: Duration,
    pub(super) warm_up: Duration,
    pub(super) proxy_core: String,
    pub(super) load_cores: String,
    pub(super) json: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scenarios: SCENARIOS.iter().collect(),
            candidates: Vec::new(),
            tidegate: None,
            also: Vec::new(),
            rounds: 5,
            turn: Duration::from_secs(3),
            warm_up: Duration::from_secs(1),
            proxy_core: "0".to_owned(),
            load_cores: all_but_the_first_core(),
            json: None,
        }
    }
}

impl Options {
    /// Reads the words of the command line; nothing when help was asked for.
    pub(super) fn parse(words: &[String]) -> Outcome<Option<Self>> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(option) = words.next() {
            if matches!(option.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
            options.set(option, value)?;
        }
        Ok(Some(options))
    }

    fn set(&mut self, option: &str, value: &str) -> Outcome {
        match option {
            "--scenario" => {
                let chosen = value.split(',').map(Scenario::named);
                self.scenarios = chosen.collect::<Outcome<_>>()?;
            }
            "--candidate" => self.candidates = value.split(',').map(str::to_owned).collect(),
            "--tidegate" => self.tidegate = Some(value.into()),
            "--also" => {
                let (name, file) = value.split_once('=').ok_or("--also takes NAME=FILE")?;
                self.also.push((name.to_owned(), file.into()));
            }
            "--rounds" => self.rounds = positive(option, value)?,
            "--seconds" => self.turn = Duration::from_secs(positive(option, value)?),
            "--warm-up" => self.warm_up = Duration::from_secs(positive(option, value)?),
            "--proxy-core" => self.proxy_core = value.to_owned(),
            "--load-cores" => self.load_cores = value.to_owned(),
            "--json" => self.json = Some(value.into()),
            _ => return Err(format!("no option {option}\n\n{USAGE}").into()),
        }
        Ok(())
    }
}

fn positive<N: std::str::FromStr + PartialOrd + From<u8>>(option: &str, value: &str) -> Outcome<N> {
    let number = value.parse().ok().filter(|number| *number >= N::from(1));
    Ok(number.ok_or_else(|| format!("{option} takes a whole number from 1"))?)
}

/// Core 0 alone on a machine with one core: the figures are then those of a crowded machine, but
/// figures.
fn all_but_the_first_core() -> String {
    match std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
        1 => "0".to_owned(),
        2 => "1".to_owned(),
        cores => format!("1-{}", cores - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Outcome<Option<Options>> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_replace_the_defaults() {
        let line = "--scenario get,tls-h2 --rounds 2 --also old=/tmp/old --json out.json";
        let options = parse(line).expect("good options").expect("no help");
        let names: Vec<_> = options.scenarios.iter().map(|scenario| scenario.name).collect();
        assert_eq!((names, options.rounds), (vec!["get", "tls-h2"], 2));
        assert_eq!(options.also, [("old".to_owned(), "/tmp/old".into())]);
        assert_eq!(options.turn, Duration::from_secs(3));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in ["--rounds", "--rounds 0", "--seconds x", "--scenario gte", "--also old", "--fast 1"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--help").expect("help is no mistake").is_none());
    }
}
