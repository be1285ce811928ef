//! Tests against the real program: its processes are started, told to stop,
//! and killed.

mod commands;
mod completions;
mod config;
mod crash;
mod cron;
mod doctor;
mod faults;
mod first_steps;
mod foreign_text;
mod health;
mod help;
mod key;
mod man;
mod memory;
mod program;
mod refusals;
mod roles;
mod service;
mod settings;
mod stalls;
mod start_order;
mod supervised;
mod terminal;
mod top;
mod tours;
mod trace;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul");
