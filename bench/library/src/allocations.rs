//! Allocations, counted by the program `allocations` and read by the one that reports.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What the program `allocations` prints: for each operation, by its name, the figures of its contenders in their order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Allocations per operation.
    pub allocations: BTreeMap<String, Vec<f64>>,
    /// Bytes of a table per key, besides the text of the key.
    pub memory: BTreeMap<String, Vec<f64>>,
}

/// Runs the program that counts, for the operations whose names contain `only`.
///
/// # Errors
///
/// It is not beside this program, or fails.
pub fn count(only: &str) -> Result<Counts, Box<dyn Error>> {
    let program = std::env::current_exe()?.with_file_name("allocations");
    let output = Command::new(&program).arg(only).output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
