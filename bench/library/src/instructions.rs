//! Instructions per operation, counted by callgrind where valgrind is installed.
//!
//! This program runs itself under callgrind, once for each contender, and lets it count only inside [`counted`].

use std::error::Error;
use std::hint::black_box;
use std::process::Command;

use crate::contest::{Operation, Worker};

/// The word that makes this program do one operation for callgrind, instead of a comparison.
pub const WORD: &str = "count-instructions";

/// How often the operation is done to be counted.
const TIMES: u64 = 2000;

/// Whether valgrind is installed.
pub fn available() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Instructions of one operation of a contender; nothing for several threads, of which valgrind makes one.
///
/// # Errors
///
/// Valgrind fails, or does not say what it counted.
pub fn count(operation: &Operation, contender: usize) -> Result<Option<f64>, Box<dyn Error>> {
    if operation.contenders[contender].threads > 1 {
        return Ok(None);
    }
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*instructions*counted*"]);
    let output =
        valgrind.arg(std::env::current_exe()?).args([WORD, operation.name, &contender.to_string()]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<f64>().ok());
    match collected {
        Some(instructions) if output.status.success() => Ok(Some(instructions / TIMES as f64)),
        _ => Err(format!("valgrind says nothing of {}:\n{said}", operation.name).into()),
    }
}

/// What is run under callgrind: the same operations to warm up, and then those that count.
pub fn run(operation: &Operation, contender: usize) {
    let policy = (operation.contenders[contender].policy)();
    let mut worker = policy();
    worker(TIMES);
    counted(&mut worker);
}

/// Callgrind counts from where this is entered until it returns.
#[inline(never)]
fn counted(worker: &mut Worker) {
    worker(black_box(TIMES));
    // Something after the call, lest it become a jump out of this function.
    black_box(());
}
