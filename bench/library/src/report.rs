//! The comparison as a table and as JSON.

use std::fmt;

use serde::Serialize;

use crate::contest::{Bar, Operation};
use crate::operations::memory::Table;

/// All figures.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The machine that they come from.
    pub machine: String,
    /// The operations and tables.
    pub rows: Vec<Row>,
}

/// One operation, or one table.
#[derive(Debug, Serialize)]
pub struct Row {
    operation: &'static str,
    about: &'static str,
    unit: &'static str,
    /// The most that ours may take, where that is asked.
    bar: Option<f64>,
    /// Whether it does.
    held: Option<bool>,
    /// The share of the machine that others used while times were taken, from 0 to 1.
    others: Option<f64>,
    /// Ours first.
    contenders: Vec<Entry>,
}

/// The figures of one contender.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Who.
    pub name: &'static str,
    /// On how many threads.
    pub threads: usize,
    /// The median time, or what a table holds.
    pub value: f64,
    /// The least time.
    pub least: Option<f64>,
    /// Allocations of one operation.
    pub allocations: Option<f64>,
    /// Instructions of one operation.
    pub instructions: Option<f64>,
}

/// The head of the table.
pub const HEADER: &str = "\
| operation | ours (least) | rival | rival's (least) | ratio | bar | allocations, ours : rival's | instructions, ours : rival's | others |
|---|---:|---|---:|---:|---:|---:|---:|---:|";

impl Row {
    /// The row of an operation.
    pub fn of_operation(operation: &Operation, contenders: Vec<Entry>, others: f64) -> Self {
        let rival = contenders.get(1).map(|rival| rival.value);
        let bar = match operation.bar {
            Bar::Open => None,
            Bar::Nanos(nanos) => Some(nanos),
            Bar::Times(factor) => rival.map(|rival| factor * rival),
            Bar::Above(nanos) => rival.map(|rival| rival + nanos),
        };
        Self::new(operation.name, operation.about, "ns", bar, Some(others), contenders)
    }

    /// The row of a table.
    pub fn of_table(table: &Table, bytes: &[f64]) -> Self {
        let entry = |(&(name, _), &value): (&(&'static str, _), _)| Entry {
            name,
            threads: 1,
            value,
            least: None,
            allocations: None,
            instructions: None,
        };
        let contenders = table.contenders.iter().zip(bytes).map(entry).collect();
        Self::new(table.name, table.about, "B", Some(table.bar), None, contenders)
    }

    fn new(
        operation: &'static str,
        about: &'static str,
        unit: &'static str,
        bar: Option<f64>,
        others: Option<f64>,
        contenders: Vec<Entry>,
    ) -> Self {
        // Nothing is held or broken by what could not be measured.
        let known = bar.zip(contenders.first()).filter(|(bar, ours)| !bar.is_nan() && !ours.value.is_nan());
        let held = known.map(|(bar, ours)| ours.value <= bar);
        Self { operation, about, unit, bar, held, others, contenders }
    }
}

/// A line for each rival.
impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((ours, rivals)) = self.contenders.split_first() else { return Ok(()) };
        let bar = match (self.bar, self.held) {
            (Some(bar), Some(held)) => format!("{bar:.1} {}", if held { "✓" } else { "✗" }),
            _ => DASH.to_owned(),
        };
        let others = self.others.map_or(DASH.to_owned(), |share| format!("{:.0} %", share * 100.0));
        for rival in rivals {
            let (name, ratio) = (rival.name, figure(Some(rival.value / ours.value), 2));
            let allocations = versus(ours.allocations, rival.allocations, 2);
            let instructions = versus(ours.instructions, rival.instructions, 0);
            writeln!(
                formatter,
                "| {} | {} | {name} | {} | {ratio} | {bar} | {allocations} | {instructions} | {others} |",
                self.operation,
                ours.shown(self.unit),
                rival.shown(self.unit),
            )?;
        }
        Ok(())
    }
}

impl Entry {
    fn shown(&self, unit: &str) -> String {
        if self.value.is_nan() {
            return DASH.to_owned();
        }
        let least = self.least.map_or(String::new(), |least| format!(" ({least:.1})"));
        format!("{:.1}{least} {unit}", self.value)
    }
}

const DASH: &str = "–";

fn versus(ours: Option<f64>, rival: Option<f64>, digits: usize) -> String {
    format!("{} : {}", figure(ours, digits), figure(rival, digits))
}

/// A figure, or a dash where there is none.
fn figure(value: Option<f64>, digits: usize) -> String {
    value.filter(|value| !value.is_nan()).map_or(DASH.to_owned(), |value| format!("{value:.digits$}"))
}
