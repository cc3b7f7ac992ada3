//! Figures over all turns: medians in tables, single turns as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::candidate::Candidate;
use super::load::Counted;
use super::scenario::Scenario;
use crate::Outcome;

/// One turn of one candidate.
pub(super) struct Turn {
    pub(super) counted: Counted,
    /// CPU time of the candidate over the turn.
    pub(super) cpu: Duration,
}

/// All turns, by scenario and candidate, in the order they were taken.
pub(super) struct Report<'a> {
    candidates: &'a [Candidate],
    turns: BTreeMap<(&'static str, usize), Vec<Turn>>,
}

/// The medians of one candidate in one scenario, and how far its CPU time per request went.
struct Row {
    cpu: f64,
    range: [f64; 2],
    requests_per_second: f64,
    /// Share of one core, in percent.
    core: f64,
    latency: Option<[f64; 2]>,
    failures: u64,
}

const HEADER: &str = "\
| candidate | CPU µs/request | range | ratio | requests/s | core % | p50 µs | p99 µs | failed |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
";

impl Turn {
    fn cpu_per_request(&self) -> f64 {
        micros(self.cpu) / self.counted.requests.max(1) as f64
    }

    fn requests_per_second(&self) -> f64 {
        self.counted.requests as f64 / self.counted.time.as_secs_f64()
    }

    fn json(&self, scenario: &str, name: &str, round: usize) -> String {
        let Counted { requests, time, bytes, failures, latency } = &self.counted;
        let (seconds, cpu) = (time.as_secs_f64(), self.cpu_per_request());
        let latency = latency.map_or(String::new(), |[median, high]| {
            format!(", \"p50_us\": {}, \"p99_us\": {}", median.as_micros(), high.as_micros())
        });
        format!(
            "{{\"scenario\": {}, \"candidate\": {}, \"round\": {round}, \"requests\": {requests}, \
             \"seconds\": {seconds}, \"cpu_us_per_request\": {cpu:.3}, \"bytes\": {bytes}, \
             \"failures\": {failures}{latency}}}",
            quoted(scenario),
            quoted(name)
        )
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(candidates: &'a [Candidate]) -> Self {
        Self { candidates, turns: BTreeMap::new() }
    }

    /// Adds a turn of the candidate with that number.
    pub(super) fn add(&mut self, scenario: &Scenario, candidate: usize, turn: Turn) {
        self.turns.entry((scenario.name, candidate)).or_default().push(turn);
    }

    /// The table of one scenario, as Markdown. The ratio is to the first candidate: above 1, it
    /// costs more.
    pub(super) fn table(&self, scenario: &Scenario) -> String {
        let mut text = format!("\n### {}: {}\n\n{HEADER}", scenario.name, scenario.about);
        let mut first = None;
        for (number, candidate) in self.candidates.iter().enumerate() {
            if let Some(turns) = self.turns.get(&(scenario.name, number)) {
                let row = Row::of(turns);
                text += &row.line(&candidate.name, *first.get_or_insert(row.cpu));
            }
        }
        text
    }

    /// Fails when any request failed: the comparison is void then.
    pub(super) fn verdict(&self) -> Outcome {
        let failures: u64 = self.turns.values().flatten().map(|turn| turn.counted.failures).sum();
        if failures == 0 { Ok(()) } else { Err(format!("{failures} requests failed; the figures are void").into()) }
    }

    /// Every turn, with the machine and the versions.
    pub(super) fn json(&self) -> String {
        let versions = self
            .candidates
            .iter()
            .map(|candidate| format!("{}: {}", quoted(&candidate.name), quoted(&candidate.version)));
        let turns = self.turns.iter().flat_map(|((scenario, number), turns)| {
            let name = &self.candidates[*number].name;
            turns.iter().enumerate().map(move |(round, turn)| turn.json(scenario, name, round))
        });
        let (versions, turns) = (versions.collect::<Vec<_>>().join(", "), turns.collect::<Vec<_>>().join(",\n    "));
        let machine = quoted(&machine());
        format!(
            "{{\n  \"machine\": {machine},\n  \"versions\": {{{versions}}},\n  \"turns\": [\n    {turns}\n  ]\n}}\n"
        )
    }

    /// The machine and the versions, for a person.
    pub(super) fn heading(&self) -> String {
        let versions: Vec<String> =
            self.candidates.iter().map(|candidate| format!("{} {}", candidate.name, candidate.version)).collect();
        format!("{}\n{}", machine(), versions.join(", "))
    }
}

impl Row {
    fn of(turns: &[Turn]) -> Self {
        let over = |figure: &dyn Fn(&Turn) -> f64| sorted(turns.iter().map(figure).collect());
        let latency = |which: usize| {
            let known: Option<Vec<f64>> = turns.iter().map(|turn| Some(micros(turn.counted.latency?[which]))).collect();
            known.map(|figures| median(&sorted(figures)))
        };
        let cpu = over(&Turn::cpu_per_request);
        Self {
            cpu: median(&cpu),
            range: [cpu[0], cpu[cpu.len() - 1]],
            requests_per_second: median(&over(&Turn::requests_per_second)),
            core: median(&over(&|turn| 100.0 * turn.cpu.as_secs_f64() / turn.counted.time.as_secs_f64())),
            latency: latency(0).zip(latency(1)).map(|(median, high)| [median, high]),
            failures: turns.iter().map(|turn| turn.counted.failures).sum(),
        }
    }

    /// One line of the table.
    fn line(&self, name: &str, first: f64) -> String {
        let Self { cpu, range: [low, high], requests_per_second, core, latency, failures } = self;
        let ratio = cpu / first;
        let [p50, p99] = latency.map_or(["–".to_owned(), "–".to_owned()], |both| both.map(|us| format!("{us:.0}")));
        let cost = format!("{cpu:.2} | {low:.2}–{high:.2} | {ratio:.2}");
        format!("| {name} | {cost} | {requests_per_second:.0} | {core:.0} | {p50} | {p99} | {failures} |\n")
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn sorted(mut figures: Vec<f64>) -> Vec<f64> {
    figures.sort_by(f64::total_cmp);
    figures
}

/// The middle of figures in order of size; there is at least one, as there is at least one round.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// Processor, cores, kernel.
fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, m)| m);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => _ = write!(out, "\\u{:04x}", u32::from(control)),
            other => out.push(other),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_the_figures() {
        assert_eq!(median(&sorted(vec![3.0, 1.0, 2.0])), 2.0);
        assert_eq!(median(&sorted(vec![4.0, 1.0, 2.0, 3.0])), 2.5);
    }

    #[test]
    fn json_strings_are_escaped() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }
}
