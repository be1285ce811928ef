//! The example `own_tasks` as real processes: what an embedding program gets.

mod http;
#[path = "../process/program.rs"]
#[expect(dead_code, reason = "shared with the tests of the shipped program")]
mod program;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_own_tasks");
