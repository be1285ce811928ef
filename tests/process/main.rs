//! Tests against the real program: its processes are started, told to stop,
//! and killed.

mod bench;
mod config;
mod crash;
mod cron;
mod key;
#[expect(dead_code, reason = "shared with the tests of other programs")]
mod program;
mod refusals;
mod service;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul");
