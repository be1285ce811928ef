//! The tests of the workspace's libraries over a real PostgreSQL and a real HTTP server.
//! One program for all of them: linking one takes seconds, and all share one server.
//!
//! `cargo test -p longhaul-tests --test suite stranded::` runs those of one file.

mod access;
mod advisories;
mod advisory_locks;
mod answers;
mod audit;
mod book;
mod cancel_cascades;
mod cascades;
mod client;
mod connections;
mod contract;
mod contradictions;
mod control;
mod counters;
mod dashboard;
mod dashboard_access;
mod detail;
mod docs;
mod embedded_webhook;
mod ends;
mod engine;
mod errors;
mod facts;
mod findings;
mod fleet;
mod full_queue;
mod gates;
mod growth;
mod hosts;
mod idle;
mod import;
mod interleavings;
mod keys;
mod later;
mod later_types;
mod lean;
mod limits;
mod linked;
mod list;
mod log_stream;
mod metrics;
mod modules;
mod monitoring;
mod not_http;
mod oauth;
mod odd_values;
mod openapi;
mod options;
mod outage;
mod passing_errors;
mod permissions;
mod poison;
mod poison_columns;
mod poison_tables;
#[path = "../process/program.rs"]
#[expect(dead_code, reason = "shared with the tests of the shipped program")]
mod program;
mod progress;
mod queue_settings;
mod queue_tasks;
mod reading;
mod reindex;
mod retention;
mod retries;
mod roles;
mod rolling_restart;
mod routes;
mod run_again;
mod schedule;
mod schema;
mod search;
mod secret;
mod set_aside;
mod silence;
mod silent_services;
mod smuggling;
mod sql_callers;
mod statements;
mod stolen_logins;
mod stranded;
mod strangers;
mod stream;
mod stream_access;
mod successes;
mod test_queue;
mod tickets;
mod timing;
mod trace;
mod unique;
mod upgrade;
mod visit;
mod webhook;
mod why;

/// What `program` starts, unless it is told otherwise.
const PROGRAM: &str = env!("CARGO_BIN_EXE_recorder");

/// A file that is not declared above would never run.
#[test]
fn every_file_beside_this_one_is_part_of_it() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let forgotten: Vec<_> = std::fs::read_dir(directory)
        .expect("the directory of the tests")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .filter(|name| name != "main" && !include_str!("main.rs").contains(&format!("\nmod {name};\n")))
        .collect();
    assert!(forgotten.is_empty(), "not declared in tests/tests/main.rs: {forgotten:?}");
}
