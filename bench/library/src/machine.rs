//! The machine: what it is, and how much of it others used meanwhile.

use std::fs;

/// Processor, cores, kernel.
pub fn describe() -> String {
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{}, {cores} cores, Linux {}", model.map_or("?", |(_, name)| name), kernel.trim())
}

/// Processor time so far, in ticks: of the whole machine, of it at work, and of this process.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    total: u64,
    busy: u64,
    own: u64,
}

impl Load {
    /// Now. Nothing but zeros where there is no `/proc`.
    pub fn now() -> Self {
        let times: Vec<u64> = words(&read("/proc/stat")).skip(1).take(8).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal: proc_stat(5).
        let total: u64 = times.iter().sum();
        let idle: u64 = times.iter().skip(3).take(2).sum();
        // The name may hold spaces; utime and stime, fields 14 and 15 of proc_pid_stat(5), are 11 and 12 behind it.
        let own = read("/proc/self/stat");
        let own = words(own.rsplit_once(") ").map_or("", |(_, rest)| rest)).skip(11).take(2).sum();
        Self { total, busy: total - idle, own }
    }

    /// The share of the machine that other processes used since then, from 0 to 1.
    pub fn others_since(self) -> f64 {
        let now = Self::now();
        let others = (now.busy - self.busy).saturating_sub(now.own - self.own);
        others as f64 / (now.total - self.total).max(1) as f64
    }
}

/// The words of a text as numbers; what is none is 0.
fn words(text: &str) -> impl Iterator<Item = u64> {
    text.split_whitespace().map(|word| word.parse().unwrap_or(0))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
