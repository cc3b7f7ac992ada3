//! x
#[allow(dead_code)]
mod metrics;
fn main() {}
