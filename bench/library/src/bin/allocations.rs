//! Counts allocations per operation, and bytes per key, for operations whose names contain the first word; prints them
//! as JSON. A program of its own: the counting allocator would spoil the times.

use allocation_counter::measure;
use library_bench::allocations::Counts;
use library_bench::contest::Contender;
use library_bench::operations::{self, memory};

/// How often an operation is done to be counted.
const TIMES: u64 = 1000;

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    let mut counts = Counts::default();
    for operation in operations::all().iter().filter(|operation| operation.name.contains(&only)) {
        counts.allocations.insert(operation.name.to_owned(), operation.contenders.iter().map(per_operation).collect());
    }
    for table in memory::tables().iter().filter(|table| table.name.contains(&only)) {
        counts.memory.insert(table.name.to_owned(), table.contenders.iter().map(|(_, fill)| per_key(*fill)).collect());
    }
    println!("{}", serde_json::to_string(&counts).expect("names and numbers are JSON"));
}

/// The difference of two runs, so that what a run itself allocates does not count.
fn per_operation(contender: &Contender) -> f64 {
    let policy = (contender.policy)();
    let mut worker = policy();
    worker(TIMES);
    let mut count = |times| measure(|| worker(times)).count_total;
    let (once, twice) = (count(TIMES), count(2 * TIMES));
    twice.saturating_sub(once) as f64 / TIMES as f64
}

fn per_key(fill: memory::Fill) -> f64 {
    let mut table = None;
    let held = measure(|| table = Some(fill(memory::KEYS))).bytes_current;
    drop(table);
    held as f64 / memory::KEYS as f64 - memory::KEY_BYTES as f64
}
