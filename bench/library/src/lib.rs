//! The resilience library beside others that do the same: the operations, and how they are measured.
//!
//! `cargo xtask bench library` builds and runs this. All contenders of an operation run in one process, on one clock,
//! and take turns. Times come from one program, allocations from another one, because a counting allocator would slow
//! down whoever allocates, and instructions from callgrind, because they are the same on a busy machine.

pub mod allocations;
pub mod contest;
pub mod instructions;
pub mod machine;
pub mod operations;
pub mod report;
pub mod time;
