//! Tests against the real program: its processes are started, told to stop,
//! and killed.

mod crash;
mod cron;
mod program;
mod refusals;
mod service;
