//! The process: command line, configuration files, reload, logs, admin listener.

mod access_log;
mod admin;
pub mod cli;
pub mod config;
mod demo;
mod difference;
mod logging;
mod metrics;
mod policies;
mod process;
