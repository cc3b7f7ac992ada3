//! x
#[allow(dead_code)]
mod access_log;
#[allow(dead_code, unused_imports)]
mod admin;
#[allow(dead_code)]
mod logging;
#[allow(dead_code)]
mod metrics;
fn main() {}
