//! Compares, and prints the comparison. See `cargo xtask bench library --help`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use library_bench::allocations::{self, Counts};
use library_bench::contest::Operation;
use library_bench::instructions;
use library_bench::machine::{self, Load};
use library_bench::operations::{self, memory};
use library_bench::report::{Entry, HEADER, Report, Row};
use library_bench::time::{self, Effort};

const USAGE: &str = "\
cargo xtask bench library [OPTIONS]

  --only NAME          only operations whose names contain this
  --rounds N           turns of every contender (default 101)
  --turn N             milliseconds that a turn takes (default 2)
  --instructions no    do not count instructions, which takes most of the time where valgrind is installed
  --list               the names of the operations
  --json FILE          the same figures, with the machine
";

struct Options {
    only: String,
    effort: Effort,
    instructions: bool,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--help" | "-h"] => print!("{USAGE}"),
        ["--list"] => list(),
        [instructions::WORD, name, contender] => {
            let all = operations::all();
            let operation = all.iter().find(|operation| operation.name == name).ok_or("no such operation")?;
            instructions::run(operation, contender.parse()?);
        }
        _ => compare(&Options::parse(&words)?)?,
    }
    Ok(())
}

fn list() {
    let operations = operations::all();
    let tables = memory::tables();
    let operations = operations.iter().map(|operation| (operation.name, operation.about));
    for (name, about) in operations.chain(tables.iter().map(|table| (table.name, table.about))) {
        println!("{name:<20} {about}");
    }
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            only: String::new(),
            effort: Effort { rounds: 101, turn: Duration::from_millis(2) },
            instructions: true,
            json: None,
        };
        for pair in words.chunks(2) {
            match *pair {
                ["--only", name] => options.only = name.to_owned(),
                ["--rounds", rounds] => options.effort.rounds = rounds.parse::<std::num::NonZero<usize>>()?.get(),
                ["--turn", millis] => options.effort.turn = Duration::from_millis(millis.parse()?),
                ["--instructions", "no"] => options.instructions = false,
                ["--json", file] => options.json = Some(file.into()),
                _ => return Err(format!("cannot make sense of {pair:?}\n\n{USAGE}").into()),
            }
        }
        Ok(options)
    }
}

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    let counts = allocations::count(&options.only)?;
    let instructions = options.instructions && instructions::available();
    let mut report = Report { machine: machine::describe(), ..Report::default() };
    println!("{}\n\n{HEADER}", report.machine);
    let mut chosen = operations::all();
    chosen.retain(|operation| operation.name.contains(&options.only));
    for operation in &chosen {
        let row = measure(operation, options.effort, instructions, &counts)?;
        print!("{row}");
        report.rows.push(row);
    }
    for table in memory::tables() {
        if let Some(bytes) = counts.memory.get(table.name) {
            let row = Row::of_table(&table, bytes);
            print!("{row}");
            report.rows.push(row);
        }
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}

fn measure(operation: &Operation, effort: Effort, instructions: bool, counts: &Counts) -> Result<Row, Box<dyn Error>> {
    let load = Load::now();
    let times = time::race(&operation.contenders, effort);
    let others = load.others_since();
    let mut entries = Vec::new();
    for (index, (contender, times)) in operation.contenders.iter().zip(times).enumerate() {
        entries.push(Entry {
            name: contender.name,
            threads: contender.threads,
            value: times.median,
            least: Some(times.least),
            allocations: counts.allocations.get(operation.name).and_then(|all| all.get(index)).copied(),
            instructions: if instructions { instructions::count(operation, index)? } else { None },
        });
    }
    Ok(Row::of_operation(operation, entries, others))
}
