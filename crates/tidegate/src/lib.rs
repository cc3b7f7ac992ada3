//! The process: command line, configuration files, reload, logs, admin listener.

pub mod cli;
pub mod config;
